"""Which originals are missing or damaged, and how far the last round over all of them has come.

Each round reads every file once, a part of them at a time (ops/originals.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from typing import cast as cast_type

from sqlalchemy import (
    ARRAY,
    CursorResult,
    Text,
    any_,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session

from face_pipeline.store.models import OriginalFault, OriginalRound, Photo

# Any constant: the indexers of several web hosts take turns on this advisory lock.
READER_LOCK = 7_312_022
# From the beginning of one to that of the next.
ROUND = timedelta(days=7)
# Digits of a name: enough to go on from, and all that is left of one that is erased meanwhile.
BEGINNING = 6


def last_round(session: Session) -> OriginalRound | None:
    """None: there was none yet."""
    return session.scalar(select(OriginalRound).order_by(OriginalRound.began_at.desc()).limit(1))


def place(session: Session) -> str | None:
    """Behind which name the round goes on, which begins anew when it is time; None: it is not yet."""
    last = last_round(session)
    if last is not None and last.ended_at is None:
        return last.after
    if last is not None and session.scalar(select(last.began_at > func.now() - ROUND)):
        return None
    session.execute(delete(OriginalRound))
    session.execute(insert(OriginalRound))
    return ""


def keep_place(session: Session, after: str | None) -> None:
    """All names up to `after` were read; None: all there are."""
    values = {"ended_at": func.now(), "after": ""} if after is None else {"after": after[:BEGINNING]}
    session.execute(update(OriginalRound).values(**values))


def some(session: Session, after: str, limit: int) -> Sequence[str]:
    """At most `limit` names of originals that photos have, behind `after`, in their order."""
    query = select(Photo.sha256).where(Photo.sha256 > after, Photo.original_removed_at.is_(None))
    return session.scalars(query.distinct().order_by(Photo.sha256).limit(limit)).all()


def known(session: Session, after: str = "", limit: int | None = None) -> dict[str, OriginalFault]:
    """The originals behind `after` that something is wrong with, by name, as was found last."""
    query = select(Photo.sha256, Photo.original_fault).where(
        Photo.sha256 > after, Photo.original_fault.is_not(None), Photo.original_removed_at.is_(None)
    )
    rows = session.execute(query.distinct().order_by(Photo.sha256).limit(limit))
    return {name: fault for name, fault in rows if fault is not None}


def note(session: Session, found: Mapping[str, OriginalFault | None]) -> int:
    """Note of originals what is wrong with them, None: nothing is; returns how many photos that changes."""
    changed = 0
    for fault in (None, *OriginalFault):
        names = [name for name, its in found.items() if its is fault]
        if not names:
            continue
        query = update(Photo).where(
            Photo.sha256 == any_(cast(names, ARRAY(Text))),
            Photo.original_fault.is_distinct_from(fault),
            Photo.original_removed_at.is_(None),
        )
        query = query.values(original_fault=fault).execution_options(synchronize_session=False)
        changed += cast_type("CursorResult[Any]", session.execute(query)).rowcount
    return changed


def counts(session: Session) -> dict[OriginalFault, int]:
    """How many originals are missing, and damaged."""
    query = (
        select(Photo.original_fault, func.count(Photo.sha256.distinct()))
        .where(Photo.original_fault.is_not(None), Photo.original_removed_at.is_(None))
        .group_by(Photo.original_fault)
    )
    found = {fault: number for fault, number in session.execute(query) if fault is not None}
    return {fault: found.get(fault, 0) for fault in OriginalFault}
