"""Another try for photos that failed, another collection for photos."""

from __future__ import annotations

from flask import Blueprint, Response

from face_pipeline.actions import photos
from face_pipeline.errors import BadRequest
from face_pipeline.store.models import Scope
from face_pipeline.web.api import parameters, several, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import upkeep as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("upkeep", __name__)


@bp.post("/photos/<photo_id>/retry")
@requires(Scope.WRITE)
def retry(photo_id: str) -> Response:
    photo = photos.retry(parts(), parameters.identifier(photo_id, "photo"), by=actor())
    return views.answer(views.photo(photo), 202)


@bp.post("/photos/retry")
@requires(Scope.WRITE)
def retry_all() -> Response:
    wish = parameters.body(contract.RetryWish)
    if wish.photo_ids is not None:
        if wish.collection is not None or wish.reason is not None:
            raise BadRequest("name photo_ids, or a collection and a reason, and not both", code="parameter")
        started, refused = photos.retry_several(parts(), several.ids(wish.photo_ids), by=actor())
        return views.answer(
            contract.Retried.model_construct(retried=started, refused=several.not_done(refused)), 202
        )
    retried = photos.retry_all(parts(), collection=wish.collection, reason=wish.reason, by=actor())
    return views.answer(contract.Retried.model_construct(retried=retried), 202)


@bp.post("/photos/<photo_id>/move")
@requires(Scope.WRITE)
def move(photo_id: str) -> Response:
    wanted = parameters.identifier(photo_id, "photo")
    moved = photos.move(parts(), wanted, parameters.body(contract.MoveWish).collection, by=actor())
    return views.answer(
        contract.Moved.model_construct(
            photo=views.photo(moved.photo), unnamed=moved.unnamed, remark=views.remark(moved.remark)
        )
    )
