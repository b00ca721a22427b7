"""What the service answers as JSON.

Values are those of JSON: ids and times are text. Answers are made by `model_construct`, which checks nothing
and costs little: mypy checks their types, and tests hold them to the bounds given here. A value out of bounds
(a cosine of 1.0000001) still reaches the client, instead of an error of the server.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.engine import Certainty
from face_pipeline.store.models import State

Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Pixels = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Similarity = Annotated[float, Field(ge=-1, le=1)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Box = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the upright photo."),
]
Landmarks = Annotated[
    list[Point],
    Field(
        min_length=5,
        max_length=5,
        description="Left eye, right eye, nose, left and right corner of the mouth.",
    ),
]


# Codes of PhotoRejected.
REJECTIONS = (
    "empty_file", "too_large", "unsupported_type", "too_many_pixels", "too_much_memory", "too_much_work",
    "side_ratio", "unsupported_jpeg", "truncated", "broken_image",
)  # fmt: skip


class Answer(BaseModel):
    """An object of JSON with these keys, in this order, and no others."""

    model_config = ConfigDict(extra="forbid")


class Problem(Answer):
    code: str = Field(
        pattern="^[a-z][a-z0-9_]*$",
        description="For programs: it stays as it is between releases.",
    )
    message: str = Field(min_length=1, description="For people: what is wrong, and what to do.")
    details: dict[str, Any]


class Error(Answer):
    """Every error, whoever makes it."""

    error: Problem
    request_id: str | None

    @classmethod
    def of(
        cls, code: str, message: str, request_id: str | None, details: dict[str, Any] | None = None
    ) -> Error:
        problem = Problem.model_construct(code=code, message=message, details=details or {})
        return cls.model_construct(error=problem, request_id=request_id)


class Reason(Answer):
    """Why a photo failed, or what was not done with it."""

    code: str
    message: str


class Person(Answer):
    id: Id
    name: str


class Amount(Answer):
    photos: Count
    bytes: Count = Field(description="Of the photos as they came.")


class Rejected(Answer):
    """A file of an upload that cannot be used, or for which a quota has no room."""

    filename: str
    code: str = Field(json_schema_extra={"enum": [*REJECTIONS, "quota_exceeded"]})
    message: str


class Accepted(Answer):
    """A photo that is kept and will be processed."""

    id: Id
    filename: str
    sha256: Sha256
    state: State
    duplicate: bool
    person: Person | None = Field(
        description="The person that the request names, where the photo is theirs now; "
        "their only face is named once it is found."
    )
    remark: Reason | None = Field(
        description="What was not done, and why: person_not_assigned (the photo shows no face, or several), "
        "person_differs (it belongs to another person)."
    )


class Upload(Answer):
    batch_id: Id
    photos: list[Accepted]
    rejected: list[Rejected]


class Face(Answer):
    id: Id
    bbox: Box
    landmarks: Landmarks
    detection_score: Share
    quality: Share
    person: Person | None


class _Photo(Answer):
    id: Id
    collection: str
    batch_id: Id
    filename: str
    sha256: Sha256
    state: State
    reason: Reason | None
    attempts: Count
    width: Pixels
    height: Pixels
    media_type: str
    byte_size: Annotated[int, Field(ge=1)]
    person: Person | None
    received_at: Time | None
    finished_at: Time | None
    thumbnail: str | None = Field(
        description="Address of a small square picture with the faces on it; null: the photo is not done."
    )


class Photo(_Photo):
    """A photo with its faces."""

    faces: list[Face]


class PhotoItem(_Photo):
    """A photo of a list."""

    face_count: Count


class Photos(Answer):
    photos: list[PhotoItem]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class States(Answer):
    """How many photos are in which state."""

    received: Count
    queued: Count
    processing: Count
    done: Count
    failed: Count


class Batch(Answer):
    id: Id
    collection: str
    total: Count
    states: States
    finished: bool
    created_at: Time | None


class Match(Answer):
    person_id: Id | None
    person_name: str | None
    face_id: Id
    photo_id: Id | None = Field(description="Null for a face that came as an embedding.")
    similarity: Similarity = Field(description="Cosine of the two embeddings.")
    certainty: Certainty = Field(description="What that says, by the `thresholds` of the answer.")
    # Left out of the answer where it is not set.
    face_count: Annotated[int, Field(ge=1)] | SkipJsonSchema[None] = Field(
        None,
        description="With group_by person: faces of this person that reach the threshold; "
        "1 for a face of nobody.",
    )
    collection: str | SkipJsonSchema[None] = Field(
        None, description="Where the match is, of several collections that were searched."
    )


class SearchedFace(Answer):
    """A face that was searched for. What is known of it from a photo is left out where there is none."""

    bbox: Box | SkipJsonSchema[None] = Field(
        None, description="x1, y1, x2, y2 in pixels of the upright photo."
    )
    landmarks: Landmarks | SkipJsonSchema[None] = None
    detection_score: Share | SkipJsonSchema[None] = None
    quality: Share | SkipJsonSchema[None] = None
    matches: list[Match]


class Thresholds(Answer):
    """Of the model pack: the cosine from which on two faces are surely, or likely, one person's.

    None of it is a probability. A match under `likely`, of a search with a lower threshold, is unsure.
    """

    sure: Similarity
    likely: Similarity = Field(description="The threshold of a search that names none.")
    sure_false_match_rate: Share | None = Field(
        description="The share of pairs of strangers that reach `sure`, as measured for the pack; null: "
        "nobody measured it."
    )
    likely_false_match_rate: Share | None = Field(description="As sure_false_match_rate, of `likely`.")


class Searched(Answer):
    """Where was looked."""

    collections: list[str] = Field(description="In the order asked for.")
    faces: Count = Field(description="Faces in them when the search began.")


class SearchAnswer(Answer):
    faces: list[SearchedFace]
    cache: Literal["hit", "miss", "none"] = Field(
        description="none: a search by face or embedding, whose answers are not kept."
    )
    duration_seconds: Annotated[float, Field(ge=0)]
    threshold: Similarity
    collection: str = Field(description="The first of `collections`.")
    collections: list[str] = Field(description="Where was searched, in the order asked for.")
    thresholds: Thresholds
    searched: Searched


class Live(Answer):
    status: str


class Session(Answer):
    """A session of the pages."""

    csrf_token: str = Field(description="Changes by this session send it as X-CSRF-Token.")
    name: str = Field(description="Name of the key.")
    scopes: list[str]
    id: Id
    expires_at: Time = Field(description="It ends then, or when it was idle for too long.")


class Checks(Answer):
    """`ok`, or what kind of error came."""

    database: str
    redis: str
    scratch: str
    originals: str


class Ready(Answer):
    status: Literal["ready", "unready"]
    checks: Checks
