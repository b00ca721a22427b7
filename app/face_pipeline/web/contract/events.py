"""Events: what happened, in order, from a place on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import EventKind, Scope
from face_pipeline.web.contract.answers import Answer, Count, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import COLLECTION_OR_EMPTY, AsWhole, Request, Text


class EventsQuery(Request):
    after: Text | SkipJsonSchema[None] = Field(
        None, description="next_cursor of the page before; left out: from the oldest event that is kept."
    )
    kind: Annotated[EventKind | Literal[""], WithJsonSchema({"type": "string", "enum": ["", *EventKind]})] = (
        Field("", description="Only this kind; every one when empty.")
    )
    collection: Text = Field(
        "", json_schema_extra={"pattern": COLLECTION_OR_EMPTY}, description="Only this collection."
    )
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    last: Annotated[int, Field(ge=0, le=200), AsWhole] | SkipJsonSchema[None] = Field(
        None,
        description="Instead of `after`: begin with so many of the newest; 0: with what happens from now on.",
    )


class EventPerson(Answer):
    id: Id
    name: str | None = Field(description="As it is now; null where the person is gone.")


class Event(Answer):
    """Something that happened to a photo, or to a face on it."""

    id: Id
    kind: str = Field(json_schema_extra={"enum": list(EventKind)})
    at: Time
    collection: str
    photo_id: Id
    face_id: Id | None = Field(description="With person.seen and face.unknown.")
    person: EventPerson | None = Field(description="With person.seen: whose face it is.")
    face_count: Count | None = Field(description="With photo.done and photo.failed: faces on the photo.")
    reason_code: str | None = Field(
        description="Why the photo failed, or why none of its faces was given the person's name."
    )


class Events(Answer):
    events: list[Event]
    next_cursor: str = Field(
        description="Give it back as `after` to go on from here; it is there after the last event, too."
    )


CALLS = (
    Call(
        "get", "/api/v1/events", "list_events", "What happened, oldest first",
        {200: Reply("A page; an empty one where nothing has happened since.", Events)},
        "No event is left out, whatever commits when: one that is shown later comes behind all that were "
        "shown before.",
        scope=Scope.READ,
        query=(EventsQuery,),
        errors=(400, 503),
        words={403: "The key lacks the scope, or does not reach the collection."},
    ),
)  # fmt: skip
CODES: Codes = {}
