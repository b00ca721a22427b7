"""Signing in to the pages and out of them."""

from __future__ import annotations

from flask import Blueprint, Response, request

from face_pipeline.actions import sessions
from face_pipeline.errors import BadRequest, Unauthorized
from face_pipeline.store.models import ActorKind, ApiKey
from face_pipeline.web import auth
from face_pipeline.web.api import views
from face_pipeline.web.contract import answers
from face_pipeline.web.current import address, parts

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
    text = body.get("api_key") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise BadRequest('send {"api_key": "…"} as JSON', code="api_key_missing")
    try:
        key = sessions.of_text(parts(), text.strip())
        if key.service is not None:
            raise Unauthorized("this key is for CompreFace's clients; send another", code="api_key_invalid")
    except Unauthorized as error:
        auth.refuse(error, "session.sign_in")
        raise
    sessions.open_session(parts(), by=sessions.actor(key, ActorKind.SESSION, address()))
    auth.open_session(key)
    return _told(key)


@bp.get("/session")
def current() -> Response:
    key = auth.of_session()
    if key is None:
        raise Unauthorized("sign in first: POST /session", code="api_key_missing")
    return _told(key)


@bp.delete("/session")
def sign_out() -> Response:
    key = auth.close_session()
    if key is not None:
        sessions.close_session(parts(), by=sessions.actor(key, ActorKind.SESSION, address()))
    # Pictures of faces go, for who comes after. Uploads that wait stay: the browser's storage has them.
    return Response(status=204, headers={"Clear-Site-Data": '"cache"'})


def _told(key: ApiKey) -> Response:
    """Who is signed in, and the token that changes need from now on."""
    return views.answer(
        answers.Session.model_construct(
            csrf_token=auth.csrf_token(), name=key.name, scopes=sorted(str(scope) for scope in key.scopes)
        )
    )
