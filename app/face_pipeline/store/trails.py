"""What happened to one photo, as far as the database knows: its row, its batches, its faces, the audit.

What hosts logged about it is in their journals (`face-pipeline trail`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from face_pipeline.store import photos
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import AuditEntry, Batch, BatchPhoto, Face, Photo, State

# Steps of an answer: a photo that was sent or named more often shows its last ones.
STEPS_MOST = 200


class What(StrEnum):
    """A step of a photo's life."""

    # It came, before it was tried again.
    UPLOADED = "uploaded"
    # It waits for a worker from here on.
    RECEIVED = "received"
    SENT_AGAIN = "sent_again"
    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    RETRIED = "retried"
    MOVED = "moved"
    NAMED = "named"
    TAKEN_OFF = "taken_off"


_OF_ACTIONS = {
    "photo.retry": What.RETRIED,
    "photo.move": What.MOVED,
    "face.assign": What.NAMED,
    "face.take_off": What.TAKEN_OFF,
}


@dataclass(frozen=True)
class Step:
    """What happened when; what does not belong to it is None."""

    at: datetime
    what: What
    request_id: str | None = None
    worker: str | None = None
    # Where it was moved to.
    collection: str | None = None
    face_id: str | None = None
    person_id: str | None = None


@dataclass(frozen=True)
class Trail:
    """A photo with its collection, and its steps, the oldest first. `uploads`: requests that brought it."""

    photo: Photo
    faces: int
    uploads: int
    steps: list[Step]


def follow(session: Session, photo_id: uuid.UUID, *, by: Actor) -> Trail:
    """NotFound when there is no such photo, or `by` does not reach it."""
    photo = photos.find(session, photo_id, by=by)
    face_ids = session.scalars(select(Face.id).where(Face.photo_id == photo_id)).all()
    uploads = session.scalar(select(func.count()).where(BatchPhoto.photo_id == photo_id)) or 0
    steps = [*_of_row(photo), *_of_batches(session, photo), *_of_audit(session, photo_id, face_ids)]
    # Of one moment in the order of life.
    order = list(What)
    steps.sort(key=lambda step: (step.at, order.index(step.what)))
    return Trail(photo, len(face_ids), uploads, steps[-STEPS_MOST:])


def _of_row(photo: Photo) -> Iterator[Step]:
    """Times of an earlier try are passed over."""
    yield Step(photo.received_at, What.RECEIVED, request_id=photo.request_id)
    if photo.queued_at and photo.queued_at >= photo.received_at:
        yield Step(photo.queued_at, What.QUEUED)
    if photo.started_at and photo.started_at >= photo.received_at:
        yield Step(photo.started_at, What.CLAIMED, worker=photo.worker)
    if photo.finished_at and photo.state in (State.DONE, State.FAILED):
        what = What.DONE if photo.state == State.DONE else What.FAILED
        yield Step(photo.finished_at, what, worker=photo.worker)


def _of_batches(session: Session, photo: Photo) -> Iterator[Step]:
    rows = session.execute(
        select(Batch.id, Batch.created_at)
        .join(BatchPhoto, BatchPhoto.batch_id == Batch.id)
        .where(BatchPhoto.photo_id == photo.id)
        .order_by(Batch.created_at.desc())
        .limit(STEPS_MOST)
    )
    for batch_id, at in rows:
        if batch_id != photo.batch_id:
            yield Step(at, What.SENT_AGAIN)
        elif at < photo.received_at:
            yield Step(at, What.UPLOADED, request_id=photo.request_id)


def _of_audit(session: Session, photo_id: uuid.UUID, face_ids: Sequence[uuid.UUID]) -> Iterator[Step]:
    """Who did it is not told: that is for those who may read the audit."""
    entries = session.scalars(
        select(AuditEntry)
        .where(
            AuditEntry.subject.in_([str(each) for each in (photo_id, *face_ids)]),
            AuditEntry.action.in_(_OF_ACTIONS),
        )
        .order_by(AuditEntry.id.desc())
        .limit(STEPS_MOST)
    )
    for entry in entries:
        what = _OF_ACTIONS[entry.action]
        of_face = what in (What.NAMED, What.TAKEN_OFF)
        yield Step(
            entry.at, what, request_id=entry.request_id,
            collection=entry.collection if what == What.MOVED else None,
            face_id=entry.subject if of_face else None,
            person_id=entry.details.get("person_id" if what == What.NAMED else "former_id")
            if of_face
            else None,
        )  # fmt: skip
