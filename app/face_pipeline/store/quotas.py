"""Quotas: how many photos and bytes of originals a collection may hold, and a key may have put in.

The database counts by itself (migration 0019), a row of `photo_usage` for each change; `fold` makes them few.
Whoever adds photos asks `room` first, and `check` at the end of the transaction: those who add to the same
quota commit one after another, so that two of them never both take the last place.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, func, literal, select, text, union_all
from sqlalchemy.orm import Session

from face_pipeline.errors import BadRequest, Forbidden, NotFound
from face_pipeline.store import audit
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import ApiKey, Collection, PhotoUsage
from face_pipeline.store.prepared import Prepared

QUOTA_MAX = 10**15
# The first of two numbers of PostgreSQL's advisory locks; the second is of the collection or the key.
TURNS = {"collection": 0x71756F63, "key": 0x71756F6B}

# Asked with every upload. The collection's comes first, always, so that nobody waits in a circle.
_BOUNDS = Prepared(
    union_all(
        *(
            select(
                literal(of).label("of"), what.name.label("name"), what.quota_photos.label("quota_photos"),
                what.quota_bytes.label("quota_bytes"),
            ).where(
                what.id == bindparam(f"of_{of}", type_=what.id.type),
                func.num_nonnulls(what.quota_photos, what.quota_bytes) > 0,
            )
            for of, what in (("collection", Collection), ("key", ApiKey))
        )
    ).order_by("of")
)  # fmt: skip

_FOLD = text("""
WITH several AS (
  SELECT collection_id, key_id FROM photo_usage GROUP BY collection_id, key_id HAVING count(*) > 1
), gone AS (
  DELETE FROM photo_usage USING several
  WHERE photo_usage.collection_id = several.collection_id
    AND photo_usage.key_id IS NOT DISTINCT FROM several.key_id
  RETURNING photo_usage.collection_id, photo_usage.key_id, photos, bytes
)
INSERT INTO photo_usage (collection_id, key_id, photos, bytes)
SELECT collection_id, key_id, sum(photos), sum(bytes) FROM gone
GROUP BY collection_id, key_id HAVING sum(photos) <> 0
""")


@dataclass(frozen=True)
class Amount:
    """Photos, and bytes of their originals."""

    photos: int
    bytes: int


@dataclass(frozen=True)
class Quota:
    """Photos and bytes at most, None: any number; `of` is `collection` or `key`, `name` which one."""

    of: str
    name: str
    photos: int | None
    bytes: int | None
    used: Amount

    def has_room(self, more: Amount) -> bool:
        photos_fit = self.photos is None or self.used.photos + more.photos <= self.photos
        return photos_fit and (self.bytes is None or self.used.bytes + more.bytes <= self.bytes)


class QuotaExceeded(Forbidden):
    """Nothing was kept: there is no room left in a quota."""

    code = "quota_exceeded"

    def __init__(self, quota: Quota) -> None:
        super().__init__(
            words(quota),
            code=self.code,
            details={
                "quota": quota.of, "photos": quota.photos, "bytes": quota.bytes,
                "used": {"photos": quota.used.photos, "bytes": quota.used.bytes},
            },
        )  # fmt: skip


def words(quota: Quota) -> str:
    """What is wrong where there is no room, and what to do."""
    bounds = [f"{quota.photos} photos"] if quota.photos is not None else []
    bounds += [f"{quota.bytes} bytes"] if quota.bytes is not None else []
    return (
        f"the {quota.of} {quota.name!r} may keep {' and '.join(bounds)}, and has {quota.used.photos} photos "
        f"of {quota.used.bytes} bytes; erase some, or let an administrator raise the quota"
    )


def check_quota(most: int | None) -> int | None:
    if most is not None and not 0 <= most <= QUOTA_MAX:
        raise BadRequest(f"a quota is 0 to {QUOTA_MAX}, or left out for any number", code="parameter")
    return most


def used(session: Session, *, collection_id: int | None = None, key_id: uuid.UUID | None = None) -> Amount:
    """What the collection holds, or what the key has put in that is there still."""
    by_key = PhotoUsage.key_id == key_id
    of = by_key if collection_id is None else PhotoUsage.collection_id == collection_id
    photos, size = func.sum(PhotoUsage.photos), func.sum(PhotoUsage.bytes)
    row = session.execute(select(func.coalesce(photos, 0), func.coalesce(size, 0)).where(of)).one()
    return Amount(int(row[0]), int(row[1]))


def room(session: Session, collection_id: int, by: Actor) -> list[Quota]:
    """The quotas that bound what `by` adds to the collection, with what is used of each now."""
    return list(_quotas(session, collection_id, by, taking_turns=False))


def check(session: Session, collection_id: int, by: Actor) -> None:
    """Raises QuotaExceeded where there is more now than a quota allows; the last that a transaction does.

    Whoever adds to the same quota waits from here until this transaction has ended.
    """
    for quota in _quotas(session, collection_id, by, taking_turns=True):
        if not quota.has_room(Amount(0, 0)):
            raise QuotaExceeded(quota)


def _quotas(session: Session, collection_id: int, by: Actor, *, taking_turns: bool) -> Iterator[Quota]:
    bounds = _BOUNDS.execute(session.connection(), {"of_collection": collection_id, "of_key": by.id})
    for of, name, photos, size in bounds:
        of_key = of == "key"
        if taking_turns:
            which = func.hashtext(str(by.id)) if of_key else func.hashint8(collection_id)
            # What is asked next sees what those before this one have committed.
            session.execute(select(func.pg_advisory_xact_lock(TURNS[of], which)))
        has = used(session, key_id=by.id) if of_key else used(session, collection_id=collection_id)
        yield Quota(of, name, photos, size, has)


def change(session: Session, name: str, to: Mapping[str, int | None], *, by: Actor) -> Collection:
    """Give the collection another quota (`photos`, `bytes`), told in the audit; NotFound."""
    collection = session.scalar(select(Collection).where(Collection.name == name).with_for_update())
    if collection is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    for what, most in to.items():
        setattr(collection, f"quota_{what}", most)
    session.flush()
    audit.write(session, by, "collection.quota", collection=name, subject=name, details=to)
    return collection


def fold(session: Session) -> None:
    """Make one row of the changes of each collection and key."""
    session.execute(_FOLD)
