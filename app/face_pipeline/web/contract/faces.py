"""Faces: what is taken and answered where one is looked at or given to somebody, their codes."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope
from face_pipeline.store.persons import NAME_MAX
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import Body


class FaceChange(Body):
    """One of the two."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    person_id: Annotated[str, Field(json_schema_extra={"format": "uuid"})] | None = Field(
        None, description="Whose the face is; null takes it off its person."
    )
    person: str | SkipJsonSchema[None] = Field(
        None,
        json_schema_extra={"minLength": 1, "maxLength": NAME_MAX},
        description="Or their name: somebody of the face's collection, who is made if there is none.",
    )


class OneFace(answers.Face):
    """A face, and where it is."""

    collection: str
    photo_id: answers.Id | None = Field(description="Null for a face that came as an embedding.")


CODES: Codes = {404: ("face_without_photo",), 409: ("person_other_collection",)}
CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/faces/{face_id}", "get_face", "Whose a face is, and where it was found",
        {200: Reply("The face.", OneFace)},
        scope=Scope.READ,
        errors=(404, 503),
    ),
    Call(
        "patch", "/api/v1/faces/{face_id}", "give_face", "Give a face to a person, or take it off",
        {200: Reply("The face as it is now.", OneFace)},
        "What searches find changes at once. A face that is another person's is taken from them; they stay, "
        "also without a face.",
        scope=Scope.ENROL,
        body=FaceChange,
        errors=(400, 404, 409, 413, 503),
        words={409: "The person is of another collection."},
    ),
)  # fmt: skip
