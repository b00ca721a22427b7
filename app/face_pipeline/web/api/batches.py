"""Batches: how far the photos of one upload are."""

from __future__ import annotations

from flask import Blueprint, Response
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from face_pipeline.errors import NotFound
from face_pipeline.store.database import transaction
from face_pipeline.store.models import PHOTO_STATES, Batch, BatchPhoto, Photo
from face_pipeline.web.api import parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers

bp = Blueprint("batches", __name__)


@bp.get("/batches/<batch_id>")
@requires("read")
def show(batch_id: str) -> Response:
    wanted = parameters.identifier(batch_id, "batch")
    with transaction() as session:
        batch = session.get(Batch, wanted, options=[joinedload(Batch.collection)])
        if batch is None:
            raise NotFound(f"there is no batch {batch_id}", code="batch_not_found")
        rows = session.execute(
            select(Photo.state, func.count())
            .join(BatchPhoto, BatchPhoto.photo_id == Photo.id)
            .where(BatchPhoto.batch_id == wanted)
            .group_by(Photo.state)
        ).all()
    states = dict.fromkeys(PHOTO_STATES, 0) | {row[0]: row[1] for row in rows}
    total = sum(states.values())
    return views.answer(
        answers.Batch.model_construct(
            id=str(batch.id),
            collection=batch.collection.name,
            total=total,
            states=answers.States(**states),
            finished=states["done"] + states["failed"] == total,
            created_at=views.time(batch.created_at),
        )
    )
