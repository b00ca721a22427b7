"""The tasks: `ingest` one photo of the ledger, answer one `search`, make one `picture` of a photo."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from celery import Celery, Task

from face_pipeline.broker import exchange
from face_pipeline.broker.messages import Failed, Found, FoundFace, Kind, Made, Question, Reply
from face_pipeline.broker.names import TASK_INGEST, TASK_PICTURE, TASK_SEARCH
from face_pipeline.engine import Analysis, MemoryBusy, PhotoBroken, PhotoRejected, pictures, thumbnails
from face_pipeline.errors import PASSING
from face_pipeline.store import ledger
from face_pipeline.store.database import Statements
from face_pipeline.store.models import Reason
from face_pipeline.store.originals import OriginalMissing, OriginalUnavailable
from face_pipeline.telemetry import context
from face_pipeline.telemetry.logging import stage_seconds
from face_pipeline.telemetry.metrics import worker as metrics
from face_pipeline.worker.presence import counts
from face_pipeline.worker.runtime import Running, TimeOver, runtime

log = logging.getLogger(__name__)

# How long a task waits for another host that is away. After that the photo goes back to the ledger.
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 1.0
# A library's own words help nobody who sent a photo.
ENGINE_FAILED = "the engine failed on this photo; the worker's log has the reason"

Result = TypeVar("Result")


class Outcome(StrEnum):
    """How a task ended, in logs and metrics."""

    SUCCESS = "success"
    FAILED = "failed"
    # The photo waits in the ledger again.
    GIVEN_BACK = "given_back"


@dataclass(frozen=True)
class Ended:
    """How a photo's run ended; `timings` of its stages, seconds."""

    outcome: Outcome
    faces: int = 0
    timings: dict[str, float] = field(default_factory=dict)


def register(app: Celery) -> None:
    app.task(name=TASK_INGEST, bind=True)(ingest)
    app.task(name=TASK_SEARCH, bind=True)(search)
    app.task(name=TASK_PICTURE, bind=True)(picture)


def ingest(task: Task, photo_id: str) -> None:
    """Find the faces of one photo and write them. Safe to run twice: only one run can claim the row."""
    del task
    lease_seconds = runtime.parts.settings.lease_seconds
    started = time.monotonic()
    held = _in_ledger(
        lambda connection: ledger.claim(
            connection,
            uuid.UUID(photo_id),
            worker=runtime.name,
            lease_seconds=lease_seconds,
            contract=runtime.engine.contract_id,
        )
    )
    if held is None:
        log.debug("photo is done or taken", extra={"photo_id": photo_id, "operation": "ingest"})
        return
    if context.request_id.get() is None:
        # The reconciler sent this message; the row knows who asked.
        context.request_id.set(held.request_id)
    log.debug("photo taken by %s", runtime.name, extra={"photo_id": photo_id, "operation": "ingest"})
    with runtime.leases.hold(held) as running:
        try:
            ended = _process(held, running)
        except ledger.LeaseLost:
            log.warning(
                "photo was taken over; result dropped", extra={"photo_id": photo_id, "operation": "ingest"}
            )
            return
    if ended.outcome == Outcome.GIVEN_BACK:
        return
    elapsed = time.monotonic() - started
    metrics.files_processed.labels(ended.outcome).inc()
    counts.photo(done=ended.outcome == Outcome.SUCCESS)
    metrics.file_processing_duration.observe(elapsed)
    log.info(
        "photo processed",
        extra={
            "operation": "ingest", "photo_id": photo_id, "outcome": ended.outcome,
            "count": ended.faces, "duration_seconds": round(elapsed, 4), **stage_seconds(ended.timings),
        },
    )  # fmt: skip


def _process(held: ledger.Claim, running: Running) -> Ended:
    """Analyse and write one claimed photo."""
    if held.contract_id != runtime.engine.contract_id:
        return _failed(
            held,
            Reason.CONTRACT_MISMATCH,
            f"the collection holds {held.contract_id}, this worker makes {runtime.engine.contract_id}",
        )
    began = time.monotonic()
    try:
        data = _patiently(lambda: runtime.parts.originals_source.read(held.sha256))
        read = time.monotonic() - began
        analysis = runtime.engine.analyse(data, check=running.check, thumbnail=True)
    except TimeOver:
        return _failed(held, Reason.DEADLINE_EXCEEDED, runtime.leases.deadline_message())
    except (OriginalUnavailable, MemoryBusy) as error:
        return _given_back(held, str(error))
    except (PhotoBroken, PhotoRejected, OriginalMissing) as error:
        return _failed(held, error.code, str(error))
    except MemoryError:
        return _failed(held, Reason.OUT_OF_MEMORY, "the photo needs more memory than the worker may use")
    except Exception:
        log.exception("engine failed", extra={"photo_id": str(held.photo_id), "operation": "ingest"})
        return _failed(held, Reason.ENGINE_ERROR, ENGINE_FAILED)
    _tell(analysis, "ingest", photo_id=str(held.photo_id))
    analysed = time.monotonic()
    _in_ledger(lambda connection: ledger.finish(connection, held, analysis.faces, analysis.thumbnail))
    store = time.monotonic() - analysed
    _observe(analysis)
    return Ended(Outcome.SUCCESS, len(analysis.faces), {"read": read, **analysis.timings, "store": store})


def _failed(held: ledger.Claim, code: str, message: str) -> Ended:
    _in_ledger(lambda connection: ledger.fail(connection, held, code, message))
    log.warning(
        "photo failed: %s", message,
        extra={"photo_id": str(held.photo_id), "reason_code": code, "operation": "ingest"},
    )  # fmt: skip
    return Ended(Outcome.FAILED)


def _given_back(held: ledger.Claim, message: str) -> Ended:
    """Not the photo's fault: another worker, or this one later, takes it from the ledger."""
    _in_ledger(lambda connection: ledger.give_back(connection, held))
    log.error("photo given back: %s", message, extra={"photo_id": str(held.photo_id), "operation": "ingest"})
    return Ended(Outcome.GIVEN_BACK)


def _in_ledger(work: Statements[Result]) -> Result:
    return _patiently(lambda: runtime.parts.database.in_statements(work))


def _patiently(work: Callable[[], Result]) -> Result:
    """Do `work`, waiting a while for a database or a host of originals that is away, or has no room."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except (OriginalUnavailable, *PASSING):
            if time.monotonic() > give_up:
                raise
            time.sleep(RETRY_SECONDS)


def _tell(analysis: Analysis, operation: str, **ids: str) -> None:
    """Why a photo gave the faces it gave: sizes in pixels and scores, nothing a face is known by."""
    for face in analysis.faces:
        left, top, right, bottom = (float(value) for value in face.bbox)
        log.debug(
            "a face of %.0f x %.0f on %d x %d pixels, detection score %.2f, quality %.2f",
            right - left, bottom - top, analysis.width, analysis.height, face.detection_score, face.quality,
            extra={"operation": operation, **ids},
        )  # fmt: skip


def _observe(analysis: Analysis) -> None:
    metrics.faces_detected.inc(len(analysis.faces))
    metrics.detection_duration.observe(analysis.timings["detect"])
    for face in analysis.faces:
        metrics.face_quality.observe(face.quality)


def search(task: Task, search_id: str) -> None:
    """Find the faces of a photo that waits in Redis, and send them to all web processes that ask for them."""

    def analyse(data: bytes, check: Callable[[], None]) -> tuple[dict[str, Any], Reply]:
        return _analyse(search_id, data, task.request.id, check)

    _answer(search_id, "search", analyse, exchange.ANSWER_SECONDS)


def picture(task: Task, picture_id: str, kind: Kind, size: int, boxes: list[list[float]]) -> None:
    """Make a picture of a photo that waits in Redis, and send it to all web processes that ask for it."""

    def make(data: bytes, _: Callable[[], None]) -> tuple[dict[str, Any], Reply]:
        return _make(kind, size, boxes, data, task.request.id)

    _answer(picture_id, "picture", make, exchange.PICTURE_SECONDS)


def _answer(
    identifier: str,
    operation: str,
    compute: Callable[[bytes, Callable[[], None]], tuple[dict[str, Any], Reply]],
    keep_seconds: float,
) -> None:
    """Send what `compute` makes of the photo that waits under `identifier`, unless nobody waits for it.

    It gets the photo, and what raises NobodyWaits; it gives fields of the log's line, and the reply.
    """
    parts = runtime.parts
    client = parts.scratch
    data = exchange.take_photo(client, identifier)
    if data is None:
        log.info("%s was given up", operation, extra={"operation": operation})
        return
    started = time.monotonic()
    with (
        runtime.leases.hold(None),
        exchange.computing(client, identifier, parts.settings.search_timeout_seconds),
    ):
        try:
            told, reply = compute(data, lambda: exchange.check_waited_for(client, identifier))
        except exchange.NobodyWaits:
            exchange.drop(client, identifier)
            log.info("%s was given up", operation, extra={"operation": operation, "outcome": "given_up"})
            return
    keep = exchange.ERROR_SECONDS if told["outcome"] == Outcome.FAILED else keep_seconds
    exchange.send_reply(client, identifier, reply, keep_seconds=keep)
    log.info(
        "%s answered", operation,
        extra={"operation": operation, "duration_seconds": round(time.monotonic() - started, 4), **told},
    )  # fmt: skip


def _analyse(
    search_id: str, data: bytes, task_id: str | None, check: Callable[[], None]
) -> tuple[dict[str, Any], Reply]:
    """As `_answer` takes it; raises NobodyWaits."""
    own = runtime.engine.contract_id
    if Question.of(search_id).contract_id != own:
        return _told(Reason.CONTRACT_MISMATCH), Found(task_id, own, [])
    try:
        analysis = runtime.engine.analyse(data, promptly=True, check=check)
    except exchange.NobodyWaits:
        raise
    except Exception as error:
        return _refused(error, "search", task_id)
    _observe_detection(analysis)
    _tell(analysis, "search")
    told = {"outcome": Outcome.SUCCESS, "count": len(analysis.faces), **stage_seconds(analysis.timings)}
    return told, Found(task_id, own, [FoundFace.of(face) for face in analysis.faces])


def _make(
    kind: Kind, size: int, boxes: list[list[float]], data: bytes, task_id: str | None
) -> tuple[dict[str, Any], Reply]:
    """As `_answer` takes it."""
    memory = runtime.parts.memory
    try:
        match kind:
            case Kind.CROP:
                made = pictures.face_crop(data, boxes[0], size, memory)
            case Kind.THUMBNAIL:
                made = thumbnails.of_file(data, boxes, memory)
            case Kind.UPRIGHT:
                made = pictures.upright(data, size, memory)
    except Exception as error:
        return _refused(error, "picture", task_id)
    return {"outcome": Outcome.SUCCESS}, Made(task_id, made)


def _refused(error: Exception, operation: str, task_id: str | None) -> tuple[dict[str, Any], Failed]:
    """As `_answer` takes it."""
    if isinstance(error, (PhotoBroken, PhotoRejected, MemoryBusy)):
        return _told(error.code), Failed(task_id, error.code, error.message)
    log.error("engine failed", exc_info=error, extra={"operation": operation})
    return _told(Reason.ENGINE_ERROR), Failed(task_id, Reason.ENGINE_ERROR, ENGINE_FAILED)


def _told(code: str) -> dict[str, Any]:
    return {"outcome": Outcome.FAILED, "reason_code": code}


def _observe_detection(analysis: Analysis) -> None:
    metrics.detection_duration.observe(analysis.timings["detect"])
