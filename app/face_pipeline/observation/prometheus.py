"""Prometheus: values over a while, and what they are now.

Source: Prometheus' HTTP API, version 1 (`/api/v1/query`, `/query_range`, `/alerts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import urllib3

from face_pipeline.observation.asking import Asked, Refused, Unobserved

# Of one query, seconds: a page waits for several.
QUERY_TIMEOUT = "3s"


@dataclass(frozen=True)
class Span:
    """From `start` on every `step` until `end`, seconds since 1970."""

    start: int
    end: int
    step: int

    @property
    def times(self) -> range:
        return range(self.start, self.end + 1, self.step)


@dataclass(frozen=True)
class Line:
    """One series: its labels, and a value for each of the times of a span, None: there is none."""

    labels: Mapping[str, str]
    values: Sequence[float | None]


@dataclass(frozen=True)
class Firing:
    """An alert as Prometheus' rules know it, which is not told who silenced it."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: datetime


class Prometheus:
    """Asked by fixed queries of ours alone. Each call raises Unobserved."""

    def __init__(self, url: str, http: urllib3.PoolManager, password: str) -> None:
        self._asked = Asked("Prometheus", url, http, password)

    def now(self, query: str) -> float | None:
        """The one value of a query, None: it has none."""
        with _understood():
            result = self._get("/api/v1/query", query=query, timeout=QUERY_TIMEOUT)["result"]
            return _number(result[0]["value"][1]) if result else None

    def over(self, query: str, span: Span) -> list[Line]:
        """Every series of a query."""
        with _understood():
            result = self._get(
                "/api/v1/query_range",
                query=query, start=str(span.start), end=str(span.end), step=str(span.step),
                timeout=QUERY_TIMEOUT,
            )["result"]  # fmt: skip
            return [Line(each["metric"], _in_time(each["values"], span)) for each in result]

    def firing(self) -> list[Firing]:
        with _understood():
            return [
                Firing(each["labels"], each["annotations"], datetime.fromisoformat(each["activeAt"]))
                for each in self._get("/api/v1/alerts")["alerts"]
                if each["state"] == "firing"
            ]

    def _get(self, path: str, **fields: str) -> Any:
        return self._asked.ask("GET", path, fields=fields)["data"]


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise Unobserved(f"Prometheus refuses a query ({error.status}); its log says more") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unobserved("what answers for Prometheus is something else") from error


def _number(text: str) -> float | None:
    value = float(text)
    # What is no number is none in JSON either.
    return value if math.isfinite(value) else None


def _in_time(pairs: Sequence[tuple[float, str]], span: Span) -> list[float | None]:
    known = {round(at): _number(text) for at, text in pairs}
    return [known.get(at) for at in span.times]
