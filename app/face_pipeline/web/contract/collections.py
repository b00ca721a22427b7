"""Collections: what they hold, and making one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.collections import NAME_PATTERN
from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers, requests
from face_pipeline.web.contract.call import Call, Codes, Reply


class NewCollection(requests.Body):
    # Its rules have an error of their own.
    name: str = Field(
        json_schema_extra={"pattern": f"^{NAME_PATTERN.pattern}$"},
        description="1 to 64 lower-case letters, digits, '_' or '-'.",
    )


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


class Collection(CollectionItem):
    """A collection, and what it holds."""

    photos: answers.States = Field(description="How many of its photos are in which state.")
    unknown_face_count: answers.Count = Field(description="Faces of unknown people.")


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
)  # fmt: skip

CODES: Codes = {409: ("collection_exists",)}
