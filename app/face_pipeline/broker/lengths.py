"""How many messages wait in the queues."""

from __future__ import annotations

from typing import cast

import redis

from face_pipeline.broker.names import QUEUES


def length(connection: redis.Redis, queue: str) -> int:
    return cast(int, connection.llen(queue))


def lengths(connection: redis.Redis) -> dict[str, int]:
    """Messages in each queue that no worker has taken yet."""
    return {queue: length(connection, queue) for queue in QUEUES}
