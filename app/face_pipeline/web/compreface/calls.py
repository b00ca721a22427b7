"""Which calls there are, and which key may make each: one of its service, by the header x-api-key."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from face_pipeline.actions import sessions
from face_pipeline.errors import Forbidden, Unauthorized
from face_pipeline.store.models import ApiKey, Scope, Service
from face_pipeline.web import auth, limits
from face_pipeline.web.compreface.errors import Number, Refused
from face_pipeline.web.current import parts

HEADER = "x-api-key"
# Preflights are answered for all calls at once (others.py).
METHODS = ("GET", "POST", "PUT", "DELETE")

P = ParamSpec("P")
R = TypeVar("R", bound=ResponseReturnValue)


@dataclass(frozen=True)
class Call:
    """A call of CompreFace under /api/v1."""

    method: str
    path: str
    service: Service
    scope: Scope


CALLS: list[Call] = []


def call(
    bp: Blueprint, method: str, path: str, service: Service, scope: Scope
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a view answer a call, for keys of the service with the scope. Where the path holds a `key`, that
    counts and not the header."""
    CALLS.append(Call(method, path, service, scope))

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        def admit(_method: str, endpoint: str, *, taking: bool, text: str | None = None) -> ApiKey:
            text = request.headers.get(HEADER) if text is None else text
            return _admitted(text, service, scope, endpoint, taking=taking)

        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            text = kwargs.get("key")
            g.api_key = admit(
                request.method, str(request.endpoint), taking=True, text=None if text is None else str(text)
            )
            g.by_cookie = False
            return view(*args, **kwargs)

        if "<key>" not in path:
            # For the gate, which asks before the view's body was sent.
            guarded.admit = admit  # type: ignore[attr-defined]
        bp.add_url_rule(
            path, view_func=guarded, methods=[method], strict_slashes=False, provide_automatic_options=False
        )
        return guarded

    return decorate


def collection() -> str:
    """The one collection that the key of this request reaches."""
    key: ApiKey = g.api_key
    assert key.collections, "a key of a service reaches one collection"
    return key.collections[0]


def _admitted(text: str | None, service: Service, scope: Scope, endpoint: str, *, taking: bool) -> ApiKey:
    """The key of that text, if it may make the call; raises the refusal."""
    if text is None:
        raise Refused(Number.HEADER_MISSING, "Missing header: x-api-key")
    text = text.strip()
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        canonical = ""
    if not canonical or canonical != text.lower():
        raise Refused(Number.VALIDATION, "Service API key should be UUID")
    missing = Refused(
        Number.NO_SERVICE, f"{service.value.capitalize()} service with API Key {text} not found", 404
    )
    try:
        key = sessions.of_text(parts(), canonical)
    except Unauthorized as error:
        auth.refuse(error, endpoint)
        raise missing from error
    if key.service != service:
        auth.tell_refused(key, Forbidden("a key of another service", code="scope_missing"), endpoint)
        raise missing
    if scope not in key.scopes and Scope.ADMIN not in key.scopes:
        lacks = Forbidden(f"this key lacks the scope '{scope}'", code="scope_missing")
        auth.tell_refused(key, lacks, endpoint)
        raise lacks
    limits.check(key, taking=taking)
    if scope is not Scope.READ:
        parts().database.check_takes_changes()
    return key
