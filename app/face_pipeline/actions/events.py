"""Events, as the API and the web hooks tell of them; and their upkeep."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, events
from face_pipeline.store.models import EventKind
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# Statements of one run of the indexer: half a million events, more than ten minutes bring.
STEPS_AT_ONCE = 100


def read(
    parts: Parts,
    *,
    after: events.Place | None,
    kind: EventKind | None,
    collection: str | None,
    limit: int,
    last: int | None = None,
    by: audit.Actor,
) -> tuple[list[events.Told], events.Place]:
    """At most `limit` events behind `after` that `by` may know of, and the place to go on from.

    `last`: so many of the newest instead, and the place behind them.
    """
    if collection is not None:
        by.check_reaches(collections.check_name(collection))
    wanted = events.Wanted(
        kinds=None if kind is None else {kind},
        collections=by.collections if collection is None else {collection},
    )
    with parts.database.reading() as session:
        if last is not None:
            found, following = events.newest(session, wanted, most=last)
        else:
            found, following = events.page(session, wanted, limit=limit, after=after)
        if found:
            # Programs ask every few seconds, and mostly learn nothing.
            audit.note(session, by, "event.read", collection=collection, details={"events": len(found)})
    return found, following


def as_json(event: events.Told) -> dict[str, Any]:
    """The event with values of JSON, the same for who asks and for who is told."""
    person = None
    if event.person_id is not None:
        person = {"id": str(event.person_id), "name": event.person_name}
    return {
        "id": str(event.id),
        "kind": event.kind,
        "at": event.at.isoformat(timespec="milliseconds"),
        "collection": event.collection,
        "photo_id": str(event.photo_id),
        "face_id": None if event.face_id is None else str(event.face_id),
        "person": person,
        "face_count": event.face_count,
        "reason_code": event.reason_code,
    }


def tidy(parts: Parts) -> int:
    """Remove events that are older than `events_days`, a bounded number; returns how many.

    What another server wrote into this database, before it was restored, is put in its place first.
    """
    if parts.database.in_transaction(events.settle):
        log.warning(
            "this database was restored from another server; its events were put before all new ones",
            extra={"operation": "events"},
        )
    age = timedelta(days=parts.settings.events_days)
    removed = 0
    for _ in range(STEPS_AT_ONCE):
        step = parts.database.in_transaction(lambda session: events.forget(session, age))
        removed += step
        if step < events.FORGOTTEN_AT_ONCE:
            break
    if removed:
        log.info(
            "%s removed after %d days", counted(removed, "event"), age.days,
            extra={"operation": "events", "count": removed},
        )  # fmt: skip
    return removed
