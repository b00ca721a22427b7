"""Who is asking: an API key in a header, or the page's session cookie with its CSRF token."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from flask import Flask, Response, g, request
from flask import session as cookie

from face_pipeline.actions import sessions
from face_pipeline.errors import FacePipelineError, Forbidden, Unauthorized
from face_pipeline.parts import Parts
from face_pipeline.store import keys
from face_pipeline.store.models import ActorKind, ApiKey, Scope
from face_pipeline.web import limits
from face_pipeline.web.current import address, parts
from face_pipeline.web.idempotency import once

log = logging.getLogger(__name__)

CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

P = ParamSpec("P")
R = TypeVar("R")

# Requests that come together all find the use of their key due.
NOTED_AGAIN_SECONDS = 5.0
# When this process last noted that a key is used.
_noted: dict[uuid.UUID, float] = {}
_noting = threading.Lock()


def install(app: Flask) -> None:
    app.jinja_env.globals["csrf_token"] = csrf_token
    app.after_request(_note_use)


def csrf_token() -> str:
    if "csrf" not in cookie:
        cookie["csrf"] = secrets.token_urlsafe(24)
    return str(cookie["csrf"])


def presented_key() -> str | None:
    """The key text of this request's headers."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return request.headers.get("X-API-Key")


def open_session(key: ApiKey) -> None:
    """Let the browser come back as this key."""
    cookie.clear()
    # The key's id and not its text: revoking the key ends the session, and so does rotating it.
    cookie["key_id"], cookie["mark"] = str(key.id), keys.session_marks(key)[0]


def close_session() -> ApiKey | None:
    """Let it not come back; returns the key that it was signed in with."""
    try:
        key = of_session()
    except FacePipelineError:
        key = None
    cookie.clear()
    return key


def of_session() -> ApiKey | None:
    """The key of the browser's session; None without one. Raises Unauthorized where the key has expired."""
    if "key_id" not in cookie:
        return None
    return sessions.of_session(parts(), cookie["key_id"], cookie.get("mark"))


def identify() -> ApiKey | None:
    """The key this request comes with, None when there is none or it is not valid (any more)."""
    text = presented_key()
    try:
        return of_session() if text is None else sessions.of_text(parts(), text)
    except Unauthorized:
        return None


def requires(scope: Scope) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a view run only for keys with `scope`; `admin` includes all, no other includes another."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        view = once(view)

        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            call = str(request.endpoint)
            g.api_key = authorised(scope, request.method, call)
            g.by_cookie = presented_key() is None
            try:
                return view(*args, **kwargs)
            except Forbidden as error:
                tell_refused(g.api_key, error, call)
                raise

        # For the gate, which asks before the view's body was sent.
        guarded.scope = scope  # type: ignore[attr-defined]
        return guarded

    return decorate


def authorised(scope: Scope, method: str, call: str, *, taking: bool = True) -> ApiKey:
    """The key of this request, if it may make `call` by `method`, which needs `scope`; raises the refusal.

    `taking`: the call counts as one of those that the key may make a minute.
    """
    key = _identified(call)
    try:
        if key.service is not None:
            raise Forbidden(f"this key is for CompreFace's {key.service} alone", code="scope_missing")
        if scope not in key.scopes and Scope.ADMIN not in key.scopes:
            raise Forbidden(f"this key lacks the scope '{scope}'", code="scope_missing")
        if presented_key() is None and method not in SAFE_METHODS:
            check_csrf()
    except Forbidden as error:
        tell_refused(key, error, call)
        raise
    limits.check(key, taking=taking)
    return key


def _identified(call: str) -> ApiKey:
    """The key that this request comes with, or the refusal raised."""
    text = presented_key()
    try:
        key = of_session() if text is None else sessions.of_text(parts(), text)
    except Unauthorized as error:
        refuse(error, call)
        raise
    if key is None:
        raise Unauthorized(
            "send a valid API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'", code="api_key_missing"
        )
    return key


def refuse(error: Unauthorized, call: str) -> None:
    """Count a key that is not valid, and tell the audit; raises TooManyRequests where it is one too many."""
    limits.failed()
    key = error.key if isinstance(error, sessions.Expired) else None
    sessions.tell_refused(parts(), error, call, by=sessions.actor(key, _kind(), address()))


def tell_refused(key: ApiKey, error: Forbidden, call: str) -> None:
    if limits.is_worth_an_entry(key):
        sessions.tell_refused(parts(), error, call, by=sessions.actor(key, _kind(), address()))


def _kind() -> ActorKind:
    return ActorKind.SESSION if presented_key() is None else ActorKind.KEY


def check_csrf() -> None:
    sent: Any = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(str(sent).encode(), csrf_token().encode()):
        raise Forbidden("the page's token is missing or old; reload the page", code="csrf_token")


def _note_use(response: Response) -> Response:
    """Note that the key is used, once the answer is on its way and at most once a minute."""
    key: ApiKey | None = g.get("api_key")
    if key is not None and _is_due(key):
        response.call_on_close(partial(_write_use, parts(), key.id))
    return response


def _is_due(key: ApiKey) -> bool:
    if key.last_used_at is not None and datetime.now(UTC) - key.last_used_at < keys.USE_IS_NOTED_EVERY:
        return False
    now = time.monotonic()
    with _noting:
        if now - _noted.get(key.id, -NOTED_AGAIN_SECONDS) < NOTED_AGAIN_SECONDS:
            return False
        _noted[key.id] = now
    return True


def _write_use(parts: Parts, key_id: uuid.UUID) -> None:
    try:
        with parts.database.single_statements() as connection:
            keys.note_use(connection, key_id)
    except FacePipelineError as error:
        log.debug("the use of a key was not noted: %s", error, extra={"operation": "keys"})
