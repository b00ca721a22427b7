"""The ledger: what happens to an accepted photo, from `received` to `done` or `failed`.

    received -> queued -> processing -> done | failed
        ^          |           |
        +----------+-----------+   the task was lost: the reconciler starts again

Several rows are locked in one order, by `sha256` and then `id`, whoever does it: two requests that name the
same photos wait for each other and never in a circle. After photos come persons, faces, and the collection.

A task's message in Redis is only a hint that a row waits; the row decides. A worker claims it with a token
and a lease that it renews while it works. Whoever loses the lease can no longer write the result, so that
two workers with the same message never both finish a photo.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from face_pipeline.engine import DetectedFace, Pack
from face_pipeline.engine.types import THUMBNAIL_RECIPE
from face_pipeline.errors import NotFound
from face_pipeline.store import audit, batches, collections, events, persons, quotas, statements
from face_pipeline.store.models import (
    UNFINISHED,
    WAITING,
    Batch,
    Collection,
    Person,
    Photo,
    Reason,
    State,
)
from face_pipeline.words import counted

# Between the commit of a row and its message in Redis lies one round trip; a row older than this lost it.
PUBLISH_GRACE_SECONDS = 5.0
# A half-precision number near 0.05 has steps of 3e-5.
EMBEDDING_DECIMALS = 7


class FoundPhoto(NamedTuple):
    """A photo that a collection has."""

    id: uuid.UUID
    sha256: str
    state: State


@dataclass(frozen=True)
class NewPhoto:
    """An upload that passed the checks; sizes in bytes and upright pixels."""

    sha256: str
    filename: str
    media_type: str
    byte_size: int
    width: int
    height: int


@dataclass(frozen=True)
class Accepted:
    """`person`: the one this request names, where the photo is theirs now; `remark`: why it is not."""

    photo_id: uuid.UUID
    sha256: str
    filename: str
    state: State
    duplicate: bool
    person: Person | None = None
    remark: persons.Remark | None = None


@dataclass(frozen=True)
class Claim:
    """A worker's right to process one photo, until the lease lapses."""

    photo_id: uuid.UUID
    token: uuid.UUID
    collection_id: int
    contract_id: str
    sha256: str
    request_id: str | None


class LeaseLost(Exception):
    """Another run took the photo over, it was deleted, or its collection has another model pack by now; this
    run's result must be dropped."""


class CollectionGone(Exception):
    """The collection was erased since the upload opened it."""


def open_collection(
    session: Session,
    name: str,
    pack: Pack,
    hashes: Iterable[str],
    by: audit.Actor,
    batch_id: uuid.UUID | None,
) -> tuple[Collection, set[str], list[quotas.Quota]]:
    """The collection of an upload (collections.open_collection), those of `hashes` it has a row for, and the
    quotas that bound the others. Raises NotFound and Conflict for the batch."""
    collection = collections.open_collection(session, name, pack)
    if batch_id is not None:
        batches.find_of(session, batch_id, collection)
    known = _found(session, collection, hashes)
    return collection, {row.sha256 for row in known}, quotas.room(session, collection.id, by)


def accept(
    session: Session,
    collection: Collection,
    photos: Sequence[NewPhoto],
    *,
    person: str | None,
    request_id: str | None,
    by: audit.Actor = audit.SERVICE,
    rejected: int = 0,
    batch_id: uuid.UUID | None = None,
) -> tuple[Batch, list[Accepted]]:
    """Write rows for `photos`, whose originals are on disk already; one entry each, in their order.

    A photo the collection has is not processed twice; one that failed before gets another chance. `person` is
    a checked name: whose the photos are, those that are not another's. `batch_id`: the batch they are added
    to, instead of one of their own; raises NotFound and Conflict for it. `rejected`: files of the request
    that are not among them. Raises CollectionGone, QuotaExceeded.
    """
    try:
        collections.hold(session, collection)
    except NotFound as error:
        raise CollectionGone(collection.name) from error
    if batch_id is None:
        batch = batches.make(session, collection)
    else:
        batch = batches.find_of(session, batch_id, collection)
    states, made, known = _rows(session, collection, batch, photos, request_id, by)
    is_more = bool(made)
    locked = lock(session, [row.id for row in known if person is not None or row.state == State.FAILED])
    start_over(session, [row.id for row in locked if row.state == State.FAILED])
    ids = {sha256: row.id for sha256, row in states.items()}
    read = {row.id: row.state for row in states.values()} | {row.id: row.state for row in locked}
    now = {each: State.RECEIVED if state == State.FAILED else state for each, state in read.items()}
    named = persons.Named()
    if person is not None:
        named = persons.give(session, collection, person, new=list(made), known=locked)
    accepted = []
    for new in photos:
        photo_id = ids[new.sha256]
        # The first of two in one request is the new one.
        duplicate = photo_id not in made
        made.discard(photo_id)
        accepted.append(
            Accepted(
                photo_id, new.sha256, new.filename, now[photo_id], duplicate,
                named.person if photo_id in named.photos else None, named.remarks.get(photo_id),
            )
        )  # fmt: skip
    statements.ADD_TO_BATCH.execute(
        session.connection(),
        {"in_batch": batch.id, "photo_ids": [str(ids[sha256]) for sha256 in sorted(ids)]},
    )
    if is_more:
        quotas.check(session, collection.id, by)
    told = {
        "photos": len(accepted), "duplicates": sum(each.duplicate for each in accepted),
        "rejected": rejected, "named": person is not None,
    }  # fmt: skip
    audit.write(session, by, "photo.add", collection=collection.name, subject=batch.id, details=told)
    return batch, accepted


def _rows(
    session: Session,
    collection: Collection,
    batch: Batch,
    photos: Sequence[NewPhoto],
    request_id: str | None,
    by: audit.Actor,
) -> tuple[dict[str, FoundPhoto], set[uuid.UUID], list[FoundPhoto]]:
    """Insert what is new; returns all rows by sha256, the ids of those made now, and the older rows."""
    shared = {
        "in_collection": collection.id, "in_batch": batch.id, "by_request": request_id, "by_key": by.id,
    }  # fmt: skip
    # The same photo twice in one request is one row.
    rows = {new.sha256: {"id": uuid.uuid4(), **vars(new)} for new in photos}
    found: dict[str, FoundPhoto] = {}
    # What somebody erases between the statements is made in the next round.
    while missing := sorted(rows.keys() - found.keys()):
        new = [{**rows[sha256], "id": str(rows[sha256]["id"])} for sha256 in missing]
        statements.ADD_PHOTOS.execute(session.connection(), {**shared, "new_photos": new})
        there = _found(session, collection, missing)
        older = _hold(session, [row.id for row in there if row.id != rows[row.sha256]["id"]])
        found |= {row.sha256: row for row in there if row.id in {*older, rows[row.sha256]["id"]}}
    made = {row.id for row in found.values() if row.id == rows[row.sha256]["id"]}
    return found, made, [row for row in found.values() if row.id not in made]


def _found(session: Session, collection: Collection, hashes: Iterable[str]) -> list[FoundPhoto]:
    rows = statements.FOUND.execute(
        session.connection(), {"in_collection": collection.id, "hashes": list(hashes)}
    )
    return [FoundPhoto(photo_id, sha256, State(state)) for photo_id, sha256, state in rows]


def _hold(session: Session, photo_ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    """Those of these photos that are there, and cannot be erased until this transaction ends."""
    if not photo_ids:
        return []
    held = _in_order(Photo.id.in_(photo_ids)).with_for_update(read=True, key_share=True)
    return session.scalars(held).all()


def _in_order(*conditions: ColumnElement[bool]) -> Select[uuid.UUID]:
    """Ids of the photos that fit, locked against other writers, in the order that all of them keep."""
    return (
        select(Photo.id)
        .where(*conditions)
        .order_by(Photo.sha256, Photo.id)
        # FOR NO KEY UPDATE, as an UPDATE takes itself: rows of other tables may name the photo meanwhile.
        .with_for_update(key_share=True)
    )


def lock(session: Session, photo_ids: Sequence[uuid.UUID]) -> Sequence[persons.KnownPhoto]:
    """The rows as they are once they are locked: id, state, person_id."""
    if not photo_ids:
        return []
    return session.execute(
        _in_order(Photo.id.in_(photo_ids)).with_only_columns(Photo.id, Photo.state, Photo.person_id)
    ).all()


def start_over(session: Session, photo_ids: Sequence[uuid.UUID]) -> None:
    """Give failed photos, locked already, another chance."""
    if not photo_ids:
        return
    session.execute(
        update(Photo)
        .where(Photo.id.in_(photo_ids))
        .values(
            state=State.RECEIVED, attempts=0, reason_code=None, reason_message=None,
            received_at=func.now(), finished_at=None,
        )
    )  # fmt: skip


def mark_queued(connection: Connection, photo_ids: Sequence[uuid.UUID]) -> None:
    """Their messages are in Redis. A worker may have been quicker: only waiting rows change."""
    statements.MARK_QUEUED.execute(connection, {"queued_photos": list(photo_ids)})


def claim(
    connection: Connection, photo_id: uuid.UUID, *, worker: str, lease_seconds: float, contract: str = ""
) -> Claim | None:
    """Take a waiting photo; None when it is done, taken, or gone (its message was a duplicate).

    `contract`: what the worker makes. None, too, where the collection is being moved from or to it, and holds
    the other: the photo goes on waiting.
    """
    token = uuid.uuid4()
    rows = statements.CLAIM.execute(
        connection,
        {
            "photo_id": photo_id, "token": token, "worker_name": worker,
            "lease": timedelta(seconds=lease_seconds), "in_contract": contract,
        },
    )  # fmt: skip
    for collection_id, contract_id, sha256, request_id, _ in rows:
        return Claim(photo_id, token, collection_id, contract_id, sha256, request_id)
    return None


def renew(connection: Connection, tokens: Sequence[uuid.UUID], lease_seconds: float) -> None:
    connection.execute(
        update(Photo)
        .where(Photo.id.in_(_in_order(Photo.claim.in_(tokens), Photo.state == State.PROCESSING)))
        .values(lease_until=func.now() + timedelta(seconds=lease_seconds))
    )


def finish(
    connection: Connection, held: Claim, faces: Sequence[DetectedFace], thumbnail: bytes | None = None
) -> None:
    """Write the faces and end the row as `done`, in one statement; LeaseLost writes nothing.

    The only face of a photo is given to the person whose the row is by then. `thumbnail`: of this release's
    recipe, None: it is made when somebody asks for it.
    """
    _end(connection, held, State.DONE, None, None, faces, thumbnail)


def give_back(connection: Connection, held: Claim) -> None:
    """Let the reconciler queue the photo again; this attempt does not count."""
    connection.execute(
        update(Photo)
        .where(Photo.id == held.photo_id, Photo.claim == held.token, Photo.state == State.PROCESSING)
        .values(state=State.RECEIVED, claim=None, lease_until=None, attempts=Photo.attempts - 1)
    )


def fail(connection: Connection, held: Claim, code: str, message: str) -> None:
    """End the row as `failed`, keeping why."""
    _end(connection, held, State.FAILED, code, message, ())


def _end(
    connection: Connection,
    held: Claim,
    state: State,
    code: str | None,
    message: str | None,
    faces: Sequence[DetectedFace],
    thumbnail: bytes | None = None,
) -> None:
    [(ended,)] = statements.END.execute(
        connection,
        {
            "photo_id": held.photo_id, "token": held.token, "in_collection": held.collection_id,
            "in_contract": held.contract_id,
            "end_state": state, "code": code, "message": message,
            "why_unnamed": persons.unassigned(len(faces)),
            "new_faces": [_row(position, face) for position, face in enumerate(faces)],
            "new_count": len(faces),
            "recipe": THUMBNAIL_RECIPE, "picture": thumbnail,
        },
    )  # fmt: skip
    if not ended:
        raise LeaseLost(str(held.photo_id))


def _row(position: int, face: DetectedFace) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "position": position,
        "bbox": face.bbox.tolist(),
        "landmarks": face.landmarks.tolist(),
        "detection_score": float(face.detection_score),
        "quality": float(face.quality),
        "embedding": _text(face.embedding),
    }


def _text(embedding: npt.NDArray[np.float32]) -> str:
    """pgvector's own form; a JSON list would be made a number type of PostgreSQL's first.

    Whole numbers and an exponent: Python writes fractions at half the speed.
    """
    exponent = f"e-{EMBEDDING_DECIMALS}"
    whole = (embedding.astype(float) * 10**EMBEDDING_DECIMALS).round().astype(int).tolist()
    return f"[{f'{exponent},'.join(map(str, whole))}{exponent}]"


def release_lapsed(session: Session, *, max_attempts: int, worker: str | None = None) -> int:
    """Take back photos whose lease lapsed, or all of `worker`'s; returns how many.

    A photo that ended `max_attempts` workers is failed: it would end the next one too.
    """
    lapsed = Photo.worker == worker if worker is not None else Photo.lease_until < func.now()
    spent = Photo.attempts >= max_attempts
    rows = session.execute(
        update(Photo)
        .where(Photo.id.in_(_in_order(Photo.state == State.PROCESSING, lapsed)))
        .values(
            state=case((spent, State.FAILED), else_=State.RECEIVED), claim=None, lease_until=None,
            finished_at=case((spent, func.now()), else_=Photo.finished_at),
            reason_code=case((spent, Reason.WORKER_LOST), else_=Photo.reason_code),
            reason_message=case(
                (
                    spent,
                    f"{counted(max_attempts, 'worker')} ended or ran out of time while processing this photo",
                ),
                else_=Photo.reason_message,
            ),
        )
        .returning(Photo.id, Photo.collection_id, Photo.state)
        .execution_options(synchronize_session=False)
    ).all()  # fmt: skip
    lost = [row for row in rows if row.state == State.FAILED]
    events.tell_lost(session, [(row.collection_id, row.id) for row in lost])
    return len(rows) - len(lost)


def waiting_older_than(session: Session, seconds: float) -> dict[uuid.UUID, State]:
    """Waiting rows that should have a message in Redis by now, oldest first: id -> state."""
    limit = func.now() - timedelta(seconds=seconds)
    rows = session.execute(
        select(Photo.id, Photo.state)
        .where(
            Photo.state.in_(WAITING),
            Photo.received_at < limit,
            or_(Photo.queued_at.is_(None), Photo.queued_at < limit, Photo.state == State.RECEIVED),
        )
        .order_by(Photo.received_at)
    ).all()
    return {row.id: row.state for row in rows}


def states(session: Session) -> dict[State, int]:
    """Rows in each state that is not final."""
    rows = session.execute(
        select(Photo.state, func.count()).where(Photo.state.in_(UNFINISHED)).group_by(Photo.state)
    ).all()
    return {row[0]: row[1] for row in rows}


def failed(session: Session) -> int:
    """Photos that failed and were not deleted since."""
    return session.scalar(select(func.count()).where(Photo.state == State.FAILED)) or 0


def done_since(session: Session, since: datetime) -> int:
    """Photos that were done since then; an index of when photos ended tells it."""
    query = select(func.count()).where(Photo.finished_at >= since, Photo.state == State.DONE)
    return session.scalar(query) or 0


def oldest_waiting(session: Session) -> datetime | None:
    return session.scalar(select(func.min(Photo.received_at)).where(Photo.state.in_(WAITING)))


def probe(session: Session) -> None:
    """Raises where the ledger cannot be read."""
    session.execute(text("SELECT 1 FROM photos LIMIT 1"))
