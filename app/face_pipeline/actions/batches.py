"""Batches: made before their photos come, looked at while these are processed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from face_pipeline.parts import Parts
from face_pipeline.store import audit, batches, collections
from face_pipeline.store.audit import Actor
from face_pipeline.store.batches import Place
from face_pipeline.store.models import Batch, State


@dataclass(frozen=True)
class Progress:
    """A batch with its collection, and how many of its photos are in each state."""

    batch: Batch
    states: dict[State, int]


def make(parts: Parts, collection: str, *, by: Actor) -> Progress:
    """A batch without photos. Raises Forbidden, BadRequest and Conflict for the collection, which is made on
    first use; NotFound where it is deleted at this moment."""
    collections.check_name(collection)
    by.check_reaches(collection)
    with parts.database.transaction() as session:
        found = collections.open_collection(session, collection, parts.pack)
        collections.hold(session, found)
        batch = batches.make(session, found)
        audit.write(session, by, "batch.make", collection=collection, subject=batch.id)
        session.refresh(batch, ["collection"])
    return Progress(batch, dict.fromkeys(State, 0))


def find(parts: Parts, batch_id: uuid.UUID, *, by: Actor) -> Batch:
    """The batch with its collection; NotFound also where `by` does not reach it."""
    with parts.database.reading() as session:
        return batches.find(session, batch_id, by=by)


def describe(parts: Parts, batch_id: uuid.UUID, *, by: Actor) -> Progress:
    """Raises NotFound as `find` does."""
    batch = find(parts, batch_id, by=by)
    with parts.database.reading() as session:
        return Progress(batch, batches.progress(session, [batch_id])[batch_id])


def page(
    parts: Parts, *, collection: str | None, limit: int, after: Place | None, by: Actor
) -> tuple[list[Progress], Place | None]:
    """Batches of a collection, or of all that `by` reaches, newest first; raises Forbidden."""
    wanted = by.collections
    if collection is not None:
        by.check_reaches(collection)
        wanted = frozenset({collection})
    with parts.database.reading() as session:
        found, following = batches.page(session, collections=wanted, limit=limit, after=after)
        states = batches.progress(session, [batch.id for batch in found]) if found else {}
    return [Progress(batch, states[batch.id]) for batch in found], following
