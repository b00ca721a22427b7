"""Faces: the picture of one."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from face_pipeline.config import get_settings
from face_pipeline.engine.pictures import face_crop
from face_pipeline.errors import NotFound
from face_pipeline.store.database import transaction
from face_pipeline.store.models import Face
from face_pipeline.store.originals import Originals
from face_pipeline.web import decoding
from face_pipeline.web.api import parameters
from face_pipeline.web.auth import requires
from face_pipeline.web.contract.requests import CropQuery

bp = Blueprint("faces", __name__)


@bp.get("/faces/<face_id>/crop")
@requires("read")
def crop(face_id: str) -> Response:
    size = parameters.read(CropQuery, request.args).size
    with transaction() as session:
        face = session.scalar(
            select(Face)
            .where(Face.id == parameters.identifier(face_id, "face"))
            .options(joinedload(Face.photo))
        )
    if face is None:
        raise NotFound(f"there is no face {face_id}", code="face_not_found")
    data = Originals(get_settings().originals_dir).read(face.photo.sha256)
    picture = face_crop(data, face.bbox, size, decoding.memory())
    response = current_app.response_class(picture, mimetype="image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=300"
    return response
