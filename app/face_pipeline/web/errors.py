"""Every error leaves as one envelope: {"error": {"code", "message", "details"}, "request_id"}."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, g, jsonify
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from face_pipeline.errors import FacePipelineError, Unavailable
from face_pipeline.store.database import explain
from face_pipeline.telemetry import context

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
    response = jsonify(
        {
            "error": {"code": code, "message": message, "details": details or {}},
            "request_id": context.request_id.get(),
        }
    )
    response.status_code = status
    # For the request's line (observe.py).
    g.reason_code = code
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _expected(error: FacePipelineError) -> Response:
    if error.status >= 500:
        log.error(error.message, extra={"reason_code": error.code, "status": error.status})
    return envelope(error.status, error.code, error.message, error.details, retry_after=error.retry_after)


def _http(error: HTTPException) -> Response:
    code = (error.name or "error").lower().replace(" ", "_")
    message = error.description or error.name
    if isinstance(error, RequestEntityTooLarge):
        code, message = "request_too_large", "the request is larger than this server takes; send fewer photos"
    response = envelope(error.code or 500, code, message)
    if "Allow" in (headers := dict(error.get_headers())):
        response.headers["Allow"] = headers["Allow"]
    return response


def _unexpected(error: Exception) -> Response:
    if expected := explain(error):
        return _expected(expected)
    if isinstance(error, RedisError):
        log.error("redis is unavailable", extra={"status": 503, "reason_code": "queue_unavailable"})
        return envelope(
            503, "queue_unavailable", "the task queue cannot be reached; send the request again",
            retry_after=Unavailable.retry_after,
        )  # fmt: skip
    log.exception("unexpected error")
    return envelope(500, "internal_error", "something went wrong; the log has it under this request id")
