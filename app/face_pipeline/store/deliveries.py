"""Deliveries: events on their way to the web hooks, and what became of each try.

A hook gets its events one after the other. The next one is found behind its place; while it is on its way it
has a row of its own (`hook_deliveries`), and the hook's place moves when it is delivered or given up.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    Connection,
    and_,
    any_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from face_pipeline.store import audit, events
from face_pipeline.store.database import Database
from face_pipeline.store.models import XID8, Collection, DeliveryState, Event, Hook, HookDelivery

# Longer than this an event is not tried.
GIVE_UP_AFTER = timedelta(days=3)
# Deliveries that are over, kept for each hook.
DELIVERIES_KEPT = 1000
# One sender for the whole installation, whichever host has this advisory lock.
SENDER_LOCK = 7_312_071
# What a receiver answers that wants no more. Source: Standard Webhooks 1.0.0, "Deliverability".
GONE = 410
EVENT_GONE = "the event, or its collection, was removed before it could be delivered"


@dataclass(frozen=True)
class Job:
    """What is to be sent to a hook now. `event`: None for a test."""

    hook_id: uuid.UUID
    delivery_id: uuid.UUID
    url: str
    salts: tuple[str, ...]
    event_id: uuid.UUID
    kind: str
    created_at: datetime
    event: events.Told | None


@dataclass(frozen=True)
class Tried:
    """What became of one try; `status` and `answer` where the receiver answered, `error` in our words."""

    delivered: bool
    status: int | None = None
    answer: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Summary:
    """How the hooks are: `failing` ones are enabled and wait to try again, `disabled` ones do not hear."""

    well: int
    failing: int
    disabled: int
    oldest_waiting_seconds: float


class OnlySender:
    """Whether this process is the one that sends. A process that ends, or loses the database, is not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._held = False

    def holds(self) -> bool:
        """Take the lock, or see that it is still held; raises DatabaseUnavailable, and has lost it then."""
        try:
            if self._connection is None:
                self._connection = self._stack.enter_context(self._database.single_statements())
            # With the lock, this shows whether the connection still stands.
            wanted = "SELECT true" if self._held else f"SELECT pg_try_advisory_lock({SENDER_LOCK})"
            self._held = bool(self._connection.scalar(text(wanted)))
        except BaseException as error:
            self._held, self._connection = False, None
            # The context says in our words what was wrong.
            if not self._stack.__exit__(type(error), error, error.__traceback__):
                raise
        return self._held

    def close(self) -> None:
        if self._held and self._connection is not None:
            self._connection.execute(text(f"SELECT pg_advisory_unlock({SENDER_LOCK})"))
        self._held, self._connection = False, None
        self._stack.close()


# A delivery that waits, of an event: a hook's next one, which it has once at most.
_is_next = and_(HookDelivery.state == DeliveryState.WAITING, HookDelivery.xid.is_not(None))
_is_test = and_(HookDelivery.state == DeliveryState.WAITING, HookDelivery.xid.is_(None))


def due(session: Session) -> Sequence[uuid.UUID]:
    """The hooks to which something is to be sent now, or which are not behind the last event."""
    own = HookDelivery.hook_id == Hook.id
    behind = exists().where(
        tuple_(Event.xid, Event.number) > tuple_(Hook.xid, Hook.number),
        Event.xid < literal(events.horizon(session).over, XID8),
    )
    return session.scalars(
        select(Hook.id).where(
            or_(
                exists().where(own, _is_test),
                and_(
                    Hook.enabled,
                    or_(
                        exists().where(own, _is_next, HookDelivery.next_try_at <= func.now()),
                        and_(~exists().where(own, _is_next), behind),
                    ),
                ),
            )
        )
    ).all()


def take(session: Session, hook_id: uuid.UUID) -> Job | None:
    """What is to be sent to the hook now, None where that is nothing."""
    hook = session.get(Hook, hook_id, with_for_update=True)
    if hook is None:
        return None
    test = session.scalar(
        select(HookDelivery)
        .where(HookDelivery.hook_id == hook.id, _is_test)
        .order_by(HookDelivery.created_at, HookDelivery.id)
        .limit(1)
    )
    if test is not None:
        return _job(hook, test, None)
    if not hook.enabled:
        return None
    row = session.scalar(select(HookDelivery).where(HookDelivery.hook_id == hook.id, _is_next))
    if row is not None:
        if (row.next_try_at or row.created_at) > session.scalars(select(func.now())).one():
            return None
        place = _place(row)
        event = events.find(session, place)
        if event is not None:
            return _job(hook, row, event)
        row.state, row.last_error, row.next_try_at = DeliveryState.GIVEN_UP, EVENT_GONE, None
        hook.xid, hook.number = place.xid, place.number
        session.flush()
    return _next(session, hook)


def _place(row: HookDelivery) -> events.Place:
    """Where the event of a delivery is, which is no test."""
    assert row.xid is not None
    assert row.number is not None
    return events.Place(row.xid, row.number)


def _next(session: Session, hook: Hook) -> Job | None:
    """The first event behind the hook's place that it is to hear of."""
    wanted = events.Wanted(hook.kinds, hook.collections)
    found, place = events.page(session, wanted, limit=1, after=events.Place(hook.xid, hook.number))
    if not found:
        hook.xid, hook.number = place.xid, place.number
        return None
    event = found[0]
    row = HookDelivery(
        hook_id=hook.id, kind=event.kind, event_id=event.id, state=DeliveryState.WAITING,
        xid=event.place.xid, number=event.place.number, next_try_at=func.now(),
    )  # fmt: skip
    session.add(row)
    session.flush()
    session.refresh(row)
    return _job(hook, row, event)


def _job(hook: Hook, row: HookDelivery, event: events.Told | None) -> Job:
    salts = [hook.salt]
    if hook.old_salt and hook.old_until and hook.old_until > datetime.now(UTC):
        salts.append(hook.old_salt)
    return Job(
        hook.id, row.id, hook.url, tuple(salts), row.event_id, row.kind, row.created_at, event
    )  # fmt: skip


def record(session: Session, job: Job, tried: Tried, pauses: Sequence[timedelta]) -> DeliveryState | None:
    """Keep what became of a try; returns where the delivery is now, None where the hook was changed.

    `pauses` are those before the second, third, … try; the last one is that before each later try, too.
    """
    hook = session.get(Hook, job.hook_id, with_for_update=True)
    row = session.get(HookDelivery, job.delivery_id)
    if hook is None or row is None or row.state != DeliveryState.WAITING:
        return None
    now = session.scalars(select(func.now())).one()
    row.attempts += 1
    row.first_tried_at = row.first_tried_at or now
    row.last_tried_at, row.next_try_at = now, None
    row.last_status, row.last_answer, row.last_error = tried.status, tried.answer, tried.error
    if tried.delivered:
        row.state = DeliveryState.DELIVERED
    elif job.event is None or now - row.first_tried_at >= GIVE_UP_AFTER:
        row.state = DeliveryState.GIVEN_UP
    else:
        row.next_try_at = now + pauses[min(row.attempts, len(pauses)) - 1]
    if row.state != DeliveryState.WAITING and row.xid is not None:
        place = _place(row)
        hook.xid, hook.number = place.xid, place.number
    if tried.delivered and job.event is None:
        # It hears again: what waits for it does so no longer.
        session.execute(
            update(HookDelivery)
            .where(HookDelivery.hook_id == hook.id, _is_next)
            .values(next_try_at=now)
            .execution_options(synchronize_session=False)
        )
    if tried.status == GONE and hook.enabled:
        hook.enabled, hook.disabled_reason, hook.version = False, "gone", hook.version + 1
        hook.updated_at = now
        audit.write(session, audit.SERVICE, "hook.disable", subject=hook.id)
    return DeliveryState(row.state)


def forget_deliveries(session: Session, hook_id: uuid.UUID) -> None:
    """Keep the newest DELIVERIES_KEPT of the hook, and what waits."""
    oldest = (
        select(HookDelivery.created_at)
        .where(HookDelivery.hook_id == hook_id)
        .order_by(HookDelivery.created_at.desc())
        .offset(DELIVERIES_KEPT - 1)
        .limit(1)
        .scalar_subquery()
    )
    session.execute(
        delete(HookDelivery)
        .where(
            HookDelivery.hook_id == hook_id,
            HookDelivery.state != DeliveryState.WAITING,
            HookDelivery.created_at < oldest,
        )
        .execution_options(synchronize_session=False)
    )


def summary(session: Session) -> Summary:
    """How the hooks are, and the age of the oldest event that an enabled one has not got, in seconds."""
    own = HookDelivery.hook_id == Hook.id
    failing = exists().where(own, _is_next, HookDelivery.attempts > 0)
    on_its_way = (
        select(Event.at)
        .join(HookDelivery, and_(HookDelivery.xid == Event.xid, HookDelivery.number == Event.number))
        .where(own, _is_next)
        .correlate(Hook)
        .scalar_subquery()
    )
    first = (
        select(Event.at)
        .join(Collection, Collection.id == Event.collection_id)
        .where(
            tuple_(Event.xid, Event.number) > tuple_(Hook.xid, Hook.number),
            Event.kind == any_(Hook.kinds),
            or_(Hook.collections.is_(None), Collection.name == any_(Hook.collections)),
        )
        .order_by(Event.xid, Event.number)
        .limit(1)
        .correlate(Hook)
        .scalar_subquery()
    )
    oldest = func.min(func.coalesce(on_its_way, first)).filter(Hook.enabled)
    row = session.execute(
        select(
            func.count().filter(Hook.enabled, ~failing).label("well"),
            func.count().filter(Hook.enabled, failing).label("failing"),
            func.count().filter(~Hook.enabled).label("disabled"),
            func.coalesce(func.extract("epoch", func.now() - oldest), 0).label("seconds"),
        ).select_from(Hook)
    ).one()
    return Summary(row.well, row.failing, row.disabled, float(row.seconds))
