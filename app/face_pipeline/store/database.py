"""One SQLAlchemy engine a process, transactions on it, and one for statements that commit by themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from face_pipeline.config import get_settings
from face_pipeline.network import POSTGRES_OPTIONS

# Well under nginx's and the search deadline: a full pool answers 503 instead of hanging.
POOL_TIMEOUT_SECONDS = 5
TRUST_SECONDS = 1.0


def _create_engine(**options: Any) -> Engine:
    settings = get_settings()
    threads = max(settings.web_threads, settings.worker_concurrency)
    made = create_engine(
        settings.database_url,
        pool_size=threads + 2,
        max_overflow=2,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # Embeddings and names are no business of an exception's text.
        hide_parameters=True,
        connect_args={**POSTGRES_OPTIONS, "application_name": "face-pipeline"},
        **options,
    )
    event.listen(made, "before_cursor_execute", _with_local_settings, retval=True)
    if settings.worker_instance == 0:
        # A worker waits for a database that went away, and tries again anyway; a request would fail.
        event.listen(made, "checkin", _note_use)
        event.listen(made, "checkout", _ping_after_idling)
    return made


def _with_local_settings(
    _: Any, cursor: Any, statement: str, parameters: Any, context: ExecutionContext | None, __: bool
) -> tuple[str, Any]:
    """Settings of one statement, the execution option `local_settings`, in its own round trip.

    PostgreSQL runs statements that come together as one transaction and plans each after those before it.
    """
    local = context.execution_options.get("local_settings") if context else None
    if not local:
        return statement, parameters
    # `cursor.mogrify` quotes as psycopg2 does for the statement itself.
    settings = cursor.mogrify(
        "SELECT " + ", ".join(["set_config(%s, %s, true)"] * len(local)) + "; ",
        [text for pair in local for text in pair],
    ).decode()
    return settings.replace("%", "%%") + statement, parameters


def _note_use(_: Any, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _ping_after_idling(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    """SQLAlchemy's pool_pre_ping, without its round trip for a connection that worked a moment ago."""
    if time.monotonic() - record.info.get("used", time.monotonic()) < TRUST_SECONDS:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if not connection.autocommit:
            connection.rollback()
    except connection.Error as error:
        # The pool opens another one.
        raise DisconnectionError("the connection was lost while it idled") from error


@cache
def engine() -> Engine:
    return _create_engine()


@cache
def _autocommit_engine() -> Engine:
    # Connections of its own: to switch one over and back takes two round trips.
    return _create_engine(isolation_level="AUTOCOMMIT")


@contextmanager
def transaction() -> Iterator[Session]:
    """A session whose changes are committed at the end, or all undone."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """A session for SELECTs that need not see the same moment: each is one round trip instead of three."""
    with Session(_autocommit_engine(), expire_on_commit=False) as session:
        yield session


@contextmanager
def single_statements() -> Iterator[Connection]:
    """A connection in which each statement commits by itself: one round trip instead of three."""
    with _autocommit_engine().connect() as connection:
        yield connection


def is_unavailable(error: BaseException) -> bool:
    """Whether `error` says that the database cannot be reached now (and not that a statement is wrong)."""
    if isinstance(error, OperationalError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated
