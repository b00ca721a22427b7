"""Persons and their faces as clients of CompreFace see them: subjects, and images with an id.

An image is a face that is somebody's; a face of nobody is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from face_pipeline.store import collections, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Person, Photo


@dataclass(frozen=True)
class Image:
    """A face and whose it is. `photo_id` None: it came as an embedding. `faces`: so many are on its photo."""

    face_id: uuid.UUID
    subject: str
    photo_id: uuid.UUID | None
    faces: int


def find(session: Session, collection: str, name: str) -> Person | None:
    """The person of that name, in any spelling of it; None also where there is no such collection."""
    found = _collection(session, collection)
    return None if found is None else persons.find(session, found, name)


def names(session: Session, collection: str) -> Sequence[str]:
    return session.scalars(_persons(collection).with_only_columns(Person.name).order_by(Person.name)).all()


def ids(session: Session, collection: str) -> Sequence[uuid.UUID]:
    """Of all persons of the collection."""
    return session.scalars(_persons(collection).with_only_columns(Person.id).order_by(Person.id)).all()


def images(
    session: Session, collection: str, person_id: uuid.UUID | None, *, start: int, limit: int
) -> tuple[list[tuple[uuid.UUID, str]], int]:
    """At most `limit` images, a face and a name each, from the one at `start` on, oldest photo first.

    With the number of all of them. `person_id` None: of everybody.
    """
    query = (
        select(Face.id, Person.name)
        .join(Person, Person.id == Face.person_id)
        .join(Collection, Collection.id == Person.collection_id)
        .outerjoin(Photo, Photo.id == Face.photo_id)
        .where(Collection.name == collection)
    )
    if person_id is not None:
        query = query.where(Person.id == person_id)
    total = session.scalar(query.with_only_columns(func.count())) or 0
    rows = session.execute(
        query.order_by(Photo.received_at.nulls_first(), Face.id).offset(start).limit(limit)
    ).all()
    return [(row.id, row.name) for row in rows], total


def image(session: Session, face_id: uuid.UUID, by: Actor) -> Image | None:
    """None where there is no such image that `by` reaches."""
    row = session.execute(
        select(Face.id, Face.photo_id, Person.name, Collection.name.label("collection"))
        .join(Person, Person.id == Face.person_id)
        .join(Collection, Collection.id == Face.collection_id)
        .where(Face.id == face_id)
    ).one_or_none()
    if row is None or not by.reaches(row.collection):
        return None
    faces = session.scalar(select(func.count()).where(Face.photo_id == row.photo_id)) or 0
    return Image(row.id, row.name, row.photo_id, faces)


def owners(session: Session, collection: str, sha256: str) -> dict[uuid.UUID, str]:
    """Ids and names of those whose faces are on a photo of the collection."""
    rows = session.execute(
        select(Person.id, Person.name)
        .join(Face, Face.person_id == Person.id)
        .join(Photo, Photo.id == Face.photo_id)
        .join(Collection, Collection.id == Photo.collection_id)
        .where(Collection.name == collection, Photo.sha256 == sha256)
    ).all()
    return {row.id: row.name for row in rows}


def _collection(session: Session, name: str) -> Collection | None:
    return collections.by_name(session, name) if collections.exists(session, name) else None


def _persons(collection: str) -> Select[Person]:
    return (
        select(Person)
        .join(Collection, Collection.id == Person.collection_id)
        .where(Collection.name == collection)
    )
