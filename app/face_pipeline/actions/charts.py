"""The charts of the overview: a fixed list of questions to Prometheus, each over a fixed span."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from face_pipeline.observation.prometheus import Prometheus, Span

# Seconds, and seconds between two points: 120 points or fewer.
SPANS: dict[str, tuple[int, int]] = {
    "15m": (15 * 60, 15),
    "6h": (6 * 3600, 180),
    "7d": (7 * 24 * 3600, 5040),
}
# A rate needs two scrapes, which are 15 s apart; one that failed must not make a gap.
WINDOW_LEAST_SECONDS = 60
# Asked at once; each is a connection.
AT_ONCE = 4


class Name(StrEnum):
    PHOTOS = "photos"
    BACKLOG = "backlog"
    SEARCH = "search"
    CACHE = "cache"
    CORES = "cores"
    MEMORY = "memory"


class Unit(StrEnum):
    PHOTOS_PER_SECOND = "photos_per_second"
    PHOTOS = "photos"
    SECONDS = "seconds"
    SHARE = "share"
    CORES = "cores"
    BYTES = "bytes"


# In the place of the time between two points, so that nothing that happened in between is left out.
WINDOW = "$window"


@dataclass(frozen=True)
class _Series:
    name: str
    query: str


@dataclass(frozen=True)
class _Chart:
    """`dashboard`: uid of that of Grafana which shows more."""

    name: Name
    unit: Unit
    dashboard: str
    series: tuple[_Series, ...]


def _processed(status: str) -> str:
    return (
        f'sum(rate(face_recognition_files_processed_total{{job="celery",status="{status}"}}[{WINDOW}])) '
        "or vector(0)"
    )


def _photos(states: str) -> str:
    return (
        f'sum(max by (state) (avg_over_time(face_recognition_ledger_photos{{state=~"{states}"}}[{WINDOW}])))'
    )


_P95 = (
    "histogram_quantile(0.95, "
    f"sum by (le) (rate(face_recognition_search_duration_seconds_bucket[{WINDOW}]))) >= 0"
)
_HITS = (
    f'(sum(rate(face_recognition_searches_total{{cache_status="hit"}}[{WINDOW}])) or vector(0)) '
    f"/ (sum(rate(face_recognition_searches_total[{WINDOW}])) > 0)"
)
_CORES = f'sum(rate(node_cpu_seconds_total{{mode!~"idle|iowait|steal"}}[{WINDOW}]))'
_MEMORY = (
    f"sum(avg_over_time(node_memory_MemTotal_bytes[{WINDOW}]) "
    f"- avg_over_time(node_memory_MemAvailable_bytes[{WINDOW}]))"
)
CHARTS = (
    _Chart(
        Name.PHOTOS, Unit.PHOTOS_PER_SECOND, "face-overview",
        (_Series("done", _processed("success")), _Series("failed", _processed("failed"))),
    ),
    _Chart(
        Name.BACKLOG, Unit.PHOTOS, "face-workers",
        (_Series("waiting", _photos("received|queued")), _Series("processing", _photos("processing"))),
    ),
    _Chart(Name.SEARCH, Unit.SECONDS, "face-search", (_Series("p95", _P95),)),
    _Chart(Name.CACHE, Unit.SHARE, "face-search", (_Series("hits", _HITS),)),
    _Chart(Name.CORES, Unit.CORES, "face-infrastructure", (_Series("used", _CORES),)),
    _Chart(Name.MEMORY, Unit.BYTES, "face-infrastructure", (_Series("used", _MEMORY),)),
)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A value for each time of its span, None: nothing is known."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Chart:
    name: Name
    unit: Unit
    dashboard: str
    series: Sequence[Series]


@dataclass(frozen=True)
class Drawn:
    """The charts of a span, which are all of the same times."""

    span: Span
    charts: Sequence[Chart]


def draw(prometheus: Prometheus, name: str) -> Drawn:
    """The charts of the span `name`, until now. Raises Unobserved."""
    seconds, step = SPANS[name]
    # The same times for all who ask within a step: points do not wander.
    end = int(time.time()) // step * step
    span = Span(end - seconds, end, step)
    window = f"{max(step, WINDOW_LEAST_SECONDS)}s"
    with ThreadPoolExecutor(max_workers=AT_ONCE) as asked:
        values = {
            series.query: asked.submit(_values, prometheus, series.query.replace(WINDOW, window), span)
            for chart in CHARTS
            for series in chart.series
        }
        return Drawn(
            span,
            [
                Chart(
                    chart.name,
                    chart.unit,
                    chart.dashboard,
                    [Series(series.name, values[series.query].result()) for series in chart.series],
                )
                for chart in CHARTS
            ],
        )


def _values(prometheus: Prometheus, query: str, span: Span) -> Sequence[float | None]:
    lines = prometheus.over(query, span)
    return lines[0].values if lines else [None] * len(span.times)
