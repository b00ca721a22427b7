"""The calls of sessions: who is signed in to the pages."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope
from face_pipeline.web.contract.answers import Answer, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import AsWhole, Request, Text


class SessionsQuery(Request):
    key_id: Text | SkipJsonSchema[None] = Field(
        None, description="Only of this key.", json_schema_extra={"format": "uuid"}
    )
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class BrowserSession(Answer):
    """Somebody who is signed in to the pages."""

    id: Id
    key_id: Id
    key_name: str
    current: bool = Field(description="Whether this request comes by it.")
    created_at: Time
    last_used_at: Time = Field(description="Right to a minute.")
    expires_at: Time
    address: str | None = Field(description="Where the sign-in came from.")
    user_agent: str | None = Field(description="What the browser calls itself.")


class Sessions(Answer):
    sessions: list[BrowserSession]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/sessions", "list_sessions", "List who is signed in to the pages, newest first",
        {200: Reply("A page.", Sessions)},
        "Those alone that have not ended.",
        scope=Scope.ADMIN,
        query=(SessionsQuery,),
        errors=(400, 404, 503),
        words={404: "`key_id` is no id of a key (key_not_found)."},
    ),
    Call(
        "delete", "/api/v1/sessions/{session_id}", "end_session", "End a session",
        {204: Reply("It is over: its browser has to sign in again.")},
        scope=Scope.ADMIN,
        errors=(404, 503),
    ),
    Call(
        "delete", "/api/v1/keys/{key_id}/sessions", "end_sessions_of_key", "End the sessions of a key",
        {204: Reply("All that were opened with the key are over; the key itself works on.")},
        scope=Scope.ADMIN,
        errors=(404, 503),
    ),
)  # fmt: skip

CODES: Codes = {404: ("session_not_found",)}
