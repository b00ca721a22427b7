"""Errors as CompreFace tells them: {"message", "code"}, the code a number that its clients read."""

from __future__ import annotations

import logging
from enum import IntEnum

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from face_pipeline.errors import FacePipelineError, Unavailable
from face_pipeline.web.observe import Answered

log = logging.getLogger(__name__)


class Number(IntEnum):
    """CommonExceptionCode and the exceptions of CompreFace, those that are told here."""

    OTHER = 0
    FIELD_EMPTY = 5
    NO_SERVICE = 10
    HEADER_MISSING = 20
    FILE_REFUSED = 21
    VALIDATION = 26
    NO_FACE = 28
    FACES_MANY = 31
    PARAMETER_MISSING = 33
    PART_MISSING = 34
    NAME_REFUSED = 36
    CORE_AWAY = 41
    NO_SUBJECT = 42
    SUBJECT_EXISTS = 43
    NO_IMAGE = 44


NO_FACE = "No face is found in the given image"
FACES_MANY = "More than one face in the source image"
WENT_WRONG = "Something went wrong, please try again"


class Refused(FacePipelineError):
    """An error with the number that clients of CompreFace read."""

    def __init__(self, number: Number, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.number = number
        self.status = status


def install(bp: Blueprint) -> None:
    bp.register_error_handler(FacePipelineError, _expected)
    bp.register_error_handler(HTTPException, _http)
    bp.register_error_handler(Exception, _unexpected)
    # Also at the gate, where nginx asks before the body comes.
    bp.app_errorhandler(Refused)(_expected)
    bp.after_request(_finish)


def envelope(status: int, number: Number, message: str, *, retry_after: int | None = None) -> Response:
    response = jsonify({"message": message, "code": int(number)})
    response.status_code = status
    g.reason_code = f"compreface_{int(number)}"
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _expected(error: FacePipelineError) -> Response:
    if isinstance(error, Refused):
        return envelope(error.status, error.number, error.message)
    if error.status >= 500:
        log.error(error.message, extra={"reason_code": error.code, "status": error.status})
    number = Number.CORE_AWAY if isinstance(error, Unavailable) else BY_CODE.get(error.code, Number.OTHER)
    message = MESSAGES.get(number, error.message)
    if number == Number.CORE_AWAY:
        message = f"Error during synchronization between servers: {message}"
    # Its clients know 400 for what is wrong with a request.
    ours = error.status != 422 and number in (Number.OTHER, Number.CORE_AWAY)
    status = error.status if ours else 400
    return envelope(status, number, message, retry_after=error.retry_after)


# Codes of our actions, where CompreFace has a number for them.
BY_CODE = {
    "no_face": Number.NO_FACE,
    "faces_many": Number.FACES_MANY,
    "broken_image": Number.NO_FACE,
    "truncated": Number.NO_FACE,
    "person_name": Number.VALIDATION,
    "person_exists": Number.SUBJECT_EXISTS,
    "embedding_invalid": Number.VALIDATION,
}
MESSAGES = {
    Number.NO_FACE: NO_FACE,
    Number.FACES_MANY: FACES_MANY,
    Number.SUBJECT_EXISTS: "Subject already exists",
}


def _http(error: HTTPException) -> Response:
    return envelope(error.code or 500, Number.OTHER, error.description or error.name)


def _unexpected(_: Exception) -> Response:
    log.exception("unexpected error")
    return envelope(500, Number.OTHER, WENT_WRONG)


def _finish(response: Response) -> Response:
    # No cookie is read here, so a page of any origin may use the key that it has.
    response.headers["Access-Control-Allow-Origin"] = "*"
    if set(request.view_args or ()) & {"subject", "key"}:
        # Names and keys are for no log.
        g.answered = Answered(
            request.method, str(request.url_rule), request.endpoint or "none", response.status_code
        )
    return response
