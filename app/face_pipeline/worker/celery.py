"""What a worker and `celery -A face_pipeline.worker` load: the application with its tasks and signals."""

import sys

from face_pipeline.config import get_settings
from face_pipeline.parts import Parts
from face_pipeline.telemetry import streams
from face_pipeline.worker import signals, tasks
from face_pipeline.worker.runtime import runtime

# Before anything else can print. Celery's other commands are typed by somebody who reads what they print.
if "flower" in sys.argv:
    streams.capture("face-flower")

runtime.parts = Parts(get_settings())
app = runtime.parts.celery
app.conf.update(
    worker_concurrency=runtime.parts.settings.worker_concurrency,
    worker_pool="face_pipeline.worker.pool:WorkerPool",
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=True,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    # Cancelling needs a pool that can kill a task; threads cannot, and the worker would exit instead.
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
tasks.register(app)
signals.connect()
