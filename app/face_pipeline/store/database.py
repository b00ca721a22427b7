"""The database: transactions, statements that commit by themselves, and what its errors mean.

What SQLAlchemy raises leaves this module as DatabaseUnavailable, DatabaseBusy or DiskFull. What is wrong in a
statement of ours stays what it is.

Where several hosts have the database, what changes something goes to the one that leads. With a spool, what
only looks goes on while nobody leads: one that follows is read, and entries of the audit wait in the spool.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import Dialect, ExecutionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from face_pipeline.errors import BadRequest, DatabaseBusy, DatabaseUnavailable, DiskFull, FacePipelineError
from face_pipeline.network import (
    POSTGRES_OPTIONS,
    SOON_GIVE_UP_SECONDS,
    WATCH_CONNECT_SECONDS,
    WATCH_GIVE_UP_SECONDS,
    soon,
)
from face_pipeline.store.members import Members
from face_pipeline.store.spool import Spool
from face_pipeline.telemetry.metrics import database as metrics

log = logging.getLogger(__name__)

# Well under nginx's and the search deadline: a full pool answers 503 instead of hanging.
POOL_TIMEOUT_SECONDS = 5
TRUST_SECONDS = 1.0

# PostgreSQL ended one of several transactions that waited for each other: that one may run again as it was.
# Source: PostgreSQL 17, appendix A (error codes) and section 13.5 (serialization failure handling).
DEADLOCK, SERIALIZATION = "40P01", "40001"
RETRIED = (DEADLOCK, SERIALIZATION)
ATTEMPTS = 6
# The most that the first pause lasts, each later one twice as much; random, or two would meet again.
PAUSE_SECONDS = 0.05
# A server that shuts down, crashed, starts, has no connection left, ended ours for idling, or does not lead.
AWAY = ("57P01", "57P02", "57P03", "57P05", "53300", "25P03", "25006")
CONNECTION_CLASS = "08"
# Waited too long for rows of others (lock_timeout), or ran too long (statement_timeout, an operator).
BUSY = (*RETRIED, "55P03", "57014")
DISK_FULL = "53100"
# libpq's words for a server of another authority or name, or without TLS.
UNTRUSTED = "certificate|server does not support SSL"
# psycopg2's words for a text that no column can hold.
NUL_REFUSED = "cannot contain NUL (0x00)"
# PostgreSQL's, in English, for a password that is another one: there is no code before there is a session.
SIGN_IN_REFUSED = "password authentication failed"
NOBODY_LEADS = "no host of the database takes changes now"
# Options of a connection: where entries of the audit wait, to a host that follows; where the last ones are
# remembered until they are on a disk, to the one that leads.
SPOOL, MEMORY = "spool", "memory"

for _sqlstate in RETRIED:
    metrics.retries.labels(_sqlstate)

Result = TypeVar("Result")
# What is done in a connection in which each statement commits by itself.
Statements: TypeAlias = Callable[[Connection], Result]


@dataclass(frozen=True)
class Address:
    """Where a database is, and who we are there.

    `passwords` are all that the server may want of us: several while the password is rotated. With
    `authority`, the file of one, the server has to prove by TLS that it is `host`. Of several hosts,
    separated by commas, the one that takes changes is meant, whichever that is when a connection is made.
    """

    host: str
    port: int
    name: str
    user: str
    passwords: tuple[str, ...] = field(repr=False)
    authority: str = ""

    @property
    def hosts(self) -> list[str]:
        return self.host.split(",")

    @property
    def url(self) -> URL:
        hosts = self.hosts
        query = {"sslmode": "verify-full", "sslrootcert": self.authority} if self.authority else {}
        if len(hosts) > 1:
            # In any order, for one that is dead costs whoever asks it first CONNECT_TIMEOUT_SECONDS.
            query |= {
                "host": self.host, "port": ",".join([str(self.port)] * len(hosts)),
                "target_session_attrs": "read-write", "load_balance_hosts": "random",
            }  # fmt: skip
        return URL.create(
            "postgresql+psycopg2", username=self.user, password=self.passwords[0],
            host=hosts[0] if len(hosts) == 1 else None, port=self.port if len(hosts) == 1 else None,
            database=self.name, query=query,
        )  # fmt: skip


class _Passwords:
    """Signs in with the password that worked last, and with each other one where the server refuses it.

    With `members`, at the one that leads, without a look for it at each.
    """

    def __init__(self, known: tuple[str, ...], port: int, members: Members | None) -> None:
        self._known = known
        self._port = port
        self._members = members

    def connect(self, dialect: Dialect, _: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        if self._members is not None:
            leader = self._members.leader()
            if leader is not None:
                options = {**options, "host": leader, "port": self._port}
            elif not self._members.silent:
                raise dialect.loaded_dbapi.OperationalError(NOBODY_LEADS)
        errors: list[Exception] = []
        for where in ({}, *_each_alone(options)):
            # A host that refuses a password ends the search for the one that takes changes, and one that
            # follows may not have heard of the new password yet: then each is asked alone.
            if where and not any(SIGN_IN_REFUSED in str(error) for error in errors):
                break
            for password in self._known:
                try:
                    made = dialect.connect(*arguments, **options | where | {"password": password})
                except dialect.loaded_dbapi.OperationalError as error:
                    # Before there is a session it has no SQLSTATE: a server that is away is asked again too.
                    errors.append(error)
                    continue
                if password != self._known[0]:
                    self._known = (password, *(each for each in self._known if each != password))
                return made
        raise errors[-1]


def _each_alone(options: dict[str, Any]) -> list[dict[str, str]]:
    """Of several hosts, what leads to one."""
    hosts, ports = (str(options.get(name, "")).split(",") for name in ("host", "port"))
    each = [{"host": host, "port": port} for host, port in zip(hosts, ports, strict=True)]
    return each if len(each) > 1 else []


class Database:
    """One PostgreSQL database, for any number of threads of one process. It connects when it is first used.

    `threads` is how many use it at once; with `ping_after_idling` a connection that was lost while it idled
    fails nobody. `spool`: what only looks goes on while none of several hosts leads.
    """

    def __init__(
        self, address: Address, *, threads: int, ping_after_idling: bool = True, spool: Spool | None = None
    ) -> None:
        self._address, self._threads = address, threads
        self._spool = spool
        self._members = _members(address) if spool is not None and len(address.hosts) > 1 else None
        create = partial(
            _create_engine, address, threads, members=self._members, ping_after_idling=ping_after_idling,
            execution_options={MEMORY: spool} if self._members is not None else {},
        )  # fmt: skip
        self.engine = create()
        # Connections of its own: to switch one over and back takes two round trips.
        self._autocommit = create(isolation_level="AUTOCOMMIT")
        # To those that follow, while nobody leads.
        self._following: dict[str, Engine] = {}

    @property
    def losses(self) -> int:
        """How often a host that led was lost, or led no more, since this process watches."""
        return 0 if self._members is None else self._members.losses

    def check_takes_changes(self) -> None:
        """Raises DatabaseUnavailable, at once, where it is known that nobody leads."""
        if self._members is not None and _nobody_leads(self._members):
            raise DatabaseUnavailable(f"{NOBODY_LEADS}; send the request again")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose changes are committed at the end, or all undone."""
        with our_errors(), self._transaction() as session:
            yield session

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        self.check_takes_changes()
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for SELECTs that need not see the same moment: one round trip each instead of three.

        While nobody leads, of a host that follows, where there is a spool: `audit.note` knows that.
        """
        with our_errors(), self._reading() as session:
            yield session

    def _reading(self) -> Session:
        if self._members is None:
            return Session(self._autocommit, expire_on_commit=False)
        if not _nobody_leads(self._members):
            session = Session(self._autocommit, expire_on_commit=False)
            try:
                # One that leads no more is noticed here, before anything was read.
                session.connection()
            except (DBAPIError, PoolTimeout) as error:
                session.close()
                # One that has just begun to lead may not take connections yet.
                away = isinstance(error, DBAPIError) and _is_away(error, sqlstate(error))
                if not _nobody_leads(self._members) and not (away and self._members.follower()):
                    raise
            else:
                self._forget_following()
                return session
        follower = self._members.follower()
        if follower is None:
            raise DatabaseUnavailable(
                f"{NOBODY_LEADS}, and none that follows has what is new; send the request again"
            )
        return Session(self._follow(follower), expire_on_commit=False)

    def _follow(self, host: str) -> Engine:
        engine = self._following.get(host)
        if engine is None:
            engine = _create_engine(
                replace(self._address, host=host), self._threads, soon_given_up=True,
                isolation_level="AUTOCOMMIT", execution_options={SPOOL: self._spool},
            )  # fmt: skip
            # Of two that come together the second finds that of the first.
            engine = self._following.setdefault(host, engine)
        return engine

    def _forget_following(self) -> None:
        while self._following:
            self._following.popitem()[1].dispose()

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session for SELECTs that all see the same moment."""
        with self.transaction() as session:
            session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            yield session

    @contextmanager
    def single_statements(self) -> Iterator[Connection]:
        """A connection in which each statement commits by itself: one round trip instead of three."""
        self.check_takes_changes()
        with our_errors(), self._autocommit.connect() as connection:
            yield connection

    def in_transaction(self, work: Callable[[Session], Result]) -> Result:
        """Do `work` in a transaction; do all of it again when PostgreSQL ended it in favour of another one.

        `work` must change nothing but the database, for it may run several times.
        """

        def once() -> Result:
            with self._transaction() as session:
                return work(session)

        with our_errors():
            return _again(once)

    def in_statements(self, work: Statements[Result]) -> Result:
        """Do `work`, one statement that commits by itself, as `in_transaction` does."""

        def once() -> Result:
            self.check_takes_changes()
            with self._autocommit.connect() as connection:
                return work(connection)

        with our_errors():
            return _again(once)

    def close(self) -> None:
        """Close the connections that nobody uses; later use opens others."""
        self.engine.dispose()
        self._autocommit.dispose()
        self._forget_following()
        if self._members is not None:
            self._members.close()


def _nobody_leads(members: Members) -> bool:
    return members.leader() is None and not members.silent


def spool_of(connection: Connection) -> Spool | None:
    """Where entries of the audit wait, of a connection to a host that follows; None: the audit takes them."""
    found: Spool | None = connection.get_execution_options().get(SPOOL)
    return found


def memory_of(connection: Connection) -> Spool | None:
    """Where the last entries are remembered, of a connection to the one of several hosts that leads."""
    found: Spool | None = connection.get_execution_options().get(MEMORY)
    return found


def _members(address: Address) -> Members:
    def connect(host: str) -> Callable[[], Any]:
        engine = create_engine(
            replace(address, host=host).url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                **soon(WATCH_GIVE_UP_SECONDS),
                "connect_timeout": WATCH_CONNECT_SECONDS,
                "application_name": "face-pipeline members",
            },
        )
        event.listen(engine, "do_connect", _Passwords(address.passwords, address.port, None).connect)
        return engine.connect

    return Members({host: connect(host) for host in address.hosts})


def _create_engine(
    address: Address,
    threads: int,
    *,
    members: Members | None = None,
    ping_after_idling: bool = True,
    soon_given_up: bool = False,
    **options: Any,
) -> Engine:
    wire = soon(SOON_GIVE_UP_SECONDS) if soon_given_up or members is not None else POSTGRES_OPTIONS
    made = create_engine(
        address.url,
        pool_size=threads + 2,
        max_overflow=2,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # Embeddings and names are no business of an exception's text.
        hide_parameters=True,
        # PostgreSQL would compile a search of 20 ms for up to a second: `enable_sort` makes it look costly.
        connect_args={**wire, "application_name": "face-pipeline", "options": "-c jit=off"},
        **options,
    )
    if len(address.passwords) > 1 or members is not None:
        event.listen(made, "do_connect", _Passwords(address.passwords, address.port, members).connect)
    event.listen(made, "before_cursor_execute", _with_local_settings, retval=True)
    if ping_after_idling:
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


def _again(once: Callable[[], Result]) -> Result:
    for attempt in count(1):
        try:
            return once()
        except DBAPIError as error:
            state = sqlstate(error)
            if state not in RETRIED or attempt == ATTEMPTS:
                raise
        metrics.retries.labels(state).inc()
        log.info("transaction runs again", extra={"reason_code": state, "count": attempt})
        time.sleep(random.uniform(0, PAUSE_SECONDS * 2**attempt))  # noqa: S311  (no secret)
    raise AssertionError("unreachable")


@contextmanager
def our_errors() -> Iterator[None]:
    """Raise an error of ours where the database did not do its part; a fault of ours goes on as it is."""
    try:
        yield
    except (SQLAlchemyError, ValueError) as error:
        ours = _ours(error)
        if ours is None:
            raise
        raise ours from error


def _ours(error: BaseException) -> FacePipelineError | None:
    state = sqlstate(error)
    if state is None and re.search(UNTRUSTED, str(error)):
        return DatabaseUnavailable(
            "the database cannot prove by TLS that it is ours; run ./face-ansible site.yml, "
            "which gives it and this host certificates of one authority"
        )
    if _is_away(error, state):
        return DatabaseUnavailable("the database cannot be reached; send the request again")
    if state == DISK_FULL:
        return DiskFull(
            "the disk of the database is full; nothing was kept, send it again once there is room"
        )
    if state in BUSY:
        return DatabaseBusy("the database was too busy with other requests; send the request again")
    if NUL_REFUSED in str(error):
        return BadRequest("a text of this request holds the character NUL; leave it out", code="parameter")
    return None


def is_passing(error: BaseException) -> bool:
    """Whether the database was away, busy or full (and not a statement went wrong)."""
    return _ours(error) is not None


def _is_away(error: BaseException, state: str | None) -> bool:
    """Whether the database cannot be reached now (and not a statement went wrong)."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if state is not None and (state in AWAY or state.startswith(CONNECTION_CLASS)):
        return True
    # psycopg2 gives a connection that failed or broke no code.
    return error.connection_invalidated or (state is None and isinstance(error, OperationalError))


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five characters for what went wrong; None where the server said nothing."""
    return getattr(error.orig, "pgcode", None) if isinstance(error, DBAPIError) else None
