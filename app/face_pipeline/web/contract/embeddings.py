"""Embeddings, out and in."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import AsWhole, Body, Request, Text

EMBEDDINGS_MOST = 1000
PAGE_MOST = 200
# A thousand of 512 numbers, each written with all its digits, or of 1024 that are rounded.
BODY_MAX_BYTES = 16 * 1024**2

Numbers = Annotated[list[float], Field(description="Of the L2 norm 1, but for half precision's rounding.")]
Dimension = Annotated[int, Field(ge=1)]


class EmbeddingsQuery(Request):
    limit: Annotated[int, AsWhole] = Field(PAGE_MOST, ge=1, le=PAGE_MOST, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class EmbeddingsBody(Body):
    model_config = ConfigDict(allow_inf_nan=False)

    contract_id: str = Field(description="How they were made; only the installed contract is taken.")
    embeddings: list[list[float]] = Field(
        min_length=1,
        max_length=EMBEDDINGS_MOST,
        description="Each as many numbers as the contract has dimensions, of the L2 norm 1, give or take "
        "0.001.",
    )


class FaceEmbedding(answers.Answer):
    face_id: answers.Id
    contract_id: str
    dimension: Dimension
    embedding: Numbers


class EmbeddingItem(answers.Answer):
    face_id: answers.Id
    person_id: answers.Id | None
    photo_id: answers.Id | None = Field(description="Null for a face that came as an embedding.")
    embedding: Numbers


class Embeddings(answers.Answer):
    """A page of a collection's embeddings, by the ids of the faces."""

    collection: str
    contract_id: str
    dimension: Dimension
    embeddings: list[EmbeddingItem]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class EmbeddingsAdded(answers.Answer):
    person_id: answers.Id
    face_ids: list[answers.Id] = Field(description="Of the new faces, in the order of the embeddings.")


CODES: Codes = {400: ("embedding_invalid",), 404: ("person_not_found", "face_without_photo")}

CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/faces/{face_id}/embedding", "get_face_embedding", "Embedding of a face",
        {200: Reply("The embedding.", FaceEmbedding)},
        "It tells people apart like a fingerprint does: keep it as carefully as the photo.",
        scope=Scope.ADMIN,
        errors=(404, 503),
    ),
    Call(
        "get", "/api/v1/collections/{collection}/embeddings", "list_embeddings",
        "Embeddings of a collection",
        {200: Reply("A page.", Embeddings)},
        scope=Scope.ADMIN,
        query=(EmbeddingsQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "post", "/api/v1/persons/{person_id}/embeddings", "add_embeddings",
        "Give a person faces that were made elsewhere",
        {201: Reply("All are kept, and searches find them.", EmbeddingsAdded)},
        "Either all are kept or none. Such a face has no photo and no crop.",
        scope=Scope.ADMIN,
        body=EmbeddingsBody,
        errors=(400, 404, 409, 413, 503, 507),
    ),
)  # fmt: skip
