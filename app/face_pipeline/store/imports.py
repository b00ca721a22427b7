"""Collections as they come in: what an export (exports.py) holds, under its own ids where these are free.

Whatever is there already stays as it is, so that an import that was cut off is done by doing it again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.store import audit, batches, collections, persons, quotas
from face_pipeline.store.audit import Actor
from face_pipeline.store.embeddings import Embedding
from face_pipeline.store.ledger import NewPhoto
from face_pipeline.store.models import BatchPhoto, Collection, Face, Person, Photo, State


class Outcome(StrEnum):
    """What became of a record. There: it, or the same under another id, was in the collection before."""

    MADE = "made"
    THERE = "there"
    REFUSED = "refused"


@dataclass(frozen=True)
class Verdict:
    """`id`: what it has in the collection. `code` and `message`: why it was refused, or what was left out."""

    outcome: Outcome
    id: uuid.UUID | None = None
    code: str | None = None
    message: str | None = None


def refused(code: str, message: str) -> Verdict:
    return Verdict(Outcome.REFUSED, None, code, message)


@dataclass(frozen=True)
class PersonRecord:
    id: uuid.UUID
    name: str
    external_id: str | None
    details: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class FaceRecord:
    """A face; box and landmarks in pixels of the upright photo. `embedding`: float32, L2 norm 1."""

    id: uuid.UUID
    person_id: uuid.UUID | None
    bbox: Sequence[float]
    landmarks: Sequence[Sequence[float]]
    detection_score: float
    quality: float
    embedding: Embedding


@dataclass(frozen=True)
class PhotoRecord:
    """A photo, whose original is on disk, and its faces; a state in which it waits has none."""

    id: uuid.UUID
    photo: NewPhoto
    state: State
    person_id: uuid.UUID | None
    attempts: int
    reason_code: str | None
    reason_message: str | None
    received_at: datetime
    finished_at: datetime | None
    faces: Sequence[FaceRecord]

    @property
    def named(self) -> set[uuid.UUID]:
        """The persons that it names."""
        return {each for each in (self.person_id, *(face.person_id for face in self.faces)) if each}


def add_persons(
    session: Session, collection: Collection, records: Sequence[PersonRecord], by: Actor
) -> list[Verdict]:
    """A verdict for each of these persons, of checked values. Raises NotFound when the collection is gone."""
    collections.hold(session, collection)
    # In one order, so that two imports do not wait for each other.
    verdicts = {
        record.id: _person(session, collection, record)
        for record in sorted(records, key=lambda each: persons.name_key(each.name))
    }
    _tell(session, collection, by, persons=sum(each.outcome is Outcome.MADE for each in verdicts.values()))
    return [verdicts[record.id] for record in records]


def _person(session: Session, collection: Collection, record: PersonRecord) -> Verdict:
    """Somebody who is there by the id, the external id or the name; else they are made."""
    ids = (record.id, _own_id(collection, record.id))
    while True:
        owners = _owners(session, Person, ids)
        for each in ids:
            if owners.get(each) == collection.id:
                return Verdict(Outcome.THERE, each)
        if record.external_id is not None:
            holder = session.scalar(
                select(Person.id).where(
                    Person.collection_id == collection.id, Person.external_id == record.external_id
                )
            )
            if holder is not None:
                return Verdict(Outcome.THERE, holder)
        named = persons.find(session, collection, record.name)
        if named is not None:
            return _same_name(named, record)
        made = session.scalar(
            insert(Person)
            .values(
                {
                    Person.id: next(each for each in ids if each not in owners),
                    Person.collection_id: collection.id, Person.name: record.name,
                    Person.name_key: persons.name_key(record.name), Person.external_id: record.external_id,
                    Person.details: dict(record.details), Person.by_hand: True,
                    Person.created_at: record.created_at, Person.updated_at: record.updated_at,
                }
            )
            .on_conflict_do_nothing()
            .returning(Person.id)
        )  # fmt: skip
        # None: somebody took the id, the name or the external id after the questions.
        if made is not None:
            return Verdict(Outcome.MADE, made)


def _same_name(named: Person, record: PersonRecord) -> Verdict:
    if None not in (named.external_id, record.external_id):
        return refused(
            "person_exists",
            "the collection has somebody else of this name, with another external id; "
            "rename one of the two first",
        )
    return Verdict(Outcome.THERE, named.id)


def _own_id(collection: Collection, wanted: uuid.UUID) -> uuid.UUID:
    """What a thing is called in this collection where its own id is taken in another one; always the same."""
    return uuid.uuid5(wanted, collection.name)


def _owners(
    session: Session, table: type[Person] | type[Photo] | type[Face], ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, int]:
    """The collections of those of these ids that are taken."""
    rows = session.execute(select(table.id, table.collection_id).where(table.id.in_(list(ids)))).all()
    return {row[0]: row[1] for row in rows}


def known(session: Session, collection_id: int, hashes: Iterable[str]) -> dict[str, uuid.UUID]:
    """The ids of those of these photos that the collection has, by sha256."""
    rows = session.execute(
        select(Photo.sha256, Photo.id).where(
            Photo.collection_id == collection_id, Photo.sha256.in_(list(hashes))
        )
    ).all()
    return {row.sha256: row.id for row in rows}


def add_photos(
    session: Session,
    collection: Collection,
    records: Sequence[PhotoRecord],
    *,
    request_id: str | None,
    by: Actor,
) -> list[Verdict]:
    """A verdict for each of these photos, no two of which have one sha256. Raises NotFound when the
    collection is gone, QuotaExceeded.

    A photo comes with all of its faces, or not at all: a person that it names has to be there.
    """
    collections.hold(session, collection)
    there = _persons_there(session, collection, records)
    wanted = [each for each in records if each.named <= there]
    verdicts = {each.photo.sha256: _nobody(each.named - there) for each in records if each not in wanted}
    made, older = _insert(session, collection, wanted, request_id, by)
    verdicts |= {sha256: Verdict(Outcome.THERE, photo_id) for sha256, photo_id in older.items()}
    # Photos, persons, faces, the collection: the order in which every transaction locks them.
    held = _persons_there(session, collection, made.values(), held=True)
    for photo_id, record in made.items():
        gone = record.named - held
        verdicts[record.photo.sha256] = _nobody(gone) if gone else Verdict(Outcome.MADE, photo_id)
    unwanted = [photo_id for photo_id, record in made.items() if record.named - held]
    if unwanted:
        session.execute(delete(BatchPhoto).where(BatchPhoto.photo_id.in_(unwanted)))
        session.execute(delete(Photo).where(Photo.id.in_(unwanted)))
    kept = {photo_id: record for photo_id, record in made.items() if not record.named - held}
    theirs = [{"id": photo_id, "person_id": each.person_id} for photo_id, each in kept.items()]
    if theirs:
        session.execute(update(Photo), theirs)
    faces = [
        _row(collection, face, photo_id, position)
        for photo_id, record in kept.items()
        for position, face in enumerate(record.faces)
    ]
    _insert_faces(session, faces)
    if kept:
        quotas.check(session, collection.id, by)
    _tell(session, collection, by, photos=len(kept), faces=len(faces))
    return [verdicts[record.photo.sha256] for record in records]


def _persons_there(
    session: Session, collection: Collection, records: Iterable[PhotoRecord], *, held: bool = False
) -> AbstractSet[uuid.UUID]:
    """Those of the persons named by these photos whom the collection has; `held`: and keeps till the end."""
    named = {person_id for record in records for person_id in record.named}
    if not named:
        return named
    query = select(Person.id).where(Person.id.in_(named), Person.collection_id == collection.id)
    if held:
        query = query.order_by(Person.id).with_for_update(read=True, key_share=True)
    return set(session.scalars(query))


def _nobody(missing: Iterable[uuid.UUID]) -> Verdict:
    return refused(
        "person_not_found",
        f"it names the person {min(missing)}, whom the collection does not have; their record comes first, "
        "and its answer says under which id they are kept",
    )


def _insert(
    session: Session,
    collection: Collection,
    records: Sequence[PhotoRecord],
    request_id: str | None,
    by: Actor,
) -> tuple[dict[uuid.UUID, PhotoRecord], dict[str, uuid.UUID]]:
    """Rows, without a person yet, for those that the collection does not have, as a batch of their own.

    Returns the new ones by id, and the ids of those that it has by sha256.
    """
    made: dict[uuid.UUID, PhotoRecord] = {}
    older = known(session, collection.id, [each.photo.sha256 for each in records])
    missing = {each.photo.sha256: each for each in records if each.photo.sha256 not in older}
    batch = batches.make(session, collection) if missing else None
    while missing and batch is not None:
        taken = _owners(session, Photo, [each.id for each in missing.values()])
        ids = {
            sha256: uuid.uuid4() if each.id in taken else each.id for sha256, each in sorted(missing.items())
        }
        shared = {
            "collection_id": collection.id, "batch_id": batch.id, "request_id": request_id, "key_id": by.id,
        }  # fmt: skip
        # Another import of the same may have the same ids: only what is returned is of this one.
        new = set(
            session.scalars(
                insert(Photo).on_conflict_do_nothing().returning(Photo.id),
                [{**shared, "id": ids[sha256], **_columns(missing[sha256])} for sha256 in ids],
            )
        )
        found = known(session, collection.id, ids)
        made |= {photo_id: missing[sha256] for sha256, photo_id in found.items() if photo_id in new}
        older |= {sha256: photo_id for sha256, photo_id in found.items() if photo_id not in new}
        # Of the others somebody took the id, or erased the photo, between the statements.
        missing = {sha256: each for sha256, each in missing.items() if sha256 not in found}
    if batch is not None and made:
        links = [{"batch_id": batch.id, "photo_id": photo_id} for photo_id in made]
        session.execute(insert(BatchPhoto).on_conflict_do_nothing(), links)
    elif batch is not None:
        session.delete(batch)
    return made, older


def _columns(record: PhotoRecord) -> dict[str, Any]:
    ended = record.state in (State.DONE, State.FAILED)
    return {
        **vars(record.photo),
        "state": record.state,
        "attempts": record.attempts,
        "reason_code": record.reason_code,
        "reason_message": record.reason_message,
        # One that waits does so from now on.
        "received_at": record.received_at if ended else datetime.now(UTC),
        "finished_at": record.finished_at,
    }


def _row(
    collection: Collection, face: FaceRecord, photo_id: uuid.UUID | None, position: int
) -> dict[str, Any]:
    return {**vars(face), "collection_id": collection.id, "photo_id": photo_id, "position": position}


def _insert_faces(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Each under its own id where that is free, else under a new one."""
    missing = list(rows)
    while missing:
        taken = _owners(session, Face, [row["id"] for row in missing])
        # The same id twice in one request is one face with it, and one without.
        used: set[uuid.UUID] = set()
        for row in missing:
            if row["id"] in taken or row["id"] in used:
                row["id"] = uuid.uuid4()
            used.add(row["id"])
        session.execute(insert(Face).on_conflict_do_nothing(), missing)
        # Another transaction may have taken an id after the question.
        there = _owners_of_photos(session, [row["id"] for row in missing])
        missing = [row for row in missing if (row["collection_id"], row["photo_id"]) != there.get(row["id"])]


def _owners_of_photos(
    session: Session, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[int, uuid.UUID | None]]:
    rows = session.execute(select(Face.id, Face.collection_id, Face.photo_id).where(Face.id.in_(ids))).all()
    return {row.id: (row.collection_id, row.photo_id) for row in rows}


def add_faces(
    session: Session, collection: Collection, records: Sequence[FaceRecord], by: Actor
) -> list[Verdict]:
    """A verdict for each of these faces, which have no photo. Raises NotFound when the collection is gone."""
    collections.hold(session, collection)
    named = {each.person_id for each in records if each.person_id}
    query = select(Person.id).where(Person.id.in_(named), Person.collection_id == collection.id)
    held = set(session.scalars(query.order_by(Person.id).with_for_update(read=True, key_share=True)))
    ids = {each.id: (each.id, _own_id(collection, each.id)) for each in records}
    owners = _owners(session, Face, [each for pair in ids.values() for each in pair])
    verdicts: dict[uuid.UUID, Verdict] = {}
    rows = []
    for record in records:
        there = next((each for each in ids[record.id] if owners.get(each) == collection.id), None)
        if there is not None:
            verdicts[record.id] = Verdict(Outcome.THERE, there)
        elif record.person_id is not None and record.person_id not in held:
            verdicts[record.id] = _nobody([record.person_id])
        elif record.id not in verdicts:
            own = next(each for each in ids[record.id] if each not in owners)
            verdicts[record.id] = Verdict(Outcome.MADE, own)
            rows.append({**_row(collection, record, None, 0), "id": own})
    made = _insert_alone(session, collection, rows)
    _tell(session, collection, by, faces=made)
    return [verdicts[record.id] for record in records]


def _insert_alone(session: Session, collection: Collection, rows: Sequence[dict[str, Any]]) -> int:
    """Faces without a photo; returns how many were not there. An id that another collection takes at this
    moment gives way to one that nobody else takes."""
    new = insert(Face).on_conflict_do_nothing().returning(Face.id)
    made = set(session.scalars(new, rows)) if rows else set()
    owners = _owners(session, Face, [row["id"] for row in rows])
    again = [
        {**row, "id": _own_id(collection, row["id"])} for row in rows if owners[row["id"]] != collection.id
    ]
    made |= set(session.scalars(new, again)) if again else set()
    return len(made)


def _tell(session: Session, collection: Collection, by: Actor, **counts: int) -> None:
    """Write the audit's entry and the collection's counts, the last things of a transaction."""
    if not any(counts.values()):
        return
    audit.write(
        session, by, "collection.import", collection=collection.name, subject=collection.name, details=counts
    )
    if counts.get("faces"):
        session.execute(
            update(Collection)
            .where(Collection.id == collection.id)
            .values(version=Collection.version + 1, face_count=Collection.face_count + counts["faces"])
            .execution_options(synchronize_session=False)
        )
