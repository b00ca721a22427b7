"""API keys: random text shown once, kept as its SHA-256 (a 240-bit secret needs no slow hash)."""

from __future__ import annotations

import hashlib
import secrets
import string
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    any_,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from face_pipeline.errors import BadRequest, Conflict, NotFound
from face_pipeline.store.collections import check_name as check_collection
from face_pipeline.store.models import ApiKey, Scope, Service

KEY_PREFIX = "fp_"
KEY_LENGTH = 40
ALPHABET = string.ascii_letters + string.digits

NAME_MAX = 100
COLLECTIONS_MAX = 1000
REQUESTS_MAX = 1_000_000
# How long the text before a rotation may go on working.
GRACE_MAX = timedelta(days=7)
# What `last_used_at` is right to.
USE_IS_NOTED_EVERY = timedelta(seconds=60)


class KeyState(StrEnum):
    """What a key is good for now."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Place:
    """Where a key stands in the list, by name."""

    name: str
    key_id: uuid.UUID


_VALID = and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()))
IN_STATE: dict[KeyState, ColumnElement[bool]] = {
    KeyState.ACTIVE: _VALID,
    KeyState.EXPIRED: and_(ApiKey.revoked_at.is_(None), ApiKey.expires_at <= func.now()),
    KeyState.REVOKED: ApiKey.revoked_at.is_not(None),
}


def hash_key(key: str) -> str:
    # JSON may hold half of a surrogate pair, which UTF-8 has no bytes for: such a key is wrong, and no fault.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


# Asked with every request.
_BY_HASH = select(ApiKey).where(
    ApiKey.revoked_at.is_(None),
    or_(
        ApiKey.key_hash == bindparam("wanted_hash"),
        and_(ApiKey.previous_hash == bindparam("wanted_hash"), ApiKey.previous_until > func.now()),
    ),
)


# What the clients of each service do.
SCOPES_OF_SERVICE = {
    Service.RECOGNITION: (Scope.READ, Scope.ENROL, Scope.ERASE),
    Service.DETECTION: (Scope.READ,),
    Service.VERIFICATION: (Scope.READ,),
}


def new_key(service: str | None = None) -> str:
    """Of a service: a UUID (122 bits), which CompreFace's clients expect."""
    if service is not None:
        return str(uuid.uuid4())
    return KEY_PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(KEY_LENGTH))


def check_name(name: str) -> str:
    """The name without white space around it; BadRequest when it cannot be kept."""
    name = name.strip()
    # Only what people see: the audit and the log show it as it is.
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise BadRequest(
            f"a key's name has 1 to {NAME_MAX} characters that can be printed, none of them a line break",
            code="key_name",
        )
    return name


def check_scopes(scopes: Iterable[str]) -> list[str]:
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in list(Scope)]
    if unknown or not wanted:
        raise BadRequest(
            f"scopes are {', '.join(Scope)}; got {', '.join(map(repr, unknown)) or 'none'}", code="scope"
        )
    return wanted


def check_collections(names: Iterable[str] | None) -> list[str] | None:
    """The names, each once; there need not be such collections yet. None: all."""
    if names is None:
        return None
    wanted = sorted({check_collection(name) for name in names})
    if not 0 < len(wanted) <= COLLECTIONS_MAX:
        raise BadRequest(
            f"name 1 to {COLLECTIONS_MAX} collections, or leave them out for a key that reaches all",
            code="collection_name",
        )
    return wanted


def scopes_for(service: Service | None, scopes: Iterable[str] | None) -> Iterable[str]:
    """What a key is to do: left out (None), what the clients of its service do."""
    if scopes is not None:
        return scopes
    if service is None:
        raise BadRequest(
            f"say what the key may do: scopes ({', '.join(Scope)}), or a service of CompreFace", code="scope"
        )
    return SCOPES_OF_SERVICE[service]


def check_service(service: Service, scopes: Iterable[str], collections: Sequence[str] | None) -> None:
    """Raises BadRequest where a key of the service cannot have these scopes and collections."""
    fitting = SCOPES_OF_SERVICE[service]
    if any(scope not in fitting for scope in scopes):
        raise BadRequest(
            f"a key for CompreFace's {service} may have no scope but {', '.join(fitting)}; leave scopes "
            "out for all that its clients need",
            code="scope",
        )
    if collections is None or len(collections) != 1:
        raise BadRequest("a key of CompreFace reaches one collection; name just that", code="collection_name")


def check_uuid(text: str) -> str:
    """The text of a key of a service, as it is kept; BadRequest for what is no UUID."""
    try:
        found = str(uuid.UUID(text.strip()))
    except ValueError:
        found = ""
    if not found or found != text.strip().lower():
        raise BadRequest("a key of CompreFace is a UUID, as 00000000-0000-0000-0000-000000000000")
    return found


def check_expiry(at: datetime | None) -> datetime | None:
    if at is not None and at <= datetime.now(UTC):
        raise BadRequest("expires_at must be in the future; DELETE revokes a key now", code="parameter")
    return at


def check_limit(requests: int | None) -> int | None:
    if requests is not None and not 0 <= requests <= REQUESTS_MAX:
        raise BadRequest(f"a limit is 0 (any number) to {REQUESTS_MAX} requests a minute", code="parameter")
    return requests


def check_grace(grace: timedelta) -> timedelta:
    if not timedelta(0) <= grace <= GRACE_MAX:
        raise BadRequest(f"the old text works for {GRACE_MAX.days} days still at most", code="parameter")
    return grace


def state(key: ApiKey) -> KeyState:
    if key.revoked_at is not None:
        return KeyState.REVOKED
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return KeyState.EXPIRED
    return KeyState.ACTIVE


def create(
    session: Session,
    name: str,
    scopes: Iterable[str] | None,
    *,
    collections: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
    quota_photos: int | None = None,
    quota_bytes: int | None = None,
    service: Service | None = None,
    text: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; returns it and its text, which is kept nowhere. Conflict where one in use has its name.

    `scopes` of a key of a service may be None: all that its clients need. `text`: the UUID that such a key is
    to have; Conflict where a key has it, or had.
    """
    if text is not None and service is None:
        raise BadRequest("only a key of a service of CompreFace may bring its own text", code="parameter")
    name, text = check_name(name), new_key(service) if text is None else check_uuid(text)
    wanted, collections = check_scopes(scopes_for(service, scopes)), check_collections(collections)
    if service is not None:
        check_service(service, wanted, collections)
    _check_free(session, name)
    if session.scalar(select(ApiKey.id).where(ApiKey.key_hash == hash_key(text))) is not None:
        raise Conflict("a key of this text is here already, or was; make another one", code="key_exists")
    key = ApiKey(
        name=name, key_hash=hash_key(text), scopes=wanted,
        collections=collections, expires_at=check_expiry(expires_at),
        requests_per_minute=requests_per_minute, service=service,
        quota_photos=quota_photos, quota_bytes=quota_bytes,
    )  # fmt: skip
    session.add(key)
    _flush(session, name)
    session.refresh(key)
    return key, text


def _check_free(session: Session, name: str) -> None:
    taken = session.scalar(select(ApiKey.id).where(ApiKey.name == name, ApiKey.revoked_at.is_(None)))
    if taken is not None:
        raise _taken(name, taken)


def _flush(session: Session, name: str) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        # Somebody else took the name at the same moment.
        raise _taken(name) from error


def _taken(name: str, key_id: uuid.UUID | None = None) -> Conflict:
    return Conflict(
        f"there is a key named {name!r}; revoke it or take another name",
        code="key_exists",
        details={"key_id": str(key_id)} if key_id else None,
    )


def ensure(
    session: Session, name: str, scopes: Iterable[str], key: str, grace: timedelta = timedelta(0)
) -> tuple[str, ApiKey]:
    """Make the key `name` be `key`, without bounds; says "created", "changed" or "unchanged".

    The text that it had works for `grace` still, unless it was revoked.
    """
    wanted = check_scopes(scopes)
    row = by_name(session, name)
    if row is None:
        row = ApiKey(name=name, key_hash=hash_key(key), scopes=wanted)
        session.add(row)
        session.flush()
        return "created", row
    same = row.key_hash == hash_key(key) and sorted(row.scopes) == wanted and row.revoked_at is None
    if same and row.collections is None and row.expires_at is None and row.service is None:
        return "unchanged", row
    keeps = grace and row.revoked_at is None and row.key_hash != hash_key(key)
    row.previous_hash, row.previous_until = (
        (row.key_hash, datetime.now(UTC) + check_grace(grace)) if keeps else (None, None)
    )
    row.key_hash, row.scopes, row.revoked_at = hash_key(key), wanted, None
    row.collections = row.expires_at = row.service = None
    return "changed", row


def listing(session: Session) -> Sequence[ApiKey]:
    """All keys by name, revoked ones too."""
    return session.scalars(select(ApiKey).order_by(ApiKey.name, ApiKey.created_at)).all()


def page(
    session: Session, wanted: KeyState | None, *, limit: int, after: Place | None
) -> tuple[Sequence[ApiKey], Place | None]:
    """At most `limit` keys in that state (None: any) behind `after`, by name, and where the next page is."""
    query = (
        select(ApiKey)
        .where(true() if wanted is None else IN_STATE[wanted])
        .order_by(ApiKey.name, ApiKey.id)
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(tuple_(ApiKey.name, ApiKey.id) > (after.name, after.key_id))
    rows = session.scalars(query).all()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], Place(rows[limit - 1].name, rows[limit - 1].id)


def authenticate(session: Session, key: str) -> ApiKey | None:
    """The key with this text, also one that has expired; None where there is none, or it is revoked."""
    return session.scalar(_BY_HASH, {"wanted_hash": hash_key(key)})


def by_id(session: Session, key_id: uuid.UUID) -> ApiKey | None:
    return session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)))


def by_name(session: Session, name: str) -> ApiKey | None:
    """The key of that name that is in use, or else the one that was revoked last."""
    newest = (ApiKey.revoked_at.desc().nulls_first(), ApiKey.created_at.desc())
    return session.scalar(select(ApiKey).where(ApiKey.name == name).order_by(*newest).limit(1))


def find(session: Session, key_id: uuid.UUID) -> ApiKey:
    """The key, a revoked one too; NotFound when there is none."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound(f"there is no key {key_id}", code="key_not_found")
    return key


def note_use(connection: Connection, key_id: uuid.UUID) -> None:
    """That the key was used now; nothing where that was noted a moment ago, or somebody is about to."""
    due = (
        select(ApiKey.id)
        .where(
            ApiKey.id == key_id,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - USE_IS_NOTED_EVERY),
        )
        .with_for_update(skip_locked=True)
    )
    connection.execute(
        update(ApiKey).where(ApiKey.id.in_(due.scalar_subquery())).values(last_used_at=func.now())
    )


def change(session: Session, key_id: uuid.UUID, to: Mapping[str, Any], *, guarded: bool = True) -> ApiKey:
    """Give columns of a key in use other values.

    Raises NotFound, Conflict for a name that is taken or a revoked key, and, `guarded`, where no admin's key
    would be left.
    """
    key, others = _to_be_changed(session, key_id)
    if key.revoked_at is not None:
        raise Conflict(f"key {key_id} is revoked; make another one", code="key_revoked")
    if key.service is not None:
        check_service(Service(key.service), to.get("scopes", ()), to.get("collections", key.collections))
    was_master, ended = _is_master(key), key.expires_at
    if "name" in to and to["name"] != key.name:
        _check_free(session, to["name"])
    for name, value in to.items():
        setattr(key, name, value)
    ends_sooner = key.expires_at is not None and (ended is None or key.expires_at < ended)
    if guarded and was_master and (ends_sooner or not _is_master(key)):
        _check_others(others)
    _flush(session, key.name)
    return key


def rotate(session: Session, key_id: uuid.UUID, grace: timedelta) -> tuple[ApiKey, str]:
    """Give a key in use a new text; the one it had works for `grace` still. Returns the key and the text."""
    key = session.scalar(select(ApiKey).where(ApiKey.id == key_id).with_for_update())
    if key is None:
        raise NotFound(f"there is no key {key_id}", code="key_not_found")
    if key.revoked_at is not None:
        raise Conflict(f"key {key_id} is revoked; make another one", code="key_revoked")
    text, now = new_key(key.service), datetime.now(UTC)
    key.previous_hash, key.previous_until = (key.key_hash, now + grace) if grace else (None, None)
    key.key_hash, key.rotated_at = hash_key(text), now
    session.flush()
    return key, text


def revoke(session: Session, key_id: uuid.UUID, *, guarded: bool = True) -> tuple[ApiKey, bool]:
    """End a key; says whether it was in use until now. Its name is free then."""
    key, others = _to_be_changed(session, key_id)
    if key.revoked_at is not None:
        return key, False
    if guarded and _is_master(key):
        _check_others(others)
    key.revoked_at = datetime.now(UTC)
    session.flush()
    return key, True


def _to_be_changed(session: Session, key_id: uuid.UUID) -> tuple[ApiKey, list[ApiKey]]:
    """The key, and the other valid keys of admins that reach everything; all locked, always in this order."""
    masters = session.scalars(
        select(ApiKey)
        .where(_VALID, literal(Scope.ADMIN.value) == any_(ApiKey.scopes), ApiKey.collections.is_(None))
        .order_by(ApiKey.id)
        .with_for_update()
    ).all()
    key = session.scalar(
        select(ApiKey).where(ApiKey.id == key_id).with_for_update().execution_options(populate_existing=True)
    )
    if key is None:
        raise NotFound(f"there is no key {key_id}", code="key_not_found")
    return key, [each for each in masters if each.id != key_id]


def _is_master(key: ApiKey) -> bool:
    return state(key) == KeyState.ACTIVE and Scope.ADMIN in key.scopes and key.collections is None


def _check_others(others: Sequence[ApiKey]) -> None:
    if not others:
        raise Conflict(
            "this is the last valid key with the scope admin that reaches everything; make another one first",
            code="last_admin_key",
        )
