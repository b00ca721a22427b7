"""The HTTP API for programs in Python: `Client(url, key).search(photo).faces[0].matches[0].person_name`."""

from __future__ import annotations

from face_pipeline.client.answers import (
    Accepted,
    Batch,
    BestFace,
    Cluster,
    ClusterNamed,
    Collection,
    DetectedFace,
    Detection,
    Embedding,
    EmbeddingsAdded,
    Enrolled,
    Enrolment,
    Face,
    FoundFace,
    Kept,
    KnownPerson,
    ListedCollection,
    ListedEmbedding,
    ListedPhoto,
    Match,
    Merged,
    Moved,
    Note,
    NotEnrolled,
    OneFace,
    Person,
    Photo,
    Readiness,
    Receipt,
    Rejected,
    Search,
    Searched,
    StoredFace,
    Thresholds,
    Unmerged,
    Upload,
    Verification,
    VerifiedFace,
    VerifiedPerson,
)
from face_pipeline.client.base import NotAnAnswer
from face_pipeline.client.calls import Client
from face_pipeline.client.errors import (
    ClientError,
    FileUnreadable,
    Misconfigured,
    Refused,
    Unfinished,
    Unreachable,
)
from face_pipeline.client.events import Following
from face_pipeline.client.multipart import File, Source
from face_pipeline.client.operating import (
    AuditEntry,
    Delivery,
    Event,
    EventPerson,
    Events,
    Hook,
    HookWithSecret,
    Key,
    KeyWithText,
)
from face_pipeline.client.overview import (
    Alert,
    Chart,
    Charts,
    Need,
    Numbers,
    Observation,
    Overview,
    Series,
    Silence,
    Step,
    Workers,
)
from face_pipeline.client.system import (
    Doctor,
    DoctorFinding,
    ErasedFailures,
    Failure,
    Failures,
    JobPhotos,
    JobQueue,
    JobRate,
    Jobs,
    JobScaling,
    JobWorker,
)
from face_pipeline.client.transfer import ExportedCollection, ExportPage, Imported, ImportedRecord
from face_pipeline.client.transport import Retries

__all__ = [
    "Accepted", "Alert", "AuditEntry", "Batch", "BestFace", "Chart", "Charts", "Client",
    "ClientError", "Cluster", "ClusterNamed", "Collection", "Delivery", "DetectedFace", "Detection",
    "Doctor", "DoctorFinding", "Embedding", "EmbeddingsAdded", "Enrolled", "Enrolment",
    "ErasedFailures", "Event", "EventPerson", "Events", "ExportPage", "ExportedCollection", "Face",
    "Failure", "Failures", "File", "FileUnreadable", "Following", "FoundFace", "Hook",
    "HookWithSecret", "Imported", "ImportedRecord", "JobPhotos", "JobQueue", "JobRate",
    "JobScaling", "JobWorker", "Jobs", "Kept", "Key", "KeyWithText", "KnownPerson",
    "ListedCollection", "ListedEmbedding", "ListedPhoto", "Match", "Merged", "Misconfigured",
    "Moved", "Need", "NotAnAnswer", "NotEnrolled", "Note", "Numbers", "Observation", "OneFace",
    "Overview", "Person", "Photo", "Readiness", "Receipt", "Refused", "Rejected", "Retries",
    "Search", "Searched", "Series", "Silence", "Source", "Step", "StoredFace", "Thresholds",
    "Unfinished", "Unmerged", "Unreachable", "Upload", "Verification", "VerifiedFace",
    "VerifiedPerson", "Workers",
]  # fmt: skip
