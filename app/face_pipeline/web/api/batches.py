"""Batches: made, listed, and how far the photos of each are."""

from __future__ import annotations

from flask import Blueprint, Response, request

from face_pipeline.actions import batches
from face_pipeline.actions.batches import Progress
from face_pipeline.store.batches import Place
from face_pipeline.store.collections import check_name
from face_pipeline.store.models import Scope, State
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import batches as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("batches", __name__)


@bp.post("/batches")
@requires(Scope.WRITE)
def make() -> Response:
    wanted = parameters.body(contract.NewBatch)
    return views.answer(_told(batches.make(parts(), wanted.collection, by=actor())), 201)


@bp.get("/batches")
@requires(Scope.READ)
def list_batches() -> Response:
    query = parameters.read(contract.BatchesQuery, request.args)
    after = Place(*cursors.read(query.cursor, cursors.time, cursors.identifier)) if query.cursor else None
    found, following = batches.page(
        parts(),
        collection=check_name(query.collection) if query.collection else None,
        limit=query.limit,
        after=after,
        by=actor(),
    )
    return views.answer(
        contract.Batches.model_construct(
            batches=[_told(each) for each in found],
            next_cursor=cursors.make(following.created_at, following.batch_id) if following else None,
        )
    )


@bp.get("/batches/<batch_id>")
@requires(Scope.READ)
def show(batch_id: str) -> Response:
    wanted = parameters.identifier(batch_id, "batch")
    return views.answer(_told(batches.describe(parts(), wanted, by=actor())))


def _told(value: Progress) -> answers.Batch:
    batch, states = value.batch, value.states
    total = sum(states.values())
    return answers.Batch.model_construct(
        id=str(batch.id),
        collection=batch.collection.name,
        total=total,
        states=answers.States(**states),
        finished=states[State.DONE] + states[State.FAILED] == total,
        created_at=views.time(batch.created_at),
    )
