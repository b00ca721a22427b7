"""The outbox: what happened to photos, written in the transaction in which it happened.

Numbers are given when a row is inserted, and rows can be read when their transaction commits: whoever only
remembered the last number would miss a row with a smaller one that commits later. So events are in the order
(xid, number), and only those of transactions below `pg_snapshot_xmin` are read: all of these are over, and
none will ever write again. Source: PostgreSQL 17, section 9.28 (transaction ID and snapshot information
functions).

No name is kept here. A person's name is read when an event is, so that nothing outlives the person.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection as Container
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, Select, cast, func, insert, literal, select, text, tuple_, update
from sqlalchemy.orm import Session

from face_pipeline.store.models import XID8, Collection, Event, EventKind, Hook, HookDelivery, Person, Reason

# Rows removed by one statement: short transactions, and little for a replica to catch up with.
FORGOTTEN_AT_ONCE = 5000


@dataclass(frozen=True)
class Place:
    """Between two events, behind the one with these numbers."""

    xid: int
    number: int


@dataclass(frozen=True)
class Wanted:
    """Which events are asked for; None: all."""

    kinds: Container[str] | None = None
    collections: Container[str] | None = None


@dataclass(frozen=True)
class Told:
    """An event as it is read. `person_name` is None where the person is gone, too."""

    place: Place
    id: uuid.UUID
    at: datetime
    kind: str
    collection: str
    photo_id: uuid.UUID
    face_id: uuid.UUID | None
    person_id: uuid.UUID | None
    person_name: str | None
    face_count: int | None
    reason_code: str | None


def tell_lost(session: Session, photos: Sequence[tuple[int, uuid.UUID]]) -> None:
    """Write that these photos, each its collection's id and its own, ended too many workers."""
    if photos:
        session.execute(
            insert(Event),
            [
                {
                    "collection_id": collection_id, "photo_id": photo_id, "kind": EventKind.PHOTO_FAILED,
                    "face_count": 0, "reason_code": Reason.WORKER_LOST,
                }
                for collection_id, photo_id in photos
            ],
        )  # fmt: skip


def tell_done(session: Session, collection_id: int, photos: Sequence[tuple[uuid.UUID, int]]) -> None:
    """Write that these photos are done, each with its number of faces."""
    if photos:
        session.execute(
            insert(Event),
            [
                {
                    "collection_id": collection_id, "photo_id": photo_id, "kind": EventKind.PHOTO_DONE,
                    "face_count": faces, "reason_code": None,
                }
                for photo_id, faces in photos
            ],
        )  # fmt: skip


def tell_faces(
    session: Session, collection_id: int, faces: Sequence[tuple[uuid.UUID, uuid.UUID, uuid.UUID | None]]
) -> None:
    """Write whose faces were seen: each its photo, itself, and its person, None: nobody's."""
    if faces:
        session.execute(
            insert(Event),
            [
                {
                    "collection_id": collection_id, "photo_id": photo_id, "face_id": face_id,
                    "person_id": person_id,
                    "kind": EventKind.PERSON_SEEN if person_id else EventKind.FACE_UNKNOWN,
                }
                for photo_id, face_id, person_id in faces
            ],
        )  # fmt: skip


def horizon(session: Session) -> Row[int, int]:
    """`over` and `unknown`: the first transaction that may still write, and the first that has not begun."""
    snapshot = func.pg_current_snapshot()
    return session.execute(
        select(
            cast(func.pg_snapshot_xmin(snapshot), XID8).label("over"),
            cast(func.pg_snapshot_xmax(snapshot), XID8).label("unknown"),
        )
    ).one()


def end(session: Session) -> Place:
    """Behind all events that can be read now."""
    return _last(session, horizon(session).over)


def _last(session: Session, over: int) -> Place:
    """Behind all transactions below `over`, with the number of their last event (`settle` goes by it)."""
    last = (
        select(Event.number)
        .where(Event.xid < literal(over, XID8))
        .order_by(Event.xid.desc(), Event.number.desc())
        .limit(1)
    )
    return Place(over - 1, session.scalar(last) or 0)


def page(session: Session, wanted: Wanted, *, limit: int, after: Place | None) -> tuple[list[Told], Place]:
    """At most `limit` events behind `after` (None: from the first), and the place to go on from."""
    now = horizon(session)
    if after is None:
        after = Place(0, 0)
    elif after.xid >= now.unknown:
        # Of the server from which this database was restored (`settle`).
        after = Place(0, after.number)
    # Statements of one transaction see more and more: what was over for the first is over for this one.
    rows = session.execute(
        _query(wanted)
        .where(
            tuple_(Event.xid, Event.number) > tuple_(literal(after.xid, XID8), literal(after.number)),
            Event.xid < literal(now.over, XID8),
        )
        .order_by(Event.xid, Event.number)
        .limit(limit)
    ).all()
    told = [_told(row) for row in rows]
    if len(told) == limit:
        return told, told[-1].place
    # All that is over was looked at, also what was not wanted.
    return told, max(after, _last(session, now.over), key=lambda place: (place.xid, place.number))


def newest(session: Session, wanted: Wanted, *, most: int) -> tuple[list[Told], Place]:
    """The last `most` events, oldest first, and the place behind all that there are."""
    over = horizon(session).over
    query = _query(wanted).where(Event.xid < literal(over, XID8)).limit(most)
    rows = session.execute(query.order_by(Event.xid.desc(), Event.number.desc())).all() if most else ()
    return [_told(row) for row in reversed(rows)], _last(session, over)


def find(session: Session, place: Place) -> Told | None:
    """The event of these numbers, None when it is gone."""
    row = session.execute(
        _query(Wanted()).where(Event.xid == literal(place.xid, XID8), Event.number == place.number)
    ).one_or_none()
    return _told(row) if row else None


def _query(wanted: Wanted) -> Select[Event, str, str]:
    query = (
        select(Event, Collection.name.label("collection"), Person.name.label("person_name"))
        .join(Collection, Collection.id == Event.collection_id)
        .outerjoin(Person, Person.id == Event.person_id)
    )
    if wanted.kinds is not None:
        query = query.where(Event.kind.in_(list(wanted.kinds)))
    if wanted.collections is not None:
        query = query.where(Collection.name.in_(list(wanted.collections)))
    return query


def _told(row: Row[Event, str, str]) -> Told:
    event: Event = row.Event
    return Told(
        Place(event.xid, event.number), event.id, event.at, event.kind, row.collection, event.photo_id,
        event.face_id, event.person_id, row.person_name, event.face_count, event.reason_code,
    )  # fmt: skip


def forget(session: Session, older_than: timedelta) -> int:
    """Remove the oldest events, if older than that; returns how many: FORGOTTEN_AT_ONCE at most."""
    removed = session.execute(
        text(
            "DELETE FROM events WHERE at < now() - :age AND (xid, number) IN"
            " (SELECT xid, number FROM events ORDER BY xid, number LIMIT :most)"
        ),
        {"age": older_than, "most": FORGOTTEN_AT_ONCE},
    )
    return int(removed.rowcount)  # type: ignore[attr-defined]


def settle(session: Session) -> bool:
    """Put the events of another server before all of this one's; returns whether there were any.

    A database that was restored into a fresh server has rows of transactions that are still to come there.
    They, and where the hooks are among them, count as transaction 0, in the order of their numbers.
    """
    unknown = literal(horizon(session).unknown, XID8)
    others = [
        session.scalar(select(func.max(each.number)).where(each.xid >= unknown))
        for each in (Event, Hook, HookDelivery)
    ]
    last = max((number for number in others if number is not None), default=None)
    if last is None:
        return False
    for each in (Event, Hook, HookDelivery):
        session.execute(
            update(each)
            .where(each.number <= last, each.xid.is_not(None))
            .values(xid=literal(0, XID8))
            .execution_options(synchronize_session=False)
        )
    return True
