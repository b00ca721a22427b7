"""Photos that failed: by reason, as CSV, and out with them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from face_pipeline.store.models import Scope
from face_pipeline.web.contract.answers import Answer, Count, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.erasure import EraseQuery, Kept
from face_pipeline.web.contract.proofs import Proof
from face_pipeline.web.contract.requests import COLLECTION_OR_EMPTY, Request, Text

REASON = "[a-z][a-z0-9_]{0,99}"
_COLLECTION = Field(
    "", json_schema_extra={"pattern": COLLECTION_OR_EMPTY}, description="Only photos of this collection."
)


class FailuresQuery(Request):
    collection: Text = _COLLECTION


class FailureRowsQuery(FailuresQuery):
    reason: Text = Field(
        "", json_schema_extra={"pattern": f"^({REASON})?$"}, description="Only this reason; any when empty."
    )


class EraseFailuresQuery(EraseQuery):
    collection: Text = _COLLECTION


class Failure(Answer):
    """Photos that failed for one reason."""

    reason: str = Field(description="`reason.code` of the photos.")
    words: str = Field(description="For people: what it means, and what to do.")
    retry_helps: bool = Field(description="Whether another try can end otherwise while nothing else changes.")
    photos: Annotated[int, Field(ge=1)]
    first_at: Time | None
    last_at: Time | None
    example_photo_id: Id = Field(description="The photo among them that came last.")


class Failures(Answer):
    """Each reason once, that of most photos first."""

    total: Count
    failures: list[Failure]


class ErasedFailures(Answer):
    """What was erased, or would be with dry_run."""

    dry_run: bool
    reason: str
    collections: list[str] = Field(description="Where the photos were.")
    photos: Count
    faces: Count
    originals: Annotated[int, Field(ge=0, description="Files of photos.")]
    kept: list[Kept]
    proof: Proof | None


CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/failures", "list_failures", "Why photos failed",
        {200: Reply("The reasons.", Failures)},
        "`POST /photos/retry` with a reason tries its photos again.",
        scope=Scope.READ,
        query=(FailuresQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "get", "/api/v1/failures.csv", "export_failures", "The photos that failed, as CSV",
        {200: Reply("A row for each photo, the oldest first.", ("text/csv",))},
        "UTF-8 with a byte order mark, as spreadsheets want it. A text that a spreadsheet would take for a "
        "formula begins with a quote (').",
        scope=Scope.READ,
        query=(FailureRowsQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "delete", "/api/v1/failures/{reason}", "erase_failures", "Erase the photos that failed for a reason",
        {200: Reply("The receipt.", ErasedFailures)},
        "With their files, in steps of some thousand photos. More than one request can take answers 503 with "
        "the code erasure_unfinished, and the next request goes on. A photo that fails meanwhile may go too.",
        scope=Scope.ERASE,
        query=(EraseFailuresQuery,),
        errors=(400, 404, 503),
    ),
)  # fmt: skip

CODES: Codes = {}
