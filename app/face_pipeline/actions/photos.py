"""What is done with photos that are there: another try for those that failed, another collection."""

from __future__ import annotations

import uuid
from contextlib import suppress

from face_pipeline.actions import uploads
from face_pipeline.broker import answers
from face_pipeline.errors import BadRequest, NotFound, QueueUnavailable
from face_pipeline.parts import Parts
from face_pipeline.store import collections, upkeep
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Photo
from face_pipeline.store.upkeep import Failed, Moved


def retry(parts: Parts, photo_id: uuid.UUID, *, by: Actor) -> Photo:
    """Let a failed photo start again, whatever its reason. Raises NotFound, Conflict."""
    photo = parts.database.in_transaction(lambda session: upkeep.retry(session, photo_id, by=by))
    uploads.publish_if_possible(parts, [photo_id])
    return photo


def retry_all(parts: Parts, *, collection: str | None, reason: str | None, by: Actor) -> int:
    """Let all photos start again that failed in a collection, for a reason, or both; returns how many.

    In steps, each a transaction. One that fails again meanwhile is not tried twice. Raises BadRequest where
    neither is named, NotFound, Forbidden.
    """
    if collection is None and reason is None:
        raise BadRequest(
            "name a collection, a reason, or both: all failed photos at once are hardly meant",
            code="parameter",
        )
    reached = by.collections
    if collection is not None:
        by.check_reaches(collections.check_name(collection))
        reached = frozenset((collection,))
    with parts.database.reading() as session:
        if collection is not None and not collections.exists(session, collection):
            raise NotFound(f"there is no collection {collection!r}", code="collection_not_found")
        wanted = Failed(reason, reached, upkeep.now(session))
    retried = 0
    while True:
        started = parts.database.in_transaction(lambda session: upkeep.retry_some(session, wanted, by=by))
        if started is None:
            return retried
        uploads.publish_if_possible(parts, started)
        retried += len(started)


def move(parts: Parts, photo_id: uuid.UUID, collection: str, *, by: Actor) -> Moved:
    """Give a photo and its faces to another collection, which must be there.

    Raises NotFound, Forbidden for a collection that `by` does not reach, Conflict.
    """
    by.check_reaches(collections.check_name(collection))
    moved = parts.database.in_transaction(lambda session: upkeep.move(session, photo_id, collection, by=by))
    if moved.source is not None:
        # Nobody finds them any more, and an erasure of this photo would not look there.
        with suppress(QueueUnavailable):
            answers.forget(parts.scratch, moved.source)
    return moved
