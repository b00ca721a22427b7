"""The ledger: what happens to an accepted photo, from `received` to `done` or `failed`.

    received -> queued -> processing -> done | failed
        ^          |           |
        +----------+-----------+   the task was lost: the reconciler starts again

A task's message in Redis is only a hint that a row waits; the row decides. A worker claims it with a token
and a lease that it renews while it works. Whoever loses the lease can no longer write the result, so that
two workers with the same message never both finish a photo.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from face_pipeline.engine import DetectedFace
from face_pipeline.store import statements
from face_pipeline.store.models import WAITING, Batch, BatchPhoto, Collection, Person, Photo

# Between the commit of a row and its message in Redis lies one round trip; a row older than this lost it.
PUBLISH_GRACE_SECONDS = 5.0
# A half-precision number near 0.05 has steps of 3e-5.
EMBEDDING_DECIMALS = 7
UNFINISHED = ("received", "queued", "processing")


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
    photo_id: uuid.UUID
    sha256: str
    filename: str
    state: str
    duplicate: bool


@dataclass(frozen=True)
class Claim:
    """A worker's right to process one photo, until the lease lapses."""

    photo_id: uuid.UUID
    token: uuid.UUID
    collection_id: int
    contract_id: str
    person_id: uuid.UUID | None
    sha256: str
    request_id: str | None


class LeaseLost(Exception):
    """Another run took the photo over, or it was deleted; this run's result must be dropped."""


def known(session: Session, collection: Collection, hashes: Iterable[str]) -> set[str]:
    """Those of `hashes` that the collection has a row for."""
    return set(
        session.scalars(
            select(Photo.sha256).where(Photo.collection_id == collection.id, Photo.sha256.in_(list(hashes)))
        )
    )


def accept(
    session: Session,
    collection: Collection,
    photos: Sequence[NewPhoto],
    *,
    person: Person | None,
    request_id: str | None,
) -> tuple[Batch, list[Accepted]]:
    """Write rows for `photos`, whose originals are on disk already; one entry each, in their order.

    A photo the collection has is not processed twice; one that failed before gets another chance.
    """
    batch = Batch(collection_id=collection.id)
    session.add(batch)
    session.flush()
    shared = {
        "collection_id": collection.id,
        "batch_id": batch.id,
        "person_id": person.id if person else None,
        "request_id": request_id,
    }
    # The same photo twice in one request is one row.
    rows = {new.sha256: {"id": uuid.uuid4(), **shared, **vars(new)} for new in photos}
    # Rows as parameters: with values in the statement, each number of them would be compiled anew.
    session.execute(
        upsert(Photo).on_conflict_do_nothing(index_elements=["collection_id", "sha256"]), list(rows.values())
    )
    found = session.execute(
        select(Photo.id, Photo.sha256, Photo.state).where(
            Photo.collection_id == collection.id, Photo.sha256.in_(list(rows))
        )
    ).all()
    ids = {row.sha256: row.id for row in found}
    states = {row.sha256: row.state for row in found}
    for sha256, state in states.items():
        if state == "failed":
            states[sha256] = _start_over(session, ids[sha256])
    accepted = []
    for new in photos:
        first = rows.pop(new.sha256, None)
        duplicate = first is None or ids[new.sha256] != first["id"]
        accepted.append(Accepted(ids[new.sha256], new.sha256, new.filename, states[new.sha256], duplicate))
    links = [{"batch_id": batch.id, "photo_id": photo_id} for photo_id in ids.values()]
    session.execute(upsert(BatchPhoto).on_conflict_do_nothing(), links)
    return batch, accepted


def _start_over(session: Session, photo_id: uuid.UUID) -> str:
    session.execute(
        update(Photo)
        .where(Photo.id == photo_id, Photo.state == "failed")
        .values(
            state="received", attempts=0, reason_code=None, reason_message=None,
            received_at=func.now(), finished_at=None,
        )
    )  # fmt: skip
    return "received"


def mark_queued(session: Session, photo_ids: Sequence[uuid.UUID]) -> None:
    """Their messages are in Redis. A worker may have been quicker: only waiting rows change."""
    session.execute(
        update(Photo)
        .where(Photo.id.in_(photo_ids), Photo.state.in_(WAITING))
        .values(state="queued", queued_at=func.now())
    )


def claim(connection: Connection, photo_id: uuid.UUID, *, worker: str, lease_seconds: float) -> Claim | None:
    """Take a waiting photo; None when it is done, taken, or gone (its message was a duplicate)."""
    token = uuid.uuid4()
    row = connection.execute(
        statements.CLAIM,
        {
            "photo_id": photo_id, "token": token, "worker_name": worker,
            "lease": timedelta(seconds=lease_seconds),
        },
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    return Claim(
        photo_id, token, row.collection_id, row.contract_id, row.person_id, row.sha256, row.request_id
    )


def renew(connection: Connection, tokens: Sequence[uuid.UUID], lease_seconds: float) -> None:
    connection.execute(
        update(Photo)
        .where(Photo.claim.in_(tokens), Photo.state == "processing")
        .values(lease_until=func.now() + timedelta(seconds=lease_seconds))
    )


def finish(connection: Connection, held: Claim, faces: Sequence[DetectedFace]) -> None:
    """Write the faces and end the row as `done`, in one statement; LeaseLost writes nothing."""
    reason = None
    if held.person_id is not None and len(faces) != 1:
        reason = f"the photo shows {len(faces)} faces, so none was given the person's name"
    _end(connection, held, "done", "person_not_assigned" if reason else None, reason, faces)


def give_back(connection: Connection, held: Claim) -> None:
    """Let the reconciler queue the photo again; this attempt does not count."""
    connection.execute(
        update(Photo)
        .where(Photo.id == held.photo_id, Photo.claim == held.token, Photo.state == "processing")
        .values(state="received", claim=None, lease_until=None, attempts=Photo.attempts - 1)
    )


def fail(connection: Connection, held: Claim, code: str, message: str) -> None:
    """End the row as `failed`, keeping why."""
    _end(connection, held, "failed", code, message, ())


def _end(
    connection: Connection,
    held: Claim,
    state: str,
    code: str | None,
    message: str | None,
    faces: Sequence[DetectedFace],
) -> None:
    ended = connection.execute(
        statements.END,
        {
            "photo_id": held.photo_id, "token": held.token, "in_collection": held.collection_id,
            "end_state": state, "code": code, "message": message,
            "shown_person": held.person_id if len(faces) == 1 else None,
            "new_faces": [_row(position, face) for position, face in enumerate(faces)],
            "new_count": len(faces),
        },
    ).scalar_one()  # fmt: skip
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
    """pgvector's own form; a JSON list would be made a number type of PostgreSQL's first."""
    return "[" + ",".join(map(str, embedding.astype(float).round(EMBEDDING_DECIMALS).tolist())) + "]"


def release_lapsed(session: Session, *, max_attempts: int, worker: str | None = None) -> int:
    """Take back photos whose lease lapsed, or all of `worker`'s; returns how many.

    A photo that ended `max_attempts` workers is failed: it would end the next one too.
    """
    lapsed = Photo.worker == worker if worker is not None else Photo.lease_until < func.now()
    lost = and_(Photo.state == "processing", lapsed)
    session.execute(
        update(Photo)
        .where(lost, Photo.attempts >= max_attempts)
        .values(
            state="failed", claim=None, lease_until=None, finished_at=func.now(),
            reason_code="worker_lost",
            reason_message=f"{max_attempts} workers ended or ran out of time while processing this photo",
        )
    )  # fmt: skip
    released = session.scalars(
        update(Photo).where(lost).values(state="received", claim=None, lease_until=None).returning(Photo.id)
    ).all()
    return len(released)


def waiting_older_than(session: Session, seconds: float) -> dict[uuid.UUID, str]:
    """Waiting rows that should have a message in Redis by now, oldest first: id -> state."""
    limit = func.now() - timedelta(seconds=seconds)
    rows = session.execute(
        select(Photo.id, Photo.state)
        .where(
            Photo.state.in_(WAITING),
            Photo.received_at < limit,
            or_(Photo.queued_at.is_(None), Photo.queued_at < limit, Photo.state == "received"),
        )
        .order_by(Photo.received_at)
    ).all()
    return {row.id: row.state for row in rows}


def states(session: Session) -> dict[str, int]:
    """Rows in each state that is not final."""
    rows = session.execute(
        select(Photo.state, func.count()).where(Photo.state.in_(UNFINISHED)).group_by(Photo.state)
    ).all()
    return {row[0]: row[1] for row in rows}


def failed(session: Session) -> int:
    """Photos that failed and were not deleted since."""
    return session.scalar(select(func.count()).where(Photo.state == "failed")) or 0


def oldest_waiting(session: Session) -> datetime | None:
    return session.scalar(select(func.min(Photo.received_at)).where(Photo.state.in_(WAITING)))
