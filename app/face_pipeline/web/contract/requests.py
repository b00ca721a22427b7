"""What calls take: parameters of an address, fields of a form, the body of a sign-in.

A value comes as text; numbers are written as in JSON. A text with rules of its own (a name, an id, a cursor)
is taken here as it is and checked where it is used, because its error has a code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation, WithJsonSchema
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.config import Settings
from face_pipeline.store.collections import DEFAULT_COLLECTION, NAME_PATTERN
from face_pipeline.store.models import State
from face_pipeline.store.persons import NAME_MAX
from face_pipeline.store.photos import Faces, Sort

# What JSON calls a number. Python's own functions also take "1_0", "٣", " 5" and "NaN".
WHOLE = re.compile(r"-?[0-9]{1,18}")
NUMBER = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# As the service writes them. Python also takes braces, "urn:uuid:" and digits of other scripts.
IDENTIFIER = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# RFC 3339. Python also takes weeks, and times without an offset.
MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

COLLECTION = f"^{NAME_PATTERN.pattern}$"
COLLECTION_OR_EMPTY = f"^({NAME_PATTERN.pattern})?$"
IDENTIFIER_OR_EMPTY = f"^({IDENTIFIER.pattern})?$"


def _written_as(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return check


AsWhole = BeforeValidator(_written_as(WHOLE))
AsNumber = BeforeValidator(_written_as(NUMBER))
Text = SkipValidation[str]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# A number of JSON without a fraction, however it is written: 1.0 is 1.
WithoutFraction = BeforeValidator(_whole)
WholeNumber = Annotated[int, WithoutFraction]
File = Annotated[str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]


class Request(BaseModel):
    """Values by their names; others are not looked at."""

    model_config = ConfigDict(extra="ignore")


class Body(BaseModel):
    """A body of JSON: these keys and no others, each of its own type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PhotoFiles(Request):
    # 100 unless the installation says another number.
    photos: Annotated[
        list[File], Field(min_length=1, max_length=Settings.model_fields["upload_max_photos"].default)
    ]


class PhotoFile(Request):
    photo: File


class UploadForm(Request):
    collection: Text = Field(DEFAULT_COLLECTION, json_schema_extra={"pattern": COLLECTION_OR_EMPTY})
    person: Text | SkipJsonSchema[None] = Field(
        None,
        json_schema_extra={"maxLength": NAME_MAX},
        description="Who is on the photos, also on those that are known already; given to the face of each "
        "photo that shows exactly one and is nobody else's. Letters in either case, accents composed or not "
        "are one name. White space around it is taken off; control, invisible, direction and private "
        "characters are refused with the code person_name. An empty field names nobody.",
    )
    batch: Text | SkipJsonSchema[None] = Field(
        None,
        json_schema_extra={"pattern": IDENTIFIER_OR_EMPTY},
        description="A batch to add to, instead of a new one; its collection is the default then.",
    )


# Texts that no column holds.
NO_NUL: JsonDict = {"pattern": "^[^\\u0000]*$"}
A_MOMENT: JsonDict = {"format": "date-time"}
_STATES: dict[str, Any] = {"type": "array", "items": {"type": "string", "enum": ["", *State]}}


class PhotosQuery(Request):
    collection: Text = Field(
        "", json_schema_extra={"pattern": COLLECTION_OR_EMPTY}, description="Only this collection."
    )
    state: Annotated[list[State | Literal[""]], WithJsonSchema(_STATES)] = Field(
        [],
        description="Only these states, the parameter once for each; every one when empty.",
    )
    reason: Text = Field("", json_schema_extra=NO_NUL, description="Only photos whose `reason.code` this is.")
    person_id: Text = Field(
        "",
        json_schema_extra={"pattern": IDENTIFIER_OR_EMPTY},
        description="Only photos that show this person, or were given to them.",
    )
    faces: Annotated[Faces | Literal[""], WithJsonSchema({"type": "string", "enum": ["", *Faces]})] = Field(
        "",
        description="some: faces were found; none: the photo is done, and nobody was found; unknown: one "
        "face at least is nobody's.",
    )
    filename: Text = Field(
        "", json_schema_extra=NO_NUL, description="Only photos with this in their file name, in either case."
    )
    since: Text | SkipJsonSchema[None] = Field(
        None, json_schema_extra=A_MOMENT, description="Not what was received before."
    )
    until: Text | SkipJsonSchema[None] = Field(
        None, json_schema_extra=A_MOMENT, description="Only what was received before."
    )
    sort: Annotated[Sort, WithJsonSchema({"type": "string", "enum": list(Sort)})] = Field(
        Sort.NEWEST, description="Which comes first, by when they were received."
    )
    batch: Text = Field(
        "",
        json_schema_extra={"pattern": IDENTIFIER_OR_EMPTY},
        description="Only this upload; every one when empty.",
    )
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class ImageQuery(Request):
    rendition: Literal["original", "upright"] = Field(
        "original",
        description="`original`: the bytes that were uploaded. "
        "`upright`: a JPEG of the picture that the faces were looked for in.",
    )


class RenditionSize(Request):
    size: Annotated[int, AsWhole] = Field(
        1600, ge=64, le=4096, description="Longer side of the upright picture, pixels at most."
    )


class PictureVersion(Request):
    v: Annotated[int, AsWhole] = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Version of the picture, as in addresses that answers give. With it, a browser keeps the "
        "picture for a year; without it, for five minutes.",
    )


class CropQuery(Request):
    size: Annotated[int, AsWhole] = Field(160, ge=32, le=512, description="Longer side, pixels.")


class SignIn(Request):
    api_key: str = Field(min_length=1, pattern="^[!-~]+$")


class MetricsQuery(Request):
    names: list[str] = Field(
        alias="name[]", default_factory=list, description="Only the series of these names."
    )
