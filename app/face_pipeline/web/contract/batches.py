"""Batches: what is taken and answered where they are made and listed, their codes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.collections import DEFAULT_COLLECTION
from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import (
    COLLECTION,
    COLLECTION_OR_EMPTY,
    AsWhole,
    Body,
    Request,
    Text,
)


class NewBatch(Body):
    collection: str = Field(
        DEFAULT_COLLECTION,
        json_schema_extra={"pattern": COLLECTION},
        description="Where its photos go; made on first use.",
    )


class BatchesQuery(Request):
    collection: Text = Field(
        "", json_schema_extra={"pattern": COLLECTION_OR_EMPTY}, description="Only of this collection."
    )
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class Batches(answers.Answer):
    batches: list[answers.Batch]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


CODES: Codes = {409: ("batch_other_collection",)}
CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/batches", "make_batch", "Make a batch that several uploads add to",
        {201: Reply("The batch, without photos yet.", answers.Batch)},
        "Give its id as the form field `batch` of each upload. It never closes: `finished` says that all "
        "photos which are in it now are done or failed.",
        scope=Scope.WRITE,
        body=NewBatch,
        errors=(400, 404, 409, 413, 503),
    ),
    Call(
        "get", "/api/v1/batches", "list_batches", "List batches, newest first",
        {200: Reply("A page.", Batches)},
        scope=Scope.READ,
        query=(BatchesQuery,),
        errors=(400, 503),
    ),
)  # fmt: skip
