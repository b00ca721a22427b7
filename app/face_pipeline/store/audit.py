"""The audit: who did what, on whom, when, from where, and how it ended.

An entry is written in the transaction of its action: there is no action without its entry, and no entry of an
action that was undone. It names nobody by name: ids, counts and names of fields are enough. What only looks
while nobody leads the database leaves its entry in a file of this host first (store/spool.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from face_pipeline.errors import AuditUnavailable, Forbidden
from face_pipeline.store.database import Database, is_passing, memory_of, spool_of
from face_pipeline.store.models import ActorKind, AuditBrought, AuditEntry, Outcome
from face_pipeline.store.spool import DOUBTFUL, Entry
from face_pipeline.telemetry import context


@dataclass(frozen=True)
class Actor:
    """Who asks for an action. `collections`: the names of those they reach, None: all."""

    kind: ActorKind
    name: str
    id: uuid.UUID | None = None
    address: str | None = None
    collections: frozenset[str] | None = None

    def reaches(self, collection: str) -> bool:
        return self.collections is None or collection in self.collections

    def check_reaches(self, collection: str) -> None:
        """Raises Forbidden where the collection is not one of theirs, whether it exists or not."""
        if not self.reaches(collection):
            raise Forbidden(
                f"this key does not reach the collection {collection!r}",
                code="collection_forbidden",
                details={"collection": collection},
            )

    def check_reaches_all(self) -> None:
        """Raises Forbidden for somebody who reaches some collections only."""
        if self.collections is not None:
            raise Forbidden(
                "this is for keys that reach all collections, and this one reaches some",
                code="collection_forbidden",
            )


# What the service does by itself: lapsed merges, clusters, events.
SERVICE = Actor(ActorKind.SERVICE, "face-pipeline")


# Of the table and not of the class, for SQLAlchemy is quicker so; nobody asks for the new id.
_ADD = insert(cast(Table, AuditEntry.__table__)).inline()


def write(
    session: Session | Connection,
    by: Actor,
    action: str,
    *,
    collection: str | None = None,
    subject: uuid.UUID | str | None = None,
    outcome: Outcome = Outcome.DONE,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry. `action` is `<what>.<verb>`, as `person.rename`; `subject` the id of what it is on.

    Raises AuditUnavailable where the database takes none: what the entry is of must not be done.
    """
    if isinstance(session, Session):
        # What is wrong with other rows is no fault of the audit.
        session.flush()
    _write(
        session,
        _entry(by, action, collection=collection, subject=subject, outcome=outcome, details=details),
    )


def _write(session: Session | Connection, entry: dict[str, Any]) -> None:
    try:
        session.execute(_ADD, entry)
    except DBAPIError as error:
        if is_passing(error):
            raise
        raise AuditUnavailable(
            "the audit takes no entry, so nothing was done; `face-pipeline doctor` on a host says why"
        ) from error


def _entry(
    by: Actor,
    action: str,
    *,
    collection: str | None = None,
    subject: uuid.UUID | str | None = None,
    outcome: Outcome = Outcome.DONE,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "actor_kind": by.kind, "actor_id": by.id, "actor_name": by.name, "address": by.address,
        "request_id": context.request_id.get(), "action": action, "collection": collection,
        "subject": None if subject is None else str(subject), "outcome": outcome,
        "details": dict(details or {}),
    }  # fmt: skip


# Whoever only looks waits for no disk.
_LAZILY = (("synchronous_commit", "off"),)


def note(session: Session | Connection, by: Actor, action: str, **told: Any) -> None:
    """`write` for what changes nothing, as a search does: the last thing in its transaction.

    It comes with the answer, and reaches the disk less than a second later: a database that crashes in
    between forgets it, unless it has several hosts: this process remembers it as long. Where a host answers
    that follows, it is on the disk of this host before.
    """
    connection = session.connection() if isinstance(session, Session) else session
    if (spool := spool_of(connection)) is not None:
        spool.keep(_entry(by, action, **told))
        return
    entry = _entry(by, action, **told)
    if (memory := memory_of(connection)) is not None:
        # By its own time it is found again.
        entry["at"] = datetime.now(UTC)
    _write(connection.execution_options(local_settings=_LAZILY), entry)
    if memory is not None:
        memory.remember(entry)


# Of one statement, and in memory at once.
BROUGHT_AT_ONCE = 500
# By which an entry is found again: its time to the microsecond, and what else is seldom the same.
MARKS = ("at", "request_id", "actor_name", "action", "subject")


def bring(database: Database, entries: Sequence[Entry], fault: Mapping[str, Any] | None) -> None:
    """Add entries that waited on a host, each once whoever brings it, in their order and with their time.

    `fault`: what did not fit of those that waited, told in an entry of its own.
    """
    for first in range(0, len(entries), BROUGHT_AT_ONCE):
        some = entries[first : first + BROUGHT_AT_ONCE]
        database.in_transaction(lambda session, some=some: _bring(session, some))  # type: ignore[misc]
    if fault is not None:
        database.in_transaction(
            lambda session: write(session, SERVICE, "audit.gap", outcome=Outcome.FAILED, details=fault)
        )


def _bring(session: Session, entries: Sequence[Entry]) -> None:
    ids = [uuid.UUID(each["id"]) for each in entries]
    statement = postgresql.insert(AuditBrought).on_conflict_do_nothing().returning(AuditBrought.id)
    new = set(session.scalars(statement.values([{"id": each} for each in ids])))
    there = _there(session, [each for each in entries if each.get(DOUBTFUL)])
    rows = [
        {
            **{name: value for name, value in entry.items() if name not in ("id", DOUBTFUL)},
            "at": datetime.fromisoformat(entry["at"]),
            "actor_id": entry["actor_id"] and uuid.UUID(entry["actor_id"]),
        }
        for key, entry in zip(ids, entries, strict=True)
        if key in new and not (entry.get(DOUBTFUL) and _mark(entry) in there)
    ]
    if rows:
        session.execute(_ADD, rows)


def _there(session: Session, entries: Sequence[Entry]) -> set[tuple[Any, ...]]:
    """Of entries that the host that was lost took, the marks of those that it handed on."""
    if not entries:
        return set()
    columns = [getattr(AuditEntry, name) for name in MARKS]
    times = [datetime.fromisoformat(each["at"]) for each in entries]
    return {tuple(row) for row in session.execute(select(*columns).where(AuditEntry.at.in_(times)))}


def _mark(entry: Entry) -> tuple[Any, ...]:
    return (datetime.fromisoformat(entry["at"]), *(entry[name] for name in MARKS[1:]))


@dataclass(frozen=True)
class Wanted:
    """Which entries are asked for; None: any. `action` is how it begins, `actor` a name or an id."""

    action: str | None = None
    actor: str | None = None
    subject: str | None = None
    collection: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(
    session: Session, wanted: Wanted, *, limit: int, after: int | None = None
) -> tuple[Sequence[AuditEntry], int | None]:
    """At most `limit` entries, newest first, older than the entry `after`; and where the next page is."""
    query = select(AuditEntry).where(*_conditions(wanted)).order_by(AuditEntry.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(AuditEntry.id < after)
    rows = session.scalars(query).all()
    return (rows, None) if len(rows) <= limit else (rows[:limit], rows[limit - 1].id)


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.action is not None:
        found.append(AuditEntry.action.startswith(wanted.action, autoescape=True))
    if wanted.actor is not None:
        found.append(_is_by(wanted.actor))
    for column, value in (
        (AuditEntry.subject, wanted.subject),
        (AuditEntry.collection, wanted.collection),
        (AuditEntry.outcome, wanted.outcome),
    ):
        if value is not None:
            found.append(column == value)
    if wanted.since is not None:
        found.append(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        found.append(AuditEntry.at < wanted.until)
    return found


def _is_by(actor: str) -> ColumnElement[bool]:
    try:
        return AuditEntry.actor_id == uuid.UUID(actor)
    except ValueError:
        return AuditEntry.actor_name == actor
