"""Clients of Redis. They are made here alone, so that each of them notices that the other host is gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from face_pipeline import network
from face_pipeline.errors import QueueUnavailable

OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": network.CONNECT_TIMEOUT_SECONDS,
    "socket_keepalive": True,
    "socket_keepalive_options": {
        socket.TCP_KEEPIDLE: network.IDLE_SECONDS,
        socket.TCP_KEEPINTVL: network.INTERVAL_SECONDS,
        socket.TCP_KEEPCNT: network.PROBES,
        socket.TCP_USER_TIMEOUT: network.GIVE_UP_SECONDS * 1000,
    },
}
# Longer than the BRPOP of a second that a worker waits in; an upload waits no longer for a silent Redis.
SOCKET_TIMEOUT_SECONDS = 5
# A connection that idled for so long is asked before it is used.
HEALTH_CHECK_SECONDS = 25


def connect(url: str, *, timeout: float) -> redis.Redis:
    """A client with a pool of its own; `timeout` is the longest wait for one answer, seconds.

    It connects when it is first used.
    """
    return redis.Redis.from_url(
        url, socket_timeout=timeout, health_check_interval=HEALTH_CHECK_SECONDS, **OPTIONS
    )


@contextmanager
def reached() -> Iterator[None]:
    """Raise QueueUnavailable where Redis cannot be asked; also a decorator."""
    try:
        yield
    # kombu has an error of its own for the same, and a socket may fail before either.
    except (RedisError, OperationalError, OSError) as error:
        raise QueueUnavailable("the task queue cannot be reached; send the request again") from error
