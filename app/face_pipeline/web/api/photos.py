"""Photos: upload, list, look at."""

from __future__ import annotations

import base64
import logging
import mimetypes
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from flask import Blueprint, Response, current_app, jsonify, request, send_file
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from face_pipeline.broker.celery import publish_ingest
from face_pipeline.engine import Pack, PhotoRejected
from face_pipeline.errors import BadRequest, NotFound, Unprocessable
from face_pipeline.store import collections, ledger, persons, photos
from face_pipeline.store.models import Collection, Photo, Scope, State
from face_pipeline.store.originals import relative
from face_pipeline.telemetry import context
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import parameters, renditions, uploads, views
from face_pipeline.web.auth import requires
from face_pipeline.web.current import parts
from face_pipeline.words import counted

log = logging.getLogger(__name__)

bp = Blueprint("photos", __name__)

ACCEL_PREFIX = "/_originals/"


@bp.post("/photos")
@requires(Scope.WRITE)
def upload() -> tuple[Response, int]:
    settings = parts().settings
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
            "no file of this request can be used", code="photos_rejected", details={"rejected": rejected}
        )
    batch_id, accepted = _accept(good)
    metrics.files_uploaded.inc(len(accepted))
    log.info(
        "%s accepted, %d refused", counted(len(accepted), "photo"), len(rejected),
        extra={
            "operation": "upload", "batch_id": str(batch_id), "count": len(accepted),
            "photo_id": [str(each.photo_id) for each in accepted],
            "reason_code": sorted(
                {each["code"] for each in rejected} | {each.remark.code for each in accepted if each.remark}
            ) or None,
        },
    )  # fmt: skip
    _publish(list({each.photo_id for each in accepted if each.state == State.RECEIVED}))
    return jsonify(
        {"batch_id": batch_id, "photos": [views.accepted(each) for each in accepted], "rejected": rejected}
    ), 202


def _accept(good: list[uploads.Upload]) -> tuple[uuid.UUID, list[ledger.Accepted]]:
    """Originals to disk, then their rows, all in one transaction: both are kept when this returns."""
    originals = parts().originals
    name = parameters.one_text(request, "collection", "collection_name") or collections.DEFAULT_COLLECTION
    given = parameters.one_text(request, "person", "person_name")
    person = persons.check_name(given) if given is not None else None
    pack = parts().pack
    collection, known = parts().database.in_transaction(lambda session: _known(session, name, pack, good))
    # Outside a transaction: nothing is locked while the disk works.
    originals.write(
        {
            each.row.sha256: each.data
            for each in good
            if each.row.sha256 not in known or not originals.path(each.row.sha256).exists()
        }
    )
    batch, accepted = parts().database.in_transaction(
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
        sent = publish_ingest(parts().celery, photo_ids, context.request_id.get())
        if sent:
            parts().database.in_transaction(lambda session: ledger.mark_queued(session, sent))
    except (OperationalError, RedisError, OSError):
        log.warning("Redis takes no messages; the photos wait in the ledger", extra={"count": len(photo_ids)})
    except Exception:
        # The rows are committed: whatever failed here, the photos are accepted.
        log.exception("photos wait in the ledger", extra={"count": len(photo_ids)})


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
