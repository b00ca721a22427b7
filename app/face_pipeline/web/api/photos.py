"""Photos: upload, list, look at."""

from __future__ import annotations

import base64
import mimetypes
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from flask import Blueprint, Response, current_app, jsonify, request, send_file

from face_pipeline.actions import uploads
from face_pipeline.errors import BadRequest, NotFound
from face_pipeline.store import collections, photos
from face_pipeline.store.collections import DEFAULT_COLLECTION
from face_pipeline.store.models import Photo, Scope, State
from face_pipeline.store.originals import relative
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import files, parameters, renditions, views
from face_pipeline.web.auth import requires
from face_pipeline.web.current import parts
from face_pipeline.words import counted

bp = Blueprint("photos", __name__)

ACCEL_PREFIX = "/_originals/"


@bp.post("/photos")
@requires(Scope.WRITE)
def upload() -> tuple[Response, int]:
    sent = files.files_of(request, "photos")
    most = parts().settings.upload_max_photos
    if not sent:
        raise BadRequest("send one or more files in the form field 'photos'", code="photos_missing")
    if len(sent) > most:
        raise BadRequest(
            f"one request takes {counted(most, 'photo')}, this one has {len(sent)}", code="too_many_photos"
        )
    checked = uploads.check_all(parts(), ((files.filename_of(file), files.read(file)) for file in sent))
    batch = uploads.accept(
        parts(), checked,
        collection=parameters.one_text(request, "collection", "collection_name") or DEFAULT_COLLECTION,
        person=parameters.one_text(request, "person", "person_name"),
    )  # fmt: skip
    metrics.files_uploaded.inc(len(batch.photos))
    return jsonify(
        {
            "batch_id": batch.id,
            "photos": [views.accepted(each) for each in batch.photos],
            "rejected": [vars(each) for each in checked.rejected],
        }
    ), 202


@bp.get("/photos")
@requires(Scope.READ)
def list_photos() -> Response:
    limit = parameters.integer(request.args, "limit", 50, 1, 200)
    wanted = _wanted()
    after = _read_cursor(request.args["cursor"]) if "cursor" in request.args else None
    with parts().database.transaction() as session:
        page, following = photos.page(session, wanted, limit=limit, after=after)
    return jsonify(
        {
            "photos": [{**views.photo(photo), "face_count": count} for photo, count in page],
            "next_cursor": _make_cursor(following) if following else None,
        }
    )


def _wanted() -> photos.Wanted:
    state, name, batch = (request.args.get(each) or None for each in ("state", "collection", "batch"))
    if state is not None and state not in list(State):
        raise BadRequest(f"state is one of {', '.join(State)}", code="parameter")
    return photos.Wanted(
        State(state) if state else None,
        collections.check_name(name) if name else None,
        parameters.identifier(batch, "batch") if batch else None,
    )


def _make_cursor(place: photos.Place) -> str:
    received_at = place.received_at.astimezone(UTC).isoformat()
    return base64.urlsafe_b64encode(f"{received_at} {place.photo_id}".encode()).decode()


def _read_cursor(cursor: str) -> photos.Place:
    try:
        text, _, photo_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        received_at = datetime.fromisoformat(text)
        # Databases know fewer times of other zones than Python, so that only those written above are taken.
        if received_at.utcoffset() == timedelta(0):
            return photos.Place(received_at, parameters.identifier(photo_id, "photo"))
    except (ValueError, NotFound):
        pass
    raise BadRequest("cursor is not one this server gave; take next_cursor of a page", code="parameter")


@bp.get("/photos/<photo_id>")
@requires(Scope.READ)
def show(photo_id: str) -> Response:
    with parts().database.transaction() as session:
        photo = photos.find_with_faces(session, parameters.identifier(photo_id, "photo"))
    return jsonify({**views.photo(photo), "faces": [views.face(face) for face in photo.faces]})


@bp.get("/photos/<photo_id>/image")
@requires(Scope.READ)
def image(photo_id: str) -> Response:
    with parts().database.transaction() as session:
        photo = photos.find(session, parameters.identifier(photo_id, "photo"))
    originals = parts().originals
    if renditions.is_wanted(request.args):
        return renditions.of_an_original(originals.read(photo.sha256), request.args)
    if parts().settings.accel_redirect:
        response = current_app.response_class(mimetype=photo.media_type)
        response.headers["X-Accel-Redirect"] = ACCEL_PREFIX + relative(photo.sha256)
    else:
        response = send_file(originals.path(photo.sha256), mimetype=photo.media_type)
    # Content never changes under an id, but who may see it does.
    response.headers["Cache-Control"] = "private, max-age=300"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(_saved_as(photo), safe='')}"
    return response


def _saved_as(photo: Photo) -> str:
    """The name under which a browser saves a photo: its own, with the ending of what it is."""
    name = "".join(character for character in photo.filename if character.isprintable())
    if mimetypes.guess_type(name)[0] == photo.media_type:
        return name
    return name + (mimetypes.guess_extension(photo.media_type) or "")
