"""Faces: the picture of one."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from face_pipeline.config import get_settings
from face_pipeline.engine.pictures import face_crop
from face_pipeline.store import faces
from face_pipeline.store.database import transaction
from face_pipeline.store.models import Scope
from face_pipeline.store.originals import Originals
from face_pipeline.web import decoding
from face_pipeline.web.api import parameters
from face_pipeline.web.auth import requires

bp = Blueprint("faces", __name__)


@bp.get("/faces/<face_id>/crop")
@requires(Scope.READ)
def crop(face_id: str) -> Response:
    size = parameters.integer(request.args, "size", 160, 32, 512)
    with transaction() as session:
        face = faces.find(session, parameters.identifier(face_id, "face"))
    data = Originals(get_settings().originals_dir).read(face.photo.sha256)
    picture = face_crop(data, face.bbox, size, decoding.memory())
    response = current_app.response_class(picture, mimetype="image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=300"
    return response
