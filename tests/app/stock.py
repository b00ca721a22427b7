"""Photos, faces and persons that are there, put in as the workers do and without one."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

from face_pipeline.parts import Parts
from face_pipeline.store import collections, ledger, persons
from face_pipeline.store.models import ApiKey, Collection, Face, Merge, Person, Photo
from sqlalchemy import func, select, text, update

from tests.app.test_ledger import a_face, make_database_old  # noqa: F401

TABLES = ("collections", "persons", "photos", "faces", "batches", "batch_photos", "merges")


def person(parts: Parts, name: str, collection: str = "default") -> uuid.UUID:
    with parts.database.transaction() as session:
        found = collections.open_collection(session, collection, parts.pack)
        return persons.open_person(session, found, name).id


def photo(
    parts: Parts,
    *shown: uuid.UUID | None,
    collection: str = "default",
    named: str | None = None,
    data: bytes | None = None,
    state: str = "done",
) -> uuid.UUID:
    """A photo with its original, whose faces are those of the persons `shown`, None: nobody's."""
    data = data or uuid.uuid4().bytes
    sha256 = hashlib.sha256(data).hexdigest()
    parts.originals.write({sha256: data})
    new = ledger.NewPhoto(sha256, "a.jpg", "image/jpeg", len(data), 100, 100)
    with parts.database.transaction() as session:
        found = collections.open_collection(session, collection, parts.pack)
        _, (accepted,) = ledger.accept(session, found, [new], person=named, request_id="request-1")
    if state == "received":
        return accepted.photo_id
    with parts.database.single_statements() as connection:
        held = ledger.claim(connection, accepted.photo_id, worker="w@tests", lease_seconds=600)
        assert held is not None
        if state == "failed":
            ledger.fail(connection, held, "engine_error", "the engine failed")
        elif state == "done":
            ledger.finish(connection, held, [a_face() for _ in shown])
    with parts.database.transaction() as session:
        for position, each in enumerate(shown):
            session.execute(
                update(Face)
                .where(Face.photo_id == accepted.photo_id, Face.position == position)
                .values(person_id=each)
            )
    return accepted.photo_id


def merge(parts: Parts, kept: uuid.UUID, removed: dict[str, Any], *, undone: bool = False) -> None:
    with parts.database.transaction() as session:
        session.add(
            Merge(
                collection_id=session.get_one(Person, kept).collection_id, kept_id=kept, removed=removed,
                faces=[], photos=[], undo_until=func.now(), undone_at=func.now() if undone else None,
            )
        )  # fmt: skip


def name_of(data: bytes) -> str:
    """Of an original."""
    return hashlib.sha256(data).hexdigest()


def sha256(parts: Parts, photo_id: uuid.UUID) -> str:
    with parts.database.transaction() as session:
        return session.get_one(Photo, photo_id).sha256


def has_file(parts: Parts, name: str) -> bool:
    return parts.originals.path(name).exists()


def files(parts: Parts) -> list[str]:
    return sorted(path.name for path in parts.originals.directory.rglob("*") if path.is_file())


def faces_of(parts: Parts, photo_id: uuid.UUID) -> Sequence[uuid.UUID]:
    with parts.database.transaction() as session:
        return session.scalars(select(Face.id).where(Face.photo_id == photo_id).order_by(Face.position)).all()


def rows(parts: Parts) -> dict[str, list[str]]:
    """All that the tables hold, as text."""
    with parts.database.transaction() as session:
        return {
            table: sorted(session.scalars(text(f"SELECT to_jsonb(t)::text FROM {table} t")))
            for table in TABLES
        }


def version(parts: Parts, collection: str = "default") -> int:
    with parts.database.transaction() as session:
        return session.scalars(select(Collection.version).where(Collection.name == collection)).one()


def check_consistent(parts: Parts) -> None:
    """Collections count their faces right, photos have their originals, no face is in another collection."""
    with parts.database.transaction() as session:
        # All of one moment: workers may go on.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        for collection in session.scalars(select(Collection)):
            counted = session.scalar(select(func.count()).where(Face.collection_id == collection.id))
            assert collection.face_count == counted, collection.name
        for each in session.scalars(select(Photo).where(Photo.original_removed_at.is_(None))):
            assert has_file(parts, each.sha256), f"photo {each.id} has lost its original"
        astray = select(Face.id).join(Photo).where(Face.collection_id != Photo.collection_id)
        assert not session.scalars(astray).all()


def audit(parts: Parts, action: str) -> list[dict[str, Any]]:
    """Entries of an action, the newest last: its subject, collection and details."""
    with parts.database.transaction() as session:
        found = session.execute(
            text("SELECT subject, collection, details FROM audit WHERE action = :action ORDER BY id"),
            {"action": action},
        )
        return [dict(each._mapping) for each in found]


def key(parts: Parts, *scopes: str, collections: list[str] | None = None) -> dict[str, str]:
    """The header of a new key."""
    shown = f"fp_{uuid.uuid4().hex}"
    with parts.database.transaction() as session:
        session.add(
            ApiKey(
                name=shown[-8:], key_hash=hashlib.sha256(shown.encode()).hexdigest(),
                scopes=list(scopes), collections=collections,
            )
        )  # fmt: skip
    return {"Authorization": f"Bearer {shown}"}
