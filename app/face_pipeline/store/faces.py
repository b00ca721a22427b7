"""Faces as they are read one by one, and given to people; searches among them are in vectors.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session, joinedload

from face_pipeline.errors import Conflict, NotFound
from face_pipeline.store import audit, collections, enrolment, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Person, Photo


def find(session: Session, face_id: uuid.UUID, *, by: Actor | None = None) -> Face:
    """The face with its photo, person and collection; NotFound when there is none or `by` reaches none."""
    face = session.scalar(
        select(Face)
        .where(Face.id == face_id)
        .options(
            joinedload(Face.photo).joinedload(Photo.collection),
            joinedload(Face.person),
            joinedload(Face.collection),
        )
        .execution_options(populate_existing=True)
    )
    if face is None or (by is not None and not by.reaches(face.collection.name)):
        raise _no_face(face_id)
    return face


def _no_face(face_id: uuid.UUID) -> NotFound:
    return NotFound(f"there is no face {face_id}", code="face_not_found")


def give(session: Session, face_id: uuid.UUID, person_id: uuid.UUID | None, *, by: Actor) -> Face:
    """Make the face this person's; None: nobody's. Returns it as it is then.

    Raises NotFound for the face and the person, Conflict for a person of another collection.
    """
    return _give(session, face_id, lambda collection: _held(session, person_id, collection, by), by)


def give_to_name(session: Session, face_id: uuid.UUID, name: str, *, by: Actor) -> Face:
    """Make the face the person's of this checked name, who is made if there is none; raises NotFound."""
    return _give(session, face_id, lambda collection: persons.open_person(session, collection, name), by)


def _give(
    session: Session, face_id: uuid.UUID, choose: Callable[[Collection], Person | None], by: Actor
) -> Face:
    """Make the face that person's whom `choose` finds.

    Its photo follows: one that shows this face alone is the person's too, and one that shows its former
    person no more is theirs no longer. The former person stays, with or without another face.
    """
    face = find(session, face_id, by=by)
    photo_id = face.photo_id
    collections.hold(session, face.collection)
    # Photos, persons, faces, the collection: the order in which every transaction locks them.
    session.execute(select(Photo.id).where(Photo.id == photo_id).with_for_update(key_share=True))
    collection = find(session, face_id, by=by).collection
    person = choose(collection)
    former = _lock(session, face_id)
    owner = person.id if person else None
    if former == owner:
        return find(session, face_id)
    if photo_id is not None:
        _follow(session, photo_id, face_id, former, owner)
    session.execute(update(Face).where(Face.id == face_id).values(person_id=owner))
    session.execute(
        update(Collection).where(Collection.id == collection.id).values(version=Collection.version + 1)
    )
    audit.write(
        session, by, "face.assign" if owner else "face.take_off", collection=collection.name, subject=face_id,
        details={"person_id": _text(owner), "former_id": _text(former)},
    )  # fmt: skip
    return find(session, face_id)


def _lock(session: Session, face_id: uuid.UUID) -> uuid.UUID | None:
    """Whose the face is, locked."""
    row = session.execute(
        select(Face.person_id).where(Face.id == face_id).with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        raise _no_face(face_id)
    owner: uuid.UUID | None = row.person_id
    return owner


def _follow(
    session: Session,
    photo_id: uuid.UUID,
    face_id: uuid.UUID,
    former: uuid.UUID | None,
    owner: uuid.UUID | None,
) -> None:
    others = Face.photo_id == photo_id, Face.id != face_id

    def shows(*more: ColumnElement[bool]) -> bool:
        return bool(session.scalar(select(exists().where(*others, *more))))

    if not shows():
        session.execute(update(Photo).where(Photo.id == photo_id).values(person_id=owner))
    elif former is not None and not shows(Face.person_id == former):
        session.execute(
            update(Photo).where(Photo.id == photo_id, Photo.person_id == former).values(person_id=None)
        )


def _text(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)


def _held(session: Session, person_id: uuid.UUID | None, collection: Collection, by: Actor) -> Person | None:
    """The person, who cannot be removed until this transaction ends."""
    if person_id is None:
        return None
    person = session.scalar(
        select(Person)
        .where(Person.id == person_id)
        .options(joinedload(Person.collection, innerjoin=True))
        .with_for_update(read=True, key_share=True, of=Person)
    )
    if person is None or not by.reaches(person.collection.name):
        raise enrolment.no_person(person_id)
    if person.collection_id != collection.id:
        raise Conflict(
            f"the face is of the collection {collection.name!r}, and the person of "
            f"{person.collection.name!r}; choose somebody of the same one",
            code="person_other_collection",
        )
    return person
