"""Signing in to the pages and out of them."""

from __future__ import annotations

from flask import Blueprint, Response, request

from face_pipeline.actions import sessions
from face_pipeline.errors import BadRequest, Unauthorized
from face_pipeline.store.models import ApiKey, BrowserSession
from face_pipeline.web import auth
from face_pipeline.web.api import views
from face_pipeline.web.contract import answers
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
    text = body.get("api_key") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise BadRequest('send {"api_key": "…"} as JSON', code="api_key_missing")
    try:
        text = text.strip()
        key = sessions.of_text(parts(), text)
        if key.service is not None:
            raise Unauthorized("this key is for CompreFace's clients; send another", code="api_key_invalid")
    except Unauthorized as error:
        auth.refuse(error, "session.sign_in")
        raise
    opened = auth.open_session(key, text)
    return auth.give_cookie(_told(opened, key))


@bp.get("/session")
def current() -> Response:
    session = auth.session()
    if session is None:
        raise Unauthorized("sign in first: POST /session", code="api_key_missing")
    return _told(session, session.key)


@bp.delete("/session")
def sign_out() -> Response:
    auth.close_session()
    # Pictures of faces go, for who comes after. Uploads that wait stay: the browser's storage has them.
    return auth.take_cookie(Response(status=204, headers={"Clear-Site-Data": '"cache"'}))


def _told(session: BrowserSession, key: ApiKey) -> Response:
    """Who is signed in, and the token that changes need from now on."""
    return views.answer(
        answers.Session.model_construct(
            csrf_token=auth.csrf_token(),
            name=key.name,
            scopes=sorted(str(scope) for scope in key.scopes),
            id=str(session.id),
            expires_at=views.time(session.expires_at),
        )
    )
