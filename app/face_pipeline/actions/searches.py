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

from face_pipeline.actions.uploads import Upload
from face_pipeline.broker import answers, exchange
from face_pipeline.broker.celery import publish_search
from face_pipeline.broker.messages import Failed, FoundFace, Question, Reply
from face_pipeline.engine import MemoryBusy, contract_id
from face_pipeline.errors import Conflict, NotFound, QueueUnavailable, Unavailable, Unprocessable
from face_pipeline.parts import Parts
from face_pipeline.store import collections, vectors
from face_pipeline.store.models import Collection, Reason
from face_pipeline.store.vectors import GroupBy, Match
from face_pipeline.telemetry import context

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
    analysed, shared = _analyse(parts, photo, gone)
    answered = time.monotonic()
    faces = [_match(parts, found, face, wish) for face in analysed]
    seconds = {
        "wait_seconds": round(answered - asked, 4),
        "match_seconds": round(time.monotonic() - answered, 4),
    }
    answers.put(parts.scratch, key, [_kept(face) for face in faces], parts.settings.search_cache_seconds)
    if _version(parts, found) != found.version:
        # Nobody finds it any more, and it may tell of somebody who was erased meanwhile.
        answers.drop(parts.scratch, key)
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


def _version(parts: Parts, collection: Collection) -> int | None:
    """The version of the collection by now; None: it is gone."""
    with parts.database.reading() as session:
        return collections.version(session, collection)


def _analyse(parts: Parts, photo: Upload, gone: Callable[[], bool]) -> tuple[list[FoundFace], bool]:
    """The faces that a worker finds, and whether another request for the same photo had asked it already."""
    timeout = parts.settings.search_timeout_seconds
    question = Question(contract_id(parts.pack), photo.row.sha256)

    def send(task_id: str) -> None:
        publish_search(
            parts.celery, question.id,
            task_id=task_id, request_id=context.request_id.get(), expires_seconds=timeout,
        )  # fmt: skip

    try:
        answer = exchange.ask(
            parts.scratch, question.id, photo.data,
            send=send, timeout=timeout, gone=gone,
            # From here on the request's lines name its task, also where it is never answered.
            told=context.task_id.set,
        )  # fmt: skip
    except QueueUnavailable as error:
        raise Unavailable(
            "the task queue cannot be reached; send the search again", code="search_unavailable"
        ) from error
    if answer is None:
        raise Unavailable(
            f"no worker answered within {timeout:g} seconds; they are busy or stopped", code="search_timeout"
        )
    return _faces(answer.reply, question), answer.shared


def _faces(reply: Reply, question: Question) -> list[FoundFace]:
    """The faces of a worker's reply, or its error raised."""
    context.task_id.set(reply.task_id)
    if isinstance(reply, Failed):
        if reply.code == Reason.ENGINE_ERROR:
            raise Unavailable("the worker could not analyse the photo", code="search_failed")
        if reply.code == MemoryBusy.code:
            raise Unavailable(reply.message, code=MemoryBusy.code)
        raise Unprocessable(reply.message, code=reply.code)
    if reply.contract_id != question.contract_id:
        raise Conflict(
            f"a worker runs {reply.contract_id}, this server {question.contract_id}; "
            "run ./face-ansible site.yml so that both have the same model pack",
            code="contract_mismatch",
        )
    return reply.faces


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
