"""Searches: who is on this photo, or whose is this face?

A photo is analysed by a worker, once for all who ask for it at the same time; its faces are compared here. So
are a stored face and an embedding that a client brings.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from face_pipeline.actions import analysis
from face_pipeline.actions.uploads import Upload
from face_pipeline.broker import answers, shadows
from face_pipeline.broker.messages import FoundFace
from face_pipeline.engine import contract_id
from face_pipeline.errors import BadRequest, NotFound, Unavailable
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, embeddings, vectors
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection
from face_pipeline.store.vectors import GroupBy, Match

log = logging.getLogger(__name__)

# Each is searched by a statement of its own, for each face.
COLLECTIONS_MAX = 10
# Of a match that is kept as JSON.
ID_FIELDS = ("face_id", "photo_id", "person_id")


@dataclass(frozen=True)
class Wish:
    """What is wanted for each face: at most `limit` matches, whose similarity (-1 to 1) reaches `threshold`.

    A face of a quality (0 to 1) under `min_quality` gets no match, and matches nobody. A face of the photo
    whose box is narrower or lower than `min_face_size` pixels gets none either. `named`: faces of nobody are
    no matches.
    """

    limit: int
    threshold: float
    min_quality: float
    group_by: GroupBy
    min_face_size: float = 0.0
    named: bool = False


@dataclass(frozen=True)
class Seen:
    """How a face looks on its photo: coordinates in pixels of the upright photo, scores from 0 to 1."""

    bbox: list[float]
    landmarks: list[list[float]]
    detection_score: float
    quality: float


@dataclass(frozen=True)
class SearchedFace:
    """A face that was searched for, and whom it is like; `seen` is None for an embedding."""

    seen: Seen | None
    matches: list[Match]


@dataclass(frozen=True)
class Answer:
    """The faces, the collections that were searched, and seconds that took.

    cached: kept from a search before; None: such answers are not kept. shared: analysed for another request.
    """

    collections: list[str]
    faces: list[SearchedFace]
    cached: bool | None
    shared: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    # Faces of the collections, as many as there were when the search began.
    looked_at: int = 0


def search(
    parts: Parts, photo: Upload, *, names: Sequence[str], wish: Wish, gone: Callable[[], bool], by: Actor
) -> Answer:
    """Find the faces of the photo in collections; the matches of all of them are one list for each face.

    Raises Forbidden, NotFound and Conflict for a collection, Unprocessable for the photo, Unavailable where
    no worker answers in time, ClientGone once `gone` says that nobody waits for the answer.
    """
    return _told(parts, by, _search(parts, photo, names, wish, gone, by))


def _told(parts: Parts, by: Actor, answer: Answer) -> Answer:
    """The answer, once the audit has an entry of it."""
    matched = sum(bool(face.matches) for face in answer.faces)
    several = len(answer.collections) > 1
    with parts.database.reading() as session:
        audit.note(
            session, by, "search.run", collection=None if several else answer.collections[0],
            details={
                "faces": len(answer.faces), "matched": matched, "cached": bool(answer.cached),
                **({"collections": answer.collections} if several else {}),
            },
        )  # fmt: skip
    return answer


def _search(
    parts: Parts, photo: Upload, names: Sequence[str], wish: Wish, gone: Callable[[], bool], by: Actor
) -> Answer:
    found = _collections(parts, names, by)
    # Read before the search: a photo that is added meanwhile starts a version this answer is not kept under.
    keys = [_key(each, photo, wish) for each in found]
    kept = _kept_answers(parts, keys)
    if kept is not None:
        answers.count_hit(parts.scratch)
        return Answer(
            _names(found), _merged(found, kept, wish.limit), cached=True, looked_at=_faces_in(found)
        )
    asked = time.monotonic()
    analysed, shared = analysis.analyse(parts, photo, gone)
    answered = time.monotonic()
    faces = [_match(parts, each, analysed, wish) for each in found]
    seconds = {
        "wait_seconds": round(answered - asked, 4),
        "match_seconds": round(time.monotonic() - answered, 4),
    }
    for number, (key, its_faces) in enumerate(zip(keys, faces, strict=True)):
        told = [_kept(face) for face in its_faces]
        answers.put(parts.scratch, key, told, parts.settings.search_cache_seconds, counted=number == 0)
    with parts.database.reading() as session:
        now = collections.versions(session, found)
    for key, collection in zip(keys, found, strict=True):
        if now.get(collection.id, (None, ""))[0] != collection.version:
            # Nobody finds it any more, and it may tell of somebody who was erased meanwhile.
            answers.drop(parts.scratch, key)
    for collection in found:
        if collection.id in now and now[collection.id][1] != collection.contract_id:
            raise Unavailable(
                f"collection {collection.name!r} was moved to another model pack meanwhile;"
                " send the search again",
                code="pack_changing",
            )
    shadows.offer(
        parts.settings.shadow_dir,
        shadows.Search(contract_id(parts.pack), [each.id for each in found], analysed, photo.data),
    )
    return Answer(
        _names(found), _merged(found, faces, wish.limit), cached=False, shared=shared, seconds=seconds,
        looked_at=_faces_in(found),
    )  # fmt: skip


def search_face(parts: Parts, face_id: uuid.UUID, *, names: Sequence[str], wish: Wish, by: Actor) -> Answer:
    """Find who is like a stored face, which is not found itself; without names in its own collection.

    Raises NotFound where there is no such face that they reach; otherwise as `search`.
    """
    with parts.database.reading() as session:
        face = embeddings.face(session, face_id, by)
    found = _collections(parts, names or [face.collection.name], by)
    collections.check_contract(face.collection, parts.pack)
    row = face.row
    seen = Seen(row.bbox, row.landmarks, row.detection_score, row.quality) if row.photo_id else None
    matches = _matches(parts, found, face.embedding, wish, except_face=face_id)
    answer = Answer(_names(found), [SearchedFace(seen, matches)], cached=None, looked_at=_faces_in(found))
    return _told(parts, by, answer)


def search_embedding(
    parts: Parts, embedding: npt.NDArray[np.float32], *, names: Sequence[str], wish: Wish, by: Actor
) -> Answer:
    """Find who is like an embedding (float32, shape (dimension,), L2 norm 1) of the installed contract.

    Without names in the default collection; otherwise as `search`.
    """
    found = _collections(parts, names or [collections.DEFAULT_COLLECTION], by)
    faces = [SearchedFace(None, _matches(parts, found, embedding, wish))]
    return _told(parts, by, Answer(_names(found), faces, cached=None, looked_at=_faces_in(found)))


def _collections(parts: Parts, names: Sequence[str], by: Actor) -> list[Collection]:
    """Each collection once, in the order named; Forbidden, NotFound, Conflict."""
    if len(names) > COLLECTIONS_MAX:
        raise BadRequest(
            f"one search takes {COLLECTIONS_MAX} collections, this one names {len(names)}; send several",
            code="parameter",
        )
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        by.check_reaches(collections.check_name(name))
    try:
        with parts.database.reading() as session:
            return [collections.find_collection(session, name, parts.pack) for name in wanted]
    except NotFound:
        if collections.DEFAULT_COLLECTION not in wanted:
            raise
    # There from the start, as far as anybody can tell.
    with parts.database.transaction() as session:
        collections.open_collection(session, collections.DEFAULT_COLLECTION, parts.pack)
        return [collections.find_collection(session, name, parts.pack) for name in wanted]


def _names(found: Sequence[Collection]) -> list[str]:
    return [each.name for each in found]


def _faces_in(found: Sequence[Collection]) -> int:
    return sum(each.face_count for each in found)


def _key(collection: Collection, photo: Upload, wish: Wish) -> str:
    """Under which the answer of one collection is kept: other searches may name others beside it."""
    return answers.Question(
        collection.id, collection.version, collection.contract_id, photo.row.sha256,
        limit=wish.limit, threshold=wish.threshold, min_quality=wish.min_quality,
        min_face_size=wish.min_face_size, group_by=wish.group_by, named=wish.named,
    ).key  # fmt: skip


def _kept_answers(parts: Parts, keys: Sequence[str]) -> list[list[SearchedFace]] | None:
    """What is kept for each key; None unless it is there for all, and of the same faces."""
    kept: list[list[SearchedFace]] = []
    for key in keys:
        faces = answers.get(parts.scratch, key)
        if faces is None:
            return None
        kept.append([_found_again(each) for each in faces])
    if any([face.seen for face in faces] != [face.seen for face in kept[0]] for faces in kept):
        return None
    return kept


def _merged(
    found: Sequence[Collection], faces: Sequence[Sequence[SearchedFace]], limit: int
) -> list[SearchedFace]:
    """The faces with the best matches of all collections; `faces`: the same faces for each of them."""
    if len(found) == 1:
        return list(faces[0])
    return [
        SearchedFace(same[0].seen, _best(found, [face.matches for face in same], limit))
        for same in zip(*faces, strict=True)
    ]


def _best(found: Sequence[Collection], matches: Sequence[Sequence[Match]], limit: int) -> list[Match]:
    """The `limit` best of several collections' matches, each with the name of its own."""
    named = [
        replace(match, collection=collection.name)
        for collection, some in zip(found, matches, strict=True)
        for match in some
    ]
    return sorted(named, key=lambda match: match.similarity, reverse=True)[:limit]


def _matches(
    parts: Parts,
    found: Sequence[Collection],
    embedding: npt.NDArray[np.float32],
    wish: Wish,
    except_face: uuid.UUID | None = None,
) -> list[Match]:
    matches = [_nearest(parts, each, [embedding], wish, except_face)[0] for each in found]
    return matches[0] if len(found) == 1 else _best(found, matches, wish.limit)


def _nearest(
    parts: Parts,
    collection: Collection,
    searched: Sequence[npt.NDArray[np.float32]],
    wish: Wish,
    except_face: uuid.UUID | None = None,
) -> list[list[Match]]:
    by_person = wish.group_by == GroupBy.PERSON
    nearest = vectors.nearest_people_to_each if by_person else vectors.nearest_to_each
    with parts.database.reading() as session:
        return nearest(
            session, collection, searched,
            limit=wish.limit, threshold=wish.threshold, min_quality=wish.min_quality, except_face=except_face,
            named=wish.named,
        )  # fmt: skip


def _match(
    parts: Parts, collection: Collection, faces: Sequence[FoundFace], wish: Wish
) -> list[SearchedFace]:
    """The faces of a photo, each with its matches in the collection."""
    good = [
        face.quality >= wish.min_quality and analysis.shorter_side(face.bbox) >= wish.min_face_size
        for face in faces
    ]
    asked = [face.embedding for face, wanted in zip(faces, good, strict=True) if wanted]
    matches_of = iter(_nearest(parts, collection, asked, wish))
    return [
        _searched(face, next(matches_of) if wanted else [], wish)
        for face, wanted in zip(faces, good, strict=True)
    ]


def _searched(face: FoundFace, matches: list[Match], wish: Wish) -> SearchedFace:
    best = f"{matches[0].similarity:.3f}" if matches else "none"
    log.debug(
        "a face of quality %.2f has %d matches, the best of %s, threshold %.2f",
        face.quality, len(matches), best, wish.threshold, extra={"operation": "search"},
    )  # fmt: skip
    return SearchedFace(Seen(face.bbox, face.landmarks, face.detection_score, face.quality), matches)


def _kept(face: SearchedFace) -> dict[str, Any]:
    """The face of a photo as JSON for the cache; `_found_again` reads it."""
    return {"seen": vars(face.seen), "matches": [_kept_match(match) for match in face.matches]}


def _kept_match(match: Match) -> dict[str, Any]:
    told = {
        "person_id": str(match.person_id) if match.person_id else None,
        "person_name": match.person_name,
        "face_id": str(match.face_id),
        "photo_id": str(match.photo_id) if match.photo_id else None,
        "similarity": match.similarity,
    }
    return told if match.face_count is None else {**told, "face_count": match.face_count}


def _found_again(kept: Mapping[str, Any]) -> SearchedFace:
    matches = [
        Match(**{**each, **{name: each[name] and uuid.UUID(each[name]) for name in ID_FIELDS}})
        for each in kept["matches"]
    ]
    return SearchedFace(Seen(**kept["seen"]), matches)
