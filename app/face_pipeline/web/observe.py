"""Request ids, one log line and one count for each request."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from face_pipeline.telemetry import context
from face_pipeline.telemetry.metrics import web as metrics

log = logging.getLogger("face_pipeline.request")

# The smoke test at the end of site.yml says who it is: no user, so that metrics count it apart.
VERIFY_AGENT = "face-pipeline-verify"

# Asked every few seconds by the host itself: their lines would drown the others.
QUIET_ENDPOINTS = {"health.live", "health.ready", "health.metrics", "gate.admin"}


def install(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def _begin() -> None:
    g.started = time.monotonic()
    context.request_id.set(context.accept_request_id(request.headers.get(context.REQUEST_ID_HEADER)))
    context.task_id.set(None)


def _end(response: Response) -> Response:
    elapsed = time.monotonic() - g.get("started", time.monotonic())
    response.headers[context.REQUEST_ID_HEADER] = context.request_id.get() or ""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    # Anything may be asked for: unknown paths share one label value.
    endpoint = request.endpoint or "none"
    counted = "verify" if request.headers.get("User-Agent") == VERIFY_AGENT else endpoint
    metrics.http_requests.labels(_method(), counted, response.status_code).inc()
    metrics.http_request_duration.labels(counted).observe(elapsed)
    if endpoint not in QUIET_ENDPOINTS and not endpoint.endswith(".static"):
        log.info(
            "%s %s", request.method, request.path,
            extra={
                "operation": endpoint, "method": _method(), "path": request.path,
                "status": response.status_code, "reason_code": g.get("reason_code"),
                "duration_seconds": round(elapsed, 4),
            },
        )  # fmt: skip
    return response


def _forget(_: BaseException | None) -> None:
    # The thread serves another request next; what the server itself logs until then belongs to none.
    context.request_id.set(None)
    context.task_id.set(None)


def _method() -> str:
    known = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
    return request.method if request.method in known else "other"
