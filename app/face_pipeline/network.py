"""How connections to PostgreSQL and Redis notice that the other host is gone.

A host without power closes nothing, and Linux asks a silent connection first after two hours: who waits for
an answer waits as long. So the kernel asks after 3 s of silence, each second, and gives up after 6 s, also
where what was sent is not acknowledged (`man 7 tcp`; TCP_USER_TIMEOUT counts in the place of TCP_KEEPCNT).
"""

from __future__ import annotations

import socket
from typing import Any

import redis

CONNECT_TIMEOUT_SECONDS = 3
IDLE_SECONDS = 3
INTERVAL_SECONDS = 1
PROBES = 3
GIVE_UP_SECONDS = 6

REDIS_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "socket_keepalive": True,
    "socket_keepalive_options": {
        socket.TCP_KEEPIDLE: IDLE_SECONDS,
        socket.TCP_KEEPINTVL: INTERVAL_SECONDS,
        socket.TCP_KEEPCNT: PROBES,
        socket.TCP_USER_TIMEOUT: GIVE_UP_SECONDS * 1000,
    },
}

# Arguments of libpq; times in seconds, tcp_user_timeout in milliseconds. It alone is not enough: it counts
# only while something is on its way.
POSTGRES_OPTIONS: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": IDLE_SECONDS,
    "keepalives_interval": INTERVAL_SECONDS,
    "keepalives_count": PROBES,
    "tcp_user_timeout": GIVE_UP_SECONDS * 1000,
}


def redis_client(url: str, *, timeout: float, **options: Any) -> redis.Redis:
    """A client with a pool of its own; `timeout` is the longest wait for one answer, seconds."""
    return redis.Redis.from_url(url, **{**REDIS_OPTIONS, "socket_timeout": timeout, **options})
