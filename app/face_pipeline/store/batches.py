"""Batches: the photos of one upload, or of several that name it, and how far they are."""

from __future__ import annotations

import uuid
from collections.abc import Collection as Names
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session, joinedload

from face_pipeline.errors import Conflict, NotFound
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Batch, BatchPhoto, Collection, Photo, State


@dataclass(frozen=True)
class Place:
    """Where a batch stands in the list, newest first."""

    created_at: datetime
    batch_id: uuid.UUID


def make(session: Session, collection: Collection) -> Batch:
    """A batch without photos, which uploads may add to."""
    batch = Batch(collection_id=collection.id)
    session.add(batch)
    session.flush()
    return batch


def find(session: Session, batch_id: uuid.UUID, *, by: Actor | None = None) -> Batch:
    """The batch with its collection; NotFound when there is none, or `by` does not reach it."""
    batch = session.get(Batch, batch_id, options=[joinedload(Batch.collection)])
    if batch is None or (by is not None and not by.reaches(batch.collection.name)):
        raise NotFound(f"there is no batch {batch_id}", code="batch_not_found")
    return batch


def find_of(session: Session, batch_id: uuid.UUID, collection: Collection) -> Batch:
    """The batch, for photos of this collection; NotFound when there is none, Conflict on another one."""
    batch = find(session, batch_id)
    if batch.collection_id != collection.id:
        raise Conflict(
            f"batch {batch_id} is of the collection {batch.collection.name!r}; put the photos into that one, "
            "or make a batch for each collection",
            code="batch_other_collection",
        )
    return batch


def progress(session: Session, batch_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[State, int]]:
    """How many photos of each batch are in each state, in the order of the states."""
    rows = session.execute(
        select(BatchPhoto.batch_id, Photo.state, func.count())
        .join(Photo, Photo.id == BatchPhoto.photo_id)
        .where(BatchPhoto.batch_id.in_(batch_ids))
        .group_by(BatchPhoto.batch_id, Photo.state)
    ).all()
    found = {batch_id: dict.fromkeys(State, 0) for batch_id in batch_ids}
    for batch_id, state, count in rows:
        found[batch_id][state] = count
    return found


def page(
    session: Session, *, collections: Names[str] | None, limit: int, after: Place | None
) -> tuple[Sequence[Batch], Place | None]:
    """At most `limit` batches behind `after`, of these collections (None: of all); the next page's place."""
    query = (
        select(Batch)
        .order_by(Batch.created_at.desc(), Batch.id.desc())
        .limit(limit + 1)
        .options(joinedload(Batch.collection))
    )
    if collections is not None:
        names = select(Collection.id).where(Collection.name.in_(list(collections)))
        query = query.where(Batch.collection_id.in_(names))
    if after is not None:
        query = query.where(tuple_(Batch.created_at, Batch.id) < (after.created_at, after.batch_id))
    rows = session.scalars(query).all()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], Place(last.created_at, last.id)
