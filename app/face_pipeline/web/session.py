"""Signing in and out of the page."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask import session as cookie

from face_pipeline.errors import BadRequest, Unauthorized
from face_pipeline.store import keys
from face_pipeline.web.current import parts

bp = Blueprint("session", __name__)

# A key has 43 characters.
SIGN_IN_MAX_BYTES = 64 * 1024


@bp.post("/session")
def sign_in() -> Response:
    request.max_content_length = SIGN_IN_MAX_BYTES
    try:
        body = request.get_json(silent=True)
    except RecursionError:
        body = None
    key = body.get("api_key") if isinstance(body, dict) else None
    if not isinstance(key, str) or not key.strip():
        raise BadRequest('send {"api_key": "…"} as JSON', code="api_key_missing")
    with parts().database.transaction() as session:
        found = keys.authenticate(session, key.strip())
    if found is None:
        raise Unauthorized("this key is not valid", code="api_key_invalid")
    cookie.clear()
    # The key's id and not its text: revoking the key ends the session.
    cookie["key_id"] = str(found.id)
    return Response(status=204)


@bp.delete("/session")
def sign_out() -> Response:
    cookie.clear()
    return Response(status=204)
