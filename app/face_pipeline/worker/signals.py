"""Start and end of a worker process.

Celery swallows exceptions of its start signals and would run without a model: SystemExit is what stops it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from datetime import UTC, datetime
from typing import Any, NoReturn

import celery.apps.worker
from celery import signals
from prometheus_client import REGISTRY

from face_pipeline.broker import log_level
from face_pipeline.broker.names import TASKS
from face_pipeline.config import Settings
from face_pipeline.engine import PackError, Turns, load_engine
from face_pipeline.errors import ConfigurationError, FacePipelineError
from face_pipeline.store import ledger
from face_pipeline.telemetry import context, streams
from face_pipeline.telemetry.gpu import GpuCollector
from face_pipeline.telemetry.logging import configure_logging
from face_pipeline.telemetry.metrics import MemoryCollector
from face_pipeline.telemetry.metrics import worker as metrics
from face_pipeline.telemetry.serving import serve_metrics
from face_pipeline.telemetry.systemd import notify
from face_pipeline.worker.presence import Presence, counts
from face_pipeline.worker.runtime import Leases, runtime

log = logging.getLogger(__name__)

_started: dict[str, float] = {}
_presence: list[Presence] = []


def connect() -> None:
    celery.apps.worker.safe_say = _say
    signals.setup_logging.connect(_set_up_logging)
    signals.worker_init.connect(_start)
    signals.worker_ready.connect(_ready)
    signals.worker_shutting_down.connect(_stopping)
    signals.worker_shutdown.connect(_stopped)
    signals.task_prerun.connect(_task_begins)
    signals.task_postrun.connect(_task_ended)


def _say(message: str, *_: Any) -> None:
    """What Celery says while it handles a signal, as a line of ours and not as plain text.

    In one call of the system, as its own: no lock of the interrupted code may be wanted here.
    """
    line = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "service_name": "face-worker", "log_level": "INFO", "logger": "celery.apps.worker",
        "message": message, "operation": "stop",
    }  # fmt: skip
    os.write(1, f"{json.dumps(line)}\n".encode())


def _set_up_logging(**_: Any) -> None:
    configure_logging("face-worker", runtime.parts.settings.log_level)


def _start(sender: Any = None, **_: Any) -> None:
    parts = runtime.parts
    settings = parts.settings
    # Celery sets up logging later than this.
    configure_logging("face-worker", settings.log_level)
    runtime.name = str(sender.hostname) if sender is not None else f"worker@{socket.gethostname()}"
    began = time.monotonic()
    try:
        database = parts.database
        runtime.engine = load_engine(
            settings.pack_dir,
            threads=settings.worker_concurrency,
            prompt_threads=settings.cores_of_a_search,
            device=settings.device,
            gpu_memory_limit_mb=settings.gpu_memory_limit_mb,
            turns=Turns(settings.turns_dir, f"worker{settings.worker_instance}"),
            memory=parts.memory,
            runtime=settings.runtime,
            profile=settings.profile,
        )
        runtime.engine.warm_up()
    except (PackError, FacePipelineError) as error:
        _refuse(str(error))
    _serve_metrics(settings)
    runtime.leases = Leases(database, settings.lease_seconds, settings.task_deadline_seconds)
    runtime.leases.start()
    log_level.follow("face-worker", settings.log_level, lambda: parts.queue)
    log.info(
        "engine loaded",
        extra={"operation": "start", "duration_seconds": round(time.monotonic() - began, 4)},
    )


def _serve_metrics(settings: Settings) -> None:
    port = settings.metrics_port_base + settings.worker_instance
    shown = settings.metrics_certificate, settings.metrics_key
    try:
        serve_metrics(settings.metrics_host, port, REGISTRY, *shown)
    except ConfigurationError as error:
        _refuse(str(error))
    REGISTRY.register(MemoryCollector())
    REGISTRY.register(GpuCollector())
    metrics.worker_concurrency.set(runtime.parts.settings.worker_concurrency)
    # From 0 on: Prometheus does not see the step from no series to a first failure.
    for task in TASKS:
        metrics.task_duration.labels(task)
        for status in ("success", "failure"):
            metrics.tasks_processed.labels(task, status)
    engine = runtime.engine
    metrics.engine_info.labels(
        engine.pack.name,
        engine.pack.engine,
        engine.providers[0],
        engine.contract_id,
        engine.pack.licence,
        engine.profile,
    ).set(1)


def _refuse(message: str) -> NoReturn:
    log.critical(message, extra={"operation": "start"})
    streams.settle()
    # Celery's own exit waits for parts that have not started; systemd is to see this status.
    os._exit(ConfigurationError.exit_status)


def _ready(**_: Any) -> None:
    # What an earlier life of this instance held is lost for certain: no need to wait for the leases.
    try:
        parts = runtime.parts
        released = parts.database.in_transaction(
            lambda session: ledger.release_lapsed(
                session, max_attempts=parts.settings.task_max_attempts, worker=runtime.name
            )
        )
        if released:
            log.warning(
                "took back photos of this worker's last run",
                extra={"operation": "start", "count": released},
            )
    except Exception:
        log.exception("cannot take back photos of this worker's last run; the reconciler will")
    _presence.append(Presence())
    _presence[-1].start()
    notify("READY=1\nSTATUS=processing")


def _stopping(**_: Any) -> None:
    notify("STOPPING=1\nSTATUS=finishing running tasks")


def _stopped(**_: Any) -> None:
    if hasattr(runtime, "leases"):
        runtime.leases.stop()
    while _presence:
        _presence.pop().stop()


def _task_begins(task_id: str | None = None, task: Any = None, **_: Any) -> None:
    asked = getattr(task.request, "request_id", None) if task is not None else None
    context.change({context.task_id: task_id, context.request_id: asked})
    metrics.tasks_active.inc()
    counts.begin()
    if task_id:
        _started[task_id] = time.monotonic()


def _task_ended(task_id: str | None = None, task: Any = None, state: str | None = None, **_: Any) -> None:
    metrics.tasks_active.dec()
    counts.end()
    name = task.name if task is not None else "unknown"
    metrics.tasks_processed.labels(name, (state or "unknown").lower()).inc()
    began = _started.pop(task_id or "", None)
    if began is not None:
        metrics.task_duration.labels(name).observe(time.monotonic() - began)
    context.change({context.task_id: None, context.request_id: None})
