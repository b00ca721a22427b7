"""Lines of an export, as an import reads them: each a record of values that can be kept, or what is wrong."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from face_pipeline.actions.transfer import GivenFace, GivenPhoto, Record
from face_pipeline.errors import BadRequest
from face_pipeline.store import directory
from face_pipeline.store.imports import PersonRecord, PhotoRecord
from face_pipeline.store.ledger import NewPhoto
from face_pipeline.store.models import State
from face_pipeline.web.api import files
from face_pipeline.web.contract.transfer import Coordinate, Point

# What stood in a column of text, and may stand in one again.
Text = Annotated[str, Field(max_length=4096, pattern="^[^\\x00]*$")]
# Databases and Python agree on times of these years.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
Moment = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
# A share as 32 bits keep it may be a little more than 1.
Share = Annotated[float, Field(ge=0, le=1.001)]


class _Line(BaseModel):
    """Keys of later versions are left out."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

    id: uuid.UUID


class Person(_Line):
    kind: Literal["person"]
    name: str
    external_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: Moment
    updated_at: Moment

    def record(self) -> PersonRecord:
        if self.external_id is not None:
            directory.check_external_id(self.external_id)
        details = directory.check_metadata(self.metadata)
        return PersonRecord(self.id, self.name, self.external_id, details, self.created_at, self.updated_at)


class FaceOfPhoto(_Line):
    person_id: uuid.UUID | None = None
    bbox: Annotated[list[Coordinate], Field(min_length=4, max_length=4)]
    landmarks: Annotated[list[Point], Field(min_length=5, max_length=5)]
    detection_score: Share
    quality: Share
    embedding: list[float] | None = None

    def record(self) -> GivenFace:
        return GivenFace(
            self.id, self.person_id, self.bbox, self.landmarks, self.detection_score, self.quality,
            self.embedding,
        )  # fmt: skip


class Face(FaceOfPhoto):
    kind: Literal["face"]


class _Reason(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    code: Annotated[str, Field(max_length=100, pattern="^[a-z][a-z0-9_]*$")]
    message: Text


class Photo(_Line):
    kind: Literal["photo"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    filename: Text
    state: State
    person_id: uuid.UUID | None = None
    attempts: Annotated[int, Field(ge=0, le=1000)] = 1
    reason: _Reason | None = None
    received_at: Moment
    finished_at: Moment | None = None
    faces: list[FaceOfPhoto]

    def record(self) -> GivenPhoto:
        # The rest of it the original says, once it was looked at.
        photo = NewPhoto(self.sha256, files.filename(self.filename), "", 0, 1, 1)
        reason = self.reason
        record = PhotoRecord(
            self.id, photo, self.state, self.person_id, self.attempts, reason.code if reason else None,
            reason.message if reason else None, self.received_at, self.finished_at, (),
        )  # fmt: skip
        return GivenPhoto(record, [face.record() for face in self.faces])


LINE: TypeAdapter[Person | Photo | Face] = TypeAdapter(
    Annotated[Person | Photo | Face, Field(discriminator="kind")]
)


class Malformed(Exception):
    """A line that is no record; `code` and `message` say why, `kind` and `id` what can be read of it."""

    def __init__(self, code: str, message: str, kind: str | None = None, id: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.kind, self.id = code, message, kind, id


def read(line: bytes) -> tuple[str, Record]:
    """The kind of a line and its record; raises Malformed."""
    try:
        found = LINE.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        words = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise Malformed("record_invalid", f"{where}: {words}" if where else words, *_told(line)) from None
    try:
        return found.kind, found.record()
    except BadRequest as error:
        raise Malformed(error.code, error.message, found.kind, str(found.id)) from None
    except ValueError as error:
        # Numbers of more digits than Python writes.
        raise Malformed("record_invalid", f"metadata: {error}", found.kind, str(found.id)) from None


def _told(line: bytes) -> tuple[str | None, str | None]:
    """Kind and id of a line that is wrong elsewhere."""
    try:
        found = json.loads(line)
        kind, identifier = found.get("kind"), found.get("id")
        known = kind if kind in ("person", "photo", "face") else None
        return known, str(uuid.UUID(identifier)) if known else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None, None
