"""Collections: made, and described."""

from __future__ import annotations

from dataclasses import dataclass

from face_pipeline.errors import NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import collections
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, State


@dataclass(frozen=True)
class Described:
    """A collection, and what it holds."""

    collection: Collection
    has: collections.Counts


def create(parts: Parts, name: str, *, by: Actor) -> Described:
    """Make a collection for the embeddings of the installed pack.

    Raises BadRequest for a bad name, Conflict where there is one of this name, Forbidden where `by` does not
    reach it.
    """
    collections.check_name(name)
    by.check_reaches(name)

    made = parts.database.in_transaction(lambda session: collections.create(session, name, parts.pack, by))
    return Described(made, collections.Counts(dict.fromkeys(State, 0), 0, 0))


def describe(parts: Parts, name: str, *, by: Actor) -> Described:
    """Raises Forbidden where `by` does not reach the collection, NotFound where there is none."""
    by.check_reaches(name)
    try:
        with parts.database.reading() as session:
            found = collections.by_name(session, name)
            return Described(found, collections.counts(session, found))
    except NotFound:
        if name != collections.DEFAULT_COLLECTION:
            raise
    # There from the start, as far as anybody can tell.
    with parts.database.transaction() as session:
        found = collections.open_collection(session, name, parts.pack)
        return Described(found, collections.counts(session, found))
