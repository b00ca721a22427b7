"""kombu's Redis transport with one client for each channel, many messages at once, and searches first.

kombu makes a client object for every acknowledgement and every message it sends. That is a third of what a
message costs in CPU time; the connections behind the clients are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from kombu.transport import redis
from kombu.utils.scheduling import priority_cycle

from face_pipeline.broker.names import QUEUE_SEARCH
from face_pipeline.broker.redis import ProvenConnection


class Channel(redis.Channel):  # type: ignore[misc]
    connection_class_ssl = ProvenConnection
    _client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        # An asynchronous client waits in a BRPOP of its own.
        if asynchronous:
            return super()._create_client(asynchronous=True)
        # After a lost connection the channel has another pool.
        if self._client is None or self._client.connection_pool is not self.pool:
            self._client = super()._create_client()
        return self._client

    def put_all(self, queue: str, messages: Iterable[dict[str, Any]]) -> None:
        """Put prepared messages into a queue, in their order, by one command: Redis takes all or none."""
        texts = []
        for message in messages:
            self._inplace_augment_message(message, "", queue)
            texts.append(json.dumps(message))
        with self.conn_or_acquire() as client:
            client.lpush(queue, *texts)


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel


class SearchFirst(priority_cycle):  # type: ignore[misc]
    """The order of a worker's queues. kombu keeps them in a set, whose order differs from process to process:
    a worker that came to ask for photos first would let searches wait until there are none."""

    def consume(self, n: int) -> list[str]:
        return sorted(self.items[:n], key=lambda name: name != QUEUE_SEARCH)
