"""Originals as answers need them: a file that is lost is told to who asks for it, and to the log."""

from __future__ import annotations

import logging

from face_pipeline.store import photos
from face_pipeline.store.models import Photo
from face_pipeline.store.originals import OriginalDamaged, OriginalMissing
from face_pipeline.web.current import parts

log = logging.getLogger(__name__)


def data(photo: Photo) -> bytes:
    """The file, as it was sent. Raises OriginalMissing, OriginalDamaged, OriginalExpired."""
    photos.check_original(photo)
    try:
        return parts().originals.read(photo.sha256)
    except OriginalMissing as error:
        raise lost(photo, type(error)) from error


def lost(photo: Photo, kind: type[OriginalMissing] = OriginalMissing) -> OriginalMissing:
    """The error for a photo without its file. All else of it is there: it is no photo_not_found."""
    damaged = kind is OriginalDamaged
    log.error(
        "the original %s of a photo is %s", photo.sha256, "damaged" if damaged else "lost",
        extra={"photo_id": str(photo.id), "reason_code": kind.code},
    )  # fmt: skip
    what = "the file of this photo is damaged" if damaged else "the service has lost the file of this photo"
    return kind(f"{what}; upload the same file again, and the photo has it back")
