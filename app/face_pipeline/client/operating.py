"""Answers about what happened and who is told, and about who may do what and who did it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from face_pipeline.client.answers import Amount, Answer

# What happened, and who is told


class EventPerson(Answer):
    """Whose face was seen; the name as it is now, None where the person is gone."""

    id: UUID
    name: str | None = None


class Event(Answer):
    """Something that happened to a photo, or to a face on it. reason_code: why a photo failed."""

    id: UUID
    kind: str
    at: datetime
    collection: str
    photo_id: UUID
    face_id: UUID | None = None
    person: EventPerson | None = None
    face_count: int | None = None
    reason_code: str | None = None


class Events(Answer):
    """A page of events, oldest first; next_cursor: where to go on from, also behind the last one."""

    events: tuple[Event, ...]
    next_cursor: str


class Hook(Answer):
    """A receiver of events. collections: None: all. disabled_reason: `gone`, where it answered 410."""

    id: UUID
    url: str
    kinds: tuple[str, ...]
    collections: tuple[str, ...] | None = None
    enabled: bool
    disabled_reason: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class HookWithSecret(Hook):
    """secret: to check signatures with; None where none was made."""

    secret: str | None = Field(None, repr=False)


class Delivery(Answer):
    """What became of an event for a hook. state: `waiting`, `delivered` or `given_up`."""

    id: UUID
    event_id: UUID
    kind: str
    state: str
    attempts: int
    created_at: datetime | None = None
    last_tried_at: datetime | None = None
    next_try_at: datetime | None = None
    last_status: int | None = None
    last_answer: str | None = None
    last_error: str | None = None


# Who may do what, and who did it


class Key(Answer):
    """A key without its text. collections: None: all. state: `active`, `expired` or `revoked`.

    quota_photos, quota_bytes: what it may have put in; used: what it has, told by api_key() alone.

    service: of CompreFace, whose clients it is for; None: it is for the calls of this client.
    """

    id: UUID
    name: str
    state: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    quota_photos: int | None = None
    quota_bytes: int | None = None
    used: Amount | None = None
    service: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    rotated_at: datetime | None = None
    previous_until: datetime | None = None
    revoked_at: datetime | None = None


class KeyWithText(Key):
    api_key: str = Field(repr=False)


class BrowserSession(Answer):
    """Somebody who is signed in to the pages. current: whether this client comes by it."""

    id: UUID
    key_id: UUID
    key_name: str
    current: bool
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str | None = None
    user_agent: str | None = None


class AuditEntry(Answer):
    """Who did what, on whom, when, from where, and how it ended. subject: the id of what it is on."""

    id: int
    at: datetime
    actor_kind: str
    actor_id: UUID | None = None
    actor_name: str
    address: str | None = None
    request_id: str | None = None
    action: str
    collection: str | None = None
    subject: str | None = None
    outcome: str
    details: dict[str, Any] = Field(default_factory=dict)
