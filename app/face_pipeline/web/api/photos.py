"""Photos: upload, list, look at."""

from __future__ import annotations

import base64
import logging
import mimetypes
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, current_app, request, send_file
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session, joinedload, selectinload

from face_pipeline.config import get_settings
from face_pipeline.engine import Pack, PhotoRejected
from face_pipeline.errors import BadRequest, NotFound, Unprocessable
from face_pipeline.store import collections, ledger, persons
from face_pipeline.store.database import in_transaction, transaction
from face_pipeline.store.models import BatchPhoto, Collection, Face, Photo
from face_pipeline.store.originals import Originals, relative
from face_pipeline.telemetry import context
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web import packs
from face_pipeline.web.api import parameters, renditions, uploads, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.requests import PhotosQuery
from face_pipeline.words import counted
from face_pipeline.worker.app import publish_ingest

log = logging.getLogger(__name__)

bp = Blueprint("photos", __name__)

ACCEL_PREFIX = "/_originals/"


@bp.post("/photos")
@requires("write")
def upload() -> Response:
    settings = get_settings()
    files = uploads.files_of(request, "photos")
    if not files:
        raise BadRequest("send one or more files in the form field 'photos'", code="photos_missing")
    if len(files) > settings.upload_max_photos:
        raise BadRequest(
            f"one request takes {counted(settings.upload_max_photos, 'photo')}, this one has {len(files)}",
            code="too_many_photos",
        )
    good: list[uploads.Upload] = []
    rejected = []
    for number, file in enumerate(files, 1):
        try:
            good.append(uploads.read_upload(file, settings))
        except PhotoRejected as error:
            rejected.append(uploads.rejection(uploads.filename_of(file), error))
            log.debug(
                "file %d refused: %s", number, error.message,
                extra={"operation": "upload", "reason_code": error.code},
            )  # fmt: skip
    if not good:
        raise Unprocessable(
            "no file of this request can be used", code="photos_rejected",
            details={"rejected": [each.model_dump() for each in rejected]},
        )  # fmt: skip
    batch_id, accepted = _accept(good)
    metrics.files_uploaded.inc(len(accepted))
    log.info(
        "%s accepted, %d refused", counted(len(accepted), "photo"), len(rejected),
        extra={
            "operation": "upload", "batch_id": str(batch_id), "count": len(accepted),
            "photo_id": [str(each.photo_id) for each in accepted],
            "reason_code": sorted(
                {each.code for each in rejected} | {each.remark.code for each in accepted if each.remark}
            ) or None,
        },
    )  # fmt: skip
    _publish(list({each.photo_id for each in accepted if each.state == "received"}))
    return views.answer(
        answers.Upload.model_construct(
            batch_id=str(batch_id), photos=[views.accepted(each) for each in accepted], rejected=rejected
        ),
        202,
    )


def _accept(good: list[uploads.Upload]) -> tuple[uuid.UUID, list[ledger.Accepted]]:
    """Originals to disk, then their rows, all in one transaction: both are kept when this returns."""
    originals = Originals(get_settings().originals_dir)
    form = parameters.upload_form(request)
    person = persons.check_name(form.person) if form.person is not None else None
    pack = packs.installed()
    collection, known = in_transaction(lambda session: _known(session, form.collection, pack, good))
    # Outside a transaction: nothing is locked while the disk works.
    originals.write(
        {
            each.row.sha256: each.data
            for each in good
            if each.row.sha256 not in known or not originals.path(each.row.sha256).exists()
        }
    )
    batch, accepted = in_transaction(
        lambda session: ledger.accept(
            session, collection, [each.row for each in good],
            person=person, request_id=context.request_id.get(),
        )
    )  # fmt: skip
    return batch.id, accepted


def _known(
    session: Session, name: str, pack: Pack, good: list[uploads.Upload]
) -> tuple[Collection, set[str]]:
    collection = collections.open_collection(session, name, pack)
    return collection, ledger.known(session, collection, {each.row.sha256 for each in good})


def _publish(photo_ids: list[uuid.UUID]) -> None:
    """Hand the photos to the workers; what Redis does not take now, the reconciler brings later."""
    if not photo_ids:
        return
    try:
        sent = publish_ingest(photo_ids, context.request_id.get())
        if sent:
            in_transaction(lambda session: ledger.mark_queued(session, sent))
    except (OperationalError, RedisError, OSError):
        log.warning("Redis takes no messages; the photos wait in the ledger", extra={"count": len(photo_ids)})
    except Exception:
        # The rows are committed: whatever failed here, the photos are accepted.
        log.exception("photos wait in the ledger", extra={"count": len(photo_ids)})


@bp.get("/photos")
@requires("read")
def list_photos() -> Response:
    asked = parameters.read(PhotosQuery, request.args)
    query = (
        _filtered(select(Photo), asked)
        .order_by(Photo.received_at.desc(), Photo.id.desc())
        .limit(asked.limit + 1)
    )
    if asked.cursor is not None:
        query = query.where(tuple_(Photo.received_at, Photo.id) < _read_cursor(asked.cursor))
    faces = select(func.count()).where(Face.photo_id == Photo.id).correlate(Photo).scalar_subquery()
    options = (joinedload(Photo.collection), joinedload(Photo.person))
    with transaction() as session:
        rows = session.execute(query.add_columns(faces).options(*options)).all()
    page = rows[: asked.limit]
    return views.answer(
        answers.Photos.model_construct(
            photos=[views.photo_item(photo, count) for photo, count in page],
            next_cursor=_make_cursor(page[-1][0]) if len(rows) > asked.limit else None,
        )
    )


def _filtered(query: Select[Any], asked: PhotosQuery) -> Select[Any]:
    if asked.state:
        query = query.where(Photo.state == asked.state)
    if asked.collection:
        query = query.join(Collection, Collection.id == Photo.collection_id).where(
            Collection.name == collections.check_name(asked.collection)
        )
    if asked.batch:
        query = query.join(BatchPhoto, BatchPhoto.photo_id == Photo.id).where(
            BatchPhoto.batch_id == parameters.identifier(asked.batch, "batch")
        )
    return query


def _make_cursor(photo: Photo) -> str:
    received_at = photo.received_at.astimezone(UTC).isoformat()
    return base64.urlsafe_b64encode(f"{received_at} {photo.id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        text, _, photo_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        received_at = datetime.fromisoformat(text)
        # Databases know fewer times of other zones than Python, so that only those written above are taken.
        if received_at.utcoffset() == timedelta(0):
            return received_at, parameters.identifier(photo_id, "photo")
    except (ValueError, NotFound):
        pass
    raise BadRequest("cursor is not one this server gave; take next_cursor of a page", code="parameter")


@bp.get("/photos/<photo_id>")
@requires("read")
def show(photo_id: str) -> Response:
    with transaction() as session:
        photo = session.scalar(
            select(Photo)
            .where(Photo.id == parameters.identifier(photo_id, "photo"))
            .options(
                joinedload(Photo.collection),
                joinedload(Photo.person),
                selectinload(Photo.faces).joinedload(Face.person),
            )
        )
    if photo is None:
        raise NotFound(f"there is no photo {photo_id}", code="photo_not_found")
    return views.answer(views.photo(photo))


@bp.get("/photos/<photo_id>/image")
@requires("read")
def image(photo_id: str) -> Response:
    with transaction() as session:
        photo = session.get(Photo, parameters.identifier(photo_id, "photo"))
    if photo is None:
        raise NotFound(f"there is no photo {photo_id}", code="photo_not_found")
    settings = get_settings()
    originals = Originals(settings.originals_dir)
    if renditions.is_wanted(request.args):
        return renditions.of_an_original(originals.read(photo.sha256), request.args)
    if settings.accel_redirect:
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
