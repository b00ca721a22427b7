"""What every process counts that asks the object store of the originals."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from face_pipeline.telemetry.metrics import STAGE_SECONDS

CALLS = ("put", "get", "head", "delete", "list")

duration = Histogram(
    "face_recognition_originals_store_seconds",
    "From a request to the object store of the originals to the end of its answer, by call.",
    ["call"],
    buckets=STAGE_SECONDS,
)
failures = Counter(
    "face_recognition_originals_store_failures_total",
    "Requests that the object store of the originals did not do: it was away, or refused them.",
    ["call", "reason"],
)
for _call in CALLS:
    duration.labels(_call)
    for _reason in ("away", "refused"):
        failures.labels(_call, _reason)
