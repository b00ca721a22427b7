"""Renditions: a photo as the engines see it, for pages that show it with its faces."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, current_app, request

from face_pipeline.actions import pictures
from face_pipeline.broker.messages import Kind, Wanted
from face_pipeline.store.models import Scope
from face_pipeline.web.api import callers, files, parameters
from face_pipeline.web.auth import requires
from face_pipeline.web.contract.requests import ImageQuery, RenditionSize
from face_pipeline.web.current import parts

bp = Blueprint("renditions", __name__)


@bp.post("/renditions")
@requires(Scope.READ)
def of_a_file() -> Response:
    """Of a file that is not kept: browsers cannot show some, and turn others differently."""
    photo = files.read_one(request, "photo")
    response = _upright(photo.row.sha256, photo.data, parameters.read(RenditionSize, request.form).size)
    response.headers["Cache-Control"] = "no-store"
    return response


def is_wanted(values: Mapping[str, str]) -> bool:
    """Whether `rendition=upright` is asked for instead of the original."""
    return parameters.read(ImageQuery, values).rendition == "upright"


def of_an_original(sha256: str, data: bytes, values: Mapping[str, str]) -> Response:
    response = _upright(sha256, data, parameters.read(RenditionSize, values).size)
    response.headers["Cache-Control"] = "private, max-age=300"
    return response


def _upright(sha256: str, data: bytes, size: int) -> Response:
    """A JPEG of the whole photo, longer side at most `size` pixels."""
    made = pictures.make(parts(), Wanted(Kind.UPRIGHT, sha256, size), data, callers.gone())
    return current_app.response_class(made, mimetype="image/jpeg")
