"""Comparing all faces of a photo, with those of another one or with a stored face."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from face_pipeline.actions import verification
from face_pipeline.actions.uploads import Upload
from face_pipeline.actions.verification import SIMILARITY_DECIMALS, PhotoSide
from face_pipeline.broker.messages import FoundFace
from face_pipeline.errors import NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, embeddings
from face_pipeline.store.audit import Actor
from face_pipeline.store.embeddings import StoredFace


def cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Of two embeddings (shape (dimension,), L2 norm 1): -1 to 1."""
    return round(float(np.clip(one @ other, -1.0, 1.0)), SIMILARITY_DECIMALS)


def stored(parts: Parts, face_id: uuid.UUID, *, by: Actor) -> StoredFace | None:
    """The stored face that others are compared with; None where there is none that `by` reaches.

    Raises Conflict where another model pack made its embedding.
    """
    try:
        with parts.database.reading() as session:
            found = embeddings.face(session, face_id, by)
    except NotFound:
        return None
    collections.check_contract(found.collection, parts.pack)
    return found


def of_photos(
    parts: Parts, *photos: tuple[str, Upload], gone: Callable[[], bool], by: Actor
) -> list[list[FoundFace]]:
    """The faces of one photo or of two, each with what the request calls it, which are to be compared.

    Raises what a verification of them raises; a photo without a face is no error.
    """
    found = verification.analyse(parts, [PhotoSide(photo, field) for field, photo in photos], gone)
    told(parts, sum(map(len, found)), by=by)
    return found


def told(parts: Parts, faces: int, *, by: Actor) -> None:
    """Leave an entry of a comparison of so many faces in the audit."""
    with parts.database.reading() as session:
        audit.note(session, by, "verification.run", details={"faces": faces})
