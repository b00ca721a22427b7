"""The numbers of the installation on one page, read within milliseconds however large it is.

What waits or is under way is counted in an index of those rows alone, what ended today in one of when photos
ended; faces are a sum of what each collection counts; persons and photos are counted in an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from face_pipeline.store.models import UNFINISHED, WAITING, AuditEntry, Collection, Person, Photo, State

# Names of the collections somebody reaches, None: all.
Reach = frozenset[str] | None

SEARCH = "search.run"
# Of the searches of all, among which those in some collections are looked for.
SEARCHES_LOOKED_AT = 1000


@dataclass(frozen=True)
class Numbers:
    """What there is in the collections somebody reaches. `oldest`: when the oldest photo came that waits.

    `searched`: whether somebody ever did.
    """

    waiting: int
    processing: int
    done: int
    failed: int
    oldest: datetime | None
    photos: int
    faces: int
    persons: int
    collections: int
    searched: bool


def read(session: Session, reach: Reach, since: datetime) -> Numbers:
    """`done` and `failed`: photos that ended since then."""
    mine = select(Collection.id).where(Collection.name.in_(reach)) if reach is not None else None
    unfinished = _by_state(session, _photos(mine, Photo.state.in_(UNFINISHED)))
    ended = _by_state(session, _photos(mine, Photo.finished_at >= since))
    row = session.execute(
        select(
            select(func.min(Photo.received_at))
            .where(Photo.state.in_(WAITING), *_within(mine, Photo.collection_id))
            .scalar_subquery()
            .label("oldest"),
            _count(Photo.id, *_within(mine, Photo.collection_id)).label("photos"),
            _count(Person.id, *_within(mine, Person.collection_id)).label("persons"),
            _count(Collection.id, *_within(mine, Collection.id)).label("collections"),
            select(func.coalesce(func.sum(Collection.face_count), 0))
            .where(*_within(mine, Collection.id))
            .scalar_subquery()
            .label("faces"),
        )
    ).one()
    return Numbers(
        waiting=sum(unfinished.get(state, 0) for state in WAITING),
        processing=unfinished.get(State.PROCESSING, 0),
        done=ended.get(State.DONE, 0),
        failed=ended.get(State.FAILED, 0),
        oldest=row.oldest,
        photos=row.photos,
        faces=int(row.faces),
        persons=row.persons,
        collections=row.collections,
        searched=_searched(session, reach),
    )


def _photos(mine: Select[int] | None, *conditions: ColumnElement[bool]) -> Select[State, int]:
    return (
        select(Photo.state, func.count())
        .where(*conditions, *_within(mine, Photo.collection_id))
        .group_by(Photo.state)
    )


def _by_state(session: Session, query: Select[State, int]) -> dict[State, int]:
    return {row[0]: row[1] for row in session.execute(query).all()}


def _within(mine: Select[int] | None, column: InstrumentedAttribute[int]) -> list[ColumnElement[bool]]:
    return [] if mine is None else [column.in_(mine)]


def _count(column: InstrumentedAttribute[Any], *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count(column)).where(*conditions).scalar_subquery()


def _searched(session: Session, reach: Reach) -> bool:
    newest = (
        select(AuditEntry.collection)
        .where(AuditEntry.action == SEARCH)
        .order_by(AuditEntry.id.desc())
        .limit(SEARCHES_LOOKED_AT)
        .subquery()
    )
    query = select(newest.c.collection)
    if reach is not None:
        query = query.where(newest.c.collection.in_(reach))
    return session.execute(query.limit(1)).first() is not None
