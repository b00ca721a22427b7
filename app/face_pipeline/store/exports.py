"""Collections as they leave: persons, photos with their faces, and faces without a photo, a page at a time.

Pages are not of one moment: photos come and people are named while a long export runs. So a page of photos
brings the persons that it names, whoever came on the pages before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from face_pipeline.store import audit, collections
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Person, Photo

# Of one page: a thousand faces of 512 numbers are some 6 MB of text.
FACES_MOST = 1000


class Stage(StrEnum):
    """What the pages hold, in their order."""

    PERSONS = "persons"
    PHOTOS = "photos"
    # Those that came as embeddings.
    FACES = "faces"


@dataclass(frozen=True)
class Place:
    """Where a page begins: behind a person's or a face's id, or a photo's sha256; None: at the first."""

    stage: Stage = Stage.PERSONS
    after: uuid.UUID | str | None = None


@dataclass(frozen=True)
class Page:
    """`persons`: all of a page of persons, or those whom the photos or faces of this page name."""

    collection: Collection
    persons: Sequence[Person]
    photos: Sequence[Photo]
    faces: Sequence[Face]
    following: Place | None


def page(session: Session, name: str, *, limit: int, place: Place, by: Actor) -> Page:
    """At most `limit` things of the collection `name`, of whatever contract, to take along.

    NotFound where there is no such collection.
    """
    collection = collections.by_name(session, name)
    found = _READERS[place.stage](session, collection, limit, place)
    told = {"persons": len(found.persons), "photos": len(found.photos), "faces": _count(found)}
    audit.write(session, by, "collection.export", collection=name, subject=name, details=told)
    return found


def _count(found: Page) -> int:
    return len(found.faces) + sum(len(photo.faces) for photo in found.photos)


def _persons(session: Session, collection: Collection, limit: int, place: Place) -> Page:
    query = select(Person).where(Person.collection_id == collection.id).order_by(Person.id).limit(limit + 1)
    if place.after is not None:
        query = query.where(Person.id > place.after)
    rows = session.scalars(query).all()
    following = Place(Stage.PERSONS, rows[limit - 1].id) if len(rows) > limit else Place(Stage.PHOTOS)
    return Page(collection, rows[:limit], [], [], following)


def _photos(session: Session, collection: Collection, limit: int, place: Place) -> Page:
    faces = select(func.count()).where(Face.photo_id == Photo.id).correlate(Photo).scalar_subquery()
    query = (
        select(Photo.id, Photo.sha256, faces.label("faces"))
        .where(Photo.collection_id == collection.id)
        .order_by(Photo.sha256)
        .limit(limit + 1)
    )
    if place.after is not None:
        query = query.where(Photo.sha256 > place.after)
    rows = session.execute(query).all()
    number, total = 0, 0
    for row in rows[:limit]:
        total += row.faces
        if number and total > FACES_MOST:
            break
        number += 1
    following = Place(Stage.PHOTOS, rows[number - 1].sha256) if number < len(rows) else Place(Stage.FACES)
    photos = session.scalars(
        select(Photo)
        .where(Photo.id.in_([row.id for row in rows[:number]]))
        .options(joinedload(Photo.person), selectinload(Photo.faces).joinedload(Face.person))
        .order_by(Photo.sha256)
    ).all()
    named = (person for photo in photos for person in (photo.person, *(face.person for face in photo.faces)))
    return Page(collection, _once(named), photos, [], following)


def _faces(session: Session, collection: Collection, limit: int, place: Place) -> Page:
    query = (
        select(Face)
        .where(Face.collection_id == collection.id, Face.photo_id.is_(None))
        .options(joinedload(Face.person))
        .order_by(Face.id)
        .limit(limit + 1)
    )
    if place.after is not None:
        query = query.where(Face.id > place.after)
    rows = session.scalars(query).all()
    following = Place(Stage.FACES, rows[limit - 1].id) if len(rows) > limit else None
    return Page(collection, _once(face.person for face in rows[:limit]), [], rows[:limit], following)


def _once(persons: Iterable[Person | None]) -> list[Person]:
    return list({person.id: person for person in persons if person is not None}.values())


_READERS = {Stage.PERSONS: _persons, Stage.PHOTOS: _photos, Stage.FACES: _faces}
