"""Collections: what they hold, and making one."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.collections import NAME_PATTERN
from face_pipeline.store.models import Scope
from face_pipeline.store.quotas import QUOTA_MAX
from face_pipeline.store.retention import DAYS_MAX
from face_pipeline.web.contract import answers, requests
from face_pipeline.web.contract.call import Call, Codes, Reply


class NewCollection(requests.Body):
    # Its rules have an error of their own.
    name: str = Field(
        json_schema_extra={"pattern": f"^{NAME_PATTERN.pattern}$"},
        description="1 to 64 lower-case letters, digits, '_' or '-'.",
    )


Days = Annotated[int, Field(ge=0, le=DAYS_MAX)] | None


class RetentionChange(requests.Body):
    """What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    originals_days: Days = Field(
        None, description="Days after which originals and thumbnails of done photos go; null: never."
    )
    unknown_faces_days: Days = Field(
        None, description="Days after which faces of nobody go, from when their photo was done; null: never."
    )
    dry_run: bool = Field(False, description="true: nothing is changed; `due` says what would go.")


AtMost = Annotated[int, Field(ge=0, le=QUOTA_MAX)] | None


class QuotaChange(requests.Body):
    """What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    photos: AtMost = Field(None, description="Photos that it may hold; null: any number.")
    bytes: AtMost = Field(None, description="Bytes that they may have as they came; null: any number.")


class CollectionsQuery(requests.Request):
    limit: Annotated[int, requests.AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: requests.Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class CollectionItem(answers.Answer):
    """A collection of a list."""

    name: str
    contract_id: str = Field(description="The engine contract that its embeddings were made under.")
    dimension: Annotated[int, Field(ge=1)]
    face_count: answers.Count
    person_count: answers.Count
    created_at: answers.Time | None


class Bounds(answers.Answer):
    photos: AtMost
    bytes: AtMost


class Quota(answers.Answer):
    """What a collection may hold, and what it does."""

    collection: str
    quota: Bounds
    used: answers.Amount


class Collection(CollectionItem):
    """A collection, and what it holds."""

    photos: answers.States = Field(description="How many of its photos are in which state.")
    unknown_face_count: answers.Count = Field(description="Faces of unknown people.")
    quota: Bounds = Field(description="What it may hold; null: any number.")
    used: answers.Amount = Field(description="What it holds of that.")


class RetentionDue(answers.Answer):
    """What the next run of the upkeep removes."""

    originals: answers.Count = Field(description="Photos whose original goes.")
    faces: answers.Count = Field(description="Unknown faces.")


class Retention(answers.Answer):
    """How long a collection keeps what; with dry_run: would."""

    collection: str
    originals_days: Days
    unknown_faces_days: Days
    due: RetentionDue


class Collections(answers.Answer):
    collections: list[CollectionItem]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/collections", "create_collection", "Make a collection",
        {201: Reply("It is there, and empty.", Collection)},
        "An upload or a person makes the collection that it names too.",
        scope=Scope.WRITE,
        body=NewCollection,
        errors=(400, 409, 413, 503, 507),
        words={409: "There is one of this name."},
    ),
    Call(
        "get", "/api/v1/collections", "list_collections", "List collections, by name",
        {200: Reply("A page of those that the key reaches.", Collections)},
        scope=Scope.READ,
        query=(CollectionsQuery,),
        errors=(400, 503),
    ),
    Call(
        "get", "/api/v1/collections/{collection}", "get_collection", "What a collection holds",
        {200: Reply("The collection.", Collection)},
        scope=Scope.READ,
        errors=(404, 503),
    ),
    Call(
        "get", "/api/v1/collections/{collection}/retention", "get_retention",
        "How long a collection keeps what",
        {200: Reply("Its rules, and what is due.", Retention)},
        scope=Scope.READ,
        errors=(404, 503),
    ),
    Call(
        "patch", "/api/v1/collections/{collection}/retention", "change_retention",
        "Let a collection keep originals or unknown faces for a time only",
        {200: Reply("Its rules, and what is due.", Retention)},
        "What is due goes within ten minutes and cannot be brought back: ask with dry_run first.",
        scope=Scope.ADMIN,
        body=RetentionChange,
        errors=(400, 404, 413, 503),
    ),
    Call(
        "patch", "/api/v1/collections/{collection}/quota", "change_quota", "Bound what a collection may hold",
        {200: Reply("Its quota, and what is used of it.", Quota)},
        "What it holds stays, also where that is more. Photos for which there is no room are rejected with "
        "quota_exceeded.",
        scope=Scope.ADMIN,
        body=QuotaChange,
        errors=(400, 404, 413, 503),
    ),
)  # fmt: skip

CODES: Codes = {409: ("collection_exists",)}
