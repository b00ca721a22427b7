"""Verification: are these two faces one person, or is this face that person's?

Each side is a photo that is not kept, a stored face, or a person with all their faces. Two photos are
analysed by workers at the same time.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from face_pipeline.actions import analysis
from face_pipeline.actions.uploads import Upload
from face_pipeline.broker.exchange import ClientGone
from face_pipeline.broker.messages import FoundFace
from face_pipeline.errors import FacePipelineError, Unprocessable
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, embeddings, vectors
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Person
from face_pipeline.store.vectors import Likeness
from face_pipeline.telemetry import context

# Of a person: the mean of so many of their most similar faces is told beside the best one.
BEST_FACES = 3
SIMILARITY_DECIMALS = 4


@dataclass(frozen=True)
class PhotoSide:
    """The largest face of a photo; `field` is what the request calls it."""

    photo: Upload
    field: str


@dataclass(frozen=True)
class FaceSide:
    """A stored face."""

    face_id: uuid.UUID


@dataclass(frozen=True)
class PersonSide:
    """All faces of a person."""

    person_id: uuid.UUID


FirstSide: TypeAlias = PhotoSide | FaceSide
Side: TypeAlias = PhotoSide | FaceSide | PersonSide


@dataclass(frozen=True)
class Seen:
    """A face of a photo that was sent, and how many there are on it."""

    face: FoundFace
    faces: int


@dataclass(frozen=True)
class Known:
    """A person and how like their faces the other side is."""

    person: Person
    likeness: Likeness
    mean_of_best: float


@dataclass(frozen=True)
class Verdict:
    """`same`: the similarity (cosine, -1 to 1) reaches the threshold. To a person it is that to their
    most similar face."""

    same: bool
    similarity: float
    threshold: float
    face: Seen | embeddings.StoredFace
    other: Seen | embeddings.StoredFace | Known


def verify(
    parts: Parts,
    one: FirstSide,
    other: Side,
    *,
    threshold: float,
    only: bool,
    gone: Callable[[], bool],
    by: Actor,
) -> Verdict:
    """Compare two sides. `only`: a photo with several faces is an error, and not read as its largest face.

    Raises NotFound where there is no such face or person that they reach, Conflict where theirs is of another
    model pack, Unprocessable for a photo that cannot be used, or that shows no face, and for a person
    without faces; Unavailable and ClientGone as a search does.
    """
    verdict = _verify(parts, one, other, threshold, only, gone, by)
    subject = other.person_id if isinstance(other, PersonSide) else None
    with parts.database.reading() as session:
        audit.note(session, by, "verification.run", subject=subject, details={"same": verdict.same})
    return verdict


def _verify(
    parts: Parts,
    one: FirstSide,
    other: Side,
    threshold: float,
    only: bool,
    gone: Callable[[], bool],
    by: Actor,
) -> Verdict:
    # Before a worker is asked: it would look at a photo for nothing.
    stored = {side: _stored(parts, side, by) for side in (one, other) if isinstance(side, FaceSide)}
    person = _person(parts, other, by) if isinstance(other, PersonSide) else None
    photos = [side for side in (one, other) if isinstance(side, PhotoSide)]
    seen = {
        side.field: _the_face(faces, side.field, only)
        for side, faces in zip(photos, analyse(parts, photos, gone), strict=True)
    }
    face = stored[one] if isinstance(one, FaceSide) else seen[one.field]
    if person is not None:
        return _with_person(parts, face, person, threshold)
    assert not isinstance(other, PersonSide)
    second = stored[other] if isinstance(other, FaceSide) else seen[other.field]
    similarity = _cosine(_embedding(face), _embedding(second))
    return Verdict(similarity >= threshold, similarity, threshold, face, second)


def _stored(parts: Parts, side: FaceSide, by: Actor) -> embeddings.StoredFace:
    with parts.database.reading() as session:
        found = embeddings.face(session, side.face_id, by)
    collections.check_contract(found.collection, parts.pack)
    return found


def _person(parts: Parts, side: PersonSide, by: Actor) -> Person:
    with parts.database.reading() as session:
        person, collection = embeddings.person(session, side.person_id, by)
    collections.check_contract(collection, parts.pack)
    return person


def _with_person(
    parts: Parts, face: Seen | embeddings.StoredFace, person: Person, threshold: float
) -> Verdict:
    own = face.row.id if isinstance(face, embeddings.StoredFace) else None
    with parts.database.reading() as session:
        likeness = vectors.nearest_of_person(
            session, person.id, _embedding(face), limit=BEST_FACES, except_face=own
        )
    if not likeness.matches:
        raise Unprocessable(
            "this person has no face to compare with; give them photos first", code="person_without_faces"
        )
    found = [match.similarity for match in likeness.matches]
    mean = round(sum(found) / len(found), SIMILARITY_DECIMALS)
    return Verdict(found[0] >= threshold, found[0], threshold, face, Known(person, likeness, mean))


def _embedding(face: Seen | embeddings.StoredFace) -> npt.NDArray[np.float32]:
    return face.face.embedding if isinstance(face, Seen) else face.embedding


def _cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    return round(float(np.clip(one @ other, -1.0, 1.0)), SIMILARITY_DECIMALS)


def _the_face(faces: list[FoundFace], name: str, only: bool) -> Seen:
    """The largest of a photo's faces."""
    if not faces:
        raise Unprocessable(
            f"there is no face on the photo {name!r}; send one that shows a face",
            code="no_face", details={"photo": name},
        )  # fmt: skip
    if only and len(faces) > 1:
        raise Unprocessable(
            f"there are {len(faces)} faces on the photo {name!r}; send one that shows a single face, or "
            "leave which=only out to compare the largest",
            code="faces_many", details={"photo": name, "faces": len(faces)},
        )  # fmt: skip
    return Seen(max(faces, key=lambda face: analysis.area(face.bbox)), len(faces))


def analyse(parts: Parts, photos: Sequence[PhotoSide], gone: Callable[[], bool]) -> list[list[FoundFace]]:
    """The faces of each of at most two photos. Where one cannot be used, nobody waits for the other."""
    if len(photos) < 2:
        return [_faces(parts, side, gone) for side in photos]
    failed = threading.Event()
    request_id = context.request_id.get()

    def analyse_second() -> list[FoundFace]:
        context.request_id.set(request_id)
        try:
            return _faces(parts, photos[1], lambda: failed.is_set() or gone())
        finally:
            context.request_id.set(None)
            context.task_id.set(None)

    with ThreadPoolExecutor(1, thread_name_prefix="verify") as pool:
        second = pool.submit(analyse_second)
        try:
            first = _faces(parts, photos[0], lambda: _has_failed(second) or gone())
        except ClientGone:
            # Perhaps it is here still, and its other photo is what went wrong.
            failed.set()
            second.result()
            raise
        except BaseException:
            failed.set()
            raise
        return [first, second.result()]


def _has_failed(work: Future[list[FoundFace]]) -> bool:
    return work.done() and work.exception() is not None


def _faces(parts: Parts, side: PhotoSide, gone: Callable[[], bool]) -> list[FoundFace]:
    try:
        faces, _ = analysis.analyse(parts, side.photo, gone)
    except FacePipelineError as error:
        # Which of the two it is about.
        error.details = {**error.details, "photo": side.field}
        raise
    return faces
