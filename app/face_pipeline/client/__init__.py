"""The HTTP API for programs in Python: `Client(url, key).search(photo).faces[0].matches[0].person_name`."""

from __future__ import annotations

from face_pipeline.client.answers import (
    Accepted,
    Batch,
    Face,
    FoundFace,
    ListedPhoto,
    Match,
    Note,
    Person,
    Photo,
    Readiness,
    Rejected,
    Search,
    Upload,
)
from face_pipeline.client.calls import Client
from face_pipeline.client.errors import ClientError, Refused, Unfinished, Unreachable

__all__ = [
    "Accepted", "Batch", "Client", "ClientError", "Face", "FoundFace", "ListedPhoto", "Match", "Note",
    "Person", "Photo", "Readiness", "Refused", "Rejected", "Search", "Unfinished", "Unreachable", "Upload",
]  # fmt: skip
