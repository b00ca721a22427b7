"""Whether a photo may be enrolled as one person's: which face it is, how good, and how like others."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import bindparam, cast, func, select
from sqlalchemy.orm import Session

from face_pipeline.engine import DetectedFace
from face_pipeline.store import vectors
from face_pipeline.store.models import Collection, Face, Vector
from face_pipeline.words import counted


class Which(StrEnum):
    """Which face of a photo is the person's."""

    ONLY = "only"
    LARGEST = "largest"


class OnConflict(StrEnum):
    """What becomes of a face that is more like somebody else's."""

    REFUSE = "refuse"
    ALLOW = "allow"


class Refusal(StrEnum):
    """Why a photo that could be analysed was not enrolled."""

    NO_FACE = "no_face"
    FACES_MANY = "faces_many"
    QUALITY_LOW = "quality_low"
    CONFLICT = "conflict"
    # Its face has another person's name already.
    PERSON_DIFFERS = "person_differs"
    PHOTO_PROCESSING = "photo_processing"
    # It was deleted, or failed, while this request was answered.
    PHOTO_CHANGED = "photo_changed"


@dataclass(frozen=True)
class Rules:
    """What is asked of a photo. `threshold`: the similarity from which on two faces are one person's.

    Faces whose detection score (0 to 1) is not over `min_detection_score` do not count; None: all do.
    """

    threshold: float
    min_quality: float = 0.0
    which: Which = Which.ONLY
    on_conflict: OnConflict = OnConflict.REFUSE
    min_detection_score: float | None = None


@dataclass(frozen=True)
class Refused:
    code: Refusal
    message: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """A face of a photo as it is judged: bbox x1 y1 x2 y2, embedding shape (dimension,), L2 norm 1."""

    id: uuid.UUID
    bbox: Sequence[float]
    quality: float
    embedding: Any
    person_id: uuid.UUID | None = None
    detection_score: float = 1.0

    @property
    def area(self) -> float:
        left, top, right, bottom = (float(value) for value in self.bbox)
        return (right - left) * (bottom - top)


def shown(faces: Iterable[DetectedFace]) -> list[Shown]:
    """Faces that were found, each with the id that its row will have."""
    return [
        Shown(
            uuid.uuid4(), face.bbox.tolist(), float(face.quality), face.embedding,
            detection_score=float(face.detection_score),
        )
        for face in faces
    ]  # fmt: skip


def judge(
    session: Session, collection: Collection, person_id: uuid.UUID, faces: Sequence[Shown], rules: Rules
) -> Shown | Refused:
    """The face of a photo that is to be the person's, or why none is."""
    if theirs := [face for face in faces if face.person_id == person_id]:
        return theirs[0]
    if rules.min_detection_score is not None:
        faces = [face for face in faces if face.detection_score > rules.min_detection_score]
    if not faces:
        return Refused(
            Refusal.NO_FACE, "no face was found on the photo; send one that shows the person's face"
        )
    if len(faces) > 1 and rules.which == Which.ONLY:
        return Refused(
            Refusal.FACES_MANY,
            f"the photo shows {counted(len(faces), 'face')}; send one that shows the person alone, or ask "
            "for the largest face (which=largest)",
            {"faces": len(faces)},
        )
    face = max(faces, key=lambda each: each.area)
    if face.person_id is not None:
        return Refused(
            Refusal.PERSON_DIFFERS,
            "the photo is here already, and its face is another person's; give the face to this person "
            "(PATCH of the face), or merge the two",
            {"person_id": str(face.person_id), "face_id": str(face.id)},
        )
    if face.quality < rules.min_quality:
        return Refused(
            Refusal.QUALITY_LOW,
            f"the face has a quality of {face.quality:.2f}, under the {rules.min_quality:g} that were asked "
            "for; send a larger, sharper or more frontal one",
            {"quality": round(face.quality, 4), "min_quality": rules.min_quality},
        )
    if rules.on_conflict == OnConflict.REFUSE:
        return _conflict(session, collection, person_id, face, rules.threshold) or face
    return face


def _conflict(
    session: Session, collection: Collection, person_id: uuid.UUID, face: Shown, threshold: float
) -> Refused | None:
    """Where the face is somebody else's by its looks: over the threshold, and nearer than to this person."""
    other = _nearest_other(session, collection, person_id, face.embedding)
    if other is None or other[1] < threshold:
        return None
    own = session.scalar(
        select(func.min(_distance())).where(Face.person_id == person_id), {"searched": face.embedding}
    )
    if own is not None and _cosine(own) >= other[1]:
        return None
    return Refused(
        Refusal.CONFLICT,
        "the face is more like another person of the collection; choose that person, merge the two, or enrol "
        "it all the same (on_conflict=allow)",
        {
            "person_id": str(other[0]), "similarity": other[1],
            "own_similarity": None if own is None else _cosine(own), "threshold": threshold,
        },
    )  # fmt: skip


def _nearest_other(
    session: Session, collection: Collection, person_id: uuid.UUID, embedding: Any
) -> tuple[uuid.UUID, float] | None:
    """The other person of the most similar face, and that similarity."""
    rows = vectors.table_of(collection)
    # The index may end its scan among faces of nobody, or of this person: then all are looked at.
    for indexed in (True, False) if collection.index_ready else (False,):
        distance = _distance((rows, collection.dimension) if indexed else None).label("distance")
        query = select(Face.person_id, distance)
        if indexed:
            query = query.join(rows, rows.face_id == Face.id)
        row = session.execute(
            query.where(
                (rows if indexed else Face).collection_id == collection.id,
                Face.person_id.is_not(None),
                Face.person_id != person_id,
            )
            .order_by(distance)
            .limit(1),
            {"searched": embedding},
            execution_options={"local_settings": _index_settings(collection) if indexed else ()},
        ).one_or_none()
        if row is not None:
            return row.person_id, _cosine(row.distance)
    return None


def _distance(indexed: tuple[type[Vector], int] | None = None) -> Any:
    """The negative cosine, as vectors.py has it; with a table and a dimension, of what is indexed."""
    column: Any = Face.embedding
    if indexed is not None:
        table, dimension = indexed
        column = cast(table.embedding, HALFVEC(dimension))
    return column.max_inner_product(bindparam("searched", type_=HALFVEC()))


def _index_settings(collection: Collection) -> tuple[tuple[str, str], ...]:
    return (
        ("hnsw.ef_search", str(vectors.ef_search(collection))),
        ("hnsw.iterative_scan", "relaxed_order"),
        ("enable_sort", "off"),
    )


def _cosine(distance: float) -> float:
    return round(max(-1.0, min(1.0, -distance)), 4)
