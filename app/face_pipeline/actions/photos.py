"""What is done with photos that are there: another try for those that failed, another collection."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from face_pipeline.actions import uploads
from face_pipeline.broker import answers
from face_pipeline.errors import BadRequest, Conflict, NotFound, QueueUnavailable
from face_pipeline.parts import Parts
from face_pipeline.store import collections, several, upkeep
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Photo
from face_pipeline.store.several import Refused
from face_pipeline.store.upkeep import Failed, Moved


@dataclass
class MovedSeveral:
    """How many photos were moved, and faces on them that have no person any more."""

    moved: int = 0
    unnamed: int = 0
    refused: list[Refused] = field(default_factory=list)


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


def retry_several(parts: Parts, photo_ids: Sequence[uuid.UUID], *, by: Actor) -> tuple[int, list[Refused]]:
    """Let these photos start again, in one transaction; how many did, and why the others did not."""
    started, refused = parts.database.in_transaction(lambda session: several.retry(session, photo_ids, by=by))
    uploads.publish_if_possible(parts, started)
    return len(started), refused


def move(parts: Parts, photo_id: uuid.UUID, collection: str, *, by: Actor) -> Moved:
    """Give a photo and its faces to another collection, which must be there.

    Raises NotFound, Forbidden for a collection that `by` does not reach, Conflict.
    """
    by.check_reaches(collections.check_name(collection))
    moved = _move(parts, photo_id, collection, by)
    _forget(parts, [moved.source])
    return moved


def move_several(parts: Parts, photo_ids: Sequence[uuid.UUID], collection: str, *, by: Actor) -> MovedSeveral:
    """Give photos to another collection, each in a transaction of its own: one that cannot go stops none.

    Raises NotFound and Forbidden for the collection.
    """
    by.check_reaches(collections.check_name(collection))
    with parts.database.reading() as session:
        collections.by_name(session, collection)
    done, sources = MovedSeveral(), set[int | None]()
    try:
        for photo_id in photo_ids:
            try:
                moved = _move(parts, photo_id, collection, by)
            except (NotFound, Conflict) as error:
                done.refused.append(Refused.of(photo_id, error))
                continue
            done.moved += moved.source is not None
            done.unnamed += moved.unnamed
            sources.add(moved.source)
    finally:
        _forget(parts, sources)
    return done


def _move(parts: Parts, photo_id: uuid.UUID, collection: str, by: Actor) -> Moved:
    return parts.database.in_transaction(lambda session: upkeep.move(session, photo_id, collection, by=by))


def _forget(parts: Parts, sources: Iterable[int | None]) -> None:
    """Nobody finds their cached answers any more, and an erasure of the photos would not look there."""
    with suppress(QueueUnavailable):
        for source in sources:
            if source is not None:
                answers.forget(parts.scratch, source)
