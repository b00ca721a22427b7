"""Web hooks: who is told of events. How they are told is in deliveries.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, Text, delete, func, literal, select, text, tuple_
from sqlalchemy.orm import Session

from face_pipeline.errors import Conflict, NotFound
from face_pipeline.store import audit, events
from face_pipeline.store.models import DeliveryState, Hook, HookDelivery

# The sender has a thread for each, so that one that hangs keeps no other waiting.
HOOKS_MOST = 32
# Any constant: two that are made at once take turns on this advisory lock.
MAKER_LOCK = 7_312_072
# The kind of an event that somebody asked for to try a hook.
TEST = "test"
# Tests that wait at once; each that nobody takes lasts as long as a receiver may hang.
TESTS_MOST = 10
# For so long a receiver may know either secret.
BOTH_SECRETS = timedelta(days=1)


@dataclass(frozen=True)
class NewHook:
    """What a hook is made of; `salt` is random text, `collections` None: all."""

    url: str
    kinds: list[str]
    collections: list[str] | None
    enabled: bool
    salt: str


def reaches(by: audit.Actor, wanted: Sequence[str] | None) -> bool:
    """Whether `by` may know of all that a hook of these collections hears."""
    if by.collections is None:
        return True
    return wanted is not None and by.collections.issuperset(wanted)


def find(session: Session, hook_id: uuid.UUID, by: audit.Actor, *, lock: bool = False) -> Hook:
    """The hook; NotFound where there is none, or it hears of more than `by` may."""
    hook = session.get(Hook, hook_id, with_for_update=True if lock else None)
    if hook is None or not reaches(by, hook.collections):
        raise NotFound(f"there is no hook {hook_id}", code="hook_not_found")
    return hook


def listing(
    session: Session, by: audit.Actor, *, limit: int, after: tuple[datetime, uuid.UUID] | None
) -> tuple[Sequence[Hook], Hook | None]:
    """At most `limit` hooks in the order in which they were made, and the last one where more follow."""
    query = select(Hook).order_by(Hook.created_at, Hook.id).limit(limit + 1)
    if by.collections is not None:
        query = query.where(Hook.collections.op("<@")(literal(sorted(by.collections), ARRAY(Text))))
    if after is not None:
        query = query.where(tuple_(Hook.created_at, Hook.id) > after)
    rows = session.scalars(query).all()
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None


def create(session: Session, new: NewHook, by: audit.Actor) -> Hook:
    """Make a hook that hears of what happens from now on; Conflict where there are HOOKS_MOST."""
    # Of two at once, the second sees the first one's.
    session.execute(text(f"SELECT pg_advisory_xact_lock({MAKER_LOCK})"))
    if (session.scalar(select(func.count()).select_from(Hook)) or 0) >= HOOKS_MOST:
        raise Conflict(
            f"there are {HOOKS_MOST} hooks already, and no more can be made; remove one, "
            "or let one receiver pass events on",
            code="too_many_hooks",
        )
    place = events.end(session)
    hook = Hook(**vars(new), xid=place.xid, number=place.number)
    session.add(hook)
    session.flush()
    session.refresh(hook)
    audit.write(session, by, "hook.create", subject=hook.id, details={"kinds": len(new.kinds)})
    return hook


def change(
    session: Session,
    hook_id: uuid.UUID,
    changes: Mapping[str, Any],
    by: audit.Actor,
    *,
    check: Callable[[int], None],
    salt: str | None = None,
) -> Hook:
    """Change fields of the hook, and its secret where there is a new `salt`; what waits is sent at once.

    `check` is given the hook's version and raises where it is not the one that was meant.
    """
    hook = find(session, hook_id, by, lock=True)
    check(hook.version)
    for name, value in changes.items():
        setattr(hook, name, value)
    if salt is not None:
        hook.old_salt, hook.old_until, hook.salt = hook.salt, func.now() + BOTH_SECRETS, salt
    if "enabled" in changes:
        hook.disabled_reason = None
    hook.version += 1
    hook.updated_at = func.now()
    # The next event is looked for anew, for the hook may hear of others now.
    session.execute(
        delete(HookDelivery).where(
            HookDelivery.hook_id == hook.id,
            HookDelivery.state == DeliveryState.WAITING,
            HookDelivery.xid.is_not(None),
        )
    )
    session.flush()
    session.refresh(hook)
    fields = sorted([*changes, *(["secret"] if salt is not None else [])])
    audit.write(session, by, "hook.change", subject=hook.id, details={"fields": fields})
    return hook


def remove(session: Session, hook_id: uuid.UUID, by: audit.Actor) -> None:
    hook = find(session, hook_id, by, lock=True)
    session.delete(hook)
    audit.write(session, by, "hook.delete", subject=hook_id)


def add_test(session: Session, hook_id: uuid.UUID, by: audit.Actor) -> HookDelivery:
    """Have a test sent to the hook; Conflict where TESTS_MOST wait."""
    hook = find(session, hook_id, by, lock=True)
    waiting = (
        select(func.count())
        .select_from(HookDelivery)
        .where(HookDelivery.hook_id == hook.id, HookDelivery.state == DeliveryState.WAITING)
        .where(HookDelivery.xid.is_(None))
    )
    if (session.scalar(waiting) or 0) >= TESTS_MOST:
        raise Conflict(
            f"{TESTS_MOST} tests of this hook wait already; see whether face-hooks.service runs",
            code="too_many_tests",
        )
    row = HookDelivery(hook_id=hook.id, kind=TEST, event_id=uuid.uuid4(), state=DeliveryState.WAITING)
    session.add(row)
    session.flush()
    session.refresh(row)
    audit.write(session, by, "hook.test", subject=hook.id)
    return row


def deliveries(
    session: Session, hook_id: uuid.UUID, *, limit: int, before: tuple[datetime, uuid.UUID] | None
) -> tuple[Sequence[HookDelivery], HookDelivery | None]:
    """At most `limit` deliveries of the hook, newest first, and the last one where more follow."""
    query = (
        select(HookDelivery)
        .where(HookDelivery.hook_id == hook_id)
        .order_by(HookDelivery.created_at.desc(), HookDelivery.id.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(tuple_(HookDelivery.created_at, HookDelivery.id) < before)
    rows = session.scalars(query).all()
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None
