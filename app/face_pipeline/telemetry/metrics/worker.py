"""What a worker counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from face_pipeline.telemetry.metrics import FILE_SECONDS, STAGE_SECONDS

QUALITY_STEPS = tuple(step / 10 for step in range(1, 11))

files_processed = Counter(
    "face_recognition_files_processed_total", "Photos that ended as success or failed.", ["status"]
)
file_processing_duration = Histogram(
    "face_recognition_file_processing_duration_seconds",
    "From the start of a photo's task to its result in the database.",
    buckets=FILE_SECONDS,
)
faces_detected = Counter("face_recognition_faces_detected_total", "Faces found on processed photos.")
face_quality = Histogram(
    "face_recognition_face_quality_score", "Quality of found faces, 0 to 1.", buckets=QUALITY_STEPS
)
detection_duration = Histogram(
    "face_recognition_face_detection_duration_seconds", "Face detection of one photo.", buckets=STAGE_SECONDS
)
tasks_active = Gauge("celery_tasks_active", "Tasks running in this worker.")
worker_concurrency = Gauge("celery_worker_concurrency", "Tasks this worker may run at once.")
tasks_processed = Counter("celery_tasks_processed_total", "Tasks this worker ended.", ["task", "status"])
task_duration = Histogram(
    "celery_task_duration_seconds", "Run time of a task.", ["task"], buckets=FILE_SECONDS
)
engine_info = Gauge(
    "face_recognition_engine_info",
    "The engine of this worker; always 1.",
    ["pack", "engine", "provider", "contract", "licence", "profile"],
)

for _status in ("success", "failed"):
    files_processed.labels(_status)
