"""One JSON object a line on stdout, which systemd's journal keeps."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from face_pipeline.telemetry import context

# Fields a caller may add with `extra=`; anything else stays out, so that no line grows by accident.
EXTRA_FIELDS = ("operation", "duration_seconds", "status", "photo_id", "batch_id", "count", "reason_code")


class LineFormatter(JsonFormatter):
    """Log lines with the field names the log path maps (docs/architecture.md, Logs)."""

    def __init__(self, service_name: str):
        super().__init__()
        self.service_name = service_name

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        del message_dict
        log_data["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["service_name"] = self.service_name
        log_data["log_level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = record.getMessage()
        for name, variable in (("request_id", context.request_id), ("task_id", context.task_id)):
            if (value := variable.get()) is not None:
                log_data[name] = value
        for name in EXTRA_FIELDS:
            if (value := record.__dict__.get(name)) is not None:
                log_data[name] = value
        if record.exc_info:
            log_data["exception"] = self.formatException(record.exc_info)


def configure_logging(service_name: str, level: str) -> None:
    """Send every logger of this process to stdout as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LineFormatter(service_name))
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Celery's own INFO lines repeat each task's arguments and result.
    for noisy in ("celery.worker.strategy", "celery.app.trace", "kombu", "alembic.runtime.plugins"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
