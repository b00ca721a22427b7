"""Small pictures for pages: thumbnails of photos, which browsers keep; and how long they keep a face."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from face_pipeline.actions import pictures
from face_pipeline.engine.types import THUMBNAIL_RECIPE
from face_pipeline.store.models import Scope
from face_pipeline.web.api import callers, parameters
from face_pipeline.web.auth import requires
from face_pipeline.web.contract.requests import PictureVersion
from face_pipeline.web.current import actor, parts

bp = Blueprint("pictures", __name__)

FOR_EVER = "private, max-age=31536000, immutable"
# Of an address that names no version, or another one.
A_WHILE = "private, max-age=300"


@bp.get("/photos/<photo_id>/thumbnail")
@requires(Scope.READ)
def thumbnail(photo_id: str) -> Response:
    version = parameters.read(PictureVersion, request.args).v
    wanted = parameters.identifier(photo_id, "photo")
    picture = pictures.thumbnail(parts(), wanted, by=actor(), gone=callers.gone())
    response = current_app.response_class(picture, mimetype="image/jpeg")
    return kept(response, version, f"{wanted.hex}-{THUMBNAIL_RECIPE}")


def kept(response: Response, version: int, tag: str) -> Response:
    """The picture, with how long a browser keeps it: for ever under the address that names its version.

    Who may see it differs between keys, so that another key or another session asks again.
    """
    response.set_etag(tag)
    response.headers["Cache-Control"] = FOR_EVER if version == THUMBNAIL_RECIPE else A_WHILE
    response.vary.update(("Cookie", "Authorization", "X-API-Key"))
    return response.make_conditional(request)  # type: ignore[return-value]
