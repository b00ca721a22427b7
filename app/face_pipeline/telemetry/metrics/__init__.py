"""Every metric of the application, under the names dashboards and alert rules depend on.

Counters and histograms are written where the work happens: in gunicorn's processes (`web`, in
prometheus_client's multiprocess mode, files under PROMETHEUS_MULTIPROC_DIR) and in each worker (`worker`).
To import one of these modules is to show its metrics, so each process imports its own alone. Values of the
whole installation (queue lengths, ledger states, cache hit ratio) are read when Prometheus asks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from face_pipeline import __version__

# When each series began is a second series for each, which nothing of ours reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Buckets, seconds: of a photo or a task, and of a part of it.
FILE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
STAGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def memory_bytes() -> dict[str, int]:
    """Memory of this process, bytes: `resident` now, and the `peak` it ever had.

    Of one reading of proc_pid_status(5). getrusage's ru_maxrss lags behind, and begins with that of the
    program which started this one.
    """
    text = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    kibibytes = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, re.MULTILINE))
    return {kind: int(kibibytes[name]) * 1024 for kind, name in (("resident", "VmRSS"), ("peak", "VmHWM"))}


def release() -> str:
    """Id of the installed release this process runs from; `development` elsewhere."""
    home = Path(sys.prefix).resolve().parent
    return home.name if (home / ".complete").exists() else "development"


class BuildCollector(Collector):
    """`face_recognition_build_info`: what is installed."""

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "face_recognition_build_info", "What runs here; always 1.", labels=["version", "release"]
        )
        family.add_metric([__version__, release()], 1)
        yield family


class MemoryCollector(Collector):
    """`face_recognition_memory_usage_bytes`: resident now, and the most it ever was."""

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "face_recognition_memory_usage_bytes", "Memory of this process, bytes.", labels=["type"]
        )
        for kind, value in memory_bytes().items():
            family.add_metric([kind], value)
        yield family


class InstallationCollector(Collector):
    """Values of the whole installation, read at each scrape by `read`.

    `read` returns the families; a source that is down leaves its families out, so that Prometheus sees an
    absent series and not a stale number.
    """

    def __init__(self, read: Callable[[], Iterable[Metric]]):
        self.read = read

    def collect(self) -> Iterable[Metric]:
        return self.read()


class AutoscalerMetrics(Collector):
    """What an autoscaler decided, on a registry of its own: no other process has anything to say about it.

    Numbers of the whole installation are the leader's; the other agents leave them out (None).
    """

    def __init__(self) -> None:
        self.desired: int | None = None
        self.current: int | None = None
        self.waiting: int | None = None
        self.leader = False
        self.paused = False
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.decisions = Counter(
            "face_autoscaler_decisions_total", "Decisions.", ["direction"], registry=self.registry
        )
        for direction in ("up", "down", "hold"):
            self.decisions.labels(direction)

    def collect(self) -> Iterator[Metric]:
        for name, text, value in (
            ("desired_workers", "Workers asked for in all.", self.desired),
            ("current_workers", "Workers that run, on all hosts with an autoscaler.", self.current),
            ("waiting_tasks", "Tasks in the queues.", self.waiting),
            ("leader", "1: this host's autoscaler decides.", self.leader),
            ("paused", "1: this host keeps the workers it was given by hand.", self.paused),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"face_autoscaler_{name}", text, value=value)
