"""Photos that failed, by reason: what it means, and whether another try can help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from face_pipeline.errors import NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, failures
from face_pipeline.store.audit import Actor
from face_pipeline.store.failures import Group, Wanted
from face_pipeline.store.models import Photo, Reason

# Rows that are in memory at once, however many there are.
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Meaning:
    """A reason in words for people, and whether another try can end otherwise while nothing else changes."""

    words: str
    retry_helps: bool


_PHOTO = "the file itself is the reason: "
MEANINGS: dict[str, Meaning] = {
    Reason.WORKER_LOST: Meaning("workers ended while they had the photo; look for what ended them", True),
    Reason.DEADLINE_EXCEEDED: Meaning("the photo took longer than a photo may take", True),
    Reason.ENGINE_ERROR: Meaning("the engine stopped at the photo; the worker's log says where", True),
    Reason.OUT_OF_MEMORY: Meaning("the photo needs more memory than a worker may use", True),
    Reason.CONTRACT_MISMATCH: Meaning(
        "the collection was made with another model pack; install that pack again, then retry", False
    ),
    "original_missing": Meaning("the file is gone from the disk; upload the photo again", False),
    "original_damaged": Meaning("the file on the disk was damaged; upload the photo again", False),
    "broken_image": Meaning(f"{_PHOTO}it cannot be decoded", False),
    "truncated": Meaning(f"{_PHOTO}its end is missing; send the whole file again", False),
    "unsupported_type": Meaning(f"{_PHOTO}it is no JPEG, PNG, WebP, HEIC or AVIF", False),
    "unsupported_jpeg": Meaning(f"{_PHOTO}it is a kind of JPEG that is not read here; save it anew", False),
    "too_many_pixels": Meaning(f"{_PHOTO}it has more pixels than are taken; make it smaller", False),
    "too_much_memory": Meaning(f"{_PHOTO}to decode it takes too much memory; make it smaller", False),
    "too_much_work": Meaning(f"{_PHOTO}to decode it takes too much work; save it anew", False),
    "side_ratio": Meaning(f"{_PHOTO}it is too long and narrow; cut it", False),
    "too_large": Meaning(f"{_PHOTO}it has more bytes than are taken; make it smaller", False),
    "empty_file": Meaning(f"{_PHOTO}it is empty", False),
}


def meaning(group: Group) -> Meaning:
    """Of a reason that is not known here, the words that came with a photo."""
    return MEANINGS.get(group.reason) or Meaning(group.message or "no reason was kept", True)


def wanted(parts: Parts, *, collection: str | None, reason: str | None, by: Actor) -> Wanted:
    """What `by` may see of it. Raises NotFound, Forbidden, BadRequest for the collection."""
    if collection is None:
        return Wanted(by.collections, reason)
    by.check_reaches(collections.check_name(collection))
    with parts.database.reading() as session:
        if not collections.exists(session, collection):
            raise NotFound(f"there is no collection {collection!r}", code="collection_not_found")
    return Wanted(frozenset((collection,)), reason)


def by_reason(parts: Parts, *, collection: str | None, by: Actor) -> list[Group]:
    """Failed photos by their reason, that of most photos first. Raises as `wanted`."""
    asked = wanted(parts, collection=collection, reason=None, by=by)
    with parts.database.reading() as session:
        return failures.groups(session, asked)


def rows(parts: Parts, asked: Wanted, *, by: Actor) -> Iterator[Photo]:
    """Each failed photo, the oldest first. One that fails meanwhile may come too."""
    after = None
    while True:
        with parts.database.reading() as session:
            page = failures.page(session, asked, limit=ROWS_AT_ONCE, after=after)
            audit.note(session, by, "photo.list", details={"photos": len(page), "as": "csv"})
        yield from page
        if len(page) < ROWS_AT_ONCE:
            return
        after = failures.place(page[-1])
