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
    thumbnail: str | None = None


class Photo(_PhotoFields):
    faces: tuple[Face, ...]


class ListedPhoto(_PhotoFields):
    face_count: int


class Match(Answer):
    """A known face. similarity: cosine, -1 to 1; face_count: faces of the person, in a search for people.

    certainty: `sure`, `likely` or `unsure`, by the thresholds of the search.
    """

    person_id: UUID | None
    person_name: str | None
    face_id: UUID
    photo_id: UUID | None
    similarity: float
    face_count: int | None = None
    collection: str | None = None
    certainty: str | None = None


class DetectedFace(Answer):
    """A face of a photo that is not kept."""

    bbox: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    detection_score: float
    quality: float


class FoundFace(Answer):
    """A face of the searched photo, and who it may be: best match first.

    Of a search for an embedding only the matches are known.
    """

    bbox: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    detection_score: float | None = None
    quality: float | None = None
    matches: tuple[Match, ...]


class Thresholds(Answer):
    """Cosines from which on two faces are surely, or likely, one person's; rate None: not measured."""

    sure: float
    likely: float
    sure_false_match_rate: float | None = None
    likely_false_match_rate: float | None = None


class Searched(Answer):
    """Where was looked, and how many faces were there."""

    collections: tuple[str, ...]
    faces: int


class Search(Answer):
    faces: tuple[FoundFace, ...]
    cache: str | None = None
    duration_seconds: float
    threshold: float
    collection: str | None = None
    collections: tuple[str, ...] = ()
    thresholds: Thresholds | None = None
    searched: Searched | None = None


class Readiness(Answer):
    """checks: each part the service needs, `ok` or what is wrong with it."""

    status: str
    checks: dict[str, str]

    @property
    def ready(self) -> bool:
        return self.status == "ready"


# People, and what belongs to them


class BestFace(Answer):
    id: UUID
    photo_id: UUID | None
    quality: float


class KnownPerson(Answer):
    """A person with what is known of them. metadata: what other systems of the operator's keep there."""

    id: UUID
    collection: str
    name: str
    external_id: str | None = None
    metadata: dict[str, Any] = {}
    face_count: int
    photo_count: int
    representative_face: BestFace | None = None
    cover_face_id: UUID | None = None
    cover: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Merged(Answer):
    """A merge that may be undone until then. person: the one that is left."""

    id: UUID
    person: KnownPerson
    undo_until: datetime | None = None


class Unmerged(Answer):
    """Who is back, and what is theirs again; `left`: what was theirs and is not any more."""

    id: UUID
    person: KnownPerson
    faces: int
    photos: int
    faces_left: int = 0
    photos_left: int = 0


class ListedCollection(Answer):
    name: str
    contract_id: str
    dimension: int
    face_count: int
    person_count: int
    created_at: datetime | None = None


class Amount(Answer):
    """Photos, and bytes of them as they came."""

    photos: int
    bytes: int


class Bounds(Answer):
    """Photos and bytes at most; None: any number."""

    photos: int | None = None
    bytes: int | None = None


class Quota(Answer):
    """What a collection may hold, and what it does."""

    collection: str
    quota: Bounds
    used: Amount


class Collection(ListedCollection):
    """photos: how many are in each state. used: what it holds of its quota."""

    photos: dict[str, int]
    unknown_face_count: int
    quota: Bounds = Bounds()
    used: Amount | None = None


class RetentionDue(Answer):
    """What the next run of the upkeep removes: originals of photos, unknown faces."""

    originals: int
    faces: int


class Retention(Answer):
    """How many days a collection keeps what; None: for good."""

    collection: str
    originals_days: int | None = None
    unknown_faces_days: int | None = None
    due: RetentionDue


class Signed(BaseModel):
    """Kept as it came: what was signed may have fields that this client does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Proof(Signed):
    """Who erased what and when, with the signature over the receipt. `at`: RFC 3339."""

    id: str
    at: str
    by: str
    what: str
    ids: tuple[str, ...] = ()
    key_id: str
    signature: str


class ReceiptKeys(Signed):
    """A JWK Set (RFC 7517) of public keys that receipts are checked with."""

    keys: tuple[dict[str, str], ...]


class Kept(Signed):
    """What an erasure leaves, and why."""

    what: str
    code: str
    message: str
    count: int
    photos: tuple[UUID, ...] = ()


class Receipt(Signed):
    """What was erased; with dry_run: what would be. proof: of an erasure, its signature."""

    dry_run: bool
    collection: str
    photos: int
    faces: int
    persons: int
    merges: int = 0
    originals: int = 0
    answers: int = 0
    tasks: int = 0
    under_way: int = 0
    kept: tuple[Kept, ...] = ()
    proof: Proof | None = None


class Cluster(Answer):
    """Faces of nobody yet that seem to be one person. faces: the best of them, by their ids."""

    id: UUID
    collection: str
    face_count: int
    hidden: bool
    faces: tuple[UUID, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ClusterNamed(Answer):
    person: Person
    face_count: int


class StoredFace(Answer):
    """A face of a person or a group. Where it came as an embedding, it has no photo and no place on one."""

    id: UUID
    photo_id: UUID | None = None
    bbox: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    detection_score: float | None = None
    quality: float | None = None
    certainty: float | None = None


class OneFace(StoredFace):
    """A stored face, whose it is, and where."""

    collection: str
    person: Person | None = None


class NotEnrolled(Answer):
    """A photo that was not enrolled."""

    filename: str
    code: str
    message: str
    details: dict[str, Any] = {}


class Enrolled(Answer):
    photo_id: UUID
    face_id: UUID
    filename: str
    quality: float
    duplicate: bool = False


class Enrolment(Answer):
    person: Person
    enrolled: tuple[Enrolled, ...]
    refused: tuple[NotEnrolled, ...] = ()


class Moved(Answer):
    """A photo in another collection. unnamed: its faces whose person nobody there has the name of."""

    photo: Photo
    unnamed: int = 0
    remark: Note | None = None


class NotDone(Signed):
    """A photo or a face with which nothing was done, and why."""

    id: UUID
    code: str
    message: str


class Retried(Answer):
    """How many failed photos started again."""

    retried: int
    refused: tuple[NotDone, ...] = ()


class Step(Answer):
    """What happened to a photo when, by its kind (`what`); what does not belong to it is None."""

    at: datetime
    what: str
    request_id: str | None = None
    worker: str | None = None
    collection: str | None = None
    face_id: UUID | None = None
    person_id: UUID | None = None


class Trail(Answer):
    """What happened to a photo, the oldest step first."""

    photo_id: UUID
    collection: str
    state: str
    reason: Note | None = None
    request_id: str | None = None
    attempts: int
    worker: str | None = None
    waited_seconds: float | None = None
    processing_seconds: float | None = None
    total_seconds: float | None = None
    face_count: int
    duplicates: int = 0
    steps: tuple[Step, ...] = ()


class PhotosReceipt(Signed):
    """What was erased of many photos; with dry_run: what would be. proof: of an erasure, its signature."""

    dry_run: bool
    collections: tuple[str, ...]
    photos: int
    faces: int
    originals: int = 0
    answers: int = 0
    tasks: int = 0
    under_way: int = 0
    kept: tuple[Kept, ...] = ()
    proof: Proof | None = None
    refused: tuple[NotDone, ...] = ()


class PhotosMoved(Answer):
    """unnamed: faces whose person nobody there has the name of."""

    moved: int
    unnamed: int = 0
    refused: tuple[NotDone, ...] = ()


class FacesGiven(Answer):
    """Whose some faces are now, None: nobody's; and how many are."""

    person: Person | None = None
    face_count: int
    refused: tuple[NotDone, ...] = ()


# Comparing


class Detection(Answer):
    """Faces, largest first; width and height of the upright photo, pixels."""

    faces: tuple[DetectedFace, ...]
    width: int
    height: int


class VerifiedFace(Answer):
    """One side of a comparison: a stored face, or the largest of so many `faces` of a photo."""

    face_id: UUID | None = None
    photo_id: UUID | None = None
    bbox: tuple[float, float, float, float] | None = None
    quality: float | None = None
    faces: int | None = None


class VerifiedPerson(Answer):
    id: UUID
    name: str
    face_count: int
    face_id: UUID
    best: float
    mean_of_best: float


class Verification(Answer):
    """Whether two sides are the same person's. similarity: cosine, -1 to 1."""

    same: bool
    similarity: float
    threshold: float
    face: VerifiedFace
    other: VerifiedFace | None = None
    person: VerifiedPerson | None = None


class Embedding(Answer):
    """embedding: float32, L2 norm 1, comparable with others of the same contract."""

    face_id: UUID
    contract_id: str
    dimension: int
    embedding: tuple[float, ...]


class ListedEmbedding(Answer):
    face_id: UUID
    person_id: UUID | None
    photo_id: UUID | None
    embedding: tuple[float, ...]


class EmbeddingsAdded(Answer):
    """face_ids: in the order of the embeddings."""

    person_id: UUID
    face_ids: tuple[UUID, ...]
