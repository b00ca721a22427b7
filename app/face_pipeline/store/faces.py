"""Faces as they are read one by one; searches among them are in vectors.py."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from face_pipeline.errors import NotFound
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Photo


def find(session: Session, face_id: uuid.UUID, *, by: Actor | None = None) -> Face:
    """The face with its photo and collection; NotFound when there is none, or `by` does not reach it."""
    face = session.scalar(
        select(Face).where(Face.id == face_id).options(joinedload(Face.photo).joinedload(Photo.collection))
    )
    if face is None or (by is not None and not by.reaches(face.photo.collection.name)):
        raise NotFound(f"there is no face {face_id}", code="face_not_found")
    return face


def some_embeddings(session: Session, collection: Collection, limit: int) -> Sequence[Any]:
    """Embeddings (halfvec, shape (dimension,), L2 norm 1) of any `limit` faces of the collection."""
    return session.scalars(
        select(Face.embedding).where(Face.collection_id == collection.id).limit(limit)
    ).all()
