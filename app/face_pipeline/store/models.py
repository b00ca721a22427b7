"""The tables. Migrations in `migrations/` are what makes them; this is what the code sees."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Identity,
    LargeBinary,
    SmallInteger,
    Text,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL, TIMESTAMP, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import UserDefinedType


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
    # Its collection has nobody of that name.
    PERSON_NOT_THERE = "person_not_there"


class OriginalFault(StrEnum):
    """What is wrong with the file of a photo: it is not there, or has other bytes than were sent."""

    MISSING = "missing"
    DAMAGED = "damaged"


class LookOutcome(StrEnum):
    """What became of a photo that another model pack was to look at: it was looked at, its original is not
    there or has other bytes than were sent, or the pack cannot use it."""

    DONE = "done"
    MISSING = "missing"
    DAMAGED = "damaged"
    REFUSED = "refused"


class Scope(StrEnum):
    """What an API key may do; `admin` includes the others, no other scope includes another.

    `write` puts photos in, `enrol` says who is on them, `erase` takes out what was put in.
    """

    READ = "read"
    WRITE = "write"
    ENROL = "enrol"
    ERASE = "erase"
    ADMIN = "admin"


class ActorKind(StrEnum):
    """Who acts: a program with a key, somebody signed in, an operator on a host, or the service itself."""

    KEY = "key"
    SESSION = "session"
    COMMAND = "command"
    SERVICE = "service"


class Outcome(StrEnum):
    """How an action that the audit tells of ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class Service(StrEnum):
    """A service of CompreFace, as its clients know them: each has keys of its own."""

    RECOGNITION = "recognition"
    DETECTION = "detection"
    VERIFICATION = "verification"


class EventKind(StrEnum):
    """What the outbox tells of; a face of a photo is either somebody or nobody when the photo ends."""

    PHOTO_DONE = "photo.done"
    PHOTO_FAILED = "photo.failed"
    PERSON_SEEN = "person.seen"
    FACE_UNKNOWN = "face.unknown"


class DeliveryState(StrEnum):
    """Where an event is on its way to a web hook."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class XID8(UserDefinedType[int]):
    """PostgreSQL's number of a transaction, which never comes again (64 bits)."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"

    def bind_processor(self, dialect: Dialect) -> Callable[[int | None], str | None]:
        del dialect
        # As text: no number type of PostgreSQL's becomes one.
        return lambda value: None if value is None else str(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], int | None]:
        del dialect, coltype
        return lambda value: None if value is None else int(value)


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it from the class)
        datetime: TIMESTAMP(timezone=True),
        uuid.UUID: UUID(as_uuid=True),
        str: Text,
        float: REAL,
        # The words themselves, in a column of text.
        State: Enum(State, native_enum=False, values_callable=list),
        OriginalFault: Enum(OriginalFault, native_enum=False, values_callable=list),
        LookOutcome: Enum(LookOutcome, native_enum=False, values_callable=list),
    }


class ApiKey(Base):
    """An API key; only the SHA-256 of its text is kept.

    `collections`: the names of those it reaches, None: all. `last_used_at` is right to a minute. The text
    that it had before it was rotated works until `previous_until`. `requests_per_minute`: None: as many as
    the installation lets a key, 0: any number. Of a name one key at most is in use. `service`: its text is a
    UUID, and it is for the calls of that service alone, in the one collection that it reaches; None: it is
    for our own calls. `quota_photos`, `quota_bytes`: as a collection's, of what it has put in.
    """

    __tablename__ = "api_keys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str]
    key_hash: Mapped[str] = mapped_column(unique=True)
    previous_hash: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    collections: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    requests_per_minute: Mapped[int | None]
    quota_photos: Mapped[int | None] = mapped_column(BigInteger)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    service: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    rotated_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class BrowserSession(Base):
    """Somebody signed in to the pages; only the SHA-256 of the cookie's text is kept.

    `key_hash`: of the key's text that it was opened with; it lasts no longer than that text works.
    `last_used_at` is right to a minute. `user_agent`: what the browser calls itself.
    """

    __tablename__ = "sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[str] = mapped_column(unique=True)
    key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    key_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    key: Mapped[ApiKey] = relationship()


class KeyAddress(Base):
    """A network (/24, of IPv6 /64) from which a key was used, right to an hour (key_addresses.py).

    `is_new`: the key was used from others before.
    """

    __tablename__ = "key_addresses"

    key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    network: Mapped[str] = mapped_column(primary_key=True)
    is_new: Mapped[bool]
    first_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Collection(Base):
    """A set of faces that are compared with each other; bound to one engine contract.

    `other_contract_id`: the contract that it is being moved to, or was moved from a while ago
    (reembedding.py), None: neither. A process with that pack has to wait; it is not the wrong one.

    `version` grows with every change of its faces, in the same transaction: cached answers carry it.
    `vectors_kept`: the database copies its faces' embeddings into `face_vectors`; `index_ready`: they are all
    there, and indexed. The column `index_ready` is the release's before, whose index was on `faces`.
    `other_vectors_kept`, `other_index_ready`: the same of what the other pack made, in `second_vectors`.
    `vectors_turned`: the two tables have changed places.
    `index_found`: the share (0 to 1) of true matches that the index found with `index_ef` candidates, when it
    was measured and the collection had `index_faces` faces (probing.py); all None: it was not measured yet.
    `originals_days`, `unknown_faces_days`: how long they are kept (retention.py), None: for good.
    `originals_expired`, `faces_expired`: how many went by that.
    `quota_photos`, `quota_bytes`: how many it may hold, and of how many bytes (quotas.py), None: any number.
    """

    __tablename__ = "collections"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    contract_id: Mapped[str]
    dimension: Mapped[int]
    other_contract_id: Mapped[str | None]
    version: Mapped[int] = mapped_column(BigInteger, default=0)
    face_count: Mapped[int] = mapped_column(BigInteger, default=0)
    vectors_kept: Mapped[bool] = mapped_column(server_default=false())
    index_ready: Mapped[bool] = mapped_column("vectors_indexed", server_default=false())
    vectors_turned: Mapped[bool] = mapped_column(server_default=false())
    other_vectors_kept: Mapped[bool] = mapped_column(server_default=false())
    other_index_ready: Mapped[bool] = mapped_column("other_vectors_indexed", server_default=false())
    index_ef: Mapped[int | None]
    index_found: Mapped[float | None]
    index_faces: Mapped[int | None] = mapped_column(BigInteger)
    index_measured_at: Mapped[datetime | None]
    originals_days: Mapped[int | None]
    unknown_faces_days: Mapped[int | None]
    originals_expired: Mapped[int] = mapped_column(BigInteger, server_default="0")
    faces_expired: Mapped[int] = mapped_column(BigInteger, server_default="0")
    quota_photos: Mapped[int | None] = mapped_column(BigInteger)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Person(Base):
    """Somebody with a name, as typed first; `name_key` is what all spellings of it share (persons.name_key).

    No key: an earlier person of the collection has it. Both were there before keys were. `external_id` is
    what the operator's other systems call them; `details` is theirs too, and never read here. `version`
    grows with every change of the row. `by_hand`: made or changed by somebody, and not by an upload alone;
    stays without photos too. `cover_face_id`: the face that pictures show of them; counts only while it is
    theirs, None: the best one.
    """

    __tablename__ = "persons"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    name: Mapped[str]
    name_key: Mapped[str | None]
    external_id: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    version: Mapped[int] = mapped_column(BigInteger, server_default="1")
    by_hand: Mapped[bool] = mapped_column(server_default=false())
    cover_face_id: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    collection: Mapped[Collection] = relationship()


class Merge(Base):
    """A person that became part of another one, and all that is needed to take them apart again.

    `removed` is the row of the person that is gone; `faces` and `photos` are the ids that were theirs. All
    three are empty once it cannot be undone any more (merges.py).
    """

    __tablename__ = "merges"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    kept_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"))
    removed: Mapped[dict[str, Any]] = mapped_column(JSONB)
    faces: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(UUID(as_uuid=True)))
    photos: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(UUID(as_uuid=True)))
    merged_at: Mapped[datetime] = mapped_column(server_default=func.now())
    undo_until: Mapped[datetime]
    undone_at: Mapped[datetime | None]


class AuditEntry(Base):
    """One action: who did what, on whom, from where, and how it ended. Rows are only ever added.

    `subject` is the id of what was acted on, as text; `details` holds counts and names of fields, never a
    name of a person, an image or an embedding.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor_kind: Mapped[str]
    actor_id: Mapped[uuid.UUID | None]
    actor_name: Mapped[str]
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    action: Mapped[str]
    collection: Mapped[str | None]
    subject: Mapped[str | None]
    outcome: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")


class AuditSeal(Base):
    """Where an entry of the audit is in its chain, from 1, and the hash that seals it (store/chain.py)."""

    __tablename__ = "audit_seals"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    entry: Mapped[int] = mapped_column(BigInteger, unique=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditUnsealed(Base):
    """An entry that has no seal yet. The database itself adds a row for each entry."""

    __tablename__ = "audit_unsealed"

    entry: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now())


class AuditBrought(Base):
    """An entry that waited on a host while nobody led the database (store/spool.py): its id there."""

    __tablename__ = "audit_brought"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class AuditCheck(Base):
    """The last check of the chain: how many entries fitted it, and the fault that ended it, None: none."""

    __tablename__ = "audit_checks"

    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    entries: Mapped[int] = mapped_column(BigInteger)
    fault: Mapped[str | None]


class KeptAnswer(Base):
    """The answer to a request with an idempotency key, or, without a status, who is about to give it.

    `token` is that of the request that answers, and `lease_until` when it counts as dead unless it renews it.
    `body` None: the answer is not kept; `made` is then the id of what the request made.
    """

    __tablename__ = "kept_answers"

    key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    token: Mapped[uuid.UUID]
    lease_until: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    status: Mapped[int | None]
    headers: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    body: Mapped[str | None]
    made: Mapped[str | None]


class Cluster(Base):
    """Unknown faces that look like one person. The id stays while it grows; people set `hidden` alone."""

    __tablename__ = "clusters"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    hidden: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    collection: Mapped[Collection] = relationship()


class ClusterFace(Base):
    """A face that was looked at, and its cluster, None: it is like no other.

    Counts only while the face is still of `collection_id` and nobody's: who names, moves or erases a face
    need not know of this. A table of its own: to change a row of `faces` is to write it into the vector index
    anew.
    """

    __tablename__ = "cluster_faces"

    face_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True)
    collection_id: Mapped[int] = mapped_column(BigInteger)
    cluster_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("clusters.id", ondelete="CASCADE"))


class ClusterRun(Base):
    """The last look at a collection, when all faces of its `version` were looked at; what it found."""

    __tablename__ = "cluster_runs"

    collection_id: Mapped[int] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(BigInteger)
    unknown_faces: Mapped[int] = mapped_column(BigInteger)
    clusters: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float]
    ended_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Event(Base):
    """Something that happened to a photo, written in the transaction in which it happened.

    Events are in the order (xid, number): `xid` is the transaction's, and only those of transactions that are
    all over are read (store/events.py). `collection_id`, `photo_id`, `face_id` and `person_id` may be gone by
    then. `id` is for who reads.
    """

    __tablename__ = "events"

    xid: Mapped[int] = mapped_column(XID8, primary_key=True, server_default=func.pg_current_xact_id())
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(server_default=func.gen_random_uuid())
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[str]
    collection_id: Mapped[int] = mapped_column(BigInteger)
    photo_id: Mapped[uuid.UUID]
    face_id: Mapped[uuid.UUID | None]
    person_id: Mapped[uuid.UUID | None]
    face_count: Mapped[int | None]
    reason_code: Mapped[str | None]


class Hook(Base):
    """A receiver of events. `collections`: the names of those it hears of, None: all.

    It has what is not behind (`xid`, `number`). `salt` and the installation's key make its secret, which is
    kept nowhere; that of `old_salt` signs too until `old_until`.
    """

    __tablename__ = "hooks"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    url: Mapped[str]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    collections: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None]
    salt: Mapped[str]
    old_salt: Mapped[str | None]
    old_until: Mapped[datetime | None]
    xid: Mapped[int] = mapped_column(XID8)
    number: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class HookDelivery(Base):
    """One event on its way to one hook; a hook has one that waits at most, and its tests.

    `event_id` is what the receiver gets as its id; a test has no place (`xid`, `number`) among the events.
    """

    __tablename__ = "hook_deliveries"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    hook_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("hooks.id", ondelete="CASCADE"))
    kind: Mapped[str]
    event_id: Mapped[uuid.UUID]
    xid: Mapped[int | None] = mapped_column(XID8)
    number: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    first_tried_at: Mapped[datetime | None]
    last_tried_at: Mapped[datetime | None]
    next_try_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    last_answer: Mapped[str | None]
    last_error: Mapped[str | None]


class Batch(Base):
    """The photos of one upload request, or of several that name it."""

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
    claim lapses unless renewed. `key_id`: the key that put it in, None: nobody knows. `original_removed_at`:
    when its collection's retention took the original. `original_fault`: what the indexer found wrong with it.
    """

    __tablename__ = "photos"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id"))
    person_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("persons.id", ondelete="SET NULL"))
    key_id: Mapped[uuid.UUID | None]
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
    original_removed_at: Mapped[datetime | None]
    original_fault: Mapped[OriginalFault | None]

    collection: Mapped[Collection] = relationship()
    person: Mapped[Person | None] = relationship()
    faces: Mapped[list[Face]] = relationship(order_by="Face.position", back_populates="photo")


class OriginalRound(Base):
    """The last time that all originals were read, in the order of their names, or are being read.

    `after`: the first digits of the name that was read last; empty before the first and after the last.
    """

    __tablename__ = "original_rounds"

    began_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    ended_at: Mapped[datetime | None]
    after: Mapped[str] = mapped_column(server_default="")


class CopyRound(Base):
    """A host that keeps copies of originals, and the last comparison of what it has with the ledger.

    A round goes through the first two digits of names, 0 to 255: `place` is where it goes on, `found` and
    `lacking` count its copies so far. `held` and `missing` are of the last whole one.
    """

    __tablename__ = "copy_rounds"

    host: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    found: Mapped[int] = mapped_column(BigInteger, server_default="0")
    lacking: Mapped[int] = mapped_column(BigInteger, server_default="0")
    held: Mapped[int] = mapped_column(BigInteger, server_default="0")
    missing: Mapped[int] = mapped_column(BigInteger, server_default="0")
    ended_at: Mapped[datetime | None]
    away_since: Mapped[datetime | None]


class PhotoUsage(Base):
    """A change of what a collection holds and a key has put in: photos, and bytes of their originals.

    The database itself adds one with each statement that adds or removes photos; their sum counts.
    """

    __tablename__ = "photo_usage"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    collection_id: Mapped[int] = mapped_column(BigInteger)
    key_id: Mapped[uuid.UUID | None]
    photos: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)


class Thumbnail(Base):
    """A small picture of a photo, a JPEG, made by `recipe` (engine/thumbnails.py).

    A row of the database and no file: it comes with the faces in one statement, goes with its photo by
    itself, and is in each backup. Photos of an earlier release have none until somebody asks for it.
    """

    __tablename__ = "thumbnails"

    photo_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True)
    recipe: Mapped[int] = mapped_column(SmallInteger)
    picture: Mapped[bytes] = mapped_column(LargeBinary)


class Face(Base):
    """One face on a photo. `embedding`: halfvec, shape (dimension,), L2 norm 1.

    All zeros: the pack that its collection was moved to made none of it (reembedding.py). Nobody finds it,
    for its cosine to everybody is 0.

    One that came as an embedding has no photo: box and landmarks are zeros, and both scores 1, for nobody
    measured them.
    """

    __tablename__ = "faces"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    photo_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"))
    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    person_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("persons.id", ondelete="SET NULL"))
    position: Mapped[int]
    bbox: Mapped[list[float]] = mapped_column(ARRAY(REAL))
    landmarks: Mapped[list[list[float]]] = mapped_column(JSONB)
    detection_score: Mapped[float]
    quality: Mapped[float]
    embedding: Mapped[Any] = mapped_column(HALFVEC)

    photo: Mapped[Photo | None] = relationship(back_populates="faces")
    person: Mapped[Person | None] = relationship()
    collection: Mapped[Collection] = relationship()


class Removal(Base):
    """An original whose row is gone, and which a slow disk has still."""

    __tablename__ = "removals"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Erasure(Base):
    """Something that was erased: the id of a photo, a face or a person (`what`), and nothing else of it."""

    __tablename__ = "erasures"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    what: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class Vector(Base):
    """What the vector index of a large collection is made of: the faces' embeddings, in rows of their own.

    To change a row is to write it into the index anew, and a face changes with its person. Triggers on
    `faces` keep them (migrations 0011, 0023), for collections with `vectors_kept`; nothing else writes here
    but who begins to keep them (indexes.py).
    """

    __abstract__ = True

    face_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True)
    collection_id: Mapped[int] = mapped_column(BigInteger)
    quality: Mapped[float]
    embedding: Mapped[Any] = mapped_column(HALFVEC)


class FaceVector(Vector):
    """Of what is searched; of a collection with `vectors_turned`, of what the other pack made."""

    __tablename__ = "face_vectors"


class SecondVector(Vector):
    """Of what the other pack made, where that is indexed; with `vectors_turned`, of what is searched.

    Triggers on `face_embeddings` keep what the other pack made, for collections with `other_vectors_kept`.
    """

    __tablename__ = "second_vectors"


class Reembedding(Base):
    """Collections are moved from the embeddings of one model pack to those of another: the only row, or none.

    `source_*` is what they are moved from, `target_*` what to; the way back is the other way round. `pack`:
    the directory of each; `threshold`: its own. `through_at`: when all photos had been looked at, last.
    What follows is as whoever looks at photos left it (`looked_at`): photos by what became of them, faces
    that would be left behind, and of how many `searches` both packs find the same person, or nobody
    (`agreed`), and each the right one (`right_*`).
    `shadow_percent`: of so many searches of people the other pack is asked too (actions/shadows.py); how many
    were, their faces, those that it did not find (`unfound`); of the others for how many both packs find the
    same person or nobody, and the same face, and the sum of the shares of matches that both have (0 to 1).
    """

    __tablename__ = "reembeddings"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="1")
    source_contract: Mapped[str]
    source_pack: Mapped[str]
    source_dimension: Mapped[int]
    source_threshold: Mapped[float]
    target_contract: Mapped[str]
    target_pack: Mapped[str]
    target_dimension: Mapped[int]
    target_threshold: Mapped[float]
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    through_at: Mapped[datetime | None]
    looked_at: Mapped[datetime | None]
    photos_waiting: Mapped[int] = mapped_column(BigInteger, server_default="0")
    photos_done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    photos_missing: Mapped[int] = mapped_column(BigInteger, server_default="0")
    photos_damaged: Mapped[int] = mapped_column(BigInteger, server_default="0")
    photos_refused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    faces_left: Mapped[int] = mapped_column(BigInteger, server_default="0")
    searches: Mapped[int] = mapped_column(BigInteger, server_default="0")
    agreed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    right_source: Mapped[int] = mapped_column(BigInteger, server_default="0")
    right_target: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shadow_percent: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shadow_searches: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shadow_faces: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shadow_unfound: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shadow_person: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shadow_face: Mapped[int] = mapped_column(BigInteger, server_default="0")
    shadow_shared: Mapped[float] = mapped_column(Double, server_default="0")


class ReembeddingPhoto(Base):
    """A photo that the other pack need not look at again; `more_faces`: those that it alone finds."""

    __tablename__ = "reembedding_photos"

    photo_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True)
    outcome: Mapped[LookOutcome]
    more_faces: Mapped[int]


class FaceEmbedding(Base):
    """The embedding of a face by the other pack: the one that its collection is moved to, or was moved from.

    Nobody searches among them: a switch exchanges them for those of `faces`. They go with their faces.
    """

    __tablename__ = "face_embeddings"

    face_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True)
    embedding: Mapped[Any] = mapped_column(HALFVEC)
