"""Answers of the HTTP API, as /openapi.json describes them; fields that a newer service adds are left out."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Person(Answer):
    id: UUID
    name: str


class Note(Answer):
    """Why something is as it is: a code for programs, and words for people."""

    code: str
    message: str


class Accepted(Answer):
    """A photo that was taken. duplicate: it was there; remark: what became of the person that was sent."""

    id: UUID
    filename: str
    sha256: str
    state: str
    duplicate: bool
    person: Person | None = None
    remark: Note | None = None


class Rejected(Answer):
    filename: str
    code: str
    message: str


class Upload(Answer):
    batch_id: UUID
    photos: tuple[Accepted, ...]
    rejected: tuple[Rejected, ...] = ()


class Batch(Answer):
    """How far an upload is; states: photos in each state."""

    id: UUID
    collection: str
    total: int
    states: dict[str, int]
    finished: bool


class Face(Answer):
    """A face of a photo; coordinates in pixels of the upright photo, scores from 0 to 1.

    bbox: x1, y1, x2, y2. landmarks: eyes, nose and corners of the mouth, each x, y.
    """

    id: UUID
    bbox: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    detection_score: float
    quality: float
    person: Person | None = None


class _PhotoFields(Answer):
    id: UUID
    collection: str
    filename: str
    sha256: str
    state: str
    reason: Note | None = None
    attempts: int
    width: int
    height: int
    media_type: str
    byte_size: int
    person: Person | None = None
    received_at: datetime | None = None
    finished_at: datetime | None = None


class Photo(_PhotoFields):
    faces: tuple[Face, ...]


class ListedPhoto(_PhotoFields):
    face_count: int


class Match(Answer):
    """A known face. similarity: cosine, -1 to 1; face_count: faces of the person, in a search for people."""

    person_id: UUID | None
    person_name: str | None
    face_id: UUID
    photo_id: UUID | None = None
    similarity: float
    face_count: int | None = None
    collection: str | None = None


class DetectedFace(Answer):
    """A face of a photo that is not kept."""

    bbox: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    detection_score: float
    quality: float


class FoundFace(DetectedFace):
    """A face of the searched photo, and who it may be: best match first."""

    matches: tuple[Match, ...]


class Search(Answer):
    faces: tuple[FoundFace, ...]
    cache: str | None = None
    duration_seconds: float
    threshold: float
    collection: str | None = None


class Readiness(Answer):
    """checks: each part the service needs, `ok` or what is wrong with it."""

    status: str
    checks: dict[str, str]

    @property
    def ready(self) -> bool:
        return self.status == "ready"


# People, and what belongs to them


class KnownPerson(Answer):
    """A person with what is known of them. metadata: what other systems of the operator's keep there."""

    id: UUID
    name: str
    collection: str
    external_id: str | None = None
    metadata: dict[str, Any] = {}
    face_count: int | None = None
    photo_count: int | None = None


class Merged(Answer):
    """A merge that may be undone until then. person: the one that is left."""

    id: UUID
    person: Person
    undo_until: datetime | None = None


class Collection(Answer):
    """photos: how many are in each state."""

    name: str
    contract_id: str
    dimension: int
    photos: dict[str, int] = {}
    faces: int | None = None
    persons: int | None = None
    unknown_faces: int | None = None
    created_at: datetime | None = None


class Receipt(Answer):
    """What was erased; with dry_run: what would be."""

    dry_run: bool = False
    photos: int = 0
    faces: int = 0
    persons: int = 0
    originals: int = 0
    answers: int = 0
    tasks: int = 0


class Cluster(Answer):
    """Faces of nobody yet that seem to be one person."""

    id: UUID
    collection: str
    face_count: int
    hidden: bool = False


class Refusal(Answer):
    """A photo that was not enrolled."""

    filename: str
    code: str
    message: str
    details: dict[str, Any] = {}


class EnrolledPhoto(Answer):
    photo_id: UUID
    face_id: UUID
    filename: str
    quality: float
    duplicate: bool = False


class Enrolment(Answer):
    person: Person
    enrolled: tuple[EnrolledPhoto, ...]
    refused: tuple[Refusal, ...] = ()


class Verification(Answer):
    """Whether two faces are the same person's. similarity: cosine, -1 to 1."""

    same: bool
    similarity: float
    threshold: float


class Detection(Answer):
    faces: tuple[DetectedFace, ...]


class Embedding(Answer):
    """embedding: float32, L2 norm 1, comparable with others of the same contract."""

    face_id: UUID
    contract_id: str
    dimension: int
    embedding: tuple[float, ...]


class Retried(Answer):
    """How many failed photos started again."""

    retried: int
