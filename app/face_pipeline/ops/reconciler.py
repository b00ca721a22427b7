"""Bring lost work back: rows whose worker died, and rows whose message Redis no longer has; seal the audit.

Every ten seconds, by face-reconciler.service, which its timer starts again whenever it ends. Any number of
hosts may run it: every step changes a row only in the state it expects, and a message too many does no harm.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import uuid
from dataclasses import dataclass

from face_pipeline.actions import chain, uploads
from face_pipeline.broker import log_level
from face_pipeline.broker.names import QUEUE_INGEST
from face_pipeline.broker.queues import length, queued_photos
from face_pipeline.errors import (
    FacePipelineError,
    QueueUnavailable,
    Unavailable,
    in_full,
    root_cause,
)
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.models import State
from face_pipeline.telemetry.systemd import notify
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# In one line of the log; more than journald's line holds may come back after an outage of Redis.
PHOTOS_NAMED = 500
# Between two anchors of the audit's chain; each process begins with one.
ANCHOR_SECONDS = 3600.0


@dataclass(frozen=True)
class Reconciled:
    """Rows taken back from lost workers, and messages sent again."""

    released: int
    queued: int


def reconcile(parts: Parts) -> Reconciled:
    max_attempts = parts.settings.task_max_attempts
    released = parts.database.in_transaction(
        lambda session: ledger.release_lapsed(session, max_attempts=max_attempts)
    )
    with parts.database.transaction() as session:
        waiting = ledger.waiting_older_than(session, ledger.PUBLISH_GRACE_SECONDS)
    lost = _without_message(parts, waiting)
    sent = _publish(parts, lost)
    if released or sent:
        log.warning(
            "lost work came back: %s taken back from lost workers, %d queued again",
            counted(released, "photo"), len(sent),
            extra={
                "operation": "reconcile", "count": len(sent),
                "photo_id": [str(photo_id) for photo_id in sent[:PHOTOS_NAMED]],
            },
        )  # fmt: skip
    return Reconciled(released, len(sent))


def _without_message(parts: Parts, waiting: dict[uuid.UUID, State]) -> list[uuid.UUID]:
    """Rows whose message is not in the queue.

    Most of the time the queue is as long as the ledger says, or longer, and one LLEN answers for all rows
    that were queued.
    """
    if not waiting:
        return []
    queued = [photo_id for photo_id, state in waiting.items() if state == State.QUEUED]
    received = [photo_id for photo_id, state in waiting.items() if state == State.RECEIVED]
    if not queued or length(parts.queue, QUEUE_INGEST) >= len(queued):
        return received
    present = queued_photos(parts.queue)
    return received + [photo_id for photo_id in queued if photo_id not in present]


def _publish(parts: Parts, photo_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    try:
        return uploads.publish(parts, photo_ids, request_id=None)
    except QueueUnavailable as error:
        log.warning(
            "Redis takes no messages; next try in ten seconds: %s", root_cause(error),
            extra={"operation": "reconcile", "reason_code": error.code},
        )  # fmt: skip
        return []


def seal(parts: Parts) -> int:
    """Seal the audit's new entries; returns how many. Whatever keeps it from that, lost work comes back."""
    try:
        return chain.seal(parts)
    except Exception as error:
        log.exception("the audit is not sealed for now: %s", root_cause(error), extra={"operation": "audit"})
        return 0


def tell_anchor(parts: Parts) -> None:
    """Tell how far the audit's chain goes; where that cannot be written, the log says so."""
    try:
        chain.anchor(parts)
    except FacePipelineError as error:
        log.error(in_full(error), extra={"operation": "audit", "reason_code": error.code})


def run(parts: Parts, *, every: float, seconds: float) -> None:
    """Reconcile every `every` seconds, for `seconds` or until SIGTERM.

    To start Python costs a hundred times what a look at an idle pipeline does.
    """
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    level = log_level.Follower("face-reconciler", parts.settings.log_level, lambda: parts.queue)
    until = time.monotonic() + seconds
    notify("READY=1")
    trouble = None
    anchored = -ANCHOR_SECONDS
    while not ending.is_set() and time.monotonic() < until:
        notify("WATCHDOG=1")
        level.look()
        trouble = _try(parts, trouble)
        seal(parts)
        if time.monotonic() - anchored >= ANCHOR_SECONDS:
            tell_anchor(parts)
            anchored = time.monotonic()
        ending.wait(every)
    notify("STOPPING=1")


def _try(parts: Parts, before: str | None) -> str | None:
    """Reconcile once; returns what keeps it from that, which is logged when it begins and when it is over."""
    try:
        reconcile(parts)
    except Unavailable as error:
        trouble = in_full(error)
        if before is None:
            log.warning("lost work stays lost for now: %s", trouble, extra={"operation": "reconcile"})
        return trouble
    if before is not None:
        log.info("lost work is looked for again", extra={"operation": "reconcile"})
    return None
