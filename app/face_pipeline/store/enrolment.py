"""Enrolment: photos whose face is to be one person's, judged (judging.py) and kept in one transaction.

A photo of which a worker found the faces becomes a row that is done, with all of its faces; one that the
collection has is not analysed again. Enrolments of one collection take turns, so that two of the same face
for two persons never both pass.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, joinedload

from face_pipeline.engine import DetectedFace, Pack
from face_pipeline.errors import NotFound
from face_pipeline.store import audit, batches, collections, events, judging, quotas
from face_pipeline.store.audit import Actor
from face_pipeline.store.judging import Refusal, Refused, Rules, Shown
from face_pipeline.store.ledger import NewPhoto
from face_pipeline.store.models import BatchPhoto, Collection, Face, Person, Photo, State

# id, sha256, state
LockedPhoto = Row[uuid.UUID, str, State]
# The first of two numbers of PostgreSQL's advisory locks; the second is the collection's id.
TURNS = 0x656E726F
CHANGED = Refused(Refusal.PHOTO_CHANGED, "the photo changed while it was enrolled; send it again")


@dataclass(frozen=True)
class Candidate:
    """A photo whose original is on disk, and the faces that a worker found; None: it was done already."""

    photo: NewPhoto
    faces: Sequence[DetectedFace] | None


@dataclass(frozen=True)
class Enrolled:
    """A photo whose face is the person's now; `duplicate`: the collection had it."""

    photo_id: uuid.UUID
    face_id: uuid.UUID
    quality: float
    duplicate: bool


def find_person(session: Session, person_id: uuid.UUID) -> Person:
    """The person with their collection; NotFound when there is none."""
    person = session.get(Person, person_id, options=[joinedload(Person.collection)])
    if person is None:
        raise no_person(person_id)
    return person


def no_person(person_id: uuid.UUID) -> NotFound:
    return NotFound(f"there is no person {person_id}", code="person_not_found")


def known(session: Session, collection_id: int, hashes: Iterable[str]) -> dict[str, State]:
    """The states of those of these photos that the collection has."""
    rows = session.execute(
        select(Photo.sha256, Photo.state).where(
            Photo.collection_id == collection_id, Photo.sha256.in_(list(hashes))
        )
    ).all()
    return {row.sha256: row.state for row in rows}


def keep(
    session: Session,
    person_id: uuid.UUID,
    candidates: Sequence[Candidate],
    rules: Rules,
    *,
    by: Actor,
    request_id: str | None,
    pack: Pack,
) -> list[Enrolled | Refused]:
    """Give the person the faces of these photos, each another one; a verdict for each, in their order.

    Raises NotFound when the person is gone, QuotaExceeded; Conflict and Unavailable where `pack`, which found
    the faces, is not the collection's by now.
    """
    person = find_person(session, person_id)
    collection = person.collection
    collections.check_contract(collection, pack)
    _hold(session, person)
    session.execute(select(func.pg_advisory_xact_lock(TURNS, func.hashint8(collection.id))))
    found = [each.photo for each in candidates if each.faces is not None]
    new = _insert(session, collection, found, request_id, by)
    rows = _lock(session, collection, [each.photo.sha256 for each in candidates])
    # FOR KEY SHARE: nobody removes them before this is through.
    if not session.scalar(
        select(Person.id).where(Person.id == person_id).with_for_update(read=True, key_share=True)
    ):
        raise no_person(person_id)
    stored = _stored(
        session, [row.id for row in rows.values() if row.state == State.DONE and row.id not in new]
    )
    verdicts: list[Enrolled | Refused] = []
    written = _Written()
    for each in candidates:
        row = rows.get(each.photo.sha256)
        if row is None:
            verdicts.append(CHANGED)
            continue
        fresh = row.id in new or row.state == State.FAILED
        faces = judging.shown(each.faces or ()) if fresh else stored.get(row.id, [])
        chosen = _refused(row, fresh, each) or judging.judge(session, collection, person_id, faces, rules)
        if isinstance(chosen, Refused):
            verdicts.append(chosen)
            if row.id in new:
                written.unwanted.append(row.id)
            continue
        verdicts.append(Enrolled(row.id, chosen.id, round(chosen.quality, 4), row.id not in new))
        written.add(row.id, faces, chosen, each if fresh else None, person_id)
    _write(session, collection, person_id, written)
    if new.difference(written.unwanted):
        quotas.check(session, collection.id, by)
    if written.changes:
        audit.write(
            session, by, "person.enrol", collection=collection.name, subject=person_id,
            details={"photos": len(written.done), "faces": len(written.named) + len(written.done)},
        )  # fmt: skip
    return verdicts


def _hold(session: Session, person: Person) -> None:
    """Keep others from deleting the collection until this is through."""
    try:
        collections.hold(session, person.collection)
    except NotFound as error:
        raise no_person(person.id) from error


def _refused(row: LockedPhoto, fresh: bool, candidate: Candidate) -> Refused | None:
    """Why nothing can be said of the photo yet."""
    if fresh and candidate.faces is None:
        return CHANGED
    if not fresh and row.state != State.DONE:
        return Refused(
            Refusal.PHOTO_PROCESSING,
            "the photo is here already and is being processed; send it again when that is done",
            {"photo_id": str(row.id)},
        )
    return None


@dataclass
class _Written:
    """What is to be written: photos that become done, those without a second face, rows of new faces, stored
    faces that get the person, and photos that were inserted for nothing."""

    done: list[uuid.UUID] = field(default_factory=list)
    theirs: list[uuid.UUID] = field(default_factory=list)
    faces: list[dict[str, Any]] = field(default_factory=list)
    named: list[uuid.UUID] = field(default_factory=list)
    unwanted: list[uuid.UUID] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        return bool(self.done or self.named)

    def add(
        self,
        photo_id: uuid.UUID,
        faces: Sequence[Shown],
        chosen: Shown,
        found: Candidate | None,
        person_id: uuid.UUID,
    ) -> None:
        if found is None and chosen.person_id == person_id:
            return
        if len(faces) == 1:
            self.theirs.append(photo_id)
        if found is None:
            self.named.append(chosen.id)
            return
        self.done.append(photo_id)
        for position, (face, detected) in enumerate(zip(faces, found.faces or (), strict=True)):
            self.faces.append(
                {
                    "id": face.id, "photo_id": photo_id, "position": position,
                    "person_id": person_id if face is chosen else None,
                    "bbox": face.bbox, "landmarks": detected.landmarks.tolist(),
                    "detection_score": float(detected.detection_score), "quality": face.quality,
                    "embedding": detected.embedding,
                }
            )  # fmt: skip


def _insert(
    session: Session,
    collection: Collection,
    photos: Sequence[NewPhoto],
    request_id: str | None,
    by: Actor,
) -> set[uuid.UUID]:
    """Rows for those that the collection does not have, as a batch of their own; returns the ids of these."""
    there = known(session, collection.id, [new.sha256 for new in photos])
    missing = sorted((new for new in photos if new.sha256 not in there), key=lambda new: new.sha256)
    if not missing:
        return set()
    batch = batches.make(session, collection)
    shared = {
        "collection_id": collection.id, "batch_id": batch.id, "request_id": request_id, "key_id": by.id,
    }  # fmt: skip
    ids = {new.sha256: uuid.uuid4() for new in missing}
    session.execute(
        upsert(Photo)
        .values(state=State.DONE, attempts=1, finished_at=func.now())
        .on_conflict_do_nothing(index_elements=["collection_id", "sha256"]),
        [{"id": ids[new.sha256], **shared, **vars(new)} for new in missing],
    )
    made = set(session.scalars(select(Photo.id).where(Photo.id.in_(ids.values()))))
    if made:
        links = [{"batch_id": batch.id, "photo_id": photo_id} for photo_id in made]
        session.execute(upsert(BatchPhoto).on_conflict_do_nothing(), links)
    return made


def _lock(session: Session, collection: Collection, hashes: Sequence[str]) -> Mapping[str, LockedPhoto]:
    """The photos by sha256, as they are once they are locked, in the order that all keep (ledger.py)."""
    rows = session.execute(
        select(Photo.id, Photo.sha256, Photo.state)
        .where(Photo.collection_id == collection.id, Photo.sha256.in_(hashes))
        .order_by(Photo.sha256, Photo.id)
        .with_for_update(key_share=True)
    ).all()
    return {str(row.sha256): row for row in rows}


def _stored(session: Session, photo_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Shown]]:
    """The faces of these photos, locked."""
    faces: dict[uuid.UUID, list[Shown]] = {}
    if photo_ids:
        rows = session.execute(
            select(
                Face.id,
                Face.photo_id,
                Face.bbox,
                Face.quality,
                Face.embedding,
                Face.person_id,
                Face.detection_score,
            )
            .where(Face.photo_id.in_(photo_ids))
            .order_by(Face.id)
            .with_for_update(key_share=True)
        )
        for row in rows:
            faces.setdefault(row.photo_id, []).append(
                Shown(row.id, row.bbox, row.quality, row.embedding, row.person_id, row.detection_score)
            )
    return faces


def _write(session: Session, collection: Collection, person_id: uuid.UUID, written: _Written) -> None:
    """Photos, then faces, then the collection: the order in which every transaction locks them."""
    if written.unwanted:
        session.execute(delete(BatchPhoto).where(BatchPhoto.photo_id.in_(written.unwanted)))
        session.execute(delete(Photo).where(Photo.id.in_(written.unwanted)))
    if not written.changes:
        return
    if written.done:
        # Those that had failed; the new ones are so already.
        session.execute(
            update(Photo)
            .where(Photo.id.in_(written.done))
            .values(
                state=State.DONE,
                reason_code=None,
                reason_message=None,
                person_id=None,
                finished_at=func.now(),
            )
        )
    if written.theirs:
        session.execute(update(Photo).where(Photo.id.in_(written.theirs)).values(person_id=person_id))
    if written.named:
        session.execute(update(Face).where(Face.id.in_(written.named)).values(person_id=person_id))
    if written.faces:
        session.execute(insert(Face), [{**row, "collection_id": collection.id} for row in written.faces])
    _tell(session, collection, written)
    session.execute(
        update(Collection)
        .where(Collection.id == collection.id)
        .values(version=Collection.version + 1, face_count=Collection.face_count + len(written.faces))
    )


def _tell(session: Session, collection: Collection, written: _Written) -> None:
    """The events of photos that end here, as a worker's statement writes them (statements.END)."""
    counts = Counter(row["photo_id"] for row in written.faces)
    events.tell_done(session, collection.id, [(photo_id, counts[photo_id]) for photo_id in written.done])
    events.tell_faces(
        session, collection.id,
        [(row["photo_id"], row["id"], row.get("person_id")) for row in written.faces],
    )  # fmt: skip
