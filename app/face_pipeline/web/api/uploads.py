"""Checking what was uploaded, without decoding a pixel: workers do that."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from flask import Request
from werkzeug.datastructures import FileStorage

from face_pipeline.config import Settings
from face_pipeline.engine import PhotoRejected, inspect
from face_pipeline.errors import BadRequest, Unprocessable
from face_pipeline.store.ledger import NewPhoto
from face_pipeline.web.current import parts

FILENAME_MAX = 255
STATUS_BY_REJECTION = {"too_large": 413, "unsupported_type": 415}
# Of which the end is kept, where the number and the ending of a file stand.
FILENAME_END = 40
WINDOWS_PATH = re.compile(r"(?:[A-Za-z]:\\|\\\\).*\\")


@dataclass(frozen=True)
class Upload:
    """A photo that passed the checks."""

    row: NewPhoto
    data: bytes


def filename_of(file: FileStorage) -> str:
    """The name the client gave, for people to read; it never becomes a path.

    Directories are left out. Control characters are shown as their pictures (U+2400 and following) or, like
    line separators and what no text can hold, as a backslash, `u` and their number. Nothing else is changed.
    """
    name = (file.filename or "").rsplit("/", 1)[-1]
    name = "".join(map(_visible, WINDOWS_PATH.sub("", name)))
    if len(name) > FILENAME_MAX:
        name = f"{name[: FILENAME_MAX - FILENAME_END - 1]}…{name[-FILENAME_END:]}"
    return name if name.strip() else "photo"


def _visible(character: str) -> str:
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    if number == 0x7F:
        return "\u2421"
    # Control characters, line and paragraph separator, halves of a pair, no character at all.
    if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
        return f"\\u{number:04x}"
    return character


def read_upload(file: FileStorage, settings: Settings) -> Upload:
    """Read and check one file of a request; raises PhotoRejected."""
    data = file.stream.read(settings.upload_max_bytes + 1)
    info = inspect(
        data,
        max_bytes=settings.upload_max_bytes,
        max_pixels=settings.upload_max_pixels,
        max_decode_bytes=settings.decode_memory_bytes,
    )
    return Upload(
        NewPhoto(
            sha256=hashlib.sha256(data).hexdigest(),
            filename=filename_of(file),
            media_type=info.media_type,
            byte_size=len(data),
            width=info.width,
            height=info.height,
        ),
        data,
    )


def read_one(request: Request, field: str) -> Upload:
    """The one photo of a request; raises BadRequest, or what is wrong with the photo as an answer."""
    files = files_of(request, field)
    if len(files) != 1:
        raise BadRequest(f"send one file in the form field {field!r}", code="photo_missing")
    try:
        return read_upload(files[0], parts().settings)
    except PhotoRejected as error:
        refused = Unprocessable(error.message, code=error.code)
        refused.status = STATUS_BY_REJECTION.get(error.code, refused.status)
        raise refused from error


def rejection(filename: str, error: PhotoRejected) -> dict[str, str]:
    return {"filename": filename, "code": error.code, "message": error.message}


def files_of(request: Request, field: str) -> list[FileStorage]:
    return [file for file in request.files.getlist(field) if file.filename is not None]
