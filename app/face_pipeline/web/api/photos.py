"""Photos: upload, list, look at."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import uuid
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request, send_file
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import joinedload, selectinload

from face_pipeline.config import get_settings
from face_pipeline.engine import PhotoRejected
from face_pipeline.errors import BadRequest, NotFound, Unprocessable
from face_pipeline.store import collections, ledger
from face_pipeline.store.database import transaction
from face_pipeline.store.models import PHOTO_STATES, BatchPhoto, Collection, Face, Photo
from face_pipeline.store.originals import Originals, relative
from face_pipeline.telemetry import context
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web import packs
from face_pipeline.web.api import parameters, uploads, views
from face_pipeline.web.auth import requires
from face_pipeline.worker.app import publish_ingest

log = logging.getLogger(__name__)

bp = Blueprint("photos", __name__)

ACCEL_PREFIX = "/_originals/"


@bp.post("/photos")
@requires("write")
def upload() -> tuple[Response, int]:
    settings = get_settings()
    files = uploads.files_of(request, "photos")
    if not files:
        raise BadRequest("send one or more files in the form field 'photos'", code="photos_missing")
    if len(files) > settings.upload_max_photos:
        raise BadRequest(
            f"one request takes {settings.upload_max_photos} photos, this one has {len(files)}",
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
            "no file of this request can be used", code="photos_rejected", details={"rejected": rejected}
        )
    batch_id, accepted = _accept(good)
    metrics.files_uploaded.inc(len(accepted))
    log.info(
        "%d photo%s accepted, %d refused", len(accepted), "" if len(accepted) == 1 else "s", len(rejected),
        extra={
            "operation": "upload", "batch_id": str(batch_id), "count": len(accepted),
            "photo_id": [str(each.photo_id) for each in accepted],
            "reason_code": sorted({each["code"] for each in rejected}) or None,
        },
    )  # fmt: skip
    _publish(list({each.photo_id for each in accepted if each.state == "received"}))
    return jsonify(
        {"batch_id": batch_id, "photos": [views.accepted(each) for each in accepted], "rejected": rejected}
    ), 202


def _accept(good: list[uploads.Upload]) -> tuple[uuid.UUID, list[ledger.Accepted]]:
    """Originals to disk, then their rows, all in one transaction: both are kept when this returns."""
    originals = Originals(get_settings().originals_dir)
    name = request.form.get("collection", collections.DEFAULT_COLLECTION)
    person_name = request.form.get("person")
    with transaction() as session:
        collection = collections.open_collection(session, name, packs.installed())
        person = collections.open_person(session, collection, person_name) if person_name else None
        known = ledger.known(session, collection, {each.row.sha256 for each in good})
    # Outside a transaction: nothing is locked while the disk works.
    originals.write(
        {
            each.row.sha256: each.data
            for each in good
            if each.row.sha256 not in known or not originals.path(each.row.sha256).exists()
        }
    )
    with transaction() as session:
        batch, accepted = ledger.accept(
            session, collection, [each.row for each in good],
            person=person, request_id=context.request_id.get(),
        )  # fmt: skip
    return batch.id, accepted


def _publish(photo_ids: list[uuid.UUID]) -> None:
    """Hand the photos to the workers; what Redis does not take now, the reconciler brings later."""
    if not photo_ids:
        return
    try:
        sent = publish_ingest(photo_ids, context.request_id.get())
        if sent:
            with transaction() as session:
                ledger.mark_queued(session, sent)
    except (OperationalError, RedisError, OSError):
        log.warning("Redis takes no messages; the photos wait in the ledger", extra={"count": len(photo_ids)})
    except Exception:
        # The rows are committed: whatever failed here, the photos are accepted.
        log.exception("photos wait in the ledger", extra={"count": len(photo_ids)})


@bp.get("/photos")
@requires("read")
def list_photos() -> Response:
    limit = parameters.integer(request.args, "limit", 50, 1, 200)
    query = _filtered(select(Photo)).order_by(Photo.received_at.desc(), Photo.id.desc()).limit(limit + 1)
    if "cursor" in request.args:
        query = query.where(tuple_(Photo.received_at, Photo.id) < _read_cursor(request.args["cursor"]))
    faces = select(func.count()).where(Face.photo_id == Photo.id).correlate(Photo).scalar_subquery()
    options = (joinedload(Photo.collection), joinedload(Photo.person))
    with transaction() as session:
        rows = session.execute(query.add_columns(faces).options(*options)).all()
    page = rows[:limit]
    return jsonify(
        {
            "photos": [{**views.photo(photo), "face_count": count} for photo, count in page],
            "next_cursor": _make_cursor(page[-1][0]) if len(rows) > limit else None,
        }
    )


def _filtered(query: Select[Any]) -> Select[Any]:
    if state := request.args.get("state"):
        if state not in PHOTO_STATES:
            raise BadRequest(f"state is one of {', '.join(PHOTO_STATES)}", code="parameter")
        query = query.where(Photo.state == state)
    if name := request.args.get("collection"):
        query = query.join(Collection, Collection.id == Photo.collection_id).where(Collection.name == name)
    if batch := request.args.get("batch"):
        query = query.join(BatchPhoto, BatchPhoto.photo_id == Photo.id).where(
            BatchPhoto.batch_id == parameters.identifier(batch, "batch")
        )
    return query


def _make_cursor(photo: Photo) -> str:
    return base64.urlsafe_b64encode(
        json.dumps([photo.received_at.isoformat(), str(photo.id)]).encode()
    ).decode()


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        received_at, photo_id = json.loads(base64.urlsafe_b64decode(cursor))
        return datetime.fromisoformat(received_at), uuid.UUID(photo_id)
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise BadRequest("cursor is not one this server gave", code="parameter") from None


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
    return jsonify({**views.photo(photo), "faces": [views.face(face) for face in photo.faces]})


@bp.get("/photos/<photo_id>/image")
@requires("read")
def image(photo_id: str) -> Response:
    with transaction() as session:
        photo = session.get(Photo, parameters.identifier(photo_id, "photo"))
    if photo is None:
        raise NotFound(f"there is no photo {photo_id}", code="photo_not_found")
    settings = get_settings()
    originals = Originals(settings.originals_dir)
    if settings.accel_redirect:
        response = current_app.response_class(mimetype=photo.media_type)
        response.headers["X-Accel-Redirect"] = ACCEL_PREFIX + relative(photo.sha256)
    else:
        response = send_file(originals.path(photo.sha256), mimetype=photo.media_type)
    # Content never changes under an id, but who may see it does.
    response.headers["Cache-Control"] = "private, max-age=300"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
