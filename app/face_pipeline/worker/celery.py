"""What `celery -A face_pipeline.worker` loads: the application with its tasks and signals."""

import sys

from face_pipeline.broker.celery import celery_app
from face_pipeline.telemetry import streams
from face_pipeline.worker import signals, tasks

# Before anything else can print. Celery's other commands are typed by somebody who reads what they print.
for _command in {"worker", "flower"} & set(sys.argv):
    streams.capture(f"face-{_command}")

app = celery_app()
tasks.register(app)
signals.connect()
