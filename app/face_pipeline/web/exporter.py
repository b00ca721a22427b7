"""`/metrics`, served by prometheus-flask-exporter, with what it cannot do by itself.

- Values of the whole installation in the same answer.
- `?name[]=` where several processes count: the library (0.23.2) fails there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_flask_exporter import PrometheusMetrics

from face_pipeline.telemetry import metrics


class Exporter(PrometheusMetrics):  # type: ignore[misc]  # the library has no types
    """The library's exporter without its own metrics of requests, which have other names and labels."""

    read: Callable[[], Iterable[Metric]]

    def __init__(self, app: Flask | None = None, **options: Any):
        super().__init__(app, **{"export_defaults": False, **options})

    def install(self, app: Flask, read: Callable[[], Iterable[Metric]]) -> None:
        """Serve `/metrics` of `app`; `read` gives the families of the whole installation."""
        self.read = read
        self.init_app(app)

    def generate_metrics(
        self, accept_header: str | None = None, names: list[str] | None = None
    ) -> tuple[str, str]:
        """Text and content type for a scraper; of the series `names` alone where it names some."""
        registry = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            # Of every process of gunicorn, added up.
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(metrics.InstallationCollector(self.registry.collect))
        registry.register(metrics.InstallationCollector(self.read))
        registry.register(metrics.MemoryCollector())
        registry.register(metrics.BuildCollector())
        encode, content_type = choose_encoder(accept_header or "")
        shown: Any = (
            metrics.InstallationCollector(lambda: _only(names, registry.collect())) if names else registry
        )
        return encode(shown).decode(), content_type


def _only(names: list[str], families: Iterable[Metric]) -> Iterator[Metric]:
    for family in families:
        family.samples = [sample for sample in family.samples if sample.name in names]
        if family.samples:
            yield family
