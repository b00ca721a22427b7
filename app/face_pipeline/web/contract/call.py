"""What a call of the contract is; each module beside this one has those of a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from face_pipeline.store.collections import NAME_PATTERN
from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers

ERRORS = {
    400: "A parameter is missing or wrong.",
    401: "No valid API key.",
    403: "The key lacks the scope.",
    404: "There is no such thing.",
    412: "It was changed meanwhile; its ETag is another one.",
    409: "The collection belongs to another engine contract.",
    413: "A file or the request is too large.",
    415: "Not a JPEG, PNG, WebP, HEIC or AVIF.",
    422: "No file can be used.",
    429: "Too many requests of this key, wrong keys, or searches; try again after Retry-After seconds.",
    503: "A part is down; try again after Retry-After seconds.",
    507: "A disk is full, or down to its reserve; nothing was kept; send it again once there is room.",
}
# Codes of errors, by the status that they come with.
Codes = Mapping[int, tuple[str, ...]]
# Names in paths: what they are, and their schema.
_ID = {"type": "string", "format": "uuid"}
IN_THE_PATH: dict[str, tuple[str, dict[str, Any]]] = {
    "photo_id": ("Photo.", _ID),
    "batch_id": ("Upload.", _ID),
    "face_id": ("Face.", _ID),
    "person_id": ("Person.", _ID),
    "merge_id": ("Merge.", _ID),
    "cluster_id": ("Cluster.", _ID),
    "hook_id": ("Web hook.", _ID),
    "key_id": ("API key.", _ID),
    "session_id": ("Session of a browser.", _ID),
    "silence_id": ("Silence of alerts.", _ID),
    "reason": ("`reason.code` of photos.", {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,99}$"}),
    "collection": ("Name of the collection.", {"type": "string", "pattern": f"^{NAME_PATTERN.pattern}$"}),
}
# Of calls whose picture a worker makes.
PICTURE = {
    422: "The photo cannot be decoded.",
    503: "No worker made the picture in time (picture_not_ready), or a part is down; try again after "
    "Retry-After seconds.",
}


@dataclass(frozen=True)
class Reply:
    """A success: what it is in words, and a model of JSON or the types of other bodies; neither: no body."""

    text: str
    body: type[answers.Answer] | tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One call. `scope`: what the key must be allowed; None: the call needs no key.

    Several models of a query or a form are taken as one. With a form and a body the call takes either.
    """

    method: str
    path: str
    operation: str
    summary: str
    replies: dict[int, Reply]
    description: str = ""
    scope: Scope | None = None
    query: tuple[type[BaseModel], ...] = ()
    form: tuple[type[BaseModel], ...] = ()
    body: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    # Other words for an error than those of ERRORS.
    words: dict[int, str] = field(default_factory=dict)
