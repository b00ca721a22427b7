"""The messages that wait in the queues."""

from __future__ import annotations

import json
import uuid
from typing import cast

import redis

from face_pipeline.broker.names import QUEUE_INGEST, QUEUES
from face_pipeline.broker.redis import reached

SCAN_CHUNK = 1000


@reached()
def length(connection: redis.Redis, queue: str) -> int:
    return cast(int, connection.llen(queue))


def lengths(connection: redis.Redis) -> dict[str, int]:
    """Messages in each queue that no worker has taken yet."""
    return {queue: length(connection, queue) for queue in QUEUES}


@reached()
def queued_photos(connection: redis.Redis) -> set[uuid.UUID]:
    """Photos whose message is in the queue.

    Workers take messages from the tail while this reads from the head: none is passed over, and one read
    twice does not matter.
    """
    found: set[uuid.UUID] = set()
    start = 0
    while chunk := cast("list[bytes]", connection.lrange(QUEUE_INGEST, start, start + SCAN_CHUNK - 1)):
        found.update(photo_id for message in chunk if (photo_id := _photo_of(message)) is not None)
        start += SCAN_CHUNK
    return found


def _photo_of(message: bytes) -> uuid.UUID | None:
    try:
        # Celery writes the arguments' representation into the header: "['<photo id>']".
        return uuid.UUID(json.loads(message)["headers"]["argsrepr"].strip("[]'\""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
