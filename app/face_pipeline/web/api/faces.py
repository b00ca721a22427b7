"""Faces: the picture of one."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from face_pipeline.engine.pictures import face_crop
from face_pipeline.errors import NotFound
from face_pipeline.store import faces
from face_pipeline.store.models import Scope
from face_pipeline.web.api import parameters
from face_pipeline.web.auth import requires
from face_pipeline.web.contract.requests import CropQuery
from face_pipeline.web.current import parts

bp = Blueprint("faces", __name__)


@bp.get("/faces/<face_id>/crop")
@requires(Scope.READ)
def crop(face_id: str) -> Response:
    size = parameters.read(CropQuery, request.args).size
    with parts().database.transaction() as session:
        face = faces.find(session, parameters.identifier(face_id, "face"))
    if face.photo is None:
        raise NotFound(f"face {face_id} came as an embedding, without a photo", code="face_without_photo")
    data = parts().originals.read(face.photo.sha256)
    picture = face_crop(data, face.bbox, size, parts().memory)
    response = current_app.response_class(picture, mimetype="image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=300"
    return response
