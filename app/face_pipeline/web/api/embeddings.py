"""Embeddings, out and in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from flask import Blueprint, Response, request

from face_pipeline.actions import embeddings
from face_pipeline.store.embeddings import Row
from face_pipeline.store.models import Scope
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract.embeddings import (
    BODY_MAX_BYTES,
    EmbeddingItem,
    Embeddings,
    EmbeddingsAdded,
    EmbeddingsBody,
    EmbeddingsQuery,
    FaceEmbedding,
)
from face_pipeline.web.current import actor, parts

bp = Blueprint("embeddings", __name__)

# Of a number of an embedding: what half precision keeps is coarser.
DECIMALS = 7


@bp.get("/faces/<face_id>/embedding")
@requires(Scope.ADMIN)
def of_a_face(face_id: str) -> Response:
    face = embeddings.read(parts(), parameters.identifier(face_id, "face"), by=actor())
    return views.answer(
        FaceEmbedding.model_construct(
            face_id=str(face.row.id),
            contract_id=face.collection.contract_id,
            dimension=face.collection.dimension,
            embedding=_numbers(face.embedding),
        )
    )


@bp.get("/collections/<collection>/embeddings")
@requires(Scope.ADMIN)
def of_a_collection(collection: str) -> Response:
    query = parameters.read(EmbeddingsQuery, request.args)
    after = None
    if query.cursor is not None:
        (after,) = cursors.read(query.cursor, cursors.identifier)
    page = embeddings.export(parts(), collection, limit=query.limit, after=after, by=actor())
    return views.answer(
        Embeddings.model_construct(
            collection=page.collection.name,
            contract_id=page.collection.contract_id,
            dimension=page.collection.dimension,
            embeddings=[_item(row) for row in page.rows],
            next_cursor=cursors.make(page.following) if page.following else None,
        )
    )


@bp.post("/persons/<person_id>/embeddings")
@requires(Scope.ADMIN)
def add(person_id: str) -> Response:
    person = parameters.identifier(person_id, "person")
    body = parameters.body(EmbeddingsBody, most=BODY_MAX_BYTES)
    face_ids = embeddings.add(parts(), person, contract=body.contract_id, given=body.embeddings, by=actor())
    return views.answer(
        EmbeddingsAdded.model_construct(
            person_id=str(person), face_ids=[str(face_id) for face_id in face_ids]
        ),
        201,
    )


def _item(row: Row) -> EmbeddingItem:
    return EmbeddingItem.model_construct(
        face_id=str(row.face_id),
        person_id=str(row.person_id) if row.person_id else None,
        photo_id=str(row.photo_id) if row.photo_id else None,
        embedding=_numbers(row.embedding),
    )


def _numbers(embedding: npt.NDArray[np.float32]) -> list[float]:
    numbers: list[float] = embedding.astype(float).round(DECIMALS).tolist()
    return numbers
