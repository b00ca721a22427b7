"""The call that reads the audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import ActorKind, Outcome, Scope
from face_pipeline.web.contract.answers import Answer, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import COLLECTION_OR_EMPTY, AsWhole, Request, Text

_MOMENT: JsonDict = {"format": "date-time"}
_TEXT: JsonDict = {"pattern": "^[^\\u0000]*$"}


class AuditRowsQuery(Request):
    action: Text = Field(
        "", json_schema_extra=_TEXT, description="How the action begins: `person.`, or `person.rename`."
    )
    actor: Text = Field("", json_schema_extra=_TEXT, description="Name of a key, or its id.")
    subject: Text = Field("", json_schema_extra=_TEXT, description="Id of what was acted on.")
    collection: Text = Field(
        "", json_schema_extra={"pattern": COLLECTION_OR_EMPTY}, description="Only this collection."
    )
    outcome: Annotated[Outcome | Literal[""], WithJsonSchema({"type": "string", "enum": ["", *Outcome]})] = (
        Field("", description="Only what ended so; everything when empty.")
    )
    since: Text | SkipJsonSchema[None] = Field(
        None, json_schema_extra=_MOMENT, description="Not what was before."
    )
    until: Text | SkipJsonSchema[None] = Field(
        None, json_schema_extra=_MOMENT, description="Only what was before."
    )


class AuditQuery(AuditRowsQuery):
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class Entry(Answer):
    """Who did what, on whom, when, from where, and how it ended."""

    id: int
    at: Time
    actor_kind: ActorKind
    actor_id: Id | None
    actor_name: str
    address: str | None
    request_id: str | None
    action: str
    collection: str | None
    subject: str | None
    outcome: Outcome
    details: dict[str, Any]


class Audit(Answer):
    entries: list[Entry]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/audit", "read_audit", "What was done, newest first",
        {200: Reply("A page.", Audit)},
        "Searches, looks at photos and faces, changes, sign-ins, refusals. To read it leaves an entry too.",
        scope=Scope.ADMIN,
        query=(AuditQuery,),
        errors=(400, 503),
    ),
    Call(
        "get", "/api/v1/audit.csv", "export_audit", "What was done, as CSV",
        {200: Reply("A row for each entry, newest first.", ("text/csv",))},
        "UTF-8 with a byte order mark, as spreadsheets want it; `details` is JSON. A text that a spreadsheet "
        "would take for a formula begins with a quote ('). However many entries fit, they come one by one.",
        scope=Scope.ADMIN,
        query=(AuditRowsQuery,),
        errors=(400, 503),
    ),
)  # fmt: skip

CODES: Codes = {}
