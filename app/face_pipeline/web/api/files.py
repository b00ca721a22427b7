"""The files of a request, and the names that people gave them."""

from __future__ import annotations

import re
import unicodedata

from flask import Request
from werkzeug.datastructures import FileStorage

from face_pipeline.actions import uploads
from face_pipeline.engine import PhotoRejected
from face_pipeline.errors import BadRequest, Unprocessable
from face_pipeline.web.current import parts

FILENAME_MAX = 255
STATUS_BY_REJECTION = {"too_large": 413, "unsupported_type": 415}
# Of which the end is kept, where the number and the ending of a file stand.
FILENAME_END = 40
WINDOWS_PATH = re.compile(r"(?:[A-Za-z]:\\|\\\\).*\\")


def filename_of(file: FileStorage) -> str:
    """The name the client gave, as `filename` has it."""
    return filename(file.filename or "")


def filename(given: str) -> str:
    """A name that somebody gave a file, for people to read; it never becomes a path.

    Directories are left out. Control characters are shown as their pictures (U+2400 and following) or, like
    line separators and what no text can hold, as a backslash, `u` and their number. Nothing else is changed.
    """
    name = given.rsplit("/", 1)[-1]
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


def read(file: FileStorage) -> bytes:
    """Its bytes, one more than a photo may have at most."""
    return file.stream.read(parts().settings.upload_max_bytes + 1)


def read_one(request: Request, field: str) -> uploads.Upload:
    """The one photo of a request; raises BadRequest, or what is wrong with the photo as an answer."""
    files = files_of(request, field)
    if len(files) != 1:
        raise BadRequest(f"send one file in the form field {field!r}", code="photo_missing")
    try:
        return uploads.check(parts(), filename_of(files[0]), read(files[0]))
    except PhotoRejected as error:
        refused = Unprocessable(error.message, code=error.code)
        refused.status = STATUS_BY_REJECTION.get(error.code, refused.status)
        raise refused from error


def files_of(request: Request, field: str) -> list[FileStorage]:
    return [file for file in request.files.getlist(field) if file.filename is not None]
