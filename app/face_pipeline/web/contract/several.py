"""Many photos or faces at once: erased, moved, tried again, given to a person."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope
from face_pipeline.store.persons import NAME_MAX
from face_pipeline.web.contract.answers import Answer, Count, Id, Person
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.erasure import Kept
from face_pipeline.web.contract.proofs import Proof
from face_pipeline.web.contract.requests import COLLECTION, IDENTIFIER, Body

# What is chosen on a page, and what a transaction locks at once.
MOST = 200
AnId = Annotated[str, Field(pattern=f"^{IDENTIFIER.pattern}$", json_schema_extra={"format": "uuid"})]
Ids = Annotated[list[AnId], Field(min_length=1, max_length=MOST)]


class ErasePhotos(Body):
    photo_ids: Ids = Field(description="One that is named twice counts once.")
    dry_run: bool = Field(False, description="true: nothing is erased; the receipt says what would be.")


class MovePhotos(Body):
    photo_ids: Ids = Field(description="One that is named twice counts once.")
    collection: str = Field(json_schema_extra={"pattern": COLLECTION}, description="Where they go.")


class GiveFaces(Body):
    """Their ids, and one of the two others."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2, "maxProperties": 2})

    face_ids: Ids = Field(description="One that is named twice counts once.")
    person_id: AnId | None = Field(
        None, description="Whose the faces are; null takes each off the person whose it is."
    )
    person: str | SkipJsonSchema[None] = Field(
        None,
        json_schema_extra={"minLength": 1, "maxLength": NAME_MAX},
        description="Or their name: somebody of the faces' collection, who is made if there is none.",
    )


class NotDone(Answer):
    """One with which nothing was done, and why."""

    id: Id
    code: str
    message: str


class PhotosReceipt(Answer):
    """What was erased, or would be with dry_run."""

    dry_run: bool
    collections: list[str] = Field(description="Where the photos were.")
    photos: Count
    faces: Count
    originals: Annotated[int, Field(ge=0, description="Files of photos.")]
    answers: Annotated[int, Field(ge=0, description="Cached answers of searches in the collections.")]
    tasks: Annotated[
        int, Field(ge=0, description="Photos that were to be processed, or were: what is found is dropped.")
    ]
    under_way: Annotated[int, Field(ge=0, description="Those of `tasks` that a worker had.")]
    kept: list[Kept]
    refused: list[NotDone]
    proof: Proof | None


class PhotosMoved(Answer):
    moved: Annotated[int, Field(ge=0, description="Those that are there now, and were not before.")]
    unnamed: Annotated[int, Field(ge=0, description="Faces whose person has no namesake there.")]
    refused: list[NotDone]


class FacesGiven(Answer):
    person: Person | None = Field(
        description="Whose the faces are now; null: nobody's, or none of them is there."
    )
    face_count: Annotated[int, Field(ge=0, description="Faces that are so now, also those that were.")]
    refused: list[NotDone]


CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/photos/delete", "erase_photos", "Erase many photos and their faces",
        {200: Reply("The receipt.", PhotosReceipt)},
        "All in one transaction, of one collection or of several. What is not there, or beyond the key's "
        "reach, is in `refused`; the others go.",
        scope=Scope.ERASE,
        body=ErasePhotos,
        errors=(400, 413, 503),
    ),
    Call(
        "post", "/api/v1/photos/move", "move_photos", "Give many photos to another collection",
        {200: Reply("How many went there.", PhotosMoved)},
        "Each in a transaction of its own, as POST /photos/{id}/move does it. One that cannot be moved is in "
        "`refused` with the code that it has there; the others are moved.",
        scope=Scope.WRITE,
        body=MovePhotos,
        errors=(400, 404, 413, 503),
        words={404: "There is no such collection."},
    ),
    Call(
        "post", "/api/v1/faces/assign", "give_faces", "Give many faces to a person, or take them off",
        {200: Reply("Whose they are now.", FacesGiven)},
        "All in one transaction. Faces of another collection than the person's are in `refused`, and so are "
        "those that are not there; with a name it is the collection of the first face that is there.",
        scope=Scope.ENROL,
        body=GiveFaces,
        errors=(400, 404, 413, 503),
        words={404: "There is no such person."},
    ),
)  # fmt: skip

CODES: Codes = {}
