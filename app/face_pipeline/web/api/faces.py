"""Faces: whose one is, and the picture of it."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from face_pipeline.actions import faces, looks
from face_pipeline.actions.pictures import make
from face_pipeline.broker.messages import Kind, Wanted
from face_pipeline.engine.types import THUMBNAIL_RECIPE
from face_pipeline.errors import BadRequest, NotFound
from face_pipeline.store.models import Face, Scope
from face_pipeline.web.api import callers, originals, parameters, pictures, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import faces as contract
from face_pipeline.web.contract.requests import CropQuery, PictureVersion
from face_pipeline.web.current import actor, parts

bp = Blueprint("faces", __name__)


@bp.get("/faces/<face_id>")
@requires(Scope.READ)
def show(face_id: str) -> Response:
    return _answer(faces.describe(parts(), parameters.identifier(face_id, "face"), by=actor()))


@bp.patch("/faces/<face_id>")
@requires(Scope.ENROL)
def give(face_id: str) -> Response:
    wanted = parameters.identifier(face_id, "face")
    change = parameters.body(contract.FaceChange)
    given = change.model_fields_set
    if len(given) != 1 or (given == {"person"} and change.person is None):
        raise BadRequest(
            "send either person_id (an id, or null to take the face off its person) or person (a name)",
            code="parameter",
        )
    if change.person is not None:
        return _answer(faces.give_to_name(parts(), wanted, change.person, by=actor()))
    person_id = None if change.person_id is None else parameters.identifier(change.person_id, "person")
    return _answer(faces.give(parts(), wanted, person_id, by=actor()))


def _answer(face: Face) -> Response:
    return views.answer(
        contract.OneFace.model_construct(
            **dict(views.face(face)),
            collection=face.collection.name,
            photo_id=str(face.photo_id) if face.photo_id else None,
        )
    )


@bp.get("/faces/<face_id>/crop")
@requires(Scope.READ)
def crop(face_id: str) -> Response:
    size = parameters.read(CropQuery, request.args).size
    version = parameters.read(PictureVersion, request.args).v
    face = looks.crop(parts(), parameters.identifier(face_id, "face"), by=actor())
    if face.photo is None:
        raise NotFound(f"face {face_id} came as an embedding, without a photo", code="face_without_photo")
    tag = f"{face.id.hex}-{size}-{THUMBNAIL_RECIPE}"
    if request.if_none_match.contains(tag):
        # Box and original of a face never change: no worker is asked again.
        return pictures.kept(current_app.response_class(mimetype="image/jpeg"), version, tag)
    data = originals.data(face.photo)
    wanted = Wanted(Kind.CROP, face.photo.sha256, size, [face.bbox])
    picture = make(parts(), wanted, data, callers.gone())
    return pictures.kept(current_app.response_class(picture, mimetype="image/jpeg"), version, tag)
