"""Clients of Redis. They are made here alone, so that each of them notices that the other host is gone."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from face_pipeline import network
from face_pipeline.errors import QueueUnavailable, RedisRefused

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
    """Raise QueueUnavailable where Redis cannot be asked, RedisRefused where it may not; also a decorator."""
    try:
        yield
    # kombu has an error of its own for the same, and a socket may fail before either.
    except (RedisError, OperationalError, OSError) as error:
        check_refused(error)
        raise QueueUnavailable("the task queue cannot be reached; send the request again") from error


def check_refused(error: BaseException) -> None:
    """Raise RedisRefused where this is what Redis meant."""
    for each in (error, error.__cause__):
        if isinstance(each, AuthenticationError):
            raise RedisRefused(
                "Redis does not let this process's user (FACE_REDIS_USER) in; run ./face-ansible site.yml, "
                "which gives Redis and this host the same users and passwords"
            ) from None
        if isinstance(each, NoPermissionError):
            # Of the text no more than this: where many commands were sent, their arguments are in it.
            command = re.search("to run the '([a-z|]+)' command", str(each))
            what = f"the command {command[1].upper()}" if command else "a key or channel"
            raise RedisRefused(
                f"Redis refuses {what} to this process's user (FACE_REDIS_USER); "
                "run ./face-ansible site.yml, which gives users the rights that this release needs"
            ) from None
