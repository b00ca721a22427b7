"""Sessions of browsers: who is signed in to the pages, by a random text that a cookie holds.

A session is live until it is ended, its time is over, it was idle for too long, its key is revoked, or the
text of the key that it was opened with works no more.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarResult,
    and_,
    delete,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import Session, contains_eager

from face_pipeline.store.keys import IN_STATE, USE_IS_NOTED_EVERY, KeyState, hash_key
from face_pipeline.store.models import ApiKey, BrowserSession

# Random bytes of a cookie's text.
TOKEN_BYTES = 32
USER_AGENT_MAX = 200


@dataclass(frozen=True)
class Place:
    """Where a session stands in the list, the newest first."""

    created_at: datetime
    session_id: uuid.UUID


def opened(
    session: Session,
    key: ApiKey,
    text: str,
    lasting: timedelta,
    *,
    address: str | None,
    user_agent: str | None,
) -> tuple[BrowserSession, str]:
    """A new session of the key, which was signed in with as `text`; and the cookie's text, kept nowhere."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    made = BrowserSession(
        token_hash=hash_key(token), key_id=key.id, key_hash=hash_key(text),
        expires_at=func.now() + lasting, address=address, user_agent=_short(user_agent),
    )  # fmt: skip
    session.add(made)
    session.flush()
    return made, token


def _short(user_agent: str | None) -> str | None:
    """A browser's name for itself, of characters that people see."""
    kept = "".join(each for each in user_agent or "" if each.isprintable())[:USER_AGENT_MAX].strip()
    return kept or None


def _live(idle: timedelta) -> ColumnElement[bool]:
    """Whether a session joined with its key is live, but for the key's own end."""
    return and_(
        BrowserSession.ended_at.is_(None),
        BrowserSession.expires_at > func.now(),
        BrowserSession.last_used_at > func.now() - idle,
        ApiKey.revoked_at.is_(None),
        or_(
            BrowserSession.key_hash == ApiKey.key_hash,
            and_(BrowserSession.key_hash == ApiKey.previous_hash, ApiKey.previous_until > func.now()),
        ),
    )


def of_token(session: Session, token: str, idle: timedelta) -> BrowserSession | None:
    """The live session of a cookie's text, with its key, which may have expired; None without one."""
    return session.scalar(
        select(BrowserSession)
        .join(BrowserSession.key)
        .options(contains_eager(BrowserSession.key))
        .where(BrowserSession.token_hash == hash_key(token), _live(idle))
    )


def page(
    session: Session, key_id: uuid.UUID | None, idle: timedelta, *, limit: int, after: Place | None
) -> tuple[Sequence[BrowserSession], Place | None]:
    """At most `limit` live sessions of the key (None: of any) behind `after`; and where the next page is."""
    query = (
        select(BrowserSession)
        .join(BrowserSession.key)
        .options(contains_eager(BrowserSession.key))
        .where(_live(idle), IN_STATE[KeyState.ACTIVE])
        .order_by(BrowserSession.created_at.desc(), BrowserSession.id.desc())
        .limit(limit + 1)
    )
    if key_id is not None:
        query = query.where(BrowserSession.key_id == key_id)
    if after is not None:
        place = tuple_(BrowserSession.created_at, BrowserSession.id)
        query = query.where(place < (after.created_at, after.session_id))
    rows = session.scalars(query).all()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], Place(rows[limit - 1].created_at, rows[limit - 1].id)


def note_use(connection: Connection, session_id: uuid.UUID) -> None:
    """That the session was used now; nothing where that was noted a moment ago."""
    connection.execute(
        update(BrowserSession)
        .where(
            BrowserSession.id == session_id,
            BrowserSession.last_used_at < func.now() - USE_IS_NOTED_EVERY,
        )
        .values(last_used_at=func.now())
    )


def end(session: Session, session_id: uuid.UUID) -> BrowserSession | None:
    """End a session; returns it, None where there is none that had not ended."""
    return _end(session, BrowserSession.id == session_id).one_or_none()


def end_of_key(session: Session, key_id: uuid.UUID) -> int:
    """End the sessions that were opened with the key; returns how many had not ended."""
    return len(_end(session, BrowserSession.key_id == key_id).all())


def end_all(session: Session) -> int:
    """End every session; returns how many had not ended."""
    return len(_end(session, true()).all())


def _end(session: Session, which: ColumnElement[bool]) -> ScalarResult[BrowserSession]:
    return session.scalars(
        update(BrowserSession)
        .where(which, BrowserSession.ended_at.is_(None))
        .values(ended_at=func.now())
        .returning(BrowserSession)
        .execution_options(synchronize_session=False)
    )


def remove_over(connection: Connection, idle: timedelta) -> int:
    """Remove sessions that were ended, are over, or were idle for too long; returns how many."""
    over = or_(
        BrowserSession.ended_at.is_not(None),
        BrowserSession.expires_at <= func.now(),
        BrowserSession.last_used_at <= func.now() - idle,
    )
    return len(connection.execute(delete(BrowserSession).where(over).returning(BrowserSession.id)).all())
