"""Search and detection: what is on a photo, and whom faces are like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.actions.searches import COLLECTIONS_MAX
from face_pipeline.store.collections import DEFAULT_COLLECTION
from face_pipeline.store.models import Scope
from face_pipeline.store.vectors import GroupBy
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import (
    COLLECTION,
    AsNumber,
    AsWhole,
    Body,
    PhotoFile,
    Request,
    Text,
)

# Of faces on one photo; a crowd has fewer.
DETECT_MOST = 1000
# Longer than any photo's side that is taken.
SIDE_MOST = 100_000

_COLLECTIONS = {
    "type": "array",
    "items": {"type": "string", "pattern": COLLECTION},
    "maxItems": COLLECTIONS_MAX,
}
_LIMIT = "Matches for each face: faces, or people with group_by person."
_THRESHOLD = "Least similarity of a match; the model pack's own when left out."
_MIN_QUALITY = "Faces of lower quality, on the photo or stored, are not matched."
_GROUP_BY = (
    "person: each person once, with the best of their faces and how many reach the threshold; a face of "
    "nobody stands for itself."
)
_NAMED = "true: only faces that are somebody's match; of others there may be many that are more like it."
_MIN_FACE_SIZE = "Faces whose box has a side shorter than so many pixels"


class SearchForm(Request):
    collection: Annotated[list[Text], WithJsonSchema(_COLLECTIONS)] = Field(
        [DEFAULT_COLLECTION],
        description=f"Where to look; the field may be repeated, for {COLLECTIONS_MAX} collections at most.",
    )
    limit: Annotated[int, AsWhole] = Field(5, ge=1, le=100, description=_LIMIT)
    threshold: Annotated[float, Field(ge=-1.0, le=1.0), AsNumber] | SkipJsonSchema[None] = Field(
        None, description=_THRESHOLD
    )
    min_quality: Annotated[float, AsNumber] = Field(0.0, ge=0.0, le=1.0, description=_MIN_QUALITY)
    min_face_size: Annotated[float, AsNumber] = Field(
        0.0, ge=0, le=SIDE_MOST, description=f"{_MIN_FACE_SIZE} get no matches."
    )
    group_by: Annotated[GroupBy, WithJsonSchema({"type": "string", "enum": list(GroupBy)})] = Field(
        GroupBy.FACE, description=_GROUP_BY
    )
    named: Literal["true", "false"] = Field("false", description=_NAMED)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class SearchBody(Body):
    """Either `face_id`, or `embedding` with its `contract_id`."""

    model_config = ConfigDict(allow_inf_nan=False)

    face_id: str | None = Field(
        None,
        json_schema_extra={"format": "uuid"},
        description="A stored face; it is not found itself. Without collections its own one is searched.",
    )
    embedding: list[float] | None = Field(
        None, description="As many numbers as the contract has dimensions, of the L2 norm 1."
    )
    contract_id: str | None = Field(None, description="How the embedding was made; the installed contract.")
    collection: Annotated[
        list[str] | None,
        BeforeValidator(_as_list),
        WithJsonSchema({"anyOf": [_COLLECTIONS, {"type": "string", "pattern": COLLECTION}]}),
    ] = Field(None, description=f"Where to look: a name, or a list of {COLLECTIONS_MAX} at most.")
    limit: int = Field(5, ge=1, le=100, description=_LIMIT)
    threshold: float | None = Field(None, ge=-1.0, le=1.0, description=_THRESHOLD)
    min_quality: float = Field(0.0, ge=0.0, le=1.0, description="Stored faces of lower quality do not match.")
    group_by: Literal["face", "person"] = Field("face", description=_GROUP_BY)
    named: bool = Field(False, description=_NAMED)


class DetectForm(Request):
    limit: Annotated[int, AsWhole] = Field(
        100, ge=1, le=DETECT_MOST, description="Faces at most, the largest first."
    )
    min_face_size: Annotated[float, AsNumber] = Field(
        0.0, ge=0, le=SIDE_MOST, description=f"{_MIN_FACE_SIZE} are left out."
    )


class DetectedFace(answers.Answer):
    """A face of a photo that is not kept."""

    bbox: answers.Box
    landmarks: answers.Landmarks
    detection_score: answers.Share
    quality: answers.Share


class Detection(answers.Answer):
    """The faces of a photo, largest first; width and height of the upright photo, pixels."""

    faces: list[DetectedFace]
    width: answers.Pixels
    height: answers.Pixels
    duration_seconds: Annotated[float, Field(ge=0)]


CODES: Codes = {400: ("embedding_invalid",), 404: ("person_not_found",)}

CALLS: tuple[Call, ...] = (
    Call(
        "post", "/api/v1/search", "search", "Find who is on a photo, or whose a face is",
        {200: Reply("The faces and their matches.", answers.SearchAnswer)},
        "A form with a photo answers for every face on it; the photo is not kept. A body of JSON with the id "
        "of a stored face, or with an embedding, answers for that one face. Matches of several collections "
        "are one list, by similarity, and each names its collection.",
        scope=Scope.READ,
        form=(PhotoFile, SearchForm),
        body=SearchBody,
        errors=(400, 404, 409, 413, 415, 422, 503),
    ),
    Call(
        "post", "/api/v1/detect", "detect", "Find the faces of a photo that is not kept",
        {200: Reply("The faces.", Detection)},
        "Nothing of the photo is kept, and nobody is looked for.",
        scope=Scope.READ,
        form=(PhotoFile, DetectForm),
        errors=(400, 409, 413, 415, 422, 503),
    ),
)  # fmt: skip
