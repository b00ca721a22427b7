"""Verification: whether two faces are one person's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import AsNumber, Body, File, Request, Text

_UUID: dict[str, Any] = {"format": "uuid"}
_THRESHOLD = "Least similarity of one person's faces; the model pack's own when left out."


class VerifyForm(Request):
    """One of `photo`, `face_id`, and one of `other`, `other_face_id`, `person_id`."""

    photo: File | SkipJsonSchema[None] = Field(None, description="A photo that is not kept.")
    other: File | SkipJsonSchema[None] = Field(None, description="Another one to compare it with.")
    face_id: Text | SkipJsonSchema[None] = Field(None, json_schema_extra=_UUID, description="A stored face.")
    other_face_id: Text | SkipJsonSchema[None] = Field(
        None, json_schema_extra=_UUID, description="A stored face to compare with."
    )
    person_id: Text | SkipJsonSchema[None] = Field(
        None, json_schema_extra=_UUID, description="A person, with all their faces, to compare with."
    )
    threshold: Annotated[float, Field(ge=-1.0, le=1.0), AsNumber] | SkipJsonSchema[None] = Field(
        None, description=_THRESHOLD
    )
    which: Literal["largest", "only"] = Field(
        "largest",
        description="Of several faces on a photo the largest is compared; with `only` they are an error.",
    )


class VerifyBody(Body):
    """`face_id`, and one of `other_face_id`, `person_id`."""

    model_config = ConfigDict(allow_inf_nan=False)

    face_id: str = Field(json_schema_extra=_UUID, description="A stored face.")
    other_face_id: str | None = Field(
        None, json_schema_extra=_UUID, description="A stored face to compare with."
    )
    person_id: str | None = Field(
        None, json_schema_extra=_UUID, description="A person, with all their faces, to compare with."
    )
    threshold: float | None = Field(None, ge=-1.0, le=1.0, description=_THRESHOLD)


class VerifiedFace(answers.Answer):
    """One side: a face of a photo that was sent, with how many there are on it, or a stored one."""

    # Left out where they are not known.
    face_id: answers.Id | SkipJsonSchema[None] = Field(None, description="Of a stored face.")
    photo_id: answers.Id | None = Field(
        None, description="Of a stored face; null where that came as an embedding."
    )
    bbox: answers.Box | SkipJsonSchema[None] = Field(
        None, description="x1, y1, x2, y2 in pixels of the upright photo; left out without a photo."
    )
    landmarks: answers.Landmarks | SkipJsonSchema[None] = None
    detection_score: answers.Share | SkipJsonSchema[None] = None
    quality: answers.Share | SkipJsonSchema[None] = None
    faces: Annotated[int, Field(ge=1)] | SkipJsonSchema[None] = Field(
        None, description="Faces on the photo that was sent; this is the largest of them."
    )


class VerifiedPerson(answers.Answer):
    """The other side, where it is a person."""

    id: answers.Id
    name: str
    face_count: Annotated[int, Field(ge=1, description="Faces that were compared with.")]
    face_id: answers.Id = Field(description="The most similar of them.")
    photo_id: answers.Id | None
    best: answers.Similarity = Field(description="Similarity to that face.")
    mean_of_best: answers.Similarity = Field(
        description="Mean of the three most similar ones, or of all where there are fewer."
    )
    decides: Literal["best"] = Field(description="Which of the two `same` follows from.")


class Verification(answers.Answer):
    same: bool = Field(description="Whether the similarity reaches the threshold.")
    similarity: answers.Similarity = Field(description="Cosine of the two embeddings.")
    threshold: answers.Similarity
    face: VerifiedFace
    # One of the two.
    other: VerifiedFace | SkipJsonSchema[None] = None
    person: VerifiedPerson | SkipJsonSchema[None] = None
    duration_seconds: Annotated[float, Field(ge=0)]


CODES: Codes = {
    400: ("verify_sides",),
    404: ("person_not_found",),
    422: ("no_face", "faces_many", "person_without_faces"),
}

CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/verify", "verify", "Whether two faces are one person's",
        {200: Reply("How similar they are, and whether that is enough.", Verification)},
        "A form compares a photo with another photo, a stored face, or a person; JSON compares a stored face "
        "with another, or with a person. Photos are not kept. A face is never compared with itself among a "
        "person's.",
        scope=Scope.READ,
        form=(VerifyForm,),
        body=VerifyBody,
        errors=(400, 404, 409, 413, 415, 422, 503),
    ),
)  # fmt: skip
