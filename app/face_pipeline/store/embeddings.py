"""Embeddings of stored faces, read and added as they are; searches among them are in vectors.py.

Faces and persons are looked up by somebody (audit.Actor): those of a collection that they do not reach are
not there.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from face_pipeline.engine import Pack
from face_pipeline.errors import Conflict, NotFound
from face_pipeline.store import audit, collections
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Person

Embedding = npt.NDArray[np.float32]

# Of a face that came as an embedding: nobody saw it on a photo, and whoever sent it trusts it.
NO_BOX = [0.0] * 4
NO_LANDMARKS = [[0.0, 0.0]] * 5
UNMEASURED = 1.0


@dataclass(frozen=True)
class StoredFace:
    """A face with its collection and its embedding: float32, shape (dimension,), L2 norm 1."""

    row: Face
    collection: Collection
    embedding: Embedding


@dataclass(frozen=True)
class Row:
    """An embedding of a collection, and whose it is: float32, shape (dimension,), L2 norm 1."""

    face_id: uuid.UUID
    person_id: uuid.UUID | None
    photo_id: uuid.UUID | None
    embedding: Embedding


@dataclass(frozen=True)
class Page:
    """Embeddings of a collection, and the face behind which the next ones are."""

    collection: Collection
    rows: list[Row]
    following: uuid.UUID | None


def face(session: Session, face_id: uuid.UUID, by: Actor) -> StoredFace:
    """NotFound where there is none that they reach, Conflict where the pack that its collection was moved to
    made no embedding of it."""
    found = session.execute(
        select(Face, Collection)
        .join(Collection, Collection.id == Face.collection_id)
        .where(Face.id == face_id)
    ).one_or_none()
    if found is None or not by.reaches(found.Collection.name):
        raise NotFound(f"there is no face {face_id}", code="face_not_found")
    embedding = _unit(found.Face.embedding)
    if not embedding.any():
        raise Conflict(
            f"the face {face_id} has no embedding of {found.Collection.contract_id}, which its collection "
            "was moved to; take another face",
            code="contract_mismatch",
        )
    return StoredFace(found.Face, found.Collection, embedding)


def person(
    session: Session, person_id: uuid.UUID, by: Actor, *, held: bool = False
) -> tuple[Person, Collection]:
    """NotFound where there is none that they reach. `held`: they stay until the transaction ends."""
    query = (
        select(Person, Collection)
        .join(Collection, Collection.id == Person.collection_id)
        .where(Person.id == person_id)
    )
    if held:
        # FOR KEY SHARE: waits for who removes them, and for nobody else.
        query = query.with_for_update(read=True, key_share=True, of=Person)
    found = session.execute(query).one_or_none()
    if found is None or not by.reaches(found.Collection.name):
        raise NotFound(f"there is no person {person_id}", code="person_not_found")
    return found.Person, found.Collection


def read(session: Session, face_id: uuid.UUID, by: Actor) -> StoredFace:
    """The face for somebody who takes its embedding along. NotFound as above."""
    found = face(session, face_id, by)
    audit.write(
        session, by, "embedding.read",
        collection=found.collection.name, subject=face_id, details={"embeddings": 1},
    )  # fmt: skip
    return found


def page(session: Session, name: str, *, limit: int, after: uuid.UUID | None, by: Actor) -> Page:
    """At most `limit` embeddings of the collection `name` behind the face `after`, by id, to take along.

    Of whatever contract: they may be comparable where they go. NotFound where there is no such collection.
    """
    collection = session.scalar(select(Collection).where(Collection.name == name))
    if collection is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    query = (
        select(Face.id, Face.person_id, Face.photo_id, Face.embedding)
        .where(Face.collection_id == collection.id)
        .order_by(Face.id)
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(Face.id > after)
    rows = [
        Row(row.id, row.person_id, row.photo_id, _unit(row.embedding)) for row in session.execute(query).all()
    ]
    following = rows[limit - 1].face_id if len(rows) > limit else None
    told = {"embeddings": len(rows[:limit])}
    audit.write(session, by, "embedding.read", collection=name, details=told)
    return Page(collection, rows[:limit], following)


def add(
    session: Session, person_id: uuid.UUID, pack: Pack, embeddings: Sequence[Embedding], by: Actor
) -> list[uuid.UUID]:
    """Give a person faces without a photo, whose embeddings `pack` made; returns their ids, in that order.

    NotFound as above, Conflict where the collection's embeddings are of another contract.
    """
    owner, collection = person(session, person_id, by, held=True)
    collections.check_contract(collection, pack)
    collections.hold(session, collection)
    face_ids = [uuid.uuid4() for _ in embeddings]
    rows = [
        {
            "id": face_id, "collection_id": collection.id, "person_id": owner.id, "photo_id": None,
            "position": position, "bbox": NO_BOX, "landmarks": NO_LANDMARKS,
            "detection_score": UNMEASURED, "quality": UNMEASURED, "embedding": embedding,
        }
        for position, (face_id, embedding) in enumerate(zip(face_ids, embeddings, strict=True))
    ]  # fmt: skip
    session.execute(insert(Face), rows)
    session.execute(
        update(Collection)
        .where(Collection.id == collection.id)
        .values(version=Collection.version + 1, face_count=Collection.face_count + len(rows))
    )
    audit.write(
        session, by, "embedding.add",
        collection=collection.name, subject=person_id, details={"embeddings": len(rows)},
    )  # fmt: skip
    return face_ids


def _unit(stored: Any) -> Embedding:
    """The numbers of a halfvec; half precision takes the norm a little away from 1. Zeros stay zeros."""
    numbers = np.asarray(stored, np.float32)
    return np.asarray(numbers / (np.linalg.norm(numbers) or 1), np.float32)
