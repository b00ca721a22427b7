"""Answers of the HTTP API, as /openapi.json describes them; fields that a newer service adds are left out."""

from __future__ import annotations

from datetime import datetime
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


class Page(Answer):
    photos: tuple[ListedPhoto, ...]
    next_cursor: str | None = None


class Match(Answer):
    """A known face. similarity: cosine, -1 to 1; face_count: faces of the person, in a search for people."""

    person_id: UUID | None
    person_name: str | None
    face_id: UUID
    photo_id: UUID | None
    similarity: float
    face_count: int | None = None
    collection: str | None = None


class FoundFace(Answer):
    """A face of the searched photo, and who it may be: best match first."""

    bbox: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    detection_score: float
    quality: float
    matches: tuple[Match, ...]


class Search(Answer):
    faces: tuple[FoundFace, ...]
    cache: str
    duration_seconds: float
    threshold: float
    collection: str


class Readiness(Answer):
    """checks: each part the service needs, `ok` or what is wrong with it."""

    status: str
    checks: dict[str, str]

    @property
    def ready(self) -> bool:
        return self.status == "ready"
