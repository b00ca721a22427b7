"""Merges: two persons who are one become one, and may be taken apart again for a day.

In each transaction the rows are locked in this order: merges, then as everywhere (ledger.py). The rows of
`merges` keep who is gone, so that an undo brings back the very same person. What they keep of somebody goes
as soon as it is of no use, and with the person that was kept.

Where the person that was kept is merged into a third, the merge is of that third from then on, and is theirs
again when the later one is undone: merges are undone in any order.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from typing import cast as cast_type

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CursorResult,
    ScalarSelect,
    any_,
    cast,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, insert
from sqlalchemy.orm import Session

from face_pipeline.errors import Conflict, NotFound
from face_pipeline.store import audit, collections, directory
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Merge, Person, Photo, State

UNDO_HOURS = 24
IDS = ARRAY(UUID(as_uuid=True))
# What a merge keeps once it is of no use.
FORGOTTEN: dict[str, Any] = {"removed": {}, "faces": [], "photos": []}
# Rows that the session holds are read again where they are needed.
UNSEEN: dict[str, Any] = {"synchronize_session": False}


@dataclass(frozen=True)
class Merged:
    """A merge that was made: who has all now, and how much they got by it."""

    id: uuid.UUID
    kept: Person
    undo_until: datetime
    faces: int
    photos: int


@dataclass(frozen=True)
class Undone:
    """A merge that was taken back: how many faces and photos are the person's again, and how many are not.

    Those were given to others meanwhile, or deleted.
    """

    id: uuid.UUID
    person: Person
    faces: int
    photos: int
    faces_left: int
    photos_left: int


def merge(session: Session, kept_id: uuid.UUID, removed_id: uuid.UUID, by: Actor) -> Merged:
    """Make all that is `removed_id`'s `kept_id`'s, and keep their row for an undo.

    NotFound for who is not there or not reached by `by`, Conflict for persons of two collections.
    """
    kept, removed = (directory.find(session, person_id, by) for person_id in (kept_id, removed_id))
    if kept.collection_id != removed.collection_id:
        raise Conflict(
            "these persons are of two collections, whose faces are not compared; merge within one",
            code="merge_other_collection",
        )
    _lock_merges_into(session, removed_id)
    _lock_photos(session, Photo.person_id == removed_id)
    kept, removed = _lock_both(session, kept_id, removed_id, by)
    unfinished = session.scalars(
        select(Photo.id).where(Photo.person_id == removed_id, Photo.state != State.DONE)
    ).all()
    # They would go with the person's row.
    earlier = _turn(session, kept_id, Merge.kept_id == removed_id)
    photos = _given("given_photos", Photo, kept_id, Photo.person_id == removed_id)
    faces = _given("given_faces", Face, kept_id, Face.person_id == removed_id)
    made = session.execute(
        insert(Merge)
        .values(
            id=uuid.uuid4(), collection_id=kept.collection_id, kept_id=kept_id, faces=faces, photos=photos,
            removed=_row(removed, earlier, unfinished),
            undo_until=func.now() + timedelta(hours=UNDO_HOURS),
        )
        .returning(
            Merge.id, Merge.undo_until,
            func.cardinality(Merge.faces).label("faces"), func.cardinality(Merge.photos).label("photos"),
        )
    ).one()  # fmt: skip
    session.execute(delete(Person).where(Person.id == removed_id).execution_options(**UNSEEN))
    audit.write(
        session, by, "person.merge", collection=kept.collection.name, subject=kept_id,
        details={
            "merge": str(made.id), "from": str(removed_id), "faces": made.faces, "photos": made.photos,
        },
    )  # fmt: skip
    collections.renew(session, kept.collection_id)
    return Merged(made.id, kept, made.undo_until, made.faces, made.photos)


def undo(session: Session, merge_id: uuid.UUID, by: Actor) -> Undone:
    """Bring back who was merged, with all that was theirs and is the kept person's still.

    Conflict where it was done before, is too late, or somebody has the name or the external id meanwhile.
    """
    merge = _lock(session, merge_id, by)
    if merge.undone_at is not None:
        raise Conflict("this merge was undone already", code="merge_undone")
    if session.scalar(select(merge.undo_until < func.now())):
        raise Conflict(
            f"a merge can be undone for {UNDO_HOURS} hours, this one until "
            f"{merge.undo_until.isoformat(timespec='seconds')}; make the person again, and give them their "
            "faces",
            code="merge_expired",
        )
    kept_id, was = merge.kept_id, merge.removed
    # An array, and no list of parameters or subquery: with thousands of ids PostgreSQL finds by its hash.
    are_theirs = (Photo.person_id == kept_id, Photo.id == any_(cast(merge.photos, IDS)))
    _lock_photos(session, *are_theirs)
    # FOR NO KEY UPDATE: they stay, and workers go on naming faces after them.
    session.execute(select(Person.id).where(Person.id == kept_id).with_for_update(key_share=True))
    person = _bring_back(session, merge.collection_id, was)
    photos = _give(session, Photo, person.id, *are_theirs)
    faces = _give(
        session, Face, person.id, Face.person_id == kept_id, Face.id == any_(cast(merge.faces, IDS))
    )
    # What was found meanwhile on photos that were not done.
    unfinished = [uuid.UUID(each) for each in was["unfinished"]]
    are_back = select(Photo.id).where(Photo.id.in_(unfinished), Photo.person_id == person.id)
    found = _give(session, Face, person.id, Face.person_id == kept_id, Face.photo_id.in_(are_back))
    _turn(session, person.id, Merge.id.in_(was["merges"]), Merge.kept_id == kept_id)
    session.execute(
        update(Merge).where(Merge.id == merge.id).values(undone_at=func.now(), **FORGOTTEN)
        .execution_options(**UNSEEN)
    )  # fmt: skip
    counts = {
        "faces": faces + found, "photos": photos,
        "faces_left": len(merge.faces) - faces, "photos_left": len(merge.photos) - photos,
    }  # fmt: skip
    audit.write(
        session, by, "person.unmerge", collection=person.collection.name, subject=person.id,
        details={"merge": str(merge_id), "from": str(kept_id), **counts},
    )  # fmt: skip
    collections.renew(session, merge.collection_id)
    return Undone(merge_id, person, **counts)


def forget_lapsed(session: Session) -> int:
    """Forget what those merges keep that cannot be undone any more; returns how many."""
    lapsed = session.scalars(
        update(Merge)
        .where(Merge.undo_until < func.now(), Merge.removed != {})
        .values(**FORGOTTEN)
        .returning(Merge.id)
        .execution_options(**UNSEEN)
    ).all()
    if lapsed:
        audit.write(session, audit.SERVICE, "merge.lapse", details={"count": len(lapsed)})
    return len(lapsed)


def _lock(session: Session, merge_id: uuid.UUID, by: Actor) -> Merge:
    """The merge; NotFound when there is none that `by` reaches."""
    found = session.scalar(select(Merge).where(Merge.id == merge_id).with_for_update())
    if found is None or not by.reaches(session.get_one(Collection, found.collection_id).name):
        raise NotFound(f"there is no merge {merge_id}", code="merge_not_found")
    return found


def _lock_merges_into(session: Session, person_id: uuid.UUID) -> None:
    session.execute(select(Merge.id).where(Merge.kept_id == person_id).order_by(Merge.id).with_for_update())


def _lock_photos(session: Session, *conditions: ColumnElement[bool]) -> None:
    """In the order that everybody keeps (ledger.py), and counted there: thousands of ids are no use here."""
    locked = (
        select(Photo.id)
        .where(*conditions)
        .order_by(Photo.sha256, Photo.id)
        .with_for_update(key_share=True)
        .subquery()
    )
    session.execute(select(func.count()).select_from(locked))


def _lock_both(
    session: Session, kept_id: uuid.UUID, removed_id: uuid.UUID, by: Actor
) -> tuple[Person, Person]:
    """By their ids' order, so that two merges of the same two wait in no circle.

    Who goes is locked against new photos and faces too: after this, all that is theirs can be seen.
    """
    for person_id in sorted((kept_id, removed_id)):
        session.execute(
            select(Person.id).where(Person.id == person_id).with_for_update(key_share=person_id == kept_id)
        )
    # As they are once they are locked.
    session.expire_all()
    return directory.find(session, kept_id, by), directory.find(session, removed_id, by)


def _given(
    name: str, what: type[Photo] | type[Face], to: uuid.UUID, *conditions: ColumnElement[bool]
) -> ScalarSelect[Any]:
    """As `_give`, inside the statement that keeps their ids: thousands do not travel. The ids, maybe none."""
    given = update(what).where(*conditions).values(person_id=to).returning(what.id).cte(name)
    return select(func.coalesce(func.array_agg(given.c.id), cast([], IDS))).scalar_subquery()


def _give(
    session: Session, what: type[Photo] | type[Face], to: uuid.UUID, *conditions: ColumnElement[bool]
) -> int:
    """Make photos or faces `to`'s; returns how many."""
    given = session.execute(update(what).where(*conditions).values(person_id=to).execution_options(**UNSEEN))
    return cast_type("CursorResult[Any]", given).rowcount


def _turn(session: Session, to: uuid.UUID, *conditions: ColumnElement[bool]) -> Sequence[uuid.UUID]:
    """Make the kept person of these merges be `to`; returns their ids."""
    return session.scalars(
        update(Merge).where(*conditions).values(kept_id=to).returning(Merge.id).execution_options(**UNSEEN)
    ).all()


def _row(removed: Person, earlier: Sequence[uuid.UUID], unfinished: Sequence[uuid.UUID]) -> dict[str, Any]:
    """The person as JSON; with the merges that were theirs, and their photos that were not done."""
    return {
        "id": str(removed.id),
        "name": removed.name,
        "name_key": removed.name_key,
        "external_id": removed.external_id,
        "metadata": removed.details,
        "version": removed.version,
        "by_hand": removed.by_hand,
        "cover_face_id": str(removed.cover_face_id) if removed.cover_face_id else None,
        "created_at": removed.created_at.isoformat(),
        "merges": [str(each) for each in earlier],
        "unfinished": [str(each) for each in unfinished],
    }


def _bring_back(session: Session, collection_id: int, was: dict[str, Any]) -> Person:
    """The person's row, as it was; Conflict where somebody has the name or the external id."""
    collection = session.get_one(Collection, collection_id)
    collections.hold(session, collection)
    # Somebody may give them up between the two.
    while True:
        made: Person | None = session.scalar(
            insert(Person)
            .values(
                {
                    # Merges that an earlier release made have none.
                    Person.cover_face_id: was.get("cover_face_id"),
                    Person.id: uuid.UUID(was["id"]), Person.collection_id: collection_id,
                    Person.name: was["name"], Person.name_key: was["name_key"],
                    Person.external_id: was["external_id"], Person.details: was["metadata"],
                    Person.version: was["version"] + 1, Person.by_hand: was["by_hand"],
                    Person.created_at: datetime.fromisoformat(was["created_at"]),
                }
            )
            .on_conflict_do_nothing()
            .returning(Person)
        )  # fmt: skip
        if made is not None:
            made.collection = collection
            return made
        directory.check_free(session, collection, None, was)
