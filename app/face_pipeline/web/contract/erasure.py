"""Erasure: photos, faces, persons and collections, each with a receipt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from face_pipeline.store.erasure import KEPT_NAMED, Why
from face_pipeline.store.models import Scope
from face_pipeline.web.contract.answers import Answer, Count, Id
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.proofs import Proof
from face_pipeline.web.contract.requests import Request


class EraseQuery(Request):
    dry_run: Annotated[
        Literal["true", "false"], WithJsonSchema({"type": "string", "enum": ["true", "false"]})
    ] = Field("false", description="true: nothing is erased; the receipt says what would be.")


class Kept(Answer):
    """What stays, and why."""

    what: Literal["photos", "originals", "answers"]
    code: str = Field(json_schema_extra={"enum": list(Why)})
    message: str
    count: Count
    photos: Annotated[list[Id], Field(max_length=KEPT_NAMED, description="Ids of those photos.")]


class Receipt(Answer):
    """What was erased, or would be with dry_run."""

    dry_run: bool
    collection: str
    photos: Count
    faces: Count
    persons: Count
    merges: Annotated[int, Field(ge=0, description="Merges of the persons, which kept a name each.")]
    originals: Annotated[int, Field(ge=0, description="Files of photos.")]
    answers: Annotated[int, Field(ge=0, description="Cached answers of searches in the collection.")]
    tasks: Annotated[
        int, Field(ge=0, description="Photos that were to be processed, or were: what is found is dropped.")
    ]
    under_way: Annotated[int, Field(ge=0, description="Those of `tasks` that a worker had.")]
    kept: list[Kept]
    proof: Proof | None


_ERRORS = (400, 404, 503)

CALLS: tuple[Call, ...] = (
    Call(
        "delete", "/api/v1/photos/{photo_id}", "erase_photo", "Erase a photo and its faces",
        {200: Reply("The receipt.", Receipt)},
        "Its file goes where no other collection has the same photo. What a worker finds on it meanwhile is "
        "dropped.",
        scope=Scope.ERASE,
        query=(EraseQuery,),
        errors=_ERRORS,
    ),
    Call(
        "delete", "/api/v1/faces/{face_id}", "erase_face", "Erase a face; its photo stays",
        {200: Reply("The receipt.", Receipt)},
        scope=Scope.ERASE,
        query=(EraseQuery,),
        errors=_ERRORS,
    ),
    Call(
        "delete", "/api/v1/persons/{person_id}", "erase_person", "Erase a person",
        {200: Reply("The receipt.", Receipt)},
        "Their faces and merges go, and the photos that show nobody else. A photo that shows somebody else "
        "too stays, without this person's faces; `kept` names it.",
        scope=Scope.ERASE,
        query=(EraseQuery,),
        errors=_ERRORS,
    ),
    Call(
        "delete", "/api/v1/collections/{collection}", "erase_collection",
        "Erase a collection and all that is in it",
        {200: Reply("The receipt.", Receipt)},
        "In steps of some thousand photos. One too large for one request answers 503 with the code "
        "erasure_unfinished, and the next request goes on.",
        scope=Scope.ERASE,
        query=(EraseQuery,),
        errors=_ERRORS,
    ),
)  # fmt: skip

CODES: Codes = {
    404: ("person_not_found",),
    503: ("erasure_unfinished",),
}
