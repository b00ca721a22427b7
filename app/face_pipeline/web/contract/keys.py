"""The calls of API keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.keys import COLLECTIONS_MAX, GRACE_MAX, NAME_MAX, REQUESTS_MAX, KeyState
from face_pipeline.store.models import Scope, Service
from face_pipeline.store.quotas import QUOTA_MAX
from face_pipeline.web.contract.answers import Amount, Answer, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import (
    COLLECTION,
    AsWhole,
    Body,
    Request,
    Text,
    WholeNumber,
    WithoutFraction,
)

KeyName = Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": NAME_MAX})]
Scopes = Annotated[
    list[str],
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(Scope)}}),
    Field(max_length=1000, description="read: look and search; write: put photos in; enrol: say who is on "
    "them; erase: take out what was put in; admin: all of these, embeddings, keys and the audit."),
]  # fmt: skip
Reach = Annotated[
    list[str] | None,
    WithJsonSchema({
        "type": ["array", "null"], "minItems": 1, "maxItems": COLLECTIONS_MAX,
        "items": {"type": "string", "pattern": COLLECTION},
    }),
    Field(max_length=COLLECTIONS_MAX, description="The collections that the key reaches, which need not be "
    "there yet; null: all. Of others, their photos, faces and persons it learns nothing."),
]  # fmt: skip
Moment = Annotated[
    str | None,
    WithJsonSchema({"type": ["string", "null"], "format": "date-time"}),
    Field(description="From then on the key is refused with api_key_expired; null: never."),
]
PerMinute = Annotated[
    Annotated[int, Field(ge=0, le=REQUESTS_MAX), WithoutFraction] | None,
    Field(description="Requests a minute at most; 0: any number; null: as many as the installation lets "
    "every key (face_limit_requests_per_minute)."),
]  # fmt: skip


QuotaPhotos = Annotated[
    Annotated[int, Field(ge=0, le=QUOTA_MAX), WithoutFraction] | None,
    Field(description="Photos at most that it has put in and that are there still; null: any number."),
]
QuotaBytes = Annotated[
    Annotated[int, Field(ge=0, le=QUOTA_MAX), WithoutFraction] | None,
    Field(description="Bytes at most of these, as they came; null: any number."),
]


class NewKeyBody(Body):
    name: KeyName
    scopes: Scopes | SkipJsonSchema[None] = None
    collections: Reach = None
    expires_at: Moment = None
    requests_per_minute: PerMinute = None
    quota_photos: QuotaPhotos = None
    quota_bytes: QuotaBytes = None
    service: Literal["recognition", "detection", "verification"] | None = Field(
        None,
        description="A key for clients of CompreFace, of one of its services. It reaches one collection, "
        "which has to be named, and makes no other calls; scopes may be left out for all that "
        "its clients need.",
    )
    api_key: Annotated[str, Field(max_length=100)] | SkipJsonSchema[None] = Field(
        None,
        description="With service: the key that the clients have already, a UUID; left out: a new one.",
        json_schema_extra={"format": "uuid"},
    )


class KeyChange(Body):
    """What is left out stays as it is."""

    name: KeyName | SkipJsonSchema[None] = None
    scopes: Scopes | SkipJsonSchema[None] = None
    collections: Reach = None
    expires_at: Moment = None
    requests_per_minute: PerMinute = None
    quota_photos: QuotaPhotos = None
    quota_bytes: QuotaBytes = None


class Rotation(Body):
    grace_seconds: WholeNumber = Field(
        0,
        ge=0,
        le=int(GRACE_MAX.total_seconds()),
        description="How long the text that the key has now works still.",
    )


class KeysQuery(Request):
    state: Annotated[KeyState | Literal[""], WithJsonSchema({"type": "string", "enum": ["", *KeyState]})] = (
        Field("", description="Only this state; every one when empty.")
    )
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class Key(Answer):
    """A key without its text, which the service does not know."""

    id: Id
    name: str
    state: KeyState
    scopes: list[Annotated[str, Field(json_schema_extra={"enum": list(Scope)})]]
    collections: list[str] | None
    requests_per_minute: int | None
    quota_photos: int | None
    quota_bytes: int | None
    service: Service | None = Field(
        description="Of CompreFace, whose clients the key is for; it makes no other calls. null: it is for "
        "the calls described here."
    )
    created_at: Time | None
    expires_at: Time | None
    last_used_at: Time | None = Field(description="Right to a minute.")
    rotated_at: Time | None
    previous_until: Time | None = Field(description="Until when the text before the rotation works.")
    revoked_at: Time | None


class KeyInFull(Key):
    """A key without its text, and what is used of its quota."""

    used: Amount = Field(description="What it has put in, and is there still.")


class KeyWithText(Key):
    api_key: str = Field(description="The key's text. It is told this once.")


class Keys(Answer):
    keys: list[Key]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


_LAST = {409: "It is the last valid key of an admin (last_admin_key), or revoked (key_revoked)."}

CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/keys", "list_keys", "List keys, by name",
        {200: Reply("A page.", Keys)},
        scope=Scope.ADMIN,
        query=(KeysQuery,),
        errors=(400, 503),
    ),
    Call(
        "post", "/api/v1/keys", "make_key", "Make a key",
        {201: Reply("The key, with its text.", KeyWithText)},
        "scopes may be left out for a key of a service of CompreFace alone.",
        scope=Scope.ADMIN,
        body=NewKeyBody,
        errors=(400, 409, 413, 503),
        words={409: "A key in use has that name, or a key has, or had, that text (key_exists)."},
    ),
    Call(
        "get", "/api/v1/keys/{key_id}", "get_key", "One key",
        {200: Reply("The key.", KeyInFull)},
        scope=Scope.ADMIN,
        errors=(404, 503),
    ),
    Call(
        "patch", "/api/v1/keys/{key_id}", "change_key", "Change a key's name or bounds",
        {200: Reply("The key as it is now.", Key)},
        scope=Scope.ADMIN,
        body=KeyChange,
        errors=(400, 404, 409, 413, 503),
        words={409: _LAST[409] + " Or a key in use has that name (key_exists)."},
    ),
    Call(
        "delete", "/api/v1/keys/{key_id}", "revoke_key", "Revoke a key",
        {204: Reply("It is revoked, and so are the sessions that it opened.")},
        "The key stays in the list as revoked; its name is free for another one.",
        scope=Scope.ADMIN,
        errors=(404, 409, 503),
        words=_LAST,
    ),
    Call(
        "post", "/api/v1/keys/{key_id}/rotate", "rotate_key", "Give a key a new text",
        {200: Reply("The key, with its new text.", KeyWithText)},
        "Name, scopes and bounds stay. Sessions that the old text opened end with it.",
        scope=Scope.ADMIN,
        body=Rotation,
        errors=(400, 404, 409, 413, 503),
        words={409: "It is revoked (key_revoked)."},
    ),
)  # fmt: skip

CODES: Codes = {
    400: ("key_name", "scope"),
    404: ("key_not_found",),
    409: ("key_exists", "key_revoked", "last_admin_key"),
}
