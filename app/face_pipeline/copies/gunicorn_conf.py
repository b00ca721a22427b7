"""gunicorn's settings on a host that keeps copies."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from face_pipeline.config import get_settings
from face_pipeline.telemetry import streams
from face_pipeline.telemetry.logging import configure_logging, of_gunicorn
from face_pipeline.telemetry.serving import Certificate

SERVICE = "face-copies"

streams.capture(SERVICE)
_settings = get_settings()

bind = _settings.copies_listen
workers = 1
worker_class = "gthread"
# Most of the time each waits for the disk.
threads = 16
preload_app = False
worker_tmp_dir = "/dev/shm"  # noqa: S108  (gunicorn's heartbeat file; a disk could stall it)
timeout = 60
graceful_timeout = 30
keepalive = 75
control_socket_disable = True
accesslog = None
logconfig_dict = of_gunicorn(_settings.log_level)

if _settings.copies_certificate and _settings.copies_key:
    certfile, keyfile = str(_settings.copies_certificate), str(_settings.copies_key)
    _shown = Certificate(_settings.copies_certificate, _settings.copies_key)

    # gunicorn asks for it with each connection: a renewed certificate needs no restart.
    def ssl_context(_: Any, __: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return _shown.context()


def on_starting(_: Any) -> None:
    configure_logging(SERVICE, _settings.log_level)


def post_fork(_: Any, __: Any) -> None:
    streams.capture(SERVICE)
    configure_logging(SERVICE, _settings.log_level)
