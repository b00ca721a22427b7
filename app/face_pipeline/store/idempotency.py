"""Answers that are kept for a day, so that a request which comes again is answered and not done again.

A row is made before the request is done, with a lease that the request renews while it lasts: where its
process was killed, the lease lapses, and the same request may be done again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.errors import Conflict, Unprocessable
from face_pipeline.store.models import KeptAnswer

KEEP = timedelta(hours=24)
LEASE_SECONDS = 45.0


@dataclass(frozen=True)
class Held:
    """The right to do a request, and to keep its answer."""

    key_id: uuid.UUID
    key: str
    token: uuid.UUID


@dataclass(frozen=True)
class Answer:
    """What was answered. `body` None: it is not kept; `made`: the id of what the request made."""

    status: int
    headers: Mapping[str, str]
    body: str | None
    made: str | None = None


def begin(connection: Connection, key_id: uuid.UUID, key: str, fingerprint: str) -> Held | Answer:
    """Take the key for a request of this fingerprint, or get the answer that it had.

    In a connection in which each statement commits by itself. Raises Unprocessable where the key was used for
    another request, Conflict while the first one is under way.
    """
    held = Held(key_id, key, uuid.uuid4())
    # Its row may be removed between the two.
    while not _take(connection, held, fingerprint):
        row = connection.execute(
            select(
                KeptAnswer.fingerprint,
                KeptAnswer.status,
                KeptAnswer.headers,
                KeptAnswer.body,
                KeptAnswer.made,
            ).where(KeptAnswer.key_id == key_id, KeptAnswer.key == key)
        ).one_or_none()
        if row is None:
            continue
        if row.fingerprint != fingerprint:
            raise Unprocessable(
                "this Idempotency-Key came with another request; take a new key for each request, and the "
                "same one only to send a request again",
                code="idempotency_mismatch",
            )
        if row.status is not None:
            return Answer(row.status, row.headers, row.body, row.made)
        busy = Conflict(
            "the first request with this Idempotency-Key is under way; send it again in a moment",
            code="idempotency_in_progress",
        )
        busy.retry_after = 1
        raise busy
    return held


def _take(connection: Connection, held: Held, fingerprint: str) -> bool:
    lease_until = func.now() + timedelta(seconds=LEASE_SECONDS)
    row = insert(KeptAnswer).values(
        key_id=held.key_id, key=held.key, fingerprint=fingerprint, token=held.token, lease_until=lease_until
    )
    lapsed = and_(
        KeptAnswer.status.is_(None),
        KeptAnswer.lease_until < func.now(),
        KeptAnswer.fingerprint == row.excluded.fingerprint,
    )
    taken = connection.execute(
        row.on_conflict_do_update(
            index_elements=["key_id", "key"],
            set_={
                "fingerprint": row.excluded.fingerprint, "token": row.excluded.token,
                "lease_until": row.excluded.lease_until, "created_at": func.now(), "status": None,
                "headers": {}, "body": None, "made": None,
            },
            where=or_(lapsed, KeptAnswer.created_at < func.now() - KEEP),
        ).returning(KeptAnswer.token)
    )  # fmt: skip
    return taken.one_or_none() is not None


def renew(connection: Connection, held: Held) -> None:
    connection.execute(
        update(KeptAnswer).where(*_of(held)).values(lease_until=func.now() + timedelta(seconds=LEASE_SECONDS))
    )


def keep(connection: Connection, held: Held, answer: Answer) -> None:
    """Keep the answer, unless the lease lapsed and another request has the key."""
    connection.execute(update(KeptAnswer).where(*_of(held)).values(**vars(answer)))


def give_up(connection: Connection, held: Held) -> None:
    """Keep nothing: the same request may be sent again at once."""
    connection.execute(delete(KeptAnswer).where(*_of(held)))


def _of(held: Held) -> tuple[ColumnElement[bool], ...]:
    return (
        KeptAnswer.key_id == held.key_id,
        KeptAnswer.key == held.key,
        KeptAnswer.token == held.token,
        KeptAnswer.status.is_(None),
    )


def forget(session: Session | Connection, mentioned: Sequence[uuid.UUID | str] | None = None) -> int:
    """Take the bodies of kept answers away that mention one of these ids, or of all; returns how many.

    What is erased must not stand in an answer either. Who sends such a request again hears that it was done.
    """
    bodies = update(KeptAnswer).where(KeptAnswer.body.is_not(None)).values(body=None)
    if mentioned is not None:
        bodies = bodies.where(or_(False, *(KeptAnswer.body.contains(str(each)) for each in mentioned)))
    found = session.execute(
        bodies.returning(KeptAnswer.key).execution_options(synchronize_session=False)
    ).all()
    return len(found)


def remove_old(connection: Connection) -> int:
    """Remove what is older than a day; returns how many."""
    old = delete(KeptAnswer).where(KeptAnswer.created_at < func.now() - KEEP)
    return len(connection.execute(old.returning(KeptAnswer.key)).all())
