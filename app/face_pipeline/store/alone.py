"""What one of several hosts does at a time, by advisory locks of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, func, select


@contextmanager
def alone(connection: Connection, *key: Any) -> Iterator[bool]:
    """Whether nobody else has the lock `key`, one number or two, while this lasts."""
    got = bool(connection.scalar(select(func.pg_try_advisory_lock(*key))))
    try:
        yield got
    finally:
        # The lock is the connection's, which goes back to its pool; one that broke has lost it.
        if got and not connection.invalidated:
            connection.execute(select(func.pg_advisory_unlock(*key)))
