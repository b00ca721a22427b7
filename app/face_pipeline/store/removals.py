"""Originals that are still to be removed: an erasure does not wait for a slow disk, and forgets none.

Whoever finds a name here asks again whether a row names the file before it goes (originals.py).
"""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Text, any_, cast, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.store.models import Removal


def remember(session: Session, names: Some[str]) -> None:
    """Have these originals removed by the next run of the indexer."""
    each = select(func.unnest(_array(names)))
    session.execute(insert(Removal).from_select(["sha256"], each).on_conflict_do_nothing())


def some(session: Session, after: str, limit: int) -> Sequence[str]:
    """At most `limit` names behind `after`, in their order."""
    return session.scalars(
        select(Removal.sha256).where(Removal.sha256 > after).order_by(Removal.sha256).limit(limit)
    ).all()


def forget(session: Session, names: Some[str]) -> None:
    session.execute(delete(Removal).where(Removal.sha256 == any_(_array(names))))


def _array(names: Some[str]) -> Any:
    return cast(list(names), ARRAY(Text))
