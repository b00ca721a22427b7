"""Another try for photos that failed, another collection for photos."""

from __future__ import annotations

from flask import Blueprint, Response

from face_pipeline.actions import photos
from face_pipeline.store.models import Scope
from face_pipeline.web.api import parameters, views
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
