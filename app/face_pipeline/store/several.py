"""Many photos or faces in one transaction, and what could not be done with some of them.

Rows are locked in the ledger's order, each kind at once: photos, persons, faces, collections.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, cast, exists, func, select, update
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import Session

from face_pipeline.errors import FacePipelineError
from face_pipeline.store import audit, collections, enrolment, ledger, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Person, Photo, State

# What ORM objects know is not asked for: they are read anew.
UNSEEN = {"synchronize_session": False}


@dataclass(frozen=True)
class Refused:
    """A photo or a face with which nothing was done."""

    id: uuid.UUID
    code: str
    message: str

    @classmethod
    def of(cls, identifier: uuid.UUID, error: FacePipelineError) -> Refused:
        return cls(identifier, error.code, error.message)


@dataclass
class Given:
    """Faces that are the person's now, None: nobody's."""

    person: Person | None = None
    faces: int = 0
    refused: list[Refused] = field(default_factory=list)


def no_photos(photo_ids: Sequence[uuid.UUID], there: Iterable[uuid.UUID]) -> list[Refused]:
    """Those that are not there."""
    found = set(there)
    return [
        Refused(each, "photo_not_found", f"there is no photo {each}")
        for each in photo_ids
        if each not in found
    ]


def retry(
    session: Session, photo_ids: Sequence[uuid.UUID], *, by: Actor
) -> tuple[list[uuid.UUID], list[Refused]]:
    """Let those of the photos start again that failed."""
    reached = select(Photo.id).where(Photo.id == _any(photo_ids), *_reached(Photo.collection_id, by))
    locked = {row.id: row for row in ledger.lock(session, session.scalars(reached).all())}
    started = [each for each in photo_ids if each in locked and locked[each].state == State.FAILED]
    ledger.start_over(session, started)
    names = dict(
        session.execute(
            select(Photo.id, Collection.name)
            .join(Collection, Collection.id == Photo.collection_id)
            .where(Photo.id == _any(started))
        ).all()
    )
    for each in started:
        audit.write(session, by, "photo.retry", collection=names[each], subject=each)
    refused = no_photos(photo_ids, locked)
    refused += [
        Refused(
            each, "photo_not_failed",
            f"the photo is {locked[each].state}; only one that failed can be tried again",
        )
        for each in photo_ids
        if each in locked and locked[each].state != State.FAILED
    ]  # fmt: skip
    return started, refused


def give_faces(
    session: Session, face_ids: Sequence[uuid.UUID], to: uuid.UUID | str | None, *, by: Actor
) -> Given:
    """Make the faces one person's, by id or by checked name, who is made if there is none; None: nobody's.

    With a name, it is somebody of the collection of the first face that is there. Faces of others are taken
    from them, and their photos follow, as with one face (faces.give). Raises NotFound for the person.
    """
    wanted = (Face.id == _any(face_ids), *_reached(Face.collection_id, by))
    _hold(session, select(Face.collection_id).where(*wanted))
    photo_ids = session.scalars(select(Face.photo_id).where(*wanted)).all()
    ledger.lock(session, [each for each in photo_ids if each is not None])
    there = _where(session, face_ids, by)
    given = Given(refused=_no_faces(face_ids, there))
    if not there and isinstance(to, str):
        # Nobody is made for nothing.
        return given
    place: int | None = None
    if to is not None:
        first = next((there[each].collection_id for each in face_ids if each in there), None)
        given.person = _person(session, to, first, by)
        place = given.person.collection_id
    for each in face_ids:
        if place is not None and each in there and there[each].collection_id != place:
            given.refused.append(_elsewhere(each))
            del there[each]
    given.faces = _give(session, there, given.person, by)
    return given


def _hold(session: Session, collection_ids: Any) -> None:
    """Keep others from deleting the collections until this transaction ends, as collections.hold."""
    session.execute(
        select(Collection.id)
        .where(Collection.id.in_(collection_ids))
        .order_by(Collection.id)
        .with_for_update(read=True, key_share=True)
    )


def _where(session: Session, face_ids: Sequence[uuid.UUID], by: Actor) -> dict[uuid.UUID, Any]:
    """Those that are there and reached: id -> id, collection_id, name of the collection."""
    rows = session.execute(
        select(Face.id, Face.collection_id, Collection.name)
        .join(Collection, Collection.id == Face.collection_id)
        .where(Face.id == _any(face_ids), *_reached(Face.collection_id, by))
    )
    return {row.id: row for row in rows}


def _no_faces(face_ids: Sequence[uuid.UUID], there: Iterable[uuid.UUID]) -> list[Refused]:
    found = set(there)
    return [
        Refused(each, "face_not_found", f"there is no face {each}") for each in face_ids if each not in found
    ]


def _elsewhere(face_id: uuid.UUID) -> Refused:
    return Refused(
        face_id, "person_other_collection",
        "the face is of another collection than the person; choose somebody of the same one",
    )  # fmt: skip


def _person(session: Session, to: uuid.UUID | str, collection_id: int | None, by: Actor) -> Person:
    """The person, who cannot be removed until this transaction ends."""
    if isinstance(to, str):
        return persons.open_person(session, session.get_one(Collection, collection_id), to)
    person = session.scalar(
        select(Person)
        .where(Person.id == to, *_reached(Person.collection_id, by))
        .with_for_update(read=True, key_share=True, of=Person)
    )
    if person is None:
        raise enrolment.no_person(to)
    return person


def _give(session: Session, there: dict[uuid.UUID, Any], person: Person | None, by: Actor) -> int:
    """How many of the faces are the person's now. Their photos are locked."""
    owner = person.id if person else None
    rows = session.execute(
        select(Face.id, Face.person_id, Face.photo_id)
        .where(Face.id == _any(there))
        .order_by(Face.id)
        .with_for_update(key_share=True)
    ).all()
    changed = [row for row in rows if row.person_id != owner]
    if not changed:
        return len(rows)
    ids = [row.id for row in changed]
    session.execute(
        update(Face).where(Face.id == _any(ids)).values(person_id=owner).execution_options(**UNSEEN)
    )
    _follow(session, [row.photo_id for row in changed if row.photo_id is not None], owner)
    for row in changed:
        audit.write(
            session, by, "face.assign" if owner else "face.take_off",
            collection=there[row.id].name, subject=row.id,
            details={"person_id": _text(owner), "former_id": _text(row.person_id)},
        )  # fmt: skip
    for collection_id in sorted({there[each].collection_id for each in ids}):
        collections.renew(session, collection_id)
    return len(rows)


def _follow(session: Session, photo_ids: Sequence[uuid.UUID], owner: uuid.UUID | None) -> None:
    """A photo that shows one face alone is whose that is; one that shows its person no more is nobody's."""
    shown = select(func.count()).where(Face.photo_id == Photo.id).correlate(Photo).scalar_subquery()
    still = exists().where(Face.photo_id == Photo.id, Face.person_id == Photo.person_id)
    session.execute(
        update(Photo)
        .where(Photo.id == _any(photo_ids), shown == 1)
        .values(person_id=owner)
        .execution_options(**UNSEEN)
    )
    session.execute(
        update(Photo)
        .where(Photo.id == _any(photo_ids), shown > 1, Photo.person_id.is_not(None), ~still)
        .values(person_id=None)
        .execution_options(**UNSEEN)
    )


def _reached(column: Any, by: Actor) -> list[ColumnElement[bool]]:
    """That the collection is one that `by` reaches."""
    if by.collections is None:
        return []
    return [column.in_(select(Collection.id).where(Collection.name.in_(by.collections)))]


def _any(identifiers: Iterable[uuid.UUID]) -> Any:
    """Any of these: one parameter, however many there are."""
    return any_(cast([str(each) for each in identifiers], ARRAY(UUID)))


def _text(value: uuid.UUID | None) -> str | None:
    return None if value is None else str(value)
