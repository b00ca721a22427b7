"""Batches: the photos of one upload, and how far they are."""

from __future__ import annotations

import uuid

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from face_pipeline.errors import NotFound
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Batch, BatchPhoto, Photo, State


def find(session: Session, batch_id: uuid.UUID, *, by: Actor | None = None) -> Batch:
    """The batch with its collection; NotFound when there is none, or `by` does not reach it."""
    batch = session.get(Batch, batch_id, options=[joinedload(Batch.collection)])
    if batch is None or (by is not None and not by.reaches(batch.collection.name)):
        raise NotFound(f"there is no batch {batch_id}", code="batch_not_found")
    return batch


def progress(session: Session, batch_id: uuid.UUID) -> dict[State, int]:
    """How many photos of the batch are in each state, in the order of the states."""
    rows = session.execute(
        select(Photo.state, func.count())
        .join(BatchPhoto, BatchPhoto.photo_id == Photo.id)
        .where(BatchPhoto.batch_id == batch_id)
        .group_by(Photo.state)
    ).all()
    return dict.fromkeys(State, 0) | {row[0]: row[1] for row in rows}
