"""What a request of a client of CompreFace says: its query, its images, its JSON."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from face_pipeline.actions import uploads
from face_pipeline.engine import PhotoRejected
from face_pipeline.web.api import files
from face_pipeline.web.compreface.errors import NO_FACE, Number, Refused
from face_pipeline.web.current import parts

EXTENSIONS = {"tif", "tiff", "jpg", "jpeg", "png", "bmp", "ico", "gif", "webp", "heic", "heif", "avif"}
# Kinds that CompreFace reads and this service does not: not the same as an image without a face.
FOREIGN = (b"BM", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\1\0")
NAME_OF_JSON = "image.jpg"
# Of a body beside its images.
REST_BYTES = 64 * 1024
# Of a body without images: some hundred embeddings.
JSON_BYTES = 4 * 1024**2
PREDICTIONS_MOST = 1000
# The JavaScript SDK writes a second question mark where an ampersand belongs.
SECOND_QUESTION_MARK = re.compile(
    r"\?(?=(?:limit|det_prob_threshold|prediction_count|face_plugins|status|detect_faces)=)"
)
TRUE = {"true", "on", "yes", "1"}


@dataclass(frozen=True)
class Options:
    """`limit` 0: all faces. `min_score` None: every face that was found. `plugins`: what is told of each."""

    limit: int
    min_score: float | None
    plugins: frozenset[str]
    status: bool


def query() -> dict[str, str]:
    """The parameters of the address, the first of each name.

    The SDKs leave a first one empty, and do not escape an ampersand in a subject's name: what has no `=`
    belongs to the value before it.
    """
    text = SECOND_QUESTION_MARK.sub("&", request.query_string.decode("utf-8", "replace"))
    pairs: list[list[str]] = []
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        if equals:
            pairs.append([unquote_plus(name), unquote_plus(value)])
        elif part and pairs and pairs[-1][0] == "subject":
            pairs[-1][1] += "&" + unquote_plus(part)
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def options(given: dict[str, str]) -> Options:
    limit = whole(given, "limit", 0)
    if limit < 0:
        raise Refused(Number.VALIDATION, "Limit should be equal or greater than 0; ")
    plugins = frozenset(name.strip() for name in given.get("face_plugins", "").split(","))
    return Options(limit, min_score(given), plugins, given.get("status", "").lower() in TRUE)


def min_score(given: dict[str, str]) -> float | None:
    text = given.get("det_prob_threshold", "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        # CompreFace answers so whatever its core refuses.
        raise Refused(Number.NO_FACE, "det_prob_threshold should be a number from 0 to 1")
    return value


def prediction_count(given: dict[str, str]) -> int:
    count = whole(given, "prediction_count", 1)
    if count < 1:
        raise Refused(Number.VALIDATION, "prediction_count should be equal or greater than 1; ")
    if count > PREDICTIONS_MOST:
        raise Refused(
            Number.VALIDATION, f"prediction_count should be equal or less than {PREDICTIONS_MOST}; "
        )
    return count


def whole(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise Refused(Number.OTHER, f"{name} should be a whole number")
    return int(text)


def subject(given: dict[str, str]) -> str | None:
    """The subject that the query names; None: none."""
    name = given.get("subject")
    if name is not None and not name.strip():
        raise Refused(Number.VALIDATION, "Subject name is empty; ")
    return name


def identifier(text: str) -> uuid.UUID:
    """Of an image."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Refused(Number.OTHER, f"{text[:100]!r} is no id of an image; it should be a UUID") from None


def json_body(most: int = JSON_BYTES) -> Any:
    """The body as JSON."""
    request.max_content_length = most
    try:
        given = request.get_json(force=True)
        # Half of a pair of surrogates is no text for a database.
        json.dumps(given, ensure_ascii=False).encode()
    except RequestEntityTooLarge:
        raise Refused(Number.OTHER, f"A body of this call has at most {most} bytes", 413) from None
    except Exception:
        raise Refused(Number.OTHER, "The body should be JSON, in UTF-8") from None
    return given


def json_object(most: int = JSON_BYTES) -> dict[str, Any]:
    given = json_body(most)
    if not isinstance(given, dict):
        raise Refused(Number.OTHER, "The body should be an object of JSON")
    return given


def images(*names: str) -> list[uploads.Upload]:
    """The images of the request, as files of a form or in base64."""
    if request.is_json:
        most = parts().settings.upload_max_bytes * 4 // 3 * len(names) + REST_BYTES
        body = json_object(most)
        return [_checked(NAME_OF_JSON, _of_base64(body.get(name), name)) for name in names]
    found = []
    for name in names:
        sent = files.files_of(request, name)
        if not sent:
            raise Refused(Number.PART_MISSING, f"Required part {name} is missing")
        filename = files.filename_of(sent[0])
        if filename.rpartition(".")[2].lower() not in EXTENSIONS:
            raise Refused(Number.FILE_REFUSED, f"File [{filename}] has an unavailable extension")
        found.append(_checked(filename, files.read(sent[0])))
    return found


def _of_base64(text: Any, name: str) -> bytes:
    if text is None or text == "":
        raise Refused(Number.FIELD_EMPTY, f"Field {name} cannot be empty")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (AttributeError, ValueError, binascii.Error):
        raise Refused(Number.FILE_REFUSED, "Provided value is not Base64") from None


def _checked(filename: str, data: bytes) -> uploads.Upload:
    try:
        return uploads.check(parts(), filename, data)
    except PhotoRejected as error:
        if error.code == "too_large":
            raise Refused(Number.OTHER, error.message, 413) from error
        if data.startswith(FOREIGN):
            raise Refused(
                Number.FILE_REFUSED,
                f"File [{filename}] is of a kind that this server does not read; "
                "send JPEG, PNG, WebP, HEIC or AVIF",
            ) from error
        if error.code == "too_many_pixels":
            raise Refused(Number.OTHER, error.message) from error
        raise Refused(Number.NO_FACE, NO_FACE) from error
