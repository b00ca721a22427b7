"""Photos as people read them; what happens to them is the ledger's (ledger.py)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CompoundSelect, func, select, tuple_, union
from sqlalchemy.orm import Session, joinedload, selectinload

from face_pipeline.errors import NotFound
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import BatchPhoto, Collection, Face, Photo, State


@dataclass(frozen=True)
class Wanted:
    """Which photos are asked for; None: any. `within`: the names of the collections that are reached."""

    state: State | None = None
    collection: str | None = None
    batch: uuid.UUID | None = None
    # Given to them, or with a face of theirs.
    person: uuid.UUID | None = None
    within: frozenset[str] | None = None


@dataclass(frozen=True)
class Place:
    """Where a photo stands in the list, newest first."""

    received_at: datetime
    photo_id: uuid.UUID


def find(session: Session, photo_id: uuid.UUID, *, by: Actor | None = None) -> Photo:
    """The photo with its collection; NotFound when there is none, or `by` does not reach it."""
    return _or_not_found(session.get(Photo, photo_id, options=[joinedload(Photo.collection)]), photo_id, by)


def find_with_faces(session: Session, photo_id: uuid.UUID, *, by: Actor | None = None) -> Photo:
    """The photo with its collection, person, faces and their persons.

    NotFound when there is none, or `by` does not reach it.
    """
    photo = session.scalar(
        select(Photo)
        .where(Photo.id == photo_id)
        .options(
            joinedload(Photo.collection),
            joinedload(Photo.person),
            selectinload(Photo.faces).joinedload(Face.person),
        )
    )
    return _or_not_found(photo, photo_id, by)


def boxes(session: Session, photo_id: uuid.UUID) -> list[list[float]]:
    """Where the photo's faces are: x1, y1, x2, y2 in pixels of the upright photo."""
    return list(session.scalars(select(Face.bbox).where(Face.photo_id == photo_id).order_by(Face.position)))


def _or_not_found(photo: Photo | None, photo_id: uuid.UUID, by: Actor | None) -> Photo:
    if photo is None or (by is not None and not by.reaches(photo.collection.name)):
        raise NotFound(f"there is no photo {photo_id}", code="photo_not_found")
    return photo


def page(
    session: Session, wanted: Wanted, *, limit: int, after: Place | None
) -> tuple[list[tuple[Photo, int]], Place | None]:
    """At most `limit` photos behind `after`, each with its number of faces, and where the next page is."""
    faces = select(func.count()).where(Face.photo_id == Photo.id).correlate(Photo).scalar_subquery()
    query = (
        select(Photo, faces)
        .order_by(Photo.received_at.desc(), Photo.id.desc())
        .limit(limit + 1)
        .options(joinedload(Photo.collection), joinedload(Photo.person))
    )
    if wanted.state is not None:
        query = query.where(Photo.state == wanted.state)
    if wanted.collection is not None or wanted.within is not None:
        query = query.join(Collection, Collection.id == Photo.collection_id)
    if wanted.collection is not None:
        query = query.where(Collection.name == wanted.collection)
    if wanted.within is not None:
        query = query.where(Collection.name.in_(wanted.within))
    if wanted.batch is not None:
        query = query.join(BatchPhoto, BatchPhoto.photo_id == Photo.id).where(
            BatchPhoto.batch_id == wanted.batch
        )
    if wanted.person is not None:
        query = query.where(Photo.id.in_(of_person(wanted.person)))
    if after is not None:
        query = query.where(tuple_(Photo.received_at, Photo.id) < (after.received_at, after.photo_id))
    rows = [(photo, count) for photo, count in session.execute(query).all()]
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1][0]
    return rows[:limit], Place(last.received_at, last.id)


def of_person(person_id: uuid.UUID) -> CompoundSelect[uuid.UUID]:
    """Ids of the photos that were given to the person, or on which a face is theirs."""
    return union(
        select(Photo.id).where(Photo.person_id == person_id),
        select(Face.photo_id).where(Face.person_id == person_id),
    )


def has_original(session: Session, sha256: str) -> bool:
    """Whether a photo of any collection has this original."""
    return session.scalar(select(Photo.id).where(Photo.sha256 == sha256).limit(1)) is not None
