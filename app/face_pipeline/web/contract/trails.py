"""What happened to one photo: its steps, how long it waited and took."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope, State
from face_pipeline.store.trails import STEPS_MOST, What
from face_pipeline.web.contract.answers import Answer, Count, Id, Reason, Time
from face_pipeline.web.contract.call import Call, Codes, Reply

Seconds = Annotated[float, Field(ge=0)]
RequestId = Annotated[str, Field(description="Of the request: `face-pipeline trail ID` shows what it did.")]


class Step(Answer):
    """What happened when. What does not belong to it is left out."""

    at: Time
    what: What = Field(
        description="uploaded: it came, before it was tried again; received: it waits from here on; "
        "sent_again: another upload brought the same photo; queued, claimed by a worker, done, failed; "
        "retried, moved; named, taken_off: one of its faces."
    )
    request_id: RequestId | SkipJsonSchema[None] = None
    worker: str | SkipJsonSchema[None] = Field(None, description="Which worker it was, and on which host.")
    collection: str | SkipJsonSchema[None] = Field(None, description="Where it was moved to.")
    face_id: Id | SkipJsonSchema[None] = None
    person_id: Id | SkipJsonSchema[None] = Field(
        None, description="Whom the face was given to, or was taken off. They may be gone by now."
    )


class Trail(Answer):
    photo_id: Id
    collection: str
    state: State
    reason: Reason | None
    request_id: RequestId | None
    attempts: Count
    worker: str | None = Field(description="The last that had it.")
    waited_seconds: Seconds | None = Field(description="From receipt until a worker took it.")
    processing_seconds: Seconds | None = Field(description="From then until its end.")
    total_seconds: Seconds | None = Field(description="From receipt until its end.")
    face_count: Count
    duplicates: Annotated[int, Field(ge=0, description="Uploads that brought it once more.")]
    steps: Annotated[list[Step], Field(max_length=STEPS_MOST, description="The oldest first.")]


CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/photos/{photo_id}/trail", "get_photo_trail", "What happened to a photo",
        {200: Reply("Its steps, as far as the database knows.", Trail)},
        "When it came, waited, was taken by which worker, and how it ended; what people did with it since. "
        "What its hosts logged meanwhile is told by `face-pipeline trail` there.",
        scope=Scope.READ,
        errors=(404, 503),
    ),
)  # fmt: skip

CODES: Codes = {}
