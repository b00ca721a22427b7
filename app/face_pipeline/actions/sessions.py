"""Who comes with which key: let in, refused, signed in and out, each told in the audit."""

from __future__ import annotations

import logging
import uuid

from face_pipeline.errors import DatabaseUnavailable, FacePipelineError, Unauthorized
from face_pipeline.parts import Parts
from face_pipeline.store import audit, keys
from face_pipeline.store.audit import Actor
from face_pipeline.store.collections import NAME_PATTERN
from face_pipeline.store.keys import KeyState
from face_pipeline.store.models import ActorKind, ApiKey, Outcome

log = logging.getLogger(__name__)

# Whoever comes with a key that nobody has.
UNKNOWN = "unknown"


def of_text(parts: Parts, text: str) -> ApiKey:
    """The key with this text; raises Unauthorized where there is none, or it is not valid any more."""
    with parts.database.reading() as session:
        key = keys.authenticate(session, text)
    if key is None:
        raise Unauthorized(
            "this key is not valid; send one as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            code="api_key_invalid",
        )
    return _unexpired(key)


def of_session(parts: Parts, key_id: str, mark: str | None) -> ApiKey | None:
    """The key that a session was opened with; None where its text is another one now, or it was revoked.

    `mark`: by which the session knows the text; None: it was opened by a release before keys were rotated.
    Raises Unauthorized where the key has expired.
    """
    with parts.database.reading() as session:
        key = keys.by_id(session, uuid.UUID(key_id))
    if key is None or (key.rotated_at is not None if mark is None else mark not in keys.session_marks(key)):
        return None
    return _unexpired(key)


def _unexpired(key: ApiKey) -> ApiKey:
    if keys.state(key) == KeyState.EXPIRED:
        raise Expired(key)
    return key


class Expired(Unauthorized):
    code = "api_key_expired"

    def __init__(self, key: ApiKey) -> None:
        super().__init__("this key has expired; ask an administrator for another one, or for more time")
        self.key = key


def actor(key: ApiKey | None, kind: ActorKind, address: str | None) -> Actor:
    """Who a request comes from; None: it has a key that nobody has."""
    if key is None:
        return Actor(kind, UNKNOWN, address=address)
    reach = None if key.collections is None else frozenset(key.collections)
    return Actor(kind, key.name, key.id, address, reach)


def tell_refused(parts: Parts, error: FacePipelineError, call: str, *, by: Actor) -> None:
    """Leave an entry of a call that was refused to `by`."""
    collection = error.details.get("collection")
    with parts.database.single_statements() as connection:
        audit.note(
            connection, by, "access.refuse", outcome=Outcome.REFUSED,
            # What somebody wrote in its place may be anything.
            collection=collection if NAME_PATTERN.fullmatch(str(collection)) else None,
            details={"call": call, "code": error.code},
        )  # fmt: skip


def open_session(parts: Parts, *, by: Actor) -> None:
    _tell(parts, "session.open", by)


def close_session(parts: Parts, *, by: Actor) -> None:
    """Leave an entry of it. Nobody stays signed in because the database is away."""
    try:
        _tell(parts, "session.close", by)
    except DatabaseUnavailable:
        log.warning("a sign-out has no entry in the audit", extra={"operation": "session"})


def _tell(parts: Parts, action: str, by: Actor) -> None:
    with parts.database.single_statements() as connection:
        audit.write(connection, by, action, subject=by.id)
