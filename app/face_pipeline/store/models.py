"""The tables. Migrations in `migrations/` are what makes them; this is what the code sees."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import ARRAY, BigInteger, Enum, ForeignKey, Identity, Text, func
from sqlalchemy.dialects.postgresql import JSONB, REAL, TIMESTAMP, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class State(StrEnum):
    """Where a photo of the ledger is, in the order in which it gets there."""

    RECEIVED = "received"
    QUEUED = "queued"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


WAITING = (State.RECEIVED, State.QUEUED)
UNFINISHED = (*WAITING, State.PROCESSING)


class Reason(StrEnum):
    """Why a photo failed or its face has no name, where no error says so by a code of its own."""

    CONTRACT_MISMATCH = "contract_mismatch"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    ENGINE_ERROR = "engine_error"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_LOST = "worker_lost"
    # The photo shows nobody, or several.
    PERSON_NOT_ASSIGNED = "person_not_assigned"
    # It is another's.
    PERSON_DIFFERS = "person_differs"


class Scope(StrEnum):
    """What an API key may do; `admin` includes the others, `write` does not include `read`."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it from the class)
        datetime: TIMESTAMP(timezone=True),
        uuid.UUID: UUID(as_uuid=True),
        str: Text,
        float: REAL,
        # The words themselves, in a column of text.
        State: Enum(State, native_enum=False, values_callable=list),
    }


class ApiKey(Base):
    """An API key; only the SHA-256 of its text is kept."""

    __tablename__ = "api_keys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(unique=True)
    key_hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class Collection(Base):
    """A set of faces that are compared with each other; bound to one engine contract.

    `version` grows with every change of its faces, in the same transaction: cached answers carry it.
    """

    __tablename__ = "collections"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    contract_id: Mapped[str]
    dimension: Mapped[int]
    version: Mapped[int] = mapped_column(BigInteger, default=0)
    face_count: Mapped[int] = mapped_column(BigInteger, default=0)
    index_ready: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Person(Base):
    """Somebody with a name, as typed first; `name_key` is what all spellings of it share (persons.name_key).

    No key: an earlier person of the collection has it. Both were there before keys were.
    """

    __tablename__ = "persons"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    name: Mapped[str]
    name_key: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Batch(Base):
    """The photos of one upload request."""

    __tablename__ = "batches"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    collection: Mapped[Collection] = relationship()


class BatchPhoto(Base):
    """Which photos a request named; a photo uploaded again belongs to several batches."""

    __tablename__ = "batch_photos"

    batch_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    photo_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True)


class Photo(Base):
    """A row of the ledger: the truth about one accepted photo.

    `claim` is the token of the worker run that holds it while `processing`; `lease_until` is when that
    claim lapses unless renewed.
    """

    __tablename__ = "photos"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id"))
    person_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("persons.id", ondelete="SET NULL"))
    sha256: Mapped[str]
    filename: Mapped[str]
    media_type: Mapped[str]
    byte_size: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    request_id: Mapped[str | None]
    state: Mapped[State] = mapped_column(default=State.RECEIVED)
    attempts: Mapped[int] = mapped_column(default=0)
    reason_code: Mapped[str | None]
    reason_message: Mapped[str | None]
    claim: Mapped[uuid.UUID | None]
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    collection: Mapped[Collection] = relationship()
    person: Mapped[Person | None] = relationship()
    faces: Mapped[list[Face]] = relationship(order_by="Face.position", back_populates="photo")


class Face(Base):
    """One face on a photo. `embedding`: halfvec, shape (dimension,), L2 norm 1."""

    __tablename__ = "faces"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    photo_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"))
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    person_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("persons.id", ondelete="SET NULL"))
    position: Mapped[int]
    bbox: Mapped[list[float]] = mapped_column(ARRAY(REAL))
    landmarks: Mapped[list[list[float]]] = mapped_column(JSONB)
    detection_score: Mapped[float]
    quality: Mapped[float]
    embedding: Mapped[Any] = mapped_column(HALFVEC)

    photo: Mapped[Photo] = relationship(back_populates="faces")
    person: Mapped[Person | None] = relationship()
