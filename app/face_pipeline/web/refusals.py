"""What gunicorn answers before there is a request for Flask, in the envelope of every other error."""

from __future__ import annotations

import json
import uuid
from typing import Any

from gunicorn import util

from face_pipeline.telemetry import context
from face_pipeline.web.contract.answers import Error

CODES = {
    400: "bad_request",
    403: "forbidden",
    414: "uri_too_long",
    417: "expectation_failed",
    431: "headers_too_large",
    501: "not_implemented",
}


def install() -> None:
    # gunicorn 27 has no setting for it; every worker class writes its errors through this function.
    util.write_error = write_error


def write_error(connection: Any, status: int, reason: str, message: str) -> None:
    """Answer on a socket whose request could not be read; the same signature as gunicorn's own."""
    del message  # It quotes what was sent.
    request_id = uuid.uuid4().hex
    told = (
        "something went wrong; the log has it at this time"
        if status == 500
        else f"the request cannot be read: {reason.lower()}; send it as HTTP/1.1 says"
    )
    body = json.dumps(Error.of(CODES.get(status, "internal_error"), told, request_id).model_dump())
    head = (
        f"HTTP/1.1 {status} {reason}", "Connection: close", "Content-Type: application/json",
        "Cache-Control: no-store", "X-Content-Type-Options: nosniff",
        f"{context.REQUEST_ID_HEADER}: {request_id}", f"Content-Length: {len(body)}", "", body,
    )  # fmt: skip
    util.write_nonblock(connection, "\r\n".join(head).encode())
