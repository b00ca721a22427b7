"""What is no call: preflights of browsers, and whatever else is asked for under these addresses."""

from __future__ import annotations

from flask import Blueprint, Response, request

from face_pipeline.web.compreface.calls import METHODS
from face_pipeline.web.compreface.errors import Number, Refused

bp = Blueprint("others", __name__)

ALLOWED_HEADERS = "Content-Type, x-api-key, Accept, Origin, Cache-Control, X-Requested-With"
REMEMBERED_SECONDS = 3600


def other(**_: str) -> Response:
    check(request.method, str(request.endpoint))
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = ", ".join((*METHODS, "OPTIONS"))
    response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
    response.headers["Access-Control-Max-Age"] = str(REMEMBERED_SECONDS)
    return response


def check(method: str, _endpoint: str, *, taking: bool = True) -> None:
    """Raises the refusal of what is no preflight; the gate asks before the body comes."""
    del taking
    if method != "OPTIONS":
        raise Refused(
            Number.OTHER, f"There is no {method} at this address; docs/from-compreface.md has the calls", 404
        )


other.admit = check  # type: ignore[attr-defined]
for path in ("recognition", "detection", "verification", "static"):
    bp.add_url_rule(
        f"/{path}/<path:subject>", view_func=other, methods=[*METHODS, "PATCH", "OPTIONS"],
        provide_automatic_options=False,
    )  # fmt: skip
