"""The HTTP API for programs in Python: `Client(url, key).search(photo).faces[0].matches[0].person_name`."""

from __future__ import annotations

from face_pipeline.client.answers import (
    Accepted,
    Batch,
    Cluster,
    Collection,
    DetectedFace,
    Embedding,
    EnrolledPhoto,
    Enrolment,
    Face,
    FoundFace,
    KnownPerson,
    ListedPhoto,
    Match,
    Merged,
    Note,
    Person,
    Photo,
    Readiness,
    Receipt,
    Refusal,
    Rejected,
    Search,
    Upload,
    Verification,
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
from face_pipeline.client.multipart import File, Source
from face_pipeline.client.transport import Retries

__all__ = [
    "Accepted", "Batch", "Client", "ClientError", "Cluster", "Collection", "DetectedFace", "Embedding",
    "EnrolledPhoto", "Enrolment", "Face", "File", "FileUnreadable", "FoundFace", "KnownPerson", "ListedPhoto",
    "Match", "Merged", "Misconfigured", "NotAnAnswer", "Note", "Person", "Photo", "Readiness", "Receipt",
    "Refusal", "Refused", "Rejected", "Retries", "Search", "Source", "Unfinished", "Unreachable", "Upload",
    "Verification",
]  # fmt: skip
