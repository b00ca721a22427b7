"""gunicorn's settings; systemd's socket says where to listen."""

from __future__ import annotations

import os
from typing import Any

from face_pipeline.broker import log_level
from face_pipeline.config import get_settings
from face_pipeline.parts import Parts
from face_pipeline.telemetry import streams
from face_pipeline.telemetry.logging import configure_logging, of_gunicorn
from face_pipeline.web import refusals

streams.capture("face-web")
_settings = get_settings()

workers = _settings.web_processes
worker_class = "gthread"
threads = _settings.web_threads_in_all
# A forked child must not share a parent's connections.
preload_app = False
worker_tmp_dir = "/dev/shm"  # noqa: S108  (gunicorn's heartbeat file; a disk could stall it)
timeout = 60
graceful_timeout = 30
keepalive = 75
# nginx bounds lines and headers (large_client_header_buffers); here 0 is no bound, and the others lie above.
limit_request_line = 0
limit_request_fields = 8192
limit_request_field_size = 16380
# The service sees no home directory to put a control socket in.
control_socket_disable = True
accesslog = None
logconfig_dict = of_gunicorn(_settings.log_level)


def on_starting(_: Any) -> None:
    configure_logging("face-web", _settings.log_level)


def post_fork(_: Any, __: Any) -> None:
    streams.capture("face-web")
    configure_logging("face-web", _settings.log_level)
    refusals.install()
    parts = Parts(_settings)
    log_level.follow("face-web", _settings.log_level, lambda: parts.queue)


def child_exit(_: Any, worker: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

        GunicornInternalPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
