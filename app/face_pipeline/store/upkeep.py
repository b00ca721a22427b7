"""Photos that get another try, and photos that change their collection."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from face_pipeline.errors import Conflict, NotFound
from face_pipeline.store import audit, collections, ledger, persons, photos, quotas
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Batch, BatchPhoto, Collection, Face, Person, Photo, Reason, State
from face_pipeline.words import counted

# Of one transaction, while many are retried.
PHOTOS_AT_ONCE = 1000


@dataclass(frozen=True)
class Failed:
    """Which failed photos get another try. `collections`: names of those they may be in, None: any."""

    reason: str | None
    collections: frozenset[str] | None
    # Those that fail again meanwhile came after it.
    before: datetime


@dataclass(frozen=True)
class Moved:
    """A photo where it is now, with all that belongs to it. `unnamed` of its faces have no person any more.

    `source`: the id of the collection it came from; None: it was there already.
    """

    photo: Photo
    source: int | None = None
    unnamed: int = 0

    @property
    def remark(self) -> persons.Remark | None:
        if not self.unnamed:
            return None
        there = f"nobody has in the collection {self.photo.collection.name!r}"
        return persons.Remark(
            Reason.PERSON_NOT_THERE,
            f"{counted(self.unnamed, 'face')} had a name that {there}; say there who it is",
        )


def retry(session: Session, photo_id: uuid.UUID, *, by: Actor) -> Photo:
    """Let a failed photo start again. Raises NotFound, and Conflict where it did not fail."""
    photo = _locked(session, photo_id, by)
    if photo.state != State.FAILED:
        raise Conflict(
            f"the photo is {photo.state}; only one that failed can be tried again",
            code="photo_not_failed", details={"state": photo.state},
        )  # fmt: skip
    ledger.start_over(session, [photo_id])
    audit.write(session, by, "photo.retry", collection=photo.collection.name, subject=photo_id)
    session.expire_all()
    return photos.find_with_faces(session, photo_id)


def now(session: Session) -> datetime:
    """The time of the database, which the ledger is written by."""
    at: datetime = session.scalars(select(func.clock_timestamp())).one()
    return at


def retry_some(session: Session, wanted: Failed, *, by: Actor) -> list[uuid.UUID] | None:
    """Let some of the failed photos start again, the oldest first; None when none are left."""
    query = select(Photo.id).where(Photo.state == State.FAILED, Photo.received_at < wanted.before)
    if wanted.reason is not None:
        query = query.where(Photo.reason_code == wanted.reason)
    if wanted.collections is not None:
        of = select(Collection.id).where(Collection.name.in_(wanted.collections))
        query = query.where(Photo.collection_id.in_(of))
    found = session.scalars(query.order_by(Photo.received_at).limit(PHOTOS_AT_ONCE)).all()
    if not found:
        return None
    # Another request may have been quicker with all of them.
    started = [row.id for row in ledger.lock(session, found) if row.state == State.FAILED]
    ledger.start_over(session, started)
    if started:
        names = list(wanted.collections or ())
        audit.write(
            session, by, "photo.retry",
            collection=names[0] if len(names) == 1 else None,
            details={"photos": len(started), "reason": wanted.reason},
        )  # fmt: skip
    return started


def move(session: Session, photo_id: uuid.UUID, name: str, *, by: Actor) -> Moved:
    """Give the photo with its faces to the collection `name`.

    Persons stay where they are: a face is given to the person of the same name there, or to nobody. Raises
    NotFound, and Conflict: another contract, a photo under processing, the same photo there already.
    Raises QuotaExceeded.
    """
    photo = _locked(session, photo_id, by)
    source = photo.collection
    target = session.scalar(select(Collection).where(Collection.name == name))
    if target is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    collections.hold(session, target)
    if target.id == source.id:
        return Moved(photos.find_with_faces(session, photo_id))
    _check_movable(session, photo, source, target)
    collections.hold(session, source)
    persons_there = _persons_there(session, photo, target)
    owner = persons_there.get(photo.person_id) if photo.person_id else None
    batch = Batch(collection_id=target.id)
    session.add(batch)
    session.flush()
    try:
        session.execute(
            update(Photo)
            .where(Photo.id == photo_id)
            .values(collection_id=target.id, batch_id=batch.id, person_id=owner)
            .execution_options(synchronize_session=False)
        )
    except IntegrityError as error:
        raise _there_already(target, None) from error
    faces, unnamed = _move_faces(session, photo_id, target, persons_there)
    _link(session, photo_id, batch)
    _change_collections(session, source, target, faces)
    # The key's own is as it was.
    quotas.check(session, target.id, replace(by, id=None))
    audit.write(
        session, by, "photo.move",
        collection=target.name, subject=photo_id,
        details={"from": source.name, "faces": faces, "unnamed": unnamed},
    )  # fmt: skip
    session.expire_all()
    return Moved(photos.find_with_faces(session, photo_id), source.id, unnamed)


def _locked(session: Session, photo_id: uuid.UUID, by: Actor) -> Photo:
    """The photo, locked, if `by` reaches it; NotFound."""
    photo = session.scalar(select(Photo).where(Photo.id == photo_id).with_for_update(of=Photo))
    if photo is None or not by.reaches(photo.collection.name):
        raise NotFound(f"there is no photo {photo_id}", code="photo_not_found")
    return photo


def _check_movable(session: Session, photo: Photo, source: Collection, target: Collection) -> None:
    if photo.state == State.PROCESSING:
        raise Conflict("a worker has the photo; move it once it is done or failed", code="photo_processing")
    if source.contract_id != target.contract_id:
        raise Conflict(
            f"collection {target.name!r} holds embeddings of {target.contract_id}, the photo's are of "
            f"{source.contract_id}; upload the photo there instead",
            code="contract_mismatch",
            details={"collection": target.contract_id, "photo": source.contract_id},
        )
    same = select(Photo.id).where(Photo.collection_id == target.id, Photo.sha256 == photo.sha256)
    if (there := session.scalar(same)) is not None:
        raise _there_already(target, there)


def _there_already(target: Collection, photo_id: uuid.UUID | None) -> Conflict:
    return Conflict(
        f"collection {target.name!r} has this photo already; delete one of the two",
        code="photo_exists", details={"photo_id": str(photo_id)} if photo_id else {},
    )  # fmt: skip


def _persons_there(session: Session, photo: Photo, target: Collection) -> dict[uuid.UUID, uuid.UUID]:
    """Persons of the photo and its faces -> who has the same name in the target; others are left out."""
    of_faces = select(Face.person_id).where(Face.photo_id == photo.id)
    shown = select(Person).where(or_(Person.id == photo.person_id, Person.id.in_(of_faces)))
    there = {}
    for person in session.scalars(shown.order_by(Person.id)).all():
        if (found := persons.find(session, target, person.name)) is not None:
            there[person.id] = found.id
    return there


def _move_faces(
    session: Session, photo_id: uuid.UUID, target: Collection, persons_there: dict[uuid.UUID, uuid.UUID]
) -> tuple[int, int]:
    """Number of faces of the photo, and of those that had a person and have none now."""
    rows = session.execute(
        select(Face.id, Face.person_id).where(Face.photo_id == photo_id).order_by(Face.id).with_for_update()
    ).all()
    for former in {row.person_id for row in rows}:
        session.execute(
            update(Face)
            .where(Face.photo_id == photo_id, Face.person_id.is_not_distinct_from(former))
            .values(collection_id=target.id, person_id=persons_there.get(former))
            .execution_options(synchronize_session=False)
        )
    return len(rows), sum(row.person_id is not None and row.person_id not in persons_there for row in rows)


def _link(session: Session, photo_id: uuid.UUID, batch: Batch) -> None:
    """A batch is of one collection, so that whoever reaches that one sees no photo of another."""
    session.execute(
        delete(BatchPhoto).where(BatchPhoto.photo_id == photo_id).execution_options(synchronize_session=False)
    )
    session.add(BatchPhoto(batch_id=batch.id, photo_id=photo_id))
    session.flush()


def _change_collections(session: Session, source: Collection, target: Collection, faces: int) -> None:
    """Both get another version, in the order of their ids."""
    if not faces:
        return
    changes: Sequence[tuple[int, int]] = sorted([(source.id, -faces), (target.id, faces)])
    for identifier, more in changes:
        session.execute(
            update(Collection)
            .where(Collection.id == identifier)
            .values(version=Collection.version + 1, face_count=Collection.face_count + more)
            .execution_options(synchronize_session=False)
        )
