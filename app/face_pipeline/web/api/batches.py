"""Batches: how far the photos of one upload are."""

from __future__ import annotations

from flask import Blueprint, Response

from face_pipeline.store import batches
from face_pipeline.store.models import Scope, State
from face_pipeline.web.api import parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.current import actor, parts

bp = Blueprint("batches", __name__)


@bp.get("/batches/<batch_id>")
@requires(Scope.READ)
def show(batch_id: str) -> Response:
    wanted = parameters.identifier(batch_id, "batch")
    with parts().database.transaction() as session:
        batch = batches.find(session, wanted, by=actor())
        states = batches.progress(session, wanted)
    total = sum(states.values())
    return views.answer(
        answers.Batch.model_construct(
            id=str(batch.id),
            collection=batch.collection.name,
            total=total,
            states=answers.States(**states),
            finished=states[State.DONE] + states[State.FAILED] == total,
            created_at=views.time(batch.created_at),
        )
    )
