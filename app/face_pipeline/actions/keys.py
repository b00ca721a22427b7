"""Keys: made, changed, rotated and revoked, each with its entry in the audit.

No entry holds a key's text, or its hash.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from face_pipeline.parts import Parts
from face_pipeline.store import audit, keys, sessions
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import ApiKey, Service

QUOTA = ("quota_photos", "quota_bytes")


@dataclass(frozen=True)
class Wish:
    """A key that is to be made; see models.ApiKey for what its bounds mean."""

    name: str
    # Of a key of a service, None: what its clients need.
    scopes: Iterable[str] | None
    collections: Iterable[str] | None = None
    expires_at: datetime | None = None
    requests_per_minute: int | None = None
    quota_photos: int | None = None
    quota_bytes: int | None = None
    service: Service | None = None
    # The UUID that a key of a service had where its clients come from; None: a new one.
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Made:
    """A key and its text, which nobody can be told again."""

    key: ApiKey
    text: str = field(repr=False)


def make(parts: Parts, wish: Wish, *, by: Actor) -> Made:
    """Make a key. Raises BadRequest for what cannot be kept, Conflict where a key in use has the name."""
    by.check_reaches_all()
    with parts.database.transaction() as session:
        key, text = keys.create(
            session, wish.name, wish.scopes,
            collections=wish.collections, expires_at=wish.expires_at,
            requests_per_minute=wish.requests_per_minute, service=wish.service, text=wish.text,
            quota_photos=wish.quota_photos, quota_bytes=wish.quota_bytes,
        )  # fmt: skip
        audit.write(session, by, "key.create", subject=key.id, details=_bounds(key))
    return Made(key, text)


def change(
    parts: Parts, key_id: uuid.UUID, to: Mapping[str, Any], *, by: Actor, guarded: bool = True
) -> ApiKey:
    """Give the key other values of what `make` takes but for its service and text: those in `to`.

    Raises BadRequest, NotFound, and Conflict: a name that is taken, a revoked key, the last admin's.
    """
    by.check_reaches_all()
    wanted = {name: _checked(name, value) for name, value in to.items()}
    with parts.database.transaction() as session:
        key = keys.change(session, key_id, wanted, guarded=guarded)
        told = {"fields": sorted(wanted), **_bounds(key)}
        audit.write(session, by, "key.change", subject=key.id, details=told)
    return key


def _checked(name: str, value: Any) -> Any:
    checks: dict[str, Callable[[Any], Any]] = {
        "name": keys.check_name,
        "scopes": keys.check_scopes,
        "collections": keys.check_collections,
        "expires_at": keys.check_expiry,
    }
    return checks[name](value) if name in checks else value


def rotate(parts: Parts, key_id: uuid.UUID, grace: timedelta, *, by: Actor) -> Made:
    """Give the key a new text; the old one works for `grace` still. Raises NotFound, Conflict: revoked."""
    by.check_reaches_all()
    with parts.database.transaction() as session:
        key, text = keys.rotate(session, key_id, grace)
        told = {"grace_seconds": int(grace.total_seconds())}
        audit.write(session, by, "key.rotate", subject=key.id, details=told)
    return Made(key, text)


def revoke(parts: Parts, key_id: uuid.UUID, *, by: Actor, guarded: bool = True) -> None:
    """End the key and the sessions that were opened with it; once more does no harm.

    Raises NotFound, and, `guarded`, Conflict for the last key of an admin.
    """
    by.check_reaches_all()
    with parts.database.transaction() as session:
        key, ended = keys.revoke(session, key_id, guarded=guarded)
        if ended:
            sessions.end_of_key(session, key_id)
            audit.write(session, by, "key.revoke", subject=key.id)


def ensure(
    parts: Parts, name: str, scopes: Iterable[str], text: str, *, by: Actor, grace: timedelta = timedelta(0)
) -> str:
    """Make the key `name` be `text`, without bounds; the text it had works for `grace` still.

    Returns "created", "changed" or "unchanged".
    """
    with parts.database.transaction() as session:
        done, key = keys.ensure(session, name, scopes, text, grace)
        if done != "unchanged":
            sessions.end_of_key(session, key.id)
            action = "key.create" if done == "created" else "key.change"
            audit.write(session, by, action, subject=key.id, details=_bounds(key))
    return done


def _bounds(key: ApiKey) -> dict[str, Any]:
    return {
        "scopes": list(key.scopes),
        "collections": None if key.collections is None else len(key.collections),
        "expires": key.expires_at is not None,
        "requests_per_minute": key.requests_per_minute,
        **{name: most for name in QUOTA if (most := getattr(key, name)) is not None},
        **({"service": key.service} if key.service else {}),
    }
