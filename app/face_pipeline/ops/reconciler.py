"""Bring lost work back: rows whose worker died, and rows whose message Redis no longer has.

Run every ten seconds by face-reconciler.timer. Any number of hosts may run it: every step changes a row only
in the state it expects, and a message too many does no harm.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from face_pipeline.actions import uploads
from face_pipeline.broker.names import QUEUE_INGEST
from face_pipeline.broker.queues import length, queued_photos
from face_pipeline.errors import QueueUnavailable, root_cause
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.models import State
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# In one line of the log; more than journald's line holds may come back after an outage of Redis.
PHOTOS_NAMED = 500


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
