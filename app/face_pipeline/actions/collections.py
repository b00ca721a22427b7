"""Collections: made, and described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from face_pipeline.errors import NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import collections, quotas
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, State


@dataclass(frozen=True)
class Described:
    """A collection, and what it holds."""

    collection: Collection
    has: collections.Counts
    used: quotas.Amount


def create(parts: Parts, name: str, *, by: Actor) -> Described:
    """Make a collection for the embeddings of the installed pack.

    Raises BadRequest for a bad name, Conflict where there is one of this name, Forbidden where `by` does not
    reach it.
    """
    collections.check_name(name)
    by.check_reaches(name)

    made = parts.database.in_transaction(lambda session: collections.create(session, name, parts.pack, by))
    return Described(made, collections.Counts(dict.fromkeys(State, 0), 0, 0), quotas.Amount(0, 0))


def describe(parts: Parts, name: str, *, by: Actor) -> Described:
    """Raises Forbidden where `by` does not reach the collection, NotFound where there is none."""
    by.check_reaches(name)
    try:
        with parts.database.reading() as session:
            found = collections.by_name(session, name)
            used = quotas.used(session, collection_id=found.id)
            return Described(found, collections.counts(session, found), used)
    except NotFound:
        if name != collections.DEFAULT_COLLECTION:
            raise
    # There from the start, as far as anybody can tell.
    with parts.database.transaction() as session:
        found = collections.open_collection(session, name, parts.pack)
        return Described(found, collections.counts(session, found), quotas.Amount(0, 0))


def change_quota(
    parts: Parts, name: str, to: Mapping[str, int | None], *, by: Actor
) -> tuple[Collection, quotas.Amount]:
    """Let the collection hold so many `photos` and `bytes`, None: any number; with what it holds now.

    Raises Forbidden and NotFound as `describe` does.
    """
    by.check_reaches(name)
    parts.database.in_transaction(lambda session: collections.make_default(session, name, parts.pack))
    changed = parts.database.in_transaction(lambda session: quotas.change(session, name, to, by=by))
    with parts.database.reading() as session:
        return changed, quotas.used(session, collection_id=changed.id)
