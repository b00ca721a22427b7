"""Pictures of photos and faces: workers make them, for no pixel is decoded in a web process."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

from face_pipeline.actions import workers
from face_pipeline.broker.celery import publish_picture
from face_pipeline.broker.messages import Failed, Kind, Made, ReplyUnreadable, Wanted
from face_pipeline.engine import MemoryBusy
from face_pipeline.errors import NotFound, QueueUnavailable, Unavailable, Unprocessable
from face_pipeline.parts import Parts
from face_pipeline.store import audit, photos, thumbnails
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Photo, Reason, State
from face_pipeline.store.originals import OriginalMissing
from face_pipeline.telemetry import context


class PictureNotReady(Unavailable):
    """No worker made it in time; it can be asked for again."""

    code = "picture_not_ready"


def make(
    parts: Parts, wanted: Wanted, photo: bytes, gone: Callable[[], bool], *, seconds: float | None = None
) -> bytes:
    """A JPEG that a worker makes of the photo, once for all who ask for it at the same time.

    `seconds`: how long it may take; None: as long as a search. Raises Unprocessable for a photo that cannot
    be decoded; PictureNotReady; Unavailable where other photos take the memory for it, SearchBusy where too
    many wait already; ClientGone once `gone` says so.
    """
    timeout = seconds if seconds is not None else parts.settings.search_timeout_seconds
    publish = partial(publish_picture, parts.celery, wanted)
    try:
        answer = workers.ask(parts, wanted.id, photo, publish, gone, timeout=timeout)
    except QueueUnavailable as error:
        raise PictureNotReady("the task queue cannot be reached; ask for the picture again") from error
    if answer is None:
        raise PictureNotReady(
            f"no worker made the picture within {timeout:g} seconds; "
            "they are busy or stopped; ask for it again"
        )
    reply = answer.reply
    context.task_id.set(reply.task_id)
    match reply:
        case Made():
            return reply.picture
        case Failed(code=Reason.ENGINE_ERROR):
            raise PictureNotReady("the worker could not make the picture; its log has the reason")
        case Failed(code=MemoryBusy.code):
            raise Unavailable(reply.message, code=MemoryBusy.code)
        case Failed():
            raise Unprocessable(reply.message, code=reply.code)
    raise ReplyUnreadable("a worker answered another question; ask for the picture again")


def thumbnail(parts: Parts, photo_id: uuid.UUID, *, by: Actor, gone: Callable[[], bool]) -> bytes:
    """The thumbnail of a photo, a JPEG; told in the audit.

    A photo that was processed by an earlier release, or has none for another reason, has it made now, from
    its original and the faces that are known, and kept. Raises NotFound: no photo that `by` reaches, one that
    is not done, an original that is lost or expired; else as `make`.
    """
    with parts.database.reading() as session:
        photo = photos.find(session, photo_id, by=by)
        _check_done(photo)
        picture = thumbnails.find(session, photo_id)
        boxes = [] if picture is not None else photos.boxes(session, photo_id)
        audit.note(session, by, "photo.thumbnail", collection=photo.collection.name, subject=photo_id)
    if picture is not None:
        return picture
    photos.check_original(photo)
    try:
        data = parts.originals.read(photo.sha256)
    except OriginalMissing as error:
        raise NotFound("the original of this photo is lost or damaged", code=error.code) from None
    made = make(parts, Wanted(Kind.THUMBNAIL, photo.sha256, boxes=boxes), data, gone)
    parts.database.in_transaction(lambda session: thumbnails.keep(session, photo_id, made))
    return made


def _check_done(photo: Photo) -> None:
    if photo.state != State.DONE:
        raise NotFound(
            f"the photo is {photo.state}, and has no thumbnail yet; ask again once it is done",
            code="thumbnail_not_there",
            details={"state": photo.state},
        )
