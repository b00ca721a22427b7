"""Photos as people read them; what happens to them is the ledger's (ledger.py)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    union,
)
from sqlalchemy.orm import Session, joinedload, selectinload

from face_pipeline.errors import NotFound
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import BatchPhoto, Collection, Face, Photo, State
from face_pipeline.store.originals import OriginalExpired


class Faces(StrEnum):
    """Which faces a photo of a list has."""

    SOME = "some"
    # It is done, and nobody was found.
    NONE = "none"
    # One of nobody's at least.
    UNKNOWN = "unknown"


class Sort(StrEnum):
    """In which order photos came in."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True)
class Wanted:
    """Which photos are asked for; None: any. `within`: the names of the collections that are reached.

    `since` and `until`: received then or later, and before. `filename`: a part of it, in either case.
    """

    states: frozenset[State] | None = None
    collection: str | None = None
    batch: uuid.UUID | None = None
    # Given to them, or with a face of theirs.
    person: uuid.UUID | None = None
    within: frozenset[str] | None = None
    reason: str | None = None
    faces: Faces | None = None
    since: datetime | None = None
    until: datetime | None = None
    filename: str | None = None


@dataclass(frozen=True)
class Place:
    """Where a photo stands in a list, in either order."""

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
    session: Session, wanted: Wanted, *, limit: int, after: Place | None, sort: Sort = Sort.NEWEST
) -> tuple[list[tuple[Photo, int]], Place | None]:
    """At most `limit` photos behind `after`, each with its number of faces, and where the next page is."""
    faces = select(func.count()).where(Face.photo_id == Photo.id).correlate(Photo).scalar_subquery()
    order = (Photo.received_at, Photo.id)
    query = (
        select(Photo, faces)
        .where(*_conditions(wanted))
        .order_by(*(each.desc() if sort == Sort.NEWEST else each for each in order))
        .limit(limit + 1)
        .options(joinedload(Photo.collection), joinedload(Photo.person))
    )
    if after is not None:
        place, there = tuple_(*order), (after.received_at, after.photo_id)
        query = query.where(place < there if sort == Sort.NEWEST else place > there)
    rows = [(photo, count) for photo, count in session.execute(query).all()]
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1][0]
    return rows[:limit], Place(last.received_at, last.id)


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.collection is not None:
        # By its id, so that the index gives the order too.
        only = select(Collection.id).where(Collection.name == wanted.collection).scalar_subquery()
        yield Photo.collection_id == only
    if wanted.within is not None:
        yield Photo.collection_id.in_(select(Collection.id).where(Collection.name.in_(wanted.within)))
    if wanted.states is not None:
        # Written out: indexes of some states are used for nothing else.
        yield or_(*(Photo.state == literal_column(f"'{each}'") for each in sorted(wanted.states)))
    if wanted.batch is not None:
        yield Photo.id.in_(select(BatchPhoto.photo_id).where(BatchPhoto.batch_id == wanted.batch))
    if wanted.person is not None:
        yield Photo.id.in_(of_person(wanted.person))
    if wanted.reason is not None:
        yield Photo.reason_code == wanted.reason
    if wanted.since is not None:
        yield Photo.received_at >= wanted.since
    if wanted.until is not None:
        yield Photo.received_at < wanted.until
    if wanted.filename is not None:
        yield Photo.filename.icontains(wanted.filename, autoescape=True)
    if wanted.faces is not None:
        yield from _with_faces(wanted.faces)


def _with_faces(faces: Faces) -> Iterator[ColumnElement[bool]]:
    if faces == Faces.UNKNOWN:
        yield exists().where(Face.photo_id == Photo.id, Face.person_id.is_(None))
        return
    found = exists().where(Face.photo_id == Photo.id)
    if faces == Faces.SOME:
        yield found
    else:
        yield Photo.state == State.DONE
        yield ~found


def of_person(person_id: uuid.UUID) -> CompoundSelect[uuid.UUID]:
    """Ids of the photos that were given to the person, or on which a face is theirs."""
    return union(
        select(Photo.id).where(Photo.person_id == person_id),
        select(Face.photo_id).where(Face.person_id == person_id),
    )


def has_original(session: Session, sha256: str) -> bool:
    """Whether a photo of any collection has this original."""
    query = select(Photo.id).where(Photo.sha256 == sha256, Photo.original_removed_at.is_(None))
    return session.scalar(query.limit(1)) is not None


def check_original(photo: Photo) -> None:
    """Raises OriginalExpired where the photo's original is kept no more."""
    if photo.original_removed_at is not None:
        raise OriginalExpired(
            "the file of this photo was removed, for its collection keeps originals for a time only; all"
            " else of the photo is there",
            details={"removed_at": photo.original_removed_at.isoformat(timespec="milliseconds")},
        )
