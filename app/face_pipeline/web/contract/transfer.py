"""Export and import of a collection, and export of a person: records of a page, what an import takes, and
what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.config import Settings
from face_pipeline.store.imports import Outcome
from face_pipeline.store.models import ActorKind, EventKind, Scope, State
from face_pipeline.store.models import Outcome as Ended
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import AsWhole, File, Request, Text

FORMAT: Literal["face-pipeline-export"] = "face-pipeline-export"
# Another one: others' faces are missing, so that it makes no collection again.
PERSON_FORMAT: Literal["face-pipeline-person"] = "face-pipeline-person"
# Raised where a reader of the version before would read something wrong; new keys alone do not raise it.
VERSION = 1
LINES_MOST = 200
# A photo of 1,000 faces with 1,024 numbers each is 12 MB.
RECORDS_MAX_BYTES = 32 * 1024**2

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Point = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
Numbers = Annotated[list[float], Field(description="Of the L2 norm 1, but for half precision's rounding.")]


class ExportQuery(Request):
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=LINES_MOST, description="Page size at most.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class ExportedPerson(answers.Answer):
    kind: Literal["person"]
    id: answers.Id
    name: str
    external_id: str | None
    metadata: dict[str, Any]
    created_at: answers.Time
    updated_at: answers.Time


class FaceOfExport(answers.Answer):
    """A face of a photo, first to last as they were found."""

    id: answers.Id
    person_id: answers.Id | None
    bbox: answers.Box
    landmarks: answers.Landmarks
    detection_score: answers.Share
    quality: answers.Share
    embedding: Numbers


class ExportedFace(FaceOfExport):
    """A face that came as an embedding; box and landmarks are zeros, for there is no photo."""

    kind: Literal["face"]


class ExportedPhoto(answers.Answer):
    kind: Literal["photo"]
    id: answers.Id
    sha256: answers.Sha256 = Field(description="Of the original, which GET /photos/{photo_id}/image gives.")
    filename: str
    media_type: str
    byte_size: answers.Count
    width: answers.Pixels
    height: answers.Pixels
    state: State
    person_id: answers.Id | None = Field(description="Whose the photo was put in as.")
    attempts: answers.Count
    reason: answers.Reason | None
    received_at: answers.Time
    finished_at: answers.Time | None
    faces: list[FaceOfExport]


class ExportedCollection(answers.Answer):
    name: str
    contract_id: str = Field(description="What the embeddings are comparable with.")
    dimension: Annotated[int, Field(ge=1)]
    created_at: answers.Time


class ExportPage(answers.Answer):
    """Records of a collection: its persons, then its photos with their faces, then faces without a photo."""

    format: Literal["face-pipeline-export"]
    version: Annotated[int, Field(ge=1)]
    collection: ExportedCollection
    records: list[ExportedPerson | ExportedPhoto | ExportedFace] = Field(
        description="A page of photos or faces begins with the persons that they name; most came before."
    )
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class ExportedMerge(answers.Answer):
    """A merge that can be undone still, for which the name of the person who is gone is kept."""

    kind: Literal["merge"]
    id: answers.Id
    merged_at: answers.Time
    undone_at: answers.Time | None
    removed: dict[str, Any] = Field(description="The person who is gone: id, name, external_id, metadata.")


class ExportedEvent(answers.Answer):
    kind: Literal["event"]
    id: answers.Id
    event: str = Field(json_schema_extra={"enum": list(EventKind)})
    at: answers.Time
    photo_id: answers.Id
    face_id: answers.Id | None


class ExportedEntry(answers.Answer):
    """What the audit tells of the person, a photo or a face of theirs: who did what, by ids alone."""

    kind: Literal["audit"]
    id: int
    at: answers.Time
    action: str
    subject: str
    outcome: Ended
    actor_kind: ActorKind
    actor_id: answers.Id | None = Field(description="Of the key, or of the key that somebody signed in with.")


class PersonExportPage(answers.Answer):
    """Records of a person: they, their merges, photos with their own faces, faces without a photo, events
    and entries of the audit, both newest first."""

    format: Literal["face-pipeline-person"]
    version: Annotated[int, Field(ge=1)]
    collection: ExportedCollection
    records: list[
        ExportedPerson | ExportedMerge | ExportedPhoto | ExportedFace | ExportedEvent | ExportedEntry
    ]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class ImportFiles(Request):
    records: File = Field(
        description=f"Records of an export, at most {LINES_MOST} lines of JSON, one each: persons before the "
        "photos that name them."
    )
    # As many as an upload takes.
    originals: (
        Annotated[list[File], Field(max_length=Settings.model_fields["upload_max_photos"].default)]
        | SkipJsonSchema[None]
    ) = Field(None, description="Photos of the records, each with its SHA-256 as the file name.")


class ImportForm(Request):
    contract_id: Text = Field(
        description="Of the export's collection; another one than the installation's is refused (409) unless "
        "the photos are processed anew."
    )
    reprocess: Annotated[
        Literal["true", "false"], WithJsonSchema({"type": "string", "enum": ["true", "false"]})
    ] = Field(
        "false",
        description="true: faces and embeddings of the records are left out; workers find faces anew.",
    )


class ImportedRecord(answers.Answer):
    line: Annotated[int, Field(ge=1)]
    kind: str | None = Field(description="Null where the line is none that can be read.")
    id: answers.Id | None = Field(description="As the line has it.")
    kept_as: answers.Id | None = Field(
        description="The id in the collection: another one where its own is taken, or where the same is "
        "there already. Say this one in later requests. Null where it was refused."
    )
    outcome: Outcome
    code: str | None = Field(description="Why it was refused, or what of it was left out.")
    message: str | None


class Imported(answers.Answer):
    """What became of each line that is not empty."""

    collection: str
    records: list[ImportedRecord]


CODES: Codes = {422: ("too_many_records",), 413: ("request_too_large",)}

CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/collections/{collection}/export", "export_collection", "Export a collection",
        {200: Reply("A page of it.", ExportPage)},
        "All that is needed to make the collection again, but for the originals. Embeddings tell people "
        "apart like fingerprints do: keep them as carefully as the photos.",
        scope=Scope.ADMIN,
        query=(ExportQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "get", "/api/v1/persons/{person_id}/export", "export_person", "Export all that is held on a person",
        {200: Reply("A page of it.", PersonExportPage)},
        "For a person who asks what is known of them. Of photos that show others too, neither the faces of "
        "these nor whose they are; the picture itself (GET /photos/{photo_id}/image) shows them. Each page "
        "leaves an entry in the audit.",
        scope=Scope.ADMIN,
        query=(ExportQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "post", "/api/v1/collections/{collection}/import", "import_records", "Import records of an export",
        {200: Reply("Each record was made, was there, or was refused.", Imported)},
        "The collection is made where there is none. Each record comes in as a whole or not at all, under "
        "its own id where that is free. What is there stays as it is, so that all may be sent again.",
        scope=Scope.ADMIN,
        form=(ImportFiles, ImportForm),
        errors=(400, 404, 409, 413, 422, 503, 507),
        words={422: "The records are more than one request takes, or the Idempotency-Key is another's."},
    ),
)  # fmt: skip
