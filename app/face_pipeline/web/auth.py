"""Who is asking: an API key in a header, or the page's session cookie with its CSRF token."""

from __future__ import annotations

import hmac
import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from flask import Flask, Response, current_app, g, request

from face_pipeline.actions import sessions
from face_pipeline.errors import FacePipelineError, Forbidden, Unauthorized
from face_pipeline.parts import Parts
from face_pipeline.store import key_addresses, keys
from face_pipeline.store import sessions as kept
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import ActorKind, ApiKey, BrowserSession, Scope
from face_pipeline.web import limits
from face_pipeline.web.current import address, parts
from face_pipeline.web.idempotency import once

log = logging.getLogger(__name__)

CSRF_HEADER = "X-CSRF-Token"
COOKIE = "face_session"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

P = ParamSpec("P")
R = TypeVar("R")

# Requests that come together all find the use of their key due.
NOTED_AGAIN_SECONDS = 5.0
# When this process last noted that a key or a session is used.
_noted: dict[uuid.UUID, float] = {}
_noting = threading.Lock()
# From where a key is used is noted so often; a process remembers so many that it noted.
ADDRESS_NOTED_AGAIN_SECONDS = 3600.0
ADDRESSES_REMEMBERED = 10_000
_noted_from: dict[tuple[uuid.UUID, str], float] = {}


def install(app: Flask) -> None:
    app.jinja_env.globals["csrf_token"] = csrf_token
    app.after_request(_note_use)


def cookie_name() -> str:
    """Over https a name that a browser takes from this host alone, for the whole of it, and over https.

    Source: RFC 6265bis, section 4.1.3.2 (the prefix "__Host-").
    """
    return f"__Host-{COOKIE}" if _is_https() else COOKIE


def _is_https() -> bool:
    return parts().settings.public_url.startswith("https://")


def _token() -> str:
    """The session's text: that of the request, or the one that a sign-in has made."""
    g.by_session = True
    return str(g.get("session_token") or request.cookies.get(cookie_name(), ""))


def csrf_token() -> str:
    """What changes by this session have to carry. It is made of the cookie's text, which it does not tell.

    Source: OWASP, Cross-Site Request Forgery Prevention, "HMAC-Based Token Pattern".
    """
    return _csrf_token(current_app.config["SECRET_KEY"])


def _csrf_token(secret: str) -> str:
    token = _token().encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode(), b"csrf\0" + token, "sha256").hexdigest()


def presented_key() -> str | None:
    """The key text of this request's headers."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return request.headers.get("X-API-Key")


def open_session(key: ApiKey, text: str) -> BrowserSession:
    """Let the browser come back as this key, which it gave as `text`; what it came with ends."""
    try:
        before = session()
    except Unauthorized:
        before = None
    opened = sessions.open_session(
        parts(), key, text,
        by=sessions.actor(key, ActorKind.SESSION, address()),
        user_agent=request.headers.get("User-Agent"),
        instead_of=None if before is None else before.id,
    )  # fmt: skip
    g.session_token = opened.token
    return opened.session


def close_session() -> None:
    """Let the browser not come back with what it has."""
    try:
        found = session()
    except FacePipelineError:
        return
    if found is not None:
        by = sessions.actor(found.key, ActorKind.SESSION, address())
        sessions.close_session(parts(), found.id, by=by)


def give_cookie(response: Response) -> Response:
    """Let the browser keep the session that was opened, until it is closed itself."""
    response.set_cookie(cookie_name(), g.session_token, **_cookie_flags())
    return response


def take_cookie(response: Response) -> Response:
    response.delete_cookie(cookie_name(), **_cookie_flags())
    return response


def _cookie_flags() -> dict[str, Any]:
    # No domain: of this host alone, and of none below it.
    return {"path": "/", "secure": _is_https(), "httponly": True, "samesite": "Strict"}


def session() -> BrowserSession | None:
    """The live session of the browser; None without one. Raises Unauthorized where its key has expired."""
    token = _token()
    found = sessions.of_token(parts(), token) if token else None
    g.session = found
    return found


def of_session() -> ApiKey | None:
    """The key of the browser's session; None without one. Raises Unauthorized where the key has expired."""
    found = session()
    return None if found is None else found.key


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
    if scope is not Scope.READ and method not in SAFE_METHODS:
        # Before a body is taken, and files are kept that no row would name.
        parts().database.check_takes_changes()
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
    sent = request.headers.get(CSRF_HEADER, "").encode()
    # A page may have been made by another host, or before the secret was rotated.
    secrets = (current_app.config["SECRET_KEY"], *current_app.config["SECRET_KEY_FALLBACKS"])
    if not any(hmac.compare_digest(sent, _csrf_token(secret).encode()) for secret in secrets):
        raise Forbidden("the page's token is missing or old; reload the page", code="csrf_token")


def _note_use(response: Response) -> Response:
    """Note that key and session are used, once the answer is on its way and at most once a minute."""
    if g.get("by_session"):
        # No cache may show one session's answer to another.
        response.vary.add("Cookie")
    key: ApiKey | None = g.get("api_key")
    for used, note in ((key, keys.note_use), (g.get("session"), kept.note_use)):
        if used is not None and _is_due(used):
            response.call_on_close(partial(_write_use, parts(), note, used.id))
    if key is not None and (used_from := key_addresses.network(address())) and _is_due_from(key, used_from):
        by = sessions.actor(key, _kind(), address())
        response.call_on_close(partial(_write_address, parts(), key.id, used_from, by))
    return response


def _is_due(used: ApiKey | BrowserSession) -> bool:
    if used.last_used_at is not None and datetime.now(UTC) - used.last_used_at < keys.USE_IS_NOTED_EVERY:
        return False
    now = time.monotonic()
    with _noting:
        if now - _noted.get(used.id, -NOTED_AGAIN_SECONDS) < NOTED_AGAIN_SECONDS:
            return False
        # Sessions come and go.
        for each in [each for each, at in _noted.items() if now - at >= NOTED_AGAIN_SECONDS]:
            del _noted[each]
        _noted[used.id] = now
    return True


def _is_due_from(key: ApiKey, used_from: str) -> bool:
    now, which = time.monotonic(), (key.id, used_from)
    with _noting:
        if now - _noted_from.get(which, -ADDRESS_NOTED_AGAIN_SECONDS) < ADDRESS_NOTED_AGAIN_SECONDS:
            return False
        if len(_noted_from) >= ADDRESSES_REMEMBERED:
            _noted_from.clear()
        _noted_from[which] = now
    return True


def _write_address(parts: Parts, key_id: uuid.UUID, used_from: str, by: Actor) -> None:
    try:
        is_new = parts.database.in_transaction(
            lambda session: key_addresses.note(session, key_id, used_from, by=by)
        )
    except FacePipelineError as error:
        # Its next request brings it again.
        _noted_from.pop((key_id, used_from), None)
        log.debug("from where a key was used was not noted: %s", error, extra={"operation": "keys"})
        return
    if is_new:
        log.warning("a key is used from a new network", extra={"operation": "keys"})


def _write_use(parts: Parts, note: Callable[[Any, uuid.UUID], None], used: uuid.UUID) -> None:
    try:
        with parts.database.single_statements() as connection:
            note(connection, used)
    except FacePipelineError as error:
        log.debug("the use of a key was not noted: %s", error, extra={"operation": "keys"})
