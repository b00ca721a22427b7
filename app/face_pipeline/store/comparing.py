"""What another model pack is compared on: photos of a collection with their faces, and what it cannot see."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from face_pipeline.store import audit
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Photo, State

# Of one person, so that a sample has many of them.
PHOTOS_OF_PERSON = 4


@dataclass(frozen=True)
class Known:
    """A stored face. `bbox` float32, shape (4,), pixels; `embedding` float32, shape (dimension,)."""

    face_id: uuid.UUID
    person_id: uuid.UUID | None
    bbox: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Stock:
    """`photos`: id and sha256 of all that were processed; `taken`: those whose original retention took.

    `embeddings`: faces that came as an embedding, without a photo.
    """

    photos: Sequence[tuple[uuid.UUID, str]]
    taken: frozenset[uuid.UUID]
    embeddings: int


def stock(session: Session, collection: Collection) -> Stock:
    """What the collection has, as another pack would find it."""
    rows = session.execute(
        select(Photo.id, Photo.sha256, Photo.original_removed_at)
        .where(Photo.collection_id == collection.id, Photo.state == State.DONE)
        .order_by(Photo.id)
    ).all()
    alone = select(func.count()).where(Face.collection_id == collection.id, Face.photo_id.is_(None))
    return Stock(
        [(row.id, row.sha256) for row in rows],
        frozenset(row.id for row in rows if row.original_removed_at is not None),
        session.scalar(alone) or 0,
    )


def of_persons(session: Session, collection: Collection, most: int) -> Sequence[uuid.UUID]:
    """Photos of persons who are on several, person by person; ids are random, so the choice is too."""
    place = func.row_number().over(partition_by=Face.person_id, order_by=Face.photo_id)
    several = func.count().over(partition_by=Face.person_id)
    ranked = (
        select(
            Face.photo_id, Face.person_id, place.label("place"), several.label("faces"),
        )
        .where(
            Face.collection_id == collection.id, Face.person_id.is_not(None), Face.photo_id.is_not(None)
        )
        .subquery()
    )  # fmt: skip
    rows = session.scalars(
        select(ranked.c.photo_id)
        .where(ranked.c.faces > 1, ranked.c.place <= PHOTOS_OF_PERSON)
        .order_by(ranked.c.person_id, ranked.c.place)
        .limit(most)
    )
    # A photo may show two of them.
    return list(dict.fromkeys(rows))


def faces(session: Session, photo_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Known]]:
    """The faces of these photos."""
    found: dict[uuid.UUID, list[Known]] = defaultdict(list)
    query = select(Face).where(Face.photo_id.in_(photo_ids)).order_by(Face.photo_id, Face.position)
    for face in session.scalars(query):
        if face.photo_id is not None:
            found[face.photo_id].append(
                Known(face.id, face.person_id, np.asarray(face.bbox, np.float32), _unit(face.embedding))
            )
    return found


def tell(session: Session, collection: Collection, photos: int, by: Actor) -> None:
    """The entry of a comparison: how many photos were looked at."""
    audit.write(session, by, "pack.compare", collection=collection.name, details={"photos": photos})


def _unit(stored: Any) -> npt.NDArray[np.float32]:
    numbers = np.asarray(stored.to_numpy() if hasattr(stored, "to_numpy") else stored, np.float32)
    return np.asarray(numbers / (np.linalg.norm(numbers) or 1), np.float32)
