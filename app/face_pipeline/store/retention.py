"""Retention: how long a collection keeps originals and unknown faces, and what of it is due.

Days count from the moment at which a photo was done. One that failed or waits keeps its original: it is still
needed. The row of a photo stays, and says when its original went.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, cast, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import Session

from face_pipeline.errors import NotFound
from face_pipeline.store import audit
from face_pipeline.store.audit import SERVICE, Actor
from face_pipeline.store.models import Collection, Face, Photo, State, Thumbnail

# Of one transaction.
AT_ONCE = 1000
DAYS_MAX = 36_500

_HAS_RULES = or_(Collection.originals_days.is_not(None), Collection.unknown_faces_days.is_not(None))


@dataclass(frozen=True)
class Rules:
    """Days after which something of a collection goes; 0: once a photo is done, None: it is kept."""

    originals_days: int | None
    unknown_faces_days: int | None


@dataclass(frozen=True)
class Due:
    """Numbers of what the rules would remove now: photos' originals, and faces."""

    originals: int
    faces: int


def rules(collection: Collection) -> Rules:
    return Rules(collection.originals_days, collection.unknown_faces_days)


def change(session: Session, name: str, to: Mapping[str, int | None], *, by: Actor) -> Collection:
    """Give the collection other rules, told in the audit; NotFound when there is none."""
    query = select(Collection).where(Collection.name == name).with_for_update()
    collection = session.scalar(query)
    if collection is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    for field, days in to.items():
        setattr(collection, field, days)
    session.flush()
    audit.write(session, by, "collection.retention", collection=name, subject=name, details=to)
    return collection


def due(session: Session, collection_id: int, of: Rules) -> Due:
    return Due(
        _count(session, select(Photo.id).where(*_expired_photos(collection_id, of.originals_days))),
        _count(session, _expired_faces(collection_id, of.unknown_faces_days)),
    )


def ruled(session: Session) -> Sequence[Collection]:
    """The collections that do not keep everything."""
    return session.scalars(select(Collection).where(_HAS_RULES).order_by(Collection.id)).all()


def expired(session: Session) -> Sequence[Collection]:
    """The collections that do not keep everything, and those that did not."""
    some = Collection.originals_expired + Collection.faces_expired > 0
    return session.scalars(select(Collection).where(or_(_HAS_RULES, some)).order_by(Collection.name)).all()


def expire_originals(session: Session, collection_id: int, name: str, days: int) -> Sequence[str]:
    """Some photos, the oldest first, have no original and no thumbnail any more; names of their originals."""
    rows = session.execute(
        select(Photo.id, Photo.sha256)
        .where(*_expired_photos(collection_id, days))
        .order_by(Photo.finished_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    if not rows:
        return []
    ids = _any([row.id for row in rows])
    session.execute(_quietly(delete(Thumbnail).where(Thumbnail.photo_id == ids)))
    session.execute(_quietly(update(Photo).where(Photo.id == ids).values(original_removed_at=func.now())))
    counted = update(Collection).where(Collection.id == collection_id)
    session.execute(_quietly(counted.values(originals_expired=Collection.originals_expired + len(rows))))
    audit.write(session, SERVICE, "photo.expire", collection=name, details={"originals": len(rows)})
    return [row.sha256 for row in rows]


def expire_faces(session: Session, collection_id: int, name: str, days: int) -> int:
    """Remove some unknown faces; returns how many. Their photos stay."""
    # Somebody may give one a name at this moment: it is locked, and looked at again.
    ids = session.scalars(
        _expired_faces(collection_id, days).limit(AT_ONCE).with_for_update(skip_locked=True, of=Face)
    ).all()
    if not ids:
        return 0
    session.execute(_quietly(delete(Face).where(Face.id == _any(ids))))
    # Last, for every photo that ends needs the row.
    session.execute(
        _quietly(
            update(Collection)
            .where(Collection.id == collection_id)
            .values(
                version=Collection.version + 1,
                face_count=Collection.face_count - len(ids),
                faces_expired=Collection.faces_expired + len(ids),
            )
        )
    )
    audit.write(session, SERVICE, "face.expire", collection=name, details={"faces": len(ids)})
    return len(ids)


def _expired_photos(collection_id: int, days: int | None) -> tuple[ColumnElement[bool], ...]:
    return (
        Photo.collection_id == collection_id,
        Photo.state == State.DONE,
        Photo.original_removed_at.is_(None),
        _is_over(days),
    )


def _expired_faces(collection_id: int, days: int | None) -> Any:
    return (
        select(Face.id)
        .join(Photo, Photo.id == Face.photo_id)
        .where(
            Face.collection_id == collection_id,
            Face.person_id.is_(None),
            Photo.state == State.DONE,
            _is_over(days),
        )
        .order_by(Face.id)
    )


def _is_over(days: int | None) -> ColumnElement[bool]:
    # Without days the comparison is with NULL, and nothing is over.
    return Photo.finished_at <= func.now() - func.make_interval(0, 0, 0, days)


def _count(session: Session, query: Any) -> int:
    return session.scalar(select(func.count()).select_from(query.order_by(None).subquery())) or 0


def _any(identifiers: Sequence[uuid.UUID]) -> Any:
    return any_(cast([str(each) for each in identifiers], ARRAY(UUID)))


def _quietly(statement: Any) -> Any:
    return statement.execution_options(synchronize_session=False)
