"""Searches: who is on this photo?

The photo is analysed by a worker, once for all who ask for it at the same time; its faces are compared here.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from face_pipeline.actions import analysis
from face_pipeline.actions.uploads import Upload
from face_pipeline.broker import answers
from face_pipeline.broker.messages import FoundFace
from face_pipeline.errors import NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import collections, vectors
from face_pipeline.store.models import Collection
from face_pipeline.store.vectors import GroupBy, Match

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What is wanted for each face: at most `limit` matches, whose similarity (-1 to 1) reaches `threshold`.

    A face of a quality (0 to 1) under `min_quality` gets no match, and matches nobody.
    """

    limit: int
    threshold: float
    min_quality: float
    group_by: GroupBy


@dataclass(frozen=True)
class SearchedFace:
    """A face of the searched photo, coordinates in pixels of the upright photo, and what it is like."""

    bbox: list[float]
    landmarks: list[list[float]]
    detection_score: float
    quality: float
    matches: list[Match]


@dataclass(frozen=True)
class Answer:
    """The faces, whether they were kept from a search before, or analysed for another; seconds that took."""

    collection: str
    faces: list[SearchedFace]
    cached: bool
    shared: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


def search(parts: Parts, photo: Upload, *, collection: str, wish: Wish, gone: Callable[[], bool]) -> Answer:
    """Find the faces of the photo in a collection.

    Raises NotFound and Conflict for the collection, Unprocessable for the photo, Unavailable where no worker
    answers in time, ClientGone once `gone` says that nobody waits for the answer.
    """
    found = _collection(parts, collection)
    # Read before the search: a photo that is added meanwhile starts a version this answer is not kept under.
    key = answers.Question(
        found.id, found.version, found.contract_id, photo.row.sha256,
        limit=wish.limit, threshold=wish.threshold, min_quality=wish.min_quality, group_by=wish.group_by,
    ).key  # fmt: skip
    kept = answers.get(parts.scratch, key)
    if kept is not None:
        answers.count_hit(parts.scratch)
        return Answer(found.name, [_found_again(each) for each in kept], cached=True)
    asked = time.monotonic()
    analysed, shared = analysis.analyse(parts, photo, gone)
    answered = time.monotonic()
    faces = [_match(parts, found, face, wish) for face in analysed]
    seconds = {
        "wait_seconds": round(answered - asked, 4),
        "match_seconds": round(time.monotonic() - answered, 4),
    }
    answers.put(parts.scratch, key, [_kept(face) for face in faces], parts.settings.search_cache_seconds)
    return Answer(found.name, faces, cached=False, shared=shared, seconds=seconds)


def _collection(parts: Parts, name: str) -> Collection:
    try:
        with parts.database.reading() as session:
            return collections.find_collection(session, name, parts.pack)
    except NotFound:
        if name != collections.DEFAULT_COLLECTION:
            raise
    # There from the start, as far as anybody can tell.
    with parts.database.transaction() as session:
        return collections.open_collection(session, name, parts.pack)


def _match(parts: Parts, collection: Collection, face: FoundFace, wish: Wish) -> SearchedFace:
    matches: list[Match] = []
    nearest = vectors.nearest_people if wish.group_by == GroupBy.PERSON else vectors.nearest
    if face.quality >= wish.min_quality:
        with parts.database.reading() as session:
            matches = nearest(
                session, collection, face.embedding,
                limit=wish.limit, threshold=wish.threshold, min_quality=wish.min_quality,
            )  # fmt: skip
    best = f"{matches[0].similarity:.3f}" if matches else "none"
    log.debug(
        "a face of quality %.2f has %d matches, the best of %s, threshold %.2f",
        face.quality, len(matches), best, wish.threshold, extra={"operation": "search"},
    )  # fmt: skip
    return SearchedFace(face.bbox, face.landmarks, face.detection_score, face.quality, matches)


def _kept(face: SearchedFace) -> dict[str, Any]:
    """The face as JSON for the cache; `_found_again` reads it."""
    return {**vars(face), "matches": [_kept_match(match) for match in face.matches]}


def _kept_match(match: Match) -> dict[str, Any]:
    told = {
        "person_id": str(match.person_id) if match.person_id else None,
        "person_name": match.person_name,
        "face_id": str(match.face_id),
        "photo_id": str(match.photo_id),
        "similarity": match.similarity,
    }
    return told if match.face_count is None else {**told, "face_count": match.face_count}


def _found_again(kept: Mapping[str, Any]) -> SearchedFace:
    matches = [
        Match(
            **{
                **each,
                "face_id": uuid.UUID(each["face_id"]),
                "photo_id": uuid.UUID(each["photo_id"]),
                "person_id": uuid.UUID(each["person_id"]) if each["person_id"] else None,
            }
        )
        for each in kept["matches"]
    ]
    return SearchedFace(**{**kept, "matches": matches})
