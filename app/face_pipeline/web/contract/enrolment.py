"""Enrolment: what it takes, what it answers, its codes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from face_pipeline.actions.enrolment import PHOTOS_MOST
from face_pipeline.store.judging import OnConflict, Refusal, Which
from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import AsNumber, File, Request


class EnrolmentFiles(Request):
    photos: Annotated[list[File], Field(min_length=1, max_length=PHOTOS_MOST)]


class EnrolmentForm(Request):
    min_quality: Annotated[float, AsNumber] = Field(
        0.0, ge=0.0, le=1.0, description="A face of lower quality is refused (quality_low)."
    )
    which: Annotated[Which, WithJsonSchema({"type": "string", "enum": list(Which)})] = Field(
        Which.ONLY,
        description="only: a photo that shows several faces is refused (faces_many). largest: its largest "
        "face is the person's, and the others are nobody's.",
    )
    on_conflict: Annotated[OnConflict, WithJsonSchema({"type": "string", "enum": list(OnConflict)})] = Field(
        OnConflict.REFUSE,
        description="refuse: a face that reaches the model pack's threshold with another person of the "
        "collection, and is more like them than like this person, is refused (conflict). allow: it is "
        "enrolled.",
    )


class Enrolled(answers.Answer):
    """A photo whose face is the person's now."""

    photo_id: answers.Id
    face_id: answers.Id
    filename: str
    quality: answers.Share
    duplicate: bool = Field(description="The collection had the photo, or this request has it twice.")


class NotEnrolled(answers.Answer):
    """A file that was not enrolled, and why: what is wrong with it, and what to send instead."""

    filename: str
    code: str = Field(examples=sorted([*Refusal, *answers.REJECTIONS, "search_timeout"]))
    message: str
    details: dict[str, Any] = Field(
        description="With conflict: person_id and similarity of who it is like, own_similarity (null: this "
        "person has no face yet) and threshold. With person_differs: person_id and face_id. With "
        "quality_low: quality and min_quality. With faces_many: faces."
    )


class Enrolment(answers.Answer):
    person: answers.Person
    enrolled: list[Enrolled]
    refused: list[NotEnrolled]


CODES: Codes = {
    404: ("person_not_found",),
    422: ("none_enrolled",),
}
CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/persons/{person_id}/photos", "enrol_photos", "Enrol photos of a person",
        {200: Reply("What was enrolled, and what was not.", Enrolment)},
        "Each photo is analysed while you wait. One that is good is kept, and its face is the person's when "
        "the answer comes; of one that is refused nothing is kept.",
        scope=Scope.ENROL,
        form=(EnrolmentFiles, EnrolmentForm),
        errors=(400, 404, 409, 413, 422, 503, 507),
        words={422: "No file could be enrolled; `details.refused` says why each could not."},
    ),
)  # fmt: skip
