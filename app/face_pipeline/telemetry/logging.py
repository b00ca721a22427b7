"""One JSON object a line on stdout, which systemd's journal keeps."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from face_pipeline.telemetry import context, streams
from face_pipeline.telemetry.redact import clean

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Whose level can be chosen at run time (broker/log_level.py), and the word for all of them. face-reembed is
# none of them: it is let in to no Redis.
SERVICES = (
    "face-web",
    "face-worker",
    "face-autoscaler",
    "face-reconciler",
    "face-indexer",
    "face-clusterer",
    "face-hooks",
    "face-copies",
)
EVERYONE = "all"
STAGES = ("read", "decode", "detect", "align", "embed", "store")
# Fields a caller may add with `extra=`; anything else stays out, so that no line grows by accident.
EXTRA_FIELDS = (
    "operation", "duration_seconds", "method", "path", "status", "outcome", "reason_code",
    "photo_id", "batch_id", "count", "wait_seconds", "match_seconds",
    *(f"{stage}_seconds" for stage in STAGES),
)  # fmt: skip
# journald breaks lines of more than 48 KiB, and a broken one is no JSON.
MESSAGE_MAX = 2000
EXCEPTION_MAX = 8000
# Of which the first lines say where it began, the last ones what it was.
EXCEPTION_HEAD = 2000


class LineFormatter(JsonFormatter):
    """Log lines with the field names the log path maps (docs/logs.md)."""

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
        log_data["message"] = clean(record.getMessage())[:MESSAGE_MAX]
        for name, variable in (("request_id", context.request_id), ("task_id", context.task_id)):
            if (value := variable.get()) is not None:
                log_data[name] = value
        for name in EXTRA_FIELDS:
            if (value := record.__dict__.get(name)) is not None:
                log_data[name] = clean(value)[:MESSAGE_MAX] if isinstance(value, str) else value
        if record.exc_info:
            log_data["exception"] = _shortened(clean(str(self.formatException(record.exc_info))))


def _shortened(text: str) -> str:
    if len(text) <= EXCEPTION_MAX:
        return text
    return f"{text[:EXCEPTION_HEAD]}\n[...]\n{text[EXCEPTION_HEAD - EXCEPTION_MAX :]}"


def stage_seconds(timings: dict[str, float]) -> dict[str, float]:
    """Fields of a line for the `timings` of a task's stages, seconds."""
    return {f"{stage}_seconds": round(timings[stage], 4) for stage in STAGES if stage in timings}


def of_gunicorn(level: str) -> dict[str, Any]:
    """The setting `logconfig_dict`: errors of gunicorn are lines like all others, and requests have none."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {
            "gunicorn.error": {"propagate": True, "handlers": []},
            "gunicorn.access": {"propagate": False, "handlers": []},
        },
        "root": {"handlers": [], "level": level},
    }


def configure_logging(service_name: str, level: str) -> None:
    """Send every logger of this process to stdout as JSON."""
    handler = logging.StreamHandler(streams.output())
    handler.setFormatter(LineFormatter(service_name))
    logging.captureWarnings(True)
    logging.getLogger().handlers[:] = [handler]
    # Celery's own INFO lines repeat each task's arguments and result.
    for noisy in ("celery.worker.strategy", "celery.app.trace", "kombu", "alembic.runtime.plugins"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """Let lines of `level` and above out, DEBUG of our own code alone: libraries show what they carry."""
    number = logging.getLevelNamesMapping()[level]
    root = logging.getLogger()
    root.setLevel(max(number, logging.INFO))
    logging.getLogger("face_pipeline").setLevel(number)
    # Some loggers have a level of their own.
    for handler in root.handlers:
        handler.setLevel(number)


def current_level() -> str:
    return logging.getLevelName(logging.getLogger("face_pipeline").level)
