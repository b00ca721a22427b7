"""Photos: upload, list, look at."""

from __future__ import annotations

import mimetypes
from urllib.parse import quote

from flask import Blueprint, Response, current_app, request, send_file

from face_pipeline.actions import batches, looks, uploads
from face_pipeline.errors import BadRequest
from face_pipeline.store import collections, photos
from face_pipeline.store.models import Photo, Scope
from face_pipeline.store.originals import relative
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import callers, cursors, files, originals, parameters, renditions, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.requests import PhotosQuery
from face_pipeline.web.current import actor, parts
from face_pipeline.words import counted

bp = Blueprint("photos", __name__)

ACCEL_PREFIX = "/_originals/"


@bp.post("/photos")
@requires(Scope.WRITE)
def upload() -> Response:
    sent = files.files_of(request, "photos")
    most = parts().settings.upload_max_photos
    if not sent:
        raise BadRequest("send one or more files in the form field 'photos'", code="photos_missing")
    if len(sent) > most:
        raise BadRequest(
            f"one request takes {counted(most, 'photo')}, this one has {len(sent)}", code="too_many_photos"
        )
    checked = uploads.check_all(
        parts(), ((files.filename_of(file), files.read(file)) for file in sent), callers.gone()
    )
    form = parameters.upload_form(request)
    collection, batch_id = form.collection, None
    if form.batch is not None:
        open_batch = batches.find(parts(), parameters.identifier(form.batch, "batch"), by=actor())
        batch_id = open_batch.id
        if "collection" not in form.model_fields_set:
            collection = open_batch.collection.name
    batch = uploads.accept(
        parts(), checked, collection=collection, person=form.person, by=actor(), batch_id=batch_id
    )
    metrics.files_uploaded.inc(len(batch.photos))
    return views.answer(
        answers.Upload.model_construct(
            batch_id=str(batch.id),
            photos=[views.accepted(each) for each in batch.photos],
            rejected=[views.rejected(each) for each in batch.rejected],
        ),
        202,
    )


@bp.get("/photos")
@requires(Scope.READ)
def list_photos() -> Response:
    given = {**request.args.to_dict(), "state": request.args.getlist("state")}
    query, by = parameters.read(PhotosQuery, given), actor()
    if query.collection:
        by.check_reaches(collections.check_name(query.collection))
    wanted = photos.Wanted(
        frozenset(each for each in query.state if each) or None,
        query.collection or None,
        parameters.identifier(query.batch, "batch") if query.batch else None,
        parameters.identifier(query.person_id, "person") if query.person_id else None,
        within=by.collections,
        reason=query.reason or None,
        faces=query.faces or None,
        since=parameters.moment(query.since, "since") if query.since is not None else None,
        until=parameters.moment(query.until, "until") if query.until is not None else None,
        filename=query.filename or None,
    )
    after = _read_cursor(query.cursor) if query.cursor is not None else None
    page, following = looks.some_photos(
        parts(), wanted, limit=query.limit, after=after, sort=query.sort, by=by
    )
    return views.answer(
        answers.Photos.model_construct(
            photos=[views.photo_item(photo, count) for photo, count in page],
            next_cursor=cursors.make(following.received_at, following.photo_id) if following else None,
        )
    )


def _read_cursor(cursor: str) -> photos.Place:
    return photos.Place(*cursors.read(cursor, cursors.time, cursors.identifier))


@bp.get("/photos/<photo:photo_id>")
@requires(Scope.READ)
def show(photo_id: str) -> Response:
    photo = looks.photo(parts(), parameters.identifier(photo_id, "photo"), by=actor())
    return views.answer(views.photo(photo))


@bp.get("/photos/<photo_id>/image")
@requires(Scope.READ)
def image(photo_id: str) -> Response:
    photo = looks.original(parts(), parameters.identifier(photo_id, "photo"), by=actor())
    if renditions.is_wanted(request.args):
        return renditions.of_an_original(photo.sha256, originals.data(photo), request.args)
    return original(photo)


def original(photo: Photo) -> Response:
    """Its file, as it was sent. Raises OriginalMissing, OriginalExpired."""
    photos.check_original(photo)
    path = parts().originals.file(photo.sha256)
    if path is None:
        # Of the store, or a copy of another host, if there is one.
        response = current_app.response_class(originals.data(photo), mimetype=photo.media_type)
    elif parts().settings.accel_redirect:
        response = current_app.response_class(mimetype=photo.media_type)
        response.headers["X-Accel-Redirect"] = ACCEL_PREFIX + relative(photo.sha256)
    else:
        response = send_file(path, mimetype=photo.media_type)
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
