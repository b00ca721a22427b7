"""Originals as answers need them: a file that is lost is told to who asks for it, and to the log."""

from __future__ import annotations

import logging

from face_pipeline.store import photos
from face_pipeline.store.models import Photo
from face_pipeline.store.originals import OriginalMissing
from face_pipeline.web.current import parts

log = logging.getLogger(__name__)


def data(photo: Photo) -> bytes:
    """The file, as it was sent. Raises OriginalMissing, OriginalExpired."""
    photos.check_original(photo)
    try:
        return parts().originals.read(photo.sha256)
    except OriginalMissing as error:
        raise lost(photo, error.code) from error


def lost(photo: Photo, code: str = OriginalMissing.code) -> OriginalMissing:
    """The error for a photo without its file. All else of it is there: it is no photo_not_found.

    `code` for the log: whoever asks can only upload it again, whether its file is gone or damaged.
    """
    log.error(
        "the original %s of a photo is lost", photo.sha256,
        extra={"photo_id": str(photo.id), "reason_code": code},
    )  # fmt: skip
    return OriginalMissing(
        "the service has lost the file of this photo; upload the same file again, and the photo has it back"
    )
