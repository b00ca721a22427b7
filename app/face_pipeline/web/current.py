"""The parts of the application that answers the current request, and who asks."""

from __future__ import annotations

from typing import cast

from flask import current_app, g, request

from face_pipeline.actions import sessions
from face_pipeline.parts import Parts
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import ActorKind, ApiKey

EXTENSION = "parts"


def parts() -> Parts:
    return cast(Parts, current_app.extensions[EXTENSION])


def actor() -> Actor:
    """Who makes the current request; a view behind `requires` alone has one."""
    key: ApiKey = g.api_key
    return sessions.actor(key, ActorKind.SESSION if g.by_cookie else ActorKind.KEY, address())


def address() -> str | None:
    """Where the request comes from: what nginx says, which alone reaches the socket."""
    return request.headers.get("X-Real-IP") or request.remote_addr or None
