"""Whether the client of a request still waits for its answer."""

from __future__ import annotations

import socket
from collections.abc import Callable

from flask import request


def gone() -> Callable[[], bool]:
    """Asks, from any thread, whether the client of this request closed its connection."""
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    return lambda: _has_hung_up(connection)


def _has_hung_up(connection: socket.socket | None) -> bool:
    """None: the server does not show it."""
    if connection is None:
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
