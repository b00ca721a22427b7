"""What `celery -A face_pipeline.worker` loads: the application with its tasks and signals."""

from face_pipeline.worker import signals, tasks
from face_pipeline.worker.app import celery_app

app = celery_app()
tasks.register(app)
signals.connect()
