"""Photos that failed: why, how many, and each of them in turn."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select, tuple_
from sqlalchemy.orm import Session, joinedload

from face_pipeline.store.models import Collection, Photo, State

# Of a photo whose row says none.
UNKNOWN = "unknown"

Place = tuple[datetime, uuid.UUID]


@dataclass(frozen=True)
class Group:
    """Photos that failed for one reason. `first`, `last`: when; `example`: the one that came last.

    `message`: what was said of that one.
    """

    reason: str
    photos: int
    first: datetime | None
    last: datetime | None
    example: uuid.UUID
    message: str


@dataclass(frozen=True)
class Wanted:
    """`collections`: names of those that the photos may be in, None: any. `reason` None: any."""

    collections: frozenset[str] | None = None
    reason: str | None = None


def failed(wanted: Wanted) -> ColumnElement[bool]:
    """Photos that failed as wanted."""
    conditions = [Photo.state == State.FAILED]
    if wanted.reason is not None:
        conditions.append(of_reason(wanted.reason))
    if wanted.collections is not None:
        of = select(Collection.id).where(Collection.name.in_(wanted.collections))
        conditions.append(Photo.collection_id.in_(of))
    return and_(*conditions)


def of_reason(reason: str) -> ColumnElement[bool]:
    return Photo.reason_code.is_(None) if reason == UNKNOWN else Photo.reason_code == reason


def groups(session: Session, wanted: Wanted) -> list[Group]:
    """By reason, that of most photos first."""
    rows = session.execute(
        select(
            Photo.reason_code,
            func.count().label("photos"),
            func.min(Photo.finished_at).label("first"),
            func.max(Photo.finished_at).label("last"),
        )
        .where(failed(wanted))
        .group_by(Photo.reason_code)
        .order_by(func.count().desc(), Photo.reason_code)
    ).all()
    found = []
    for row in rows:
        reason = row.reason_code or UNKNOWN
        newest = _newest(session, Wanted(wanted.collections, reason))
        # Somebody may have retried or erased the last one since.
        if newest is not None:
            found.append(Group(reason, row.photos, row.first, row.last, *newest))
    return found


def _newest(session: Session, wanted: Wanted) -> tuple[uuid.UUID, str] | None:
    row = session.execute(
        select(Photo.id, Photo.reason_message)
        .where(failed(wanted))
        .order_by(Photo.received_at.desc(), Photo.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.id, row.reason_message or "")


def page(session: Session, wanted: Wanted, *, limit: int, after: Place | None) -> Sequence[Photo]:
    """Photos that failed, with their collections, the oldest first, behind the place `after`."""
    query = select(Photo).where(failed(wanted)).options(joinedload(Photo.collection))
    if after is not None:
        query = query.where(tuple_(Photo.received_at, Photo.id) > after)
    return session.scalars(query.order_by(Photo.received_at, Photo.id).limit(limit)).all()


def place(photo: Photo) -> Place:
    """Where the next page begins behind this photo."""
    return photo.received_at, photo.id


def collections_of(session: Session, wanted: Wanted) -> list[tuple[int, str]]:
    """Id and name of each collection that has such photos, by their names."""
    of = select(Photo.collection_id).where(failed(wanted)).distinct()
    rows = session.execute(
        select(Collection.id, Collection.name).where(Collection.id.in_(of)).order_by(Collection.name)
    )
    return [(row.id, row.name) for row in rows]
