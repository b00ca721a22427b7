"""API keys: random text shown once, kept as its SHA-256 (a 240-bit secret needs no slow hash)."""

from __future__ import annotations

import hashlib
import secrets
import string
import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from face_pipeline.errors import BadRequest, NotFound
from face_pipeline.store.models import ApiKey, Scope

KEY_PREFIX = "fp_"
KEY_LENGTH = 40
ALPHABET = string.ascii_letters + string.digits


def hash_key(key: str) -> str:
    # JSON may hold half of a surrogate pair, which UTF-8 has no bytes for: such a key is wrong, and no fault.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


# Asked with every request.
_BY_HASH = select(ApiKey).where(ApiKey.key_hash == bindparam("wanted_hash"), ApiKey.revoked_at.is_(None))


def new_key() -> str:
    return KEY_PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(KEY_LENGTH))


def check_scopes(scopes: Iterable[str]) -> list[str]:
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in list(Scope)]
    if unknown or not wanted:
        raise BadRequest(f"scopes are {', '.join(Scope)}; got {', '.join(unknown) or 'none'}", code="scope")
    return wanted


def create(session: Session, name: str, scopes: Iterable[str]) -> str:
    """Make a key; returns its text, which is kept nowhere."""
    if session.scalar(select(ApiKey.id).where(ApiKey.name == name)):
        raise BadRequest(f"there is a key named {name!r}; revoke it or take another name", code="key_name")
    key = new_key()
    session.add(ApiKey(name=name, key_hash=hash_key(key), scopes=check_scopes(scopes)))
    return key


def ensure(session: Session, name: str, scopes: Iterable[str], key: str) -> str:
    """Make the key `name` be `key`; returns "created", "changed" or "unchanged"."""
    wanted = check_scopes(scopes)
    row = session.scalar(select(ApiKey).where(ApiKey.name == name))
    if row is None:
        session.add(ApiKey(name=name, key_hash=hash_key(key), scopes=wanted))
        return "created"
    if row.key_hash == hash_key(key) and sorted(row.scopes) == wanted and row.revoked_at is None:
        return "unchanged"
    row.key_hash, row.scopes, row.revoked_at = hash_key(key), wanted, None
    return "changed"


def listing(session: Session) -> Sequence[ApiKey]:
    """All keys by name, revoked ones too."""
    return session.scalars(select(ApiKey).order_by(ApiKey.name)).all()


def authenticate(session: Session, key: str) -> ApiKey | None:
    return session.scalar(_BY_HASH, {"wanted_hash": hash_key(key)})


def by_id(session: Session, key_id: uuid.UUID) -> ApiKey | None:
    return session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)))


def revoke(session: Session, name: str) -> None:
    revoked = session.scalar(
        update(ApiKey)
        .where(ApiKey.name == name, ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
        .returning(ApiKey.id)
    )
    if revoked is None:
        raise NotFound(f"there is no active key named {name!r}; `face-pipeline keys list` shows them")
