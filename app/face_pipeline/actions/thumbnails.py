"""Thumbnails: looked at, and made where a photo has none yet."""

from __future__ import annotations

import uuid

from face_pipeline.engine.thumbnails import of_file
from face_pipeline.errors import NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import audit, photos, thumbnails
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Photo, State
from face_pipeline.store.originals import OriginalMissing


def look(parts: Parts, photo_id: uuid.UUID, *, by: Actor) -> bytes:
    """The thumbnail of a photo, a JPEG; told in the audit.

    One that was processed by an earlier release has it made now, from its original and the faces that are
    known, and kept. Raises NotFound: no photo that `by` reaches, one that is not done, an original that is
    lost; PhotoBroken, MemoryBusy.
    """
    with parts.database.reading() as session:
        photo = photos.find(session, photo_id, by=by)
        _check_done(photo)
        picture = thumbnails.find(session, photo_id)
        boxes = [] if picture is not None else photos.boxes(session, photo_id)
        audit.note(session, by, "photo.thumbnail", collection=photo.collection.name, subject=photo_id)
    if picture is not None:
        return picture
    try:
        data = parts.originals.read(photo.sha256)
    except OriginalMissing:
        raise NotFound("the original of this photo is lost", code="original_missing") from None
    made = of_file(data, boxes, parts.memory)
    parts.database.in_transaction(lambda session: thumbnails.keep(session, photo_id, made))
    return made


def _check_done(photo: Photo) -> None:
    if photo.state != State.DONE:
        raise NotFound(
            f"the photo is {photo.state}, and has no thumbnail yet; ask again once it is done",
            code="thumbnail_not_there",
            details={"state": photo.state},
        )
