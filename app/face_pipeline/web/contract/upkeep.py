"""Another try for photos that failed, another collection for photos."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.answers import Answer, Count
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import COLLECTION, Body
from face_pipeline.web.contract.several import Ids, NotDone

REASON_MAX = 100


class RetryWish(Body):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    collection: str | SkipJsonSchema[None] = Field(
        None, json_schema_extra={"pattern": COLLECTION}, description="Only photos of this collection."
    )
    # The bound is of the text: pydantic asks None for its length too, and fails.
    reason: Annotated[str, Field(max_length=REASON_MAX)] | SkipJsonSchema[None] = Field(
        None, description="Only photos whose `reason.code` this is."
    )

    photo_ids: Ids | SkipJsonSchema[None] = Field(
        None, description="Or these photos, without the other two; one that did not fail is in `refused`."
    )

    @field_validator("collection", "reason", "photo_ids", mode="before")
    @classmethod
    def _is_no_null(cls, value: object) -> object:
        """What is left out is not asked."""
        if value is None:
            raise ValueError("null names nothing; leave it out")
        return value


class Retried(Answer):
    retried: Count
    # Left out of the answer where no photos are named.
    refused: list[NotDone] | SkipJsonSchema[None] = Field(
        None, description="With photo_ids: those that do not start again, and why."
    )


class MoveWish(Body):
    collection: str = Field(json_schema_extra={"pattern": COLLECTION}, description="Where the photo goes.")


class Moved(Answer):
    photo: answers.Photo
    unnamed: Count = Field(description="Faces whose person has no namesake in the collection.")
    remark: answers.Reason | None = Field(description="person_not_there: what `unnamed` counts, in words.")


CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/photos/{photo_id}/retry", "retry_photo", "Process a failed photo again",
        {202: Reply("It waits for a worker.", answers.Photo)},
        scope=Scope.WRITE,
        errors=(404, 409, 503),
        words={409: "The photo did not fail."},
    ),
    Call(
        "post", "/api/v1/photos/retry", "retry_photos", "Process failed photos again",
        {202: Reply("They wait for a worker.", Retried)},
        "All that failed in a collection, for a reason, or both; one of the two is needed. Or those of some "
        "photos that failed, which start in one transaction.",
        scope=Scope.WRITE,
        body=RetryWish,
        errors=(400, 404, 413, 503),
    ),
    Call(
        "post", "/api/v1/photos/{photo_id}/move", "move_photo", "Give a photo to another collection",
        {200: Reply("The photo, where it is now.", Moved)},
        "With its faces. A face is given to the person of the same name there, or to nobody.",
        scope=Scope.WRITE,
        body=MoveWish,
        errors=(400, 404, 409, 413, 503),
        words={
            409: "The collection has the photo already, or belongs to another engine contract; or a worker "
            "has the photo."
        },
    ),
)  # fmt: skip

CODES: Codes = {
    409: ("photo_not_failed", "photo_exists", "photo_processing"),
}
