"""Erasure: which rows go, how many, and what stays and why.

All of it counts by the conditions it removes by, so that a dry run tells what the same call would do. Rows
are locked in the ledger's order; the collection, which every photo that ends needs, comes last: nobody waits
for an erasure but who wants the same photos or persons.

What a worker finds on a photo that is gone is dropped by itself: it ends a row that is not there.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection as Some
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Text,
    any_,
    case,
    cast,
    delete,
    func,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import Session

from face_pipeline.errors import NotFound
from face_pipeline.store import audit, erasures, idempotency
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import (
    UNFINISHED,
    BatchPhoto,
    Collection,
    Face,
    Merge,
    Person,
    Photo,
    Reason,
    State,
)

# Photos of a receipt that are named.
KEPT_NAMED = 100
# Of one transaction, while a collection is emptied.
PHOTOS_AT_ONCE = 2000
# Ids that kept answers are searched for; of more, all kept answers are forgotten.
MENTIONED_MAX = 100


# What photos must fit to.
Condition = ColumnElement[bool]


class Why(StrEnum):
    """Why something stays."""

    # Of a photo only the faces of the person went: it shows somebody else too.
    SHOWS_OTHERS = "shows_others"
    # A photo was put in as the person's, and nobody knows which of its faces is theirs.
    FACE_UNKNOWN = "face_unknown"
    # One face was to go, not its photo.
    PHOTO_STAYS = "photo_stays"
    # The same file is in another collection.
    NAMED_ELSEWHERE = "named_elsewhere"
    # The disk is slow: the indexer goes on.
    REMOVED_SOON = "removed_soon"
    # The disk did not let a file go, or Redis could not be asked; both go by themselves.
    DISK_REFUSED = "disk_refused"
    CACHE_UNAVAILABLE = "cache_unavailable"


@dataclass(frozen=True)
class Kept:
    """What stays: `photos`, `originals` or `answers`, how many; `photos` are the ids of some."""

    what: Literal["photos", "originals", "answers"]
    why: Why
    count: int
    photos: tuple[uuid.UUID, ...] = ()


@dataclass
class Erased:
    """Numbers of rows that went, or would go. `tasks`: photos whose message in the queue is void now,
    `under_way` of them are with a worker. `hashes`: the originals of the photos. `receipt`: its id."""

    collection_id: int
    collection: str
    photos: int = 0
    faces: int = 0
    persons: int = 0
    merges: int = 0
    tasks: int = 0
    under_way: int = 0
    hashes: set[str] = field(default_factory=set)
    kept: list[Kept] = field(default_factory=list)
    receipt: uuid.UUID = field(default_factory=uuid.uuid4)

    def counts(self) -> dict[str, int]:
        names = ("photos", "faces", "persons", "merges", "tasks", "under_way")
        return {name: getattr(self, name) for name in names}

    def details(self) -> dict[str, int | str]:
        """For the audit."""
        return {**self.counts(), "receipt": str(self.receipt)}

    def nothing_yet(self) -> Erased:
        """Of the same collection, for the same receipt."""
        return Erased(self.collection_id, self.collection, receipt=self.receipt)


class ChangedMeanwhile(Exception):
    """Somebody gave photos to what is erased while it was locked; nothing was done, do it again."""


def photo(session: Session, photo_id: uuid.UUID, *, dry_run: bool, by: Actor) -> Erased:
    """A photo with its faces; NotFound when there is none, or `by` does not reach it."""
    gone = NotFound(f"there is no photo {photo_id}", code="photo_not_found")
    # Locked first: a photo that is moved changes its collection until then.
    rows = _photos(session, Photo.id == photo_id, lock=not dry_run)
    erased = _reached(session, Photo, photo_id, by, gone)
    _count_photos(erased, rows)
    erased.faces = _count(session, Face.photo_id == photo_id)
    if not dry_run:
        erased.faces = _remove_photos(session, [photo_id])
        idempotency.forget(session, [photo_id])
        _change_collection(session, erased)
        audit.write(
            session, by, "photo.erase",
            collection=erased.collection, subject=photo_id, details=erased.details(),
        )  # fmt: skip
    return erased


def photos(
    session: Session, photo_ids: Sequence[uuid.UUID], *, dry_run: bool, by: Actor, receipt: uuid.UUID
) -> dict[int, tuple[Erased, list[uuid.UUID]]]:
    """Those of the photos that are there and reached, with their faces, and their ids: by collection."""
    reached = Photo.id == _any(photo_ids)
    if by.collections is not None:
        theirs = select(Collection.id).where(Collection.name.in_(by.collections))
        reached = reached & Photo.collection_id.in_(theirs)
    rows = {row.id: row for row in _photos(session, reached, lock=not dry_run)}
    erased: dict[int, tuple[Erased, list[uuid.UUID]]] = {}
    # Read once they are locked: a photo that is moved changes its collection until then.
    for photo_id, collection_id, name in session.execute(
        select(Photo.id, Collection.id, Collection.name)
        .join(Collection, Collection.id == Photo.collection_id)
        .where(Photo.id == _any(rows))
        .order_by(Collection.id, Photo.id)
    ):
        there = Erased(collection_id, name, receipt=receipt)
        erased.setdefault(collection_id, (there, []))[1].append(photo_id)
    for found, ids in erased.values():
        _count_photos(found, [rows[each] for each in ids])
        found.faces = _count(session, Face.photo_id == _any(ids)) if dry_run else _remove_photos(session, ids)
    if dry_run:
        return erased
    idempotency.forget(session, list(rows) if len(rows) < MENTIONED_MAX else None)
    for found, ids in erased.values():
        _change_collection(session, found)
        for each in ids:
            audit.write(
                session, by, "photo.erase",
                collection=found.collection, subject=each,
                details={"photos": 1, "of": len(rows), "receipt": str(receipt)},
            )  # fmt: skip
    return erased


def face(session: Session, face_id: uuid.UUID, *, dry_run: bool, by: Actor) -> Erased:
    """A face; its photo stays. NotFound when there is none, or `by` does not reach it."""
    gone = NotFound(f"there is no face {face_id}", code="face_not_found")
    of = select(Face.photo_id).where(Face.id == face_id).scalar_subquery()
    # None for a face that came as an embedding. Locked first: a face changes its collection with its photo.
    rows = _photos(session, Photo.id == of, lock=not dry_run)
    erased = _reached(session, Face, face_id, by, gone)
    erased.faces = _count(session, Face.id == face_id)
    if not dry_run:
        erasures.note(session, "face", Face.id == face_id)
        erased.faces = _rows(session.execute(_delete(Face, Face.id == face_id)))
    if not erased.faces:
        raise gone
    erased.kept += [Kept("photos", Why.PHOTO_STAYS, 1, (row.id,)) for row in rows]
    if not dry_run:
        idempotency.forget(session, [face_id])
        _change_collection(session, erased)
        audit.write(
            session, by, "face.erase",
            collection=erased.collection, subject=face_id, details=erased.details(),
        )  # fmt: skip
    return erased


def person(session: Session, person_id: uuid.UUID, *, dry_run: bool, by: Actor) -> Erased:
    """A person, their faces and merges, and the photos that show nobody else.

    NotFound when there is none, or `by` does not reach them. Raises ChangedMeanwhile.
    """
    gone = NotFound(f"there is no person {person_id}", code="person_not_found")
    erased = _reached(session, Person, person_id, by, gone)
    if not dry_run:
        _lock_person(session, person_id, gone)
    rows = _shown(session, person_id)
    going = [row for row in rows if not row.others]
    erased.persons = 1
    _count_photos(erased, going)
    erased.kept += _kept_photos(rows)
    erased.merges = _count_merges(session, erased, person_id)
    without_photo = _count(session, Face.person_id == person_id, Face.photo_id.is_(None))
    erased.faces = sum(row.own for row in rows) + without_photo
    if dry_run:
        return erased
    # Others' faces are on none of those that go.
    erased.faces = _remove_photos(session, [row.id for row in going])
    erasures.note(session, "person", Person.id == person_id)
    erasures.note(session, "face", Face.person_id == person_id)
    erased.faces += _rows(session.execute(_delete(Face, Face.person_id == person_id)))
    _free_photos(session, person_id)
    erased.merges = _rows(session.execute(_delete(Merge, *_merges(erased, person_id))))
    session.execute(_delete(Person, Person.id == person_id))
    idempotency.forget(session, _mentioned(person_id, [row.id for row in going]))
    _change_collection(session, erased)
    details = {**erased.details(), "kept": sum(each.count for each in erased.kept)}
    audit.write(session, by, "person.erase", collection=erased.collection, subject=person_id, details=details)
    return erased


def _mentioned(person_id: uuid.UUID, photo_ids: Sequence[uuid.UUID]) -> list[uuid.UUID] | None:
    """What kept answers are looked for; None: so many that all of them are forgotten."""
    return [person_id, *photo_ids] if len(photo_ids) < MENTIONED_MAX else None


def collection(session: Session, name: str) -> Erased:
    """What is in a collection; NotFound when there is none. `by` was asked before whether it reaches it."""
    row = session.execute(select(Collection.id).where(Collection.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    erased = Erased(row.id, name)
    rows = session.execute(
        select(Photo.state, func.count()).where(Photo.collection_id == row.id).group_by(Photo.state)
    )
    states: dict[State, int] = {each[0]: each[1] for each in rows}
    erased.photos = sum(states.values())
    erased.tasks = sum(states.get(state, 0) for state in UNFINISHED)
    erased.under_way = states.get(State.PROCESSING, 0)
    erased.faces = _count(session, Face.collection_id == row.id)
    erased.persons = _count(session, Person.collection_id == row.id)
    erased.merges = _count(session, Merge.collection_id == row.id)
    return erased


def some_hashes(session: Session, collection_id: int, after: str) -> Sequence[str]:
    """Names of the next originals of the collection, behind `after`, in their order."""
    return session.scalars(
        select(Photo.sha256)
        .where(Photo.collection_id == collection_id, Photo.sha256 > after)
        .order_by(Photo.sha256)
        .limit(PHOTOS_AT_ONCE)
    ).all()


def some_photos(session: Session, found: Erased, *, by: Actor, only: Condition | None = None) -> Erased:
    """Remove some photos of the collection, with their faces; none are left when it removes none.

    `only`: what they must fit to.
    """
    erased = found.nothing_yet()
    fits = Photo.collection_id == found.collection_id
    rows = _photos(session, fits if only is None else fits & only, lock=True, most=PHOTOS_AT_ONCE)
    if rows:
        _count_photos(erased, rows)
        erased.faces = _remove_photos(session, [row.id for row in rows])
        _change_collection(session, erased)
        action = "collection.empty" if only is None else "photo.erase"
        audit.write(session, by, action, collection=erased.collection, details=erased.details())
        if only is not None:
            idempotency.forget(session)
    return erased


def would_remove(session: Session, found: Erased, only: Condition) -> Erased:
    """What `some_photos` would remove of the collection in all."""
    erased = found.nothing_yet()
    fits = (Photo.collection_id == found.collection_id) & only
    _count_photos(erased, _photos(session, fits, lock=False))
    erased.faces = _count(session, Face.photo_id.in_(select(Photo.id).where(fits)))
    return erased


def empty_collection(session: Session, found: Erased, so_far: Erased, *, by: Actor) -> Erased:
    """Remove a collection without photos; `so_far` is what was in it. Raises ChangedMeanwhile."""
    # No photo is locked here: an upload holds the collection before it asks for photos.
    held = select(Collection.id).where(Collection.id == found.collection_id).with_for_update()
    if session.scalar(held) is None:
        raise NotFound(f"there is no collection {found.collection!r}", code="collection_not_found")
    if session.scalar(select(Photo.id).where(Photo.collection_id == found.collection_id).limit(1)):
        raise ChangedMeanwhile
    erased = found.nothing_yet()
    erasures.note(session, "person", Person.collection_id == found.collection_id)
    erasures.note(session, "face", Face.collection_id == found.collection_id)
    # Those that came as embeddings have no photo with which they went.
    left = _rows(session.execute(_delete(Face, Face.collection_id == found.collection_id)))
    erased.photos, erased.faces = so_far.photos, so_far.faces + left
    erased.tasks, erased.under_way = so_far.tasks, so_far.under_way
    erased.merges = _rows(session.execute(_delete(Merge, Merge.collection_id == found.collection_id)))
    erased.persons = _rows(session.execute(_delete(Person, Person.collection_id == found.collection_id)))
    session.execute(_delete(Collection, Collection.id == found.collection_id))
    idempotency.forget(session)
    audit.write(session, by, "collection.erase", collection=erased.collection, details=erased.details())
    return erased


def named(session: Session, hashes: Some[str], *, outside: int | None = None) -> Sequence[str]:
    """Those of these originals that rows name, of all collections or of all but one."""
    # A photo whose original expired names it no more.
    theirs = (Photo.sha256 == any_(cast(list(hashes), ARRAY(Text)))) & Photo.original_removed_at.is_(None)
    query = select(Photo.sha256).where(theirs).distinct()
    if outside is not None:
        query = query.where(Photo.collection_id != outside)
    return session.scalars(query).all()


def _reached(
    session: Session,
    what: type[Photo] | type[Face] | type[Person],
    identifier: uuid.UUID,
    by: Actor,
    gone: NotFound,
) -> Erased:
    """Nothing yet of the collection that this is in."""
    row = session.execute(
        select(Collection.id, Collection.name)
        .join(what, what.collection_id == Collection.id)
        .where(what.id == identifier)
    ).one_or_none()
    if row is None or not by.reaches(row.name):
        raise gone
    return Erased(row.id, row.name)


def _photos(
    session: Session, condition: ColumnElement[bool], *, lock: bool, most: int | None = None
) -> Sequence[Any]:
    """Photos that fit, locked against everybody else where they are to be removed: id, sha256, state."""
    query = select(Photo.id, Photo.sha256, Photo.state).where(condition).order_by(Photo.sha256, Photo.id)
    rows: Sequence[Any] = session.execute(
        query.limit(most).with_for_update() if lock else query.limit(most)
    ).all()
    return rows


def _ids_of(person_id: uuid.UUID) -> Any:
    """Photos that are the person's, or show them."""
    return union(
        select(Photo.id).where(Photo.person_id == person_id),
        select(Face.photo_id).where(Face.person_id == person_id),
    )


def _lock_person(session: Session, person_id: uuid.UUID, gone: NotFound) -> None:
    """Lock the person's photos, the person, and all faces on the photos, in this order.

    Whoever gives them a photo needs the person's row: once it is locked, it is known whether one is missing.
    """
    ids = _ids_of(person_id)
    locked = {row.id for row in _photos(session, Photo.id.in_(ids), lock=True)}
    if session.scalar(select(Person.id).where(Person.id == person_id).with_for_update()) is None:
        raise gone
    if not locked.issuperset(session.scalars(ids)):
        raise ChangedMeanwhile
    faces = select(Face.id).where(Face.photo_id == _any(locked)).order_by(Face.id).with_for_update()
    # Locked, and none of them read.
    session.scalar(select(func.count()).select_from(faces.subquery()))


def _shown(session: Session, person_id: uuid.UUID) -> Sequence[Any]:
    """The person's photos: id, sha256, state, and numbers of faces: own, others', and nobody's of these."""
    rows: Sequence[Any] = session.execute(
        select(
            Photo.id, Photo.sha256, Photo.state,
            func.count(Face.id).filter(Face.person_id == person_id).label("own"),
            func.count(Face.id).filter(Face.person_id.is_distinct_from(person_id)).label("others"),
            func.count(Face.id).filter(Face.person_id.is_(None)).label("unknown"),
        )
        .outerjoin(Face, Face.photo_id == Photo.id)
        .where(Photo.id.in_(_ids_of(person_id)))
        .group_by(Photo.id)
        .order_by(Photo.sha256)
    ).all()  # fmt: skip
    return rows


def _kept_photos(rows: Sequence[Any]) -> list[Kept]:
    stay: dict[Why, list[uuid.UUID]] = {}
    for row in rows:
        if row.others:
            why = Why.FACE_UNKNOWN if row.unknown and not row.own else Why.SHOWS_OTHERS
            stay.setdefault(why, []).append(row.id)
    return [Kept("photos", why, len(ids), tuple(ids[:KEPT_NAMED])) for why, ids in sorted(stay.items())]


def _count_photos(erased: Erased, rows: Sequence[Any]) -> None:
    erased.photos = len(rows)
    erased.hashes = {row.sha256 for row in rows}
    erased.tasks = sum(row.state in UNFINISHED for row in rows)
    erased.under_way = sum(row.state == State.PROCESSING for row in rows)


def _merges(erased: Erased, person_id: uuid.UUID) -> tuple[ColumnElement[bool], ...]:
    """Merges into the person, and those that were undone and gave the person back."""
    theirs = or_(Merge.kept_id == person_id, Merge.removed["id"].astext == str(person_id))
    return Merge.collection_id == erased.collection_id, theirs


def _count_merges(session: Session, erased: Erased, person_id: uuid.UUID) -> int:
    return _count(session, *_merges(erased, person_id))


def _remove_photos(session: Session, photo_ids: Sequence[uuid.UUID]) -> int:
    """Remove locked photos and all that hangs on them; returns how many faces went."""
    if not photo_ids:
        return 0
    erasures.note(session, "photo", Photo.id == _any(photo_ids))
    faces = _rows(session.execute(_delete(Face, Face.photo_id == _any(photo_ids))))
    session.execute(_delete(BatchPhoto, BatchPhoto.photo_id == _any(photo_ids)))
    session.execute(_delete(Photo, Photo.id == _any(photo_ids)))
    return faces


def _free_photos(session: Session, person_id: uuid.UUID) -> None:
    """Photos that stay are nobody's, and nothing is told of a name any more."""
    of_the_name = Photo.reason_code == Reason.PERSON_NOT_ASSIGNED
    session.execute(
        update(Photo)
        .where(Photo.person_id == person_id)
        .values(
            person_id=None,
            reason_code=case((of_the_name, None), else_=Photo.reason_code),
            reason_message=case((of_the_name, None), else_=Photo.reason_message),
        )
        .execution_options(synchronize_session=False)
    )


def _change_collection(session: Session, erased: Erased) -> None:
    """Another version, which no cached answer carries; the last row that is locked."""
    if not erased.faces and not erased.persons:
        return
    session.execute(
        update(Collection)
        .where(Collection.id == erased.collection_id)
        .values(version=Collection.version + 1, face_count=Collection.face_count - erased.faces)
        .execution_options(synchronize_session=False)
    )


def _any(identifiers: Some[uuid.UUID]) -> Any:
    """Any of these: one parameter, however many there are."""
    return any_(cast([str(each) for each in identifiers], ARRAY(UUID)))


def _delete(what: Any, *conditions: ColumnElement[bool]) -> Any:
    return delete(what).where(*conditions).execution_options(synchronize_session=False)


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).where(*conditions)) or 0


def _rows(result: Any) -> int:
    return int(result.rowcount)
