"""The audit's chain: the order of its entries, and a hash of each over itself and the hash before.

Entries are written side by side, so none can know which comes before it. A sealer gives those that are
committed the next places, in the order of their ids; one that is committed later than others with higher ids
gets its place after them. What has a place keeps it, and nobody waits for the sealer.

A hash is the SHA-256 of the hash before (32 bytes; before the first entry: zeros) and the entry as JSON: its
fields and its position, sorted by name, without spaces, in ASCII; `at` in UTC with microseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import Row, delete, exists, func, insert, select, text
from sqlalchemy.orm import Session

from face_pipeline.store.models import AuditCheck, AuditEntry, AuditSeal, AuditUnsealed

# Any constant: sealers of several hosts take turns on this advisory lock.
SEALING = 7_312_019
# Of one transaction, and in memory at once.
ENTRIES_AT_ONCE = 1000
# The hash before the first.
BEGINNING = bytes(32)
PRUNED = "audit.prune"

# What a seal covers: a column that comes later changes no hash.
FIELDS = (
    "id", "at", "actor_kind", "actor_id", "actor_name", "address", "request_id", "action", "collection",
    "subject", "outcome", "details",
)  # fmt: skip
_COLUMNS = [getattr(AuditEntry, name) for name in FIELDS]


@dataclass(frozen=True)
class Place:
    """A place in the chain, from 1, and the hash there, 32 bytes; 0: before the first."""

    position: int
    hash: bytes


START = Place(0, BEGINNING)


@dataclass(frozen=True)
class Link:
    """A seal, and the entry that it is of: None where that is gone."""

    place: Place
    entry_id: int
    entry: Row[Any] | None


@dataclass(frozen=True)
class Waiting:
    """Entries that have no seal yet: how many, and for how long the first of them has had none, seconds."""

    count: int
    seconds: float


def sealed(before: bytes, position: int, entry: Row[Any]) -> bytes:
    """The hash of an entry at a position behind the hash `before`."""
    fields = {
        **{name: getattr(entry, name) for name in FIELDS},
        "position": position,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor_id": None if entry.actor_id is None else str(entry.actor_id),
    }
    told = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(before + told.encode("ascii")).digest()


def seal_some(session: Session) -> int:
    """Seal entries that have no seal yet, `ENTRIES_AT_ONCE` at most; returns how many.

    None where another sealer is at work. Its answer is the order for good, once the transaction is committed.
    """
    if not session.scalar(select(func.pg_try_advisory_xact_lock(SEALING))):
        return 0
    last = newest(session)
    entries = session.execute(
        select(*_COLUMNS)
        .join(AuditUnsealed, AuditUnsealed.entry == AuditEntry.id)
        .order_by(AuditUnsealed.entry)
        .limit(ENTRIES_AT_ONCE)
    ).all()
    if not entries:
        return 0
    position, before, seals = last.position, last.hash, []
    for entry in entries:
        position += 1
        before = sealed(before, position, entry)
        seals.append({"position": position, "entry": entry.id, "hash": before})
    session.execute(insert(AuditSeal), seals)
    session.execute(
        delete(AuditUnsealed)
        .where(AuditUnsealed.entry.in_([entry.id for entry in entries]))
        .execution_options(synchronize_session=False)
    )
    return len(entries)


def newest(session: Session) -> Place:
    """The last place of the chain; `START` where nothing is sealed."""
    return _place(session, AuditSeal.position.desc())


def oldest(session: Session) -> Place:
    """The first place that is kept; `START` where nothing is sealed."""
    return _place(session, AuditSeal.position.asc())


def _place(session: Session, order: Any) -> Place:
    row = session.execute(select(AuditSeal.position, AuditSeal.hash).order_by(order).limit(1)).one_or_none()
    return Place(row.position, bytes(row.hash)) if row else START


def links(session: Session, after: int) -> Sequence[Link]:
    """The places behind the position `after`, in their order, `ENTRIES_AT_ONCE` at most."""
    rows = session.execute(
        select(AuditSeal.position, AuditSeal.entry, AuditSeal.hash, *_COLUMNS)
        .outerjoin(AuditEntry, AuditEntry.id == AuditSeal.entry)
        .where(AuditSeal.position > after)
        .order_by(AuditSeal.position)
        .limit(ENTRIES_AT_ONCE)
    )
    return [
        Link(Place(row.position, bytes(row.hash)), row.entry, None if row.id is None else row) for row in rows
    ]


def is_pruned_to(session: Session, place: Place) -> bool:
    """Whether an entry says that all up to this place were removed."""
    found = select(AuditEntry.id).where(
        AuditEntry.action == PRUNED, AuditEntry.details.contains(told_of(place))
    )
    return session.scalar(found.limit(1)) is not None


def told_of(place: Place) -> dict[str, Any]:
    """A place as an entry or an anchor tells of it."""
    return {"position": place.position, "hash": place.hash.hex()}


def prune(session: Session, older_than: timedelta) -> tuple[int, Place]:
    """Remove the entries at the chain's beginning that are older; returns how many, and where it begins now.

    The seal of the last of them stays, for the next one is chained to it.
    """
    cutoff = func.now() - older_than
    kept = session.scalar(
        select(AuditSeal.position)
        .join(AuditEntry, AuditEntry.id == AuditSeal.entry)
        .where(AuditEntry.at >= cutoff)
        .order_by(AuditSeal.position)
        .limit(1)
    )
    last = newest(session).position if kept is None else kept - 1
    entries = select(AuditSeal.entry).where(AuditSeal.position <= last)
    session.execute(text("SET LOCAL face.audit_prune = 'on'"))
    removed = session.execute(delete(AuditEntry).where(AuditEntry.id.in_(entries)))
    session.execute(delete(AuditSeal).where(AuditSeal.position < last))
    session.execute(text("SET LOCAL face.audit_prune = 'off'"))
    # Of entries that were gone before they got a seal.
    gone = ~exists().where(AuditEntry.id == AuditUnsealed.entry)
    session.execute(delete(AuditUnsealed).where(AuditUnsealed.since < cutoff, gone))
    return int(removed.rowcount), oldest(session)  # type: ignore[attr-defined]


def waiting(session: Session) -> Waiting:
    """The entries that have no seal yet."""
    age = func.extract("epoch", func.clock_timestamp() - func.min(AuditUnsealed.since))
    count, seconds = session.execute(select(func.count(), age).select_from(AuditUnsealed)).one()
    return Waiting(count, max(0.0, float(seconds or 0)))


def past_the_sealer(session: Session) -> int | None:
    """The first entry that has no seal, and waits for none; reads the ids of all entries."""
    return session.scalar(
        select(AuditEntry.id)
        .where(
            ~exists().where(AuditSeal.entry == AuditEntry.id),
            ~exists().where(AuditUnsealed.entry == AuditEntry.id),
        )
        .order_by(AuditEntry.id)
        .limit(1)
    )


def gone_unsealed(session: Session) -> int | None:
    """The first entry that waits for a seal, and is not there any more."""
    gone = ~exists().where(AuditEntry.id == AuditUnsealed.entry)
    return session.scalar(select(AuditUnsealed.entry).where(gone).order_by(AuditUnsealed.entry).limit(1))


def keep_check(session: Session, entries: int, fault: str | None) -> None:
    """Keep how a check ended, in the place of the one before."""
    session.execute(delete(AuditCheck))
    session.add(AuditCheck(entries=entries, fault=fault))


def last_check(session: Session) -> AuditCheck | None:
    return session.scalars(select(AuditCheck).order_by(AuditCheck.at.desc()).limit(1)).one_or_none()
