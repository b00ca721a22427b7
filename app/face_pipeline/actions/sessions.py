"""Who comes with which key: let in, refused, signed in and out, each told in the audit."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from face_pipeline.errors import (
    AuditUnavailable,
    DatabaseUnavailable,
    FacePipelineError,
    NotFound,
    Unauthorized,
)
from face_pipeline.parts import Parts
from face_pipeline.store import audit, keys
from face_pipeline.store import sessions as store
from face_pipeline.store.audit import Actor
from face_pipeline.store.collections import NAME_PATTERN
from face_pipeline.store.keys import KeyState
from face_pipeline.store.models import ActorKind, ApiKey, BrowserSession, Outcome
from face_pipeline.store.sessions import Place

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


def of_token(parts: Parts, token: str) -> BrowserSession | None:
    """The session that a cookie stands for, with its key; None where there is none, or it is over.

    Raises Unauthorized where the key has expired.
    """
    with parts.database.reading() as session:
        found = store.of_token(session, token, parts.settings.session_idle)
    if found is not None:
        _unexpired(found.key)
    return found


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
    with parts.database.reading() as session:
        audit.note(
            session, by, "access.refuse", outcome=Outcome.REFUSED,
            # What somebody wrote in its place may be anything.
            collection=collection if NAME_PATTERN.fullmatch(str(collection)) else None,
            details={"call": call, "code": error.code},
        )  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A session, and the text of its cookie, which nobody can be told again."""

    session: BrowserSession
    token: str = field(repr=False)


def open_session(
    parts: Parts, key: ApiKey, text: str, *, by: Actor, user_agent: str | None, instead_of: uuid.UUID | None
) -> Opened:
    """Open a session of the key, which was given as `text`; that which the browser had before ends."""
    with parts.database.transaction() as session:
        if instead_of is not None:
            store.end(session, instead_of)
        opened, token = store.opened(
            session, key, text, parts.settings.session_lasting, address=by.address, user_agent=user_agent
        )
        session.refresh(opened)
        audit.write(session, by, "session.open", subject=key.id)
    return Opened(opened, token)


def close_session(parts: Parts, session_id: uuid.UUID, *, by: Actor) -> None:
    """End it, and leave an entry. Nobody stays signed in because the database is away, or takes none."""
    try:
        with parts.database.transaction() as session:
            store.end(session, session_id)
        with parts.database.single_statements() as connection:
            audit.write(connection, by, "session.close", subject=by.id)
    except (AuditUnavailable, DatabaseUnavailable):
        log.warning("a sign-out has no entry in the audit", extra={"operation": "session"})


def page(
    parts: Parts, key_id: uuid.UUID | None, *, limit: int, after: Place | None, by: Actor
) -> tuple[Sequence[BrowserSession], Place | None]:
    """Who is signed in, of one key or of all, the newest first; and where the next page is."""
    by.check_reaches_all()
    with parts.database.reading() as session:
        found = store.page(session, key_id, parts.settings.session_idle, limit=limit, after=after)
        audit.note(session, by, "session.list", subject=key_id, details={"sessions": len(found[0])})
    return found


def end(parts: Parts, session_id: uuid.UUID, *, by: Actor) -> None:
    """End one session. Raises NotFound where there is none, or it has ended."""
    by.check_reaches_all()
    with parts.database.transaction() as session:
        ended = store.end(session, session_id)
        if ended is None:
            raise NotFound(f"there is no session {session_id}, or it has ended", code="session_not_found")
        audit.write(session, by, "session.end", subject=ended.key_id, details={"sessions": 1})


def end_of_key(parts: Parts, key_id: uuid.UUID, *, by: Actor) -> None:
    """End the sessions that were opened with a key. Raises NotFound where there is no such key."""
    by.check_reaches_all()
    with parts.database.transaction() as session:
        key = keys.find(session, key_id)
        ended = store.end_of_key(session, key.id)
        audit.write(session, by, "session.end", subject=key.id, details={"sessions": ended})


def end_all(parts: Parts, *, by: Actor) -> int:
    """End every session; returns how many had not ended."""
    by.check_reaches_all()
    with parts.database.transaction() as session:
        ended = store.end_all(session)
        audit.write(session, by, "session.end", details={"sessions": ended})
    return ended
