"""Persons: made, described, listed and changed; merges and their undoing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonValue
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.collections import DEFAULT_COLLECTION
from face_pipeline.store.directory import EXTERNAL_ID_MAX, METADATA_MAX_BYTES, METADATA_MAX_DEPTH, Sort
from face_pipeline.store.merges import UNDO_HOURS
from face_pipeline.store.models import Scope
from face_pipeline.store.persons import NAME_MAX
from face_pipeline.web.contract import answers, requests
from face_pipeline.web.contract.call import Call, Codes, Reply

# Of texts whose rules have errors of their own, the document says the bounds alone.
NAME: dict[str, JsonValue] = {"minLength": 1, "maxLength": NAME_MAX}
EXTERNAL_ID: dict[str, JsonValue] = {"minLength": 1, "maxLength": EXTERNAL_ID_MAX}
NAME_WORDS = (
    "Letters in either case, accents composed or not are one name, which one person of a collection has."
)
EXTERNAL_ID_WORDS = "What your own systems call them: printable characters, of one person of a collection."
METADATA_WORDS = (
    f"Whatever you want to keep with them: {METADATA_MAX_BYTES} bytes of JSON, {METADATA_MAX_DEPTH} levels "
    "at most. It is kept as a whole and not looked into."
)


class NewPerson(requests.Body):
    collection: str = Field(DEFAULT_COLLECTION, json_schema_extra={"pattern": requests.COLLECTION})
    name: str = Field(json_schema_extra=NAME, description=NAME_WORDS)
    external_id: str | None = Field(None, json_schema_extra=EXTERNAL_ID, description=EXTERNAL_ID_WORDS)
    metadata: dict[str, Any] = Field(default_factory=dict, description=METADATA_WORDS)


class PersonChange(requests.Body):
    """What is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: str = Field(default_factory=str, json_schema_extra=NAME, description=NAME_WORDS)
    external_id: str | None = Field(
        None, json_schema_extra=EXTERNAL_ID, description=f"{EXTERNAL_ID_WORDS} null takes it off."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description=f"{METADATA_WORDS} It takes the place of what was kept."
    )
    cover_face_id: Annotated[str, Field(json_schema_extra={"format": "uuid"})] | None = Field(
        None, description="The face of theirs that pictures show; null: the one of best quality."
    )


class MergeWish(requests.Body):
    removed: str = Field(
        alias="from",
        json_schema_extra={"format": "uuid"},
        description="The person who becomes part of the one in the address.",
    )


class PersonsQuery(requests.Request):
    collection: requests.Text = Field(
        "", json_schema_extra={"pattern": requests.COLLECTION_OR_EMPTY}, description="Only this collection."
    )
    name: requests.Text = Field(
        "", description="Only persons with this in their name, in either case, accents composed or not."
    )
    external_id: requests.Text = Field("", description="Only persons of this external id.")
    sort: Annotated[Sort, WithJsonSchema({"type": "string", "enum": list(Sort)})] = Field(
        Sort.NAME,
        description="name: by collection, then by name; faces: those with most faces first; newest: those "
        "made last first.",
    )
    limit: Annotated[int, requests.AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: requests.Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class OfPersonQuery(requests.Request):
    limit: Annotated[int, requests.AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: requests.Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class FacesSort(StrEnum):
    """In which order faces of a person are listed."""

    NEWEST = "newest"
    LEAST_SURE = "least_sure"


class FacesOfPersonQuery(OfPersonQuery):
    sort: Annotated[FacesSort, WithJsonSchema({"type": "string", "enum": list(FacesSort)})] = Field(
        FacesSort.NEWEST,
        description="newest: of the newest photo first; least_sure: what is least like their other faces "
        "first, each with its `certainty`.",
    )


class BestFace(answers.Answer):
    """The face of best quality."""

    id: answers.Id
    photo_id: answers.Id
    quality: answers.Share


class PersonDetails(answers.Answer):
    """A person, and what they have."""

    id: answers.Id
    collection: str
    name: str
    external_id: str | None
    metadata: dict[str, Any]
    face_count: answers.Count
    photo_count: answers.Count = Field(
        description="Photos with a face of theirs, and photos that were given to them."
    )
    representative_face: BestFace | None = Field(description="The one of best quality; null: they have none.")
    cover_face_id: answers.Id | None = Field(
        description="The face that pictures show: the one that was chosen while it is theirs, or else the "
        "one of best quality."
    )
    cover: str | None = Field(description="Address of its picture.")
    created_at: answers.Time | None
    updated_at: answers.Time | None


class Persons(answers.Answer):
    persons: list[PersonDetails]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class PersonFace(answers.Answer):
    """A face of a person."""

    id: answers.Id
    photo_id: answers.Id
    bbox: answers.Box
    landmarks: answers.Landmarks
    detection_score: answers.Share
    quality: answers.Share
    # Left out of the answer where it is not set.
    certainty: answers.Similarity | SkipJsonSchema[None] = Field(
        None,
        description="With sort least_sure: cosine to the mean of the person's other faces; left out for an "
        "only face.",
    )


class PersonFaces(answers.Answer):
    faces: list[PersonFace]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class MergeDone(answers.Answer):
    """A merge that was made."""

    id: answers.Id = Field(description="Of the merge, for its undoing.")
    person: PersonDetails = Field(description="Who has all now.")
    undo_until: answers.Time | None


class MergeUndone(answers.Answer):
    """A merge that was taken back."""

    id: answers.Id
    person: PersonDetails = Field(description="Who is back, with what is theirs again.")
    faces: answers.Count = Field(description="Faces that are theirs again.")
    photos: answers.Count = Field(description="Photos that are theirs again.")
    faces_left: answers.Count = Field(
        description="Faces that were theirs before the merge and are not now: others have them, or they were "
        "deleted meanwhile."
    )
    photos_left: answers.Count = Field(description="The same of photos.")


CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/persons", "create_person", "Make a person",
        {201: Reply("They are there, without a photo; ETag is for changing them.", PersonDetails)},
        "An upload makes the person that it names too; this makes one whom no photo shows yet. The "
        "collection is made if there is none.",
        scope=Scope.ENROL,
        body=NewPerson,
        errors=(400, 404, 409, 413, 503, 507),
        words={
            404: "The collection was deleted meanwhile.",
            409: "Somebody has the name (person_exists) or the external id (external_id_exists), as "
            "`details.person_id` says; or the collection belongs to another engine contract.",
        },
    ),
    Call(
        "get", "/api/v1/persons", "list_persons", "List persons, by collection and name",
        {200: Reply("A page of those that the key reaches.", Persons)},
        scope=Scope.READ,
        query=(PersonsQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "get", "/api/v1/persons/{person_id}", "get_person", "A person, and what they have",
        {200: Reply("The person; ETag is for changing them.", PersonDetails)},
        scope=Scope.READ,
        errors=(404, 503),
    ),
    Call(
        "patch", "/api/v1/persons/{person_id}", "change_person",
        "Rename a person, or change what is kept with them",
        {200: Reply("The person as they are now, with their new ETag.", PersonDetails)},
        "With If-Match, they are changed only while they have that ETag.",
        scope=Scope.ENROL,
        body=PersonChange,
        errors=(400, 404, 409, 412, 413, 503, 507),
        words={
            409: "Somebody else has the name (person_exists) or the external id (external_id_exists), or the "
            "face for the cover is not theirs (cover_not_theirs)."
        },
    ),
    Call(
        "get", "/api/v1/persons/{person_id}/faces", "list_person_faces",
        "Faces of a person, newest photo first",
        {200: Reply("A page.", PersonFaces)},
        "With sort least_sure, wrong faces come first. A cursor belongs to the order that it came with.",
        scope=Scope.READ,
        query=(FacesOfPersonQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "get", "/api/v1/persons/{person_id}/photos", "list_person_photos", "Photos of a person, newest first",
        {200: Reply("A page.", answers.Photos)},
        "Photos with a face of theirs, and photos that were given to them, also while they wait.",
        scope=Scope.READ,
        query=(OfPersonQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "post", "/api/v1/persons/{person_id}/merge", "merge_persons", "Make two persons one",
        {200: Reply("The person who has all now, and until when it can be undone.", MergeDone)},
        "All faces and photos of `from` become this person's, whose name, external_id and metadata stay as "
        f"they are. It can be undone for {UNDO_HOURS} hours.",
        scope=Scope.ENROL,
        body=MergeWish,
        errors=(400, 404, 409, 413, 503, 507),
        words={409: "They are the same person, or of two collections."},
    ),
    Call(
        "post", "/api/v1/merges/{merge_id}/undo", "undo_merge", "Take two persons apart again",
        {200: Reply("The person who is back, and what is theirs again.", MergeUndone)},
        "They come back with their id, name, external_id and metadata, and with those of their faces and "
        "photos which are the other's still.",
        scope=Scope.ENROL,
        errors=(404, 409, 503, 507),
        words={
            409: "It was undone already (merge_undone) or is too old (merge_expired), or somebody has the "
            "name or the external id meanwhile."
        },
    ),
)  # fmt: skip

CODES: Codes = {
    400: ("external_id", "metadata"),
    404: ("person_not_found", "merge_not_found"),
    409: (
        "person_exists", "external_id_exists", "merge_self", "merge_other_collection", "merge_undone",
        "merge_expired", "cover_not_theirs",
    ),
}  # fmt: skip
