"""What the web service counts beside its requests (web/observe.py)."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from face_pipeline.telemetry.metrics import STAGE_SECONDS

files_uploaded = Counter("face_recognition_files_uploaded_total", "Photos accepted over HTTP.")
searches = Counter("face_recognition_searches_total", "Answered searches.", ["cache_status"])
search_duration = Histogram(
    "face_recognition_search_duration_seconds", "Answering one search.", buckets=STAGE_SECONDS
)

for _status in ("hit", "miss"):
    searches.labels(_status)
