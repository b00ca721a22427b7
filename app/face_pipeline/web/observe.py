"""Request ids, one log line and one count for each request."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request

from face_pipeline.telemetry import context
from face_pipeline.telemetry.metrics import STAGE_SECONDS
from face_pipeline.telemetry.sparing import Sparing
from face_pipeline.web.exporter import Exporter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("face_pipeline.request")

# The smoke test at the end of site.yml says who it is: no user, so that metrics count it apart.
VERIFY_AGENT, VERIFY_ENDPOINT = "face-pipeline-verify", "verify"

# Asked every few seconds by the host itself: their lines would drown the others.
QUIET_ENDPOINTS = {"health.live", "health.ready", "prometheus_metrics", "gate.admin", "gate.api"}
KNOWN_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
DRAIN_BYTES = 64 * 1024
# Of an answer that has no policy of its own: a browser that shows it all the same loads and runs nothing.
SAFETY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

# Lines of a process for requests without a valid key: with those that count others, 3 MB a day at most.
STRANGERS = Sparing(per_second=2 / 60, burst=100)


@dataclass(frozen=True)
class Answered:
    """A request and the status of its answer, as the log and the metrics tell of it."""

    method: str
    path: str
    endpoint: str
    status: int


def answered(response: Response) -> Answered:
    """What `response` answers: this request, or the one that the gate refused for it."""
    told: Answered | None = g.get("answered")
    # Anything may be asked for: unknown paths share one label value.
    return told or Answered(request.method, request.path, request.endpoint or "none", response.status_code)


def do_not_count() -> None:
    """Leave this request out of the metrics of requests: another one stands for it."""
    # What `exclude_all_metrics` of the exporter sets, known only while the request runs.
    request.prom_exclude_all = True  # type: ignore[attr-defined]


def _method(response: Response) -> str:
    method = answered(response).method
    return method if method in KNOWN_METHODS else "other"


def _endpoint(response: Response) -> str:
    if request.headers.get("User-Agent") == VERIFY_AGENT:
        return VERIFY_ENDPOINT
    return answered(response).endpoint


def _status(response: Response) -> int:
    return answered(response).status


# Made once a process; a metric of the same name cannot be made twice.
exporter = Exporter.for_app_factory()
_counted = exporter.counter(
    "face_recognition_http_requests_total", "HTTP requests.",
    labels={"method": _method, "endpoint": _endpoint, "status": _status},
)  # fmt: skip
_timed = exporter.histogram(
    "face_recognition_http_request_duration_seconds", "Answering one HTTP request.",
    labels={"endpoint": _endpoint}, buckets=STAGE_SECONDS,
)  # fmt: skip


def install(app: Flask) -> None:
    # Whole requests and not views: answers of error handlers and to unknown paths count as well, and once.
    app.full_dispatch_request = _counted(_timed(app.full_dispatch_request))  # type: ignore[method-assign]
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)
    app.wsgi_app = Drain(app.wsgi_app, app.config["MAX_CONTENT_LENGTH"])  # type: ignore[method-assign]


def _begin() -> None:
    g.started = time.monotonic()
    context.request_id.set(context.accept_request_id(request.headers.get(context.REQUEST_ID_HEADER)))
    context.task_id.set(None)


def _end(response: Response) -> Response:
    elapsed = time.monotonic() - g.get("started", time.monotonic())
    response.headers[context.REQUEST_ID_HEADER] = context.request_id.get() or ""
    for name, value in SAFETY_HEADERS.items():
        response.headers.setdefault(name, value)
    if response.is_json:
        # Names, faces and errors are for the one who asked, now.
        response.headers.setdefault("Cache-Control", "no-store")
    seen = answered(response)
    if seen.endpoint not in QUIET_ENDPOINTS and not seen.endpoint.endswith(".static") and _has_a_line(seen):
        log.info(
            "%s %s", seen.method, seen.path,
            extra={
                "operation": seen.endpoint, "method": _method(response), "path": seen.path,
                "status": seen.status, "reason_code": g.get("reason_code"),
                "duration_seconds": round(elapsed, 4),
            },
        )  # fmt: skip
    return response


def _has_a_line(seen: Answered) -> bool:
    """Whether the journal tells of the request: it does of those with a key, and of what went wrong here."""
    if "api_key" in g or seen.status >= 500:
        return True
    left_out = STRANGERS.take()
    if left_out:
        log.warning(
            "%d requests without a valid key left no line", left_out,
            extra={"operation": "request", "reason_code": "lines_left_out", "count": left_out},
        )  # fmt: skip
    return left_out is not None


def _forget(_: BaseException | None) -> None:
    # The thread serves another request next; what the server itself logs until then belongs to none.
    context.request_id.set(None)
    context.task_id.set(None)


class Drain:
    """Reads what the application left of a body, at most `most` bytes, before its answer goes out.

    A server that answers and closes while nginx still writes makes nginx lose the answer, and tell the client
    that the service is down.
    """

    def __init__(self, application: WSGIApplication, most: int):
        self.application = application
        self.most = most

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self.application(environ, start_response)
        body, left = environ["wsgi.input"], self.most
        try:
            while left > 0 and (chunk := body.read(min(DRAIN_BYTES, left))):
                left -= len(chunk)
        except (OSError, ValueError):
            # The client is gone, or its body is no body; the answer is the same.
            log.debug("the rest of a body could not be read", exc_info=True)
        return answer
