"""Bring lost work back: rows whose worker died, and rows whose message Redis no longer has.

Run every ten seconds by face-reconciler.timer. Any number of hosts may run it: every step changes a row only
in the state it expects, and a message too many does no harm.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import redis
from kombu.exceptions import OperationalError

from face_pipeline.broker.celery import publish_ingest
from face_pipeline.broker.lengths import length
from face_pipeline.broker.names import QUEUE_INGEST
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.models import State
from face_pipeline.words import counted

log = logging.getLogger(__name__)

SCAN_CHUNK = 1000
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
    lost = _without_message(parts.queue, waiting)
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


def _without_message(connection: redis.Redis, waiting: dict[uuid.UUID, State]) -> list[uuid.UUID]:
    """Rows whose message is not in the queue.

    Most of the time the queue is as long as the ledger says, or longer, and one LLEN answers for all rows
    that were queued.
    """
    if not waiting:
        return []
    queued = [photo_id for photo_id, state in waiting.items() if state == State.QUEUED]
    received = [photo_id for photo_id, state in waiting.items() if state == State.RECEIVED]
    if not queued or length(connection, QUEUE_INGEST) >= len(queued):
        return received
    present = set(_queued_photos(connection))
    return received + [photo_id for photo_id in queued if photo_id not in present]


def _queued_photos(connection: redis.Redis) -> Iterator[uuid.UUID]:
    """Photo ids of the messages in the queue.

    Workers take messages from the tail while this reads from the head: none is passed over, and one read
    twice does not matter.
    """
    start = 0
    while chunk := connection.lrange(QUEUE_INGEST, start, start + SCAN_CHUNK - 1):
        for message in chunk:  # type: ignore[union-attr]
            photo_id = _photo_of(message)
            if photo_id is not None:
                yield photo_id
        start += SCAN_CHUNK


def _photo_of(message: bytes) -> uuid.UUID | None:
    try:
        # Celery writes the arguments' representation into the header: "['<photo id>']".
        return uuid.UUID(json.loads(message)["headers"]["argsrepr"].strip("[]'\""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _publish(parts: Parts, photo_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    sent: list[uuid.UUID] = []
    try:
        if photo_ids:
            sent = publish_ingest(parts.celery, photo_ids, None)
    except (OperationalError, redis.RedisError, OSError) as error:
        log.warning(
            "Redis takes no messages; next try in ten seconds: %s", error,
            extra={"operation": "reconcile", "reason_code": "queue_unavailable"},
        )  # fmt: skip
    if sent:
        parts.database.in_transaction(lambda session: ledger.mark_queued(session, sent))
    return sent
