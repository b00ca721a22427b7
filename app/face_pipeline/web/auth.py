"""Who is asking: an API key in a header, or the page's session cookie with its CSRF token."""

from __future__ import annotations

import hmac
import secrets
import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask import Flask, g, request
from flask import session as cookie

from face_pipeline.errors import Forbidden, Unauthorized
from face_pipeline.store import keys
from face_pipeline.store.models import ApiKey, Scope
from face_pipeline.web.current import parts
from face_pipeline.web.idempotency import once

CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

P = ParamSpec("P")
R = TypeVar("R")


def install(app: Flask) -> None:
    app.jinja_env.globals["csrf_token"] = csrf_token


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


def identify() -> ApiKey | None:
    """The key this request comes with, None when there is none or it is not valid (any more)."""
    key = presented_key()
    with parts().database.reading() as session:
        if key is not None:
            return keys.authenticate(session, key)
        if "key_id" in cookie:
            return keys.by_id(session, uuid.UUID(cookie["key_id"]))
    return None


def requires(scope: Scope) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a view run only for keys with `scope`; `admin` includes all, no other includes another."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        view = once(view)

        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            g.api_key = authorised(scope, request.method)
            g.by_cookie = presented_key() is None
            return view(*args, **kwargs)

        # For the gate, which asks before the view's body was sent.
        guarded.scope = scope  # type: ignore[attr-defined]
        return guarded

    return decorate


def authorised(scope: Scope, method: str) -> ApiKey:
    """The key of this request, if it may make a call of `method` that needs `scope`; raises the refusal."""
    by_cookie = presented_key() is None
    key = identify()
    if key is None:
        raise Unauthorized(
            "send a valid API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            code="api_key_missing" if by_cookie else "api_key_invalid",
        )
    if scope not in key.scopes and Scope.ADMIN not in key.scopes:
        raise Forbidden(f"this key lacks the scope '{scope}'", code="scope_missing")
    if by_cookie and method not in SAFE_METHODS:
        check_csrf()
    return key


def check_csrf() -> None:
    sent: Any = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(str(sent).encode(), csrf_token().encode()):
        raise Forbidden("the page's token is missing or old; reload the page", code="csrf_token")
