"""Every error leaves as one envelope: {"error": {"code", "message", "details"}, "request_id"}.

Somebody who opens an address in a browser gets a page that says the same; the API never does.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from face_pipeline.errors import FacePipelineError
from face_pipeline.telemetry import context
from face_pipeline.web import ui
from face_pipeline.web.api import views
from face_pipeline.web.contract.answers import Error
from face_pipeline.web.contract.calls import CODES

API_PREFIX = "/api/"
# Where werkzeug's own words do not say what to do.
WORDS: dict[type[HTTPException], tuple[str, str]] = {
    RequestEntityTooLarge: (
        "request_too_large",
        "the request is larger than this server takes; send fewer photos",
    ),
    NotFound: ("not_found", "there is nothing at this address; /openapi.json lists what there is"),
    MethodNotAllowed: ("method_not_allowed", "this address takes other methods; /openapi.json lists them"),
    BadRequest: ("bad_request", "the request cannot be read; send it as /openapi.json says"),
}
TITLES = {401: "Sign in first", 403: "Not for you", 404: "There is nothing here", 405: "Not that way"}

log = logging.getLogger(__name__)


def install(app: Flask) -> None:
    app.register_error_handler(FacePipelineError, _expected)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def envelope(
    status: int,
    code: str,
    message: str,
    details: dict[str, Any] | None = None,
    *,
    retry_after: int | None = None,
) -> Response:
    if _is_read_by_a_person():
        response = _page(status, message)
    else:
        response = views.answer(Error.of(code, message, context.request_id.get(), details))
        response.headers["Link"] = f'<{_help(status, code)}>; rel="help"'
    response.status_code = status
    # For the request's line (observe.py).
    g.reason_code = code
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _help(status: int, code: str) -> str:
    """Where /docs tells of the error."""
    known = code in CODES.get(status, ())
    return f"/docs/errors#code-{status}-{code}" if known else "/docs/errors"


def _is_read_by_a_person() -> bool:
    # The same rule stands in the nginx configuration.
    asked = request.headers.get("Accept", "").lower()
    return "text/html" in asked and not request.path.startswith(API_PREFIX)


def _page(status: int, message: str) -> Response:
    if status == 404 and message == WORDS[NotFound][1]:
        # What lists the calls of the API helps nobody who followed a link.
        message = ui.nowhere()
    title = TITLES.get(status, "That did not work" if status < 500 else "Something went wrong")
    return ui.error(status, title, message)


def _expected(error: FacePipelineError) -> Response:
    if error.status >= 500:
        log.error(error.message, extra={"reason_code": error.code, "status": error.status})
    return envelope(error.status, error.code, error.message, error.details, retry_after=error.retry_after)


def _http(error: HTTPException) -> Response:
    code = (error.name or "error").lower().replace(" ", "_")
    code, message = WORDS.get(type(error), (code, error.description or error.name))
    response = envelope(error.code or 500, code, message)
    if "Allow" in (headers := dict(error.get_headers())):
        response.headers["Allow"] = headers["Allow"]
    return response


def _unexpected(_: Exception) -> Response:
    log.exception("unexpected error")
    return envelope(500, "internal_error", "something went wrong; the log has it under this request id")
