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
    StoredFace,
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
from face_pipeline.client.transfer import ExportedCollection, ExportPage, Imported, ImportedRecord
from face_pipeline.client.transport import Retries

__all__ = [
    "Accepted", "Alert", "AuditEntry", "Batch", "BestFace", "Chart", "Charts", "Client",
    "ClientError", "Cluster", "ClusterNamed", "Collection", "Delivery", "DetectedFace", "Detection",
    "Embedding", "EmbeddingsAdded", "Enrolled", "Enrolment", "Event", "EventPerson", "Events",
    "ExportPage", "ExportedCollection", "Face", "File", "FileUnreadable", "Following", "FoundFace",
    "Hook", "HookWithSecret", "Imported", "ImportedRecord", "Kept", "Key", "KeyWithText",
    "KnownPerson", "ListedCollection", "ListedEmbedding", "ListedPhoto", "Match", "Merged",
    "Misconfigured", "Moved", "Need", "NotAnAnswer", "NotEnrolled", "Note", "Numbers",
    "Observation", "OneFace", "Overview", "Person", "Photo", "Readiness", "Receipt", "Refused",
    "Rejected", "Retries", "Search", "Series", "Silence", "Source", "Step", "StoredFace",
    "Unfinished", "Unmerged", "Unreachable", "Upload", "Verification", "VerifiedFace",
    "VerifiedPerson", "Workers",
]  # fmt: skip
