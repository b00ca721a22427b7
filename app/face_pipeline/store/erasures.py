"""The list of what was erased, by ids alone: a backup that was made before brings it back.

It is written in the transaction of each erasure, kept outside of the database too (`face-pipeline erasures
export`), and erased again after a restore. What came back because somebody put it in again is not on it.
Keys that were revoked are on it as well: a restored database would let their holders in again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Text, any_, cast, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID, insert
from sqlalchemy.orm import Session

from face_pipeline.store.models import ApiKey, Erasure, Face, Person, Photo

What = Literal["photo", "face", "person", "key"]
TABLES: dict[What, Any] = {"photo": Photo, "face": Face, "person": Person}
KINDS: frozenset[str] = frozenset((*TABLES, "key"))
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Listed:
    """One line of the list."""

    what: What
    id: uuid.UUID
    at: datetime


def note(session: Session, what: What, *which: ColumnElement[bool]) -> None:
    """Put those that fit on the list, before they go."""
    rows = select(TABLES[what].id, cast(literal(what), Text)).where(*which)
    listed = insert(Erasure).from_select(["id", "what"], rows)
    session.execute(listed.on_conflict_do_update(index_elements=["id"], set_={"at": func.now()}))


def everything(session: Session) -> Iterator[Listed]:
    """The list, the oldest first, but for what is there again; then the keys that were revoked."""
    query = select(Erasure.what, Erasure.id, Erasure.at).order_by(Erasure.at, Erasure.id)
    for what, table in TABLES.items():
        query = query.where(
            ~((Erasure.what == what) & select(table.id).where(table.id == Erasure.id).exists())
        )
    for row in session.execute(query.execution_options(yield_per=ROWS_AT_ONCE)):
        yield Listed(row.what, row.id, row.at)
    revoked = select(ApiKey).where(ApiKey.revoked_at.is_not(None))
    for key in session.scalars(revoked.order_by(ApiKey.revoked_at, ApiKey.id)):
        if key.revoked_at is not None:
            yield Listed("key", key.id, key.revoked_at)


def present(session: Session, what: What, ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    """Those of the ids that are there; of keys, those that work or only expired."""
    wanted: Any = any_(cast([str(each) for each in ids], ARRAY(UUID)))
    if what == "key":
        return session.scalars(
            select(ApiKey.id).where(ApiKey.id == wanted, ApiKey.revoked_at.is_(None))
        ).all()
    table = TABLES[what]
    found: Sequence[uuid.UUID] = session.scalars(select(table.id).where(table.id == wanted)).all()
    return found
