"""The HNSW indexes of large collections, and how they are built.

One a collection, and not one for all: HNSW filters after it has walked the graph, so that an index over
several collections finds too little in the small ones (docs/architecture.md, Search). They are on
`face_vectors`, whose rows stay as they are while faces change hands: a new version of a row is put into the
graph anew, which reads thousands of pages.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast as cast_type

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Connection, Index, Table, cast, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateIndex, DropIndex

from face_pipeline.store.database import our_errors
from face_pipeline.store.models import Collection, Face, FaceVector

# Below this an exact scan of one collection is as quick as the index, and complete.
INDEX_FROM_FACES = 16_000
HNSW_M = 16
HNSW_EF_CONSTRUCTION = 64
# 0.8.2 mended a buffer overflow in parallel HNSW builds.
PARALLEL_BUILD_FROM = (0, 8, 2)
BUILDER_LOCK = 7_312_005
INDEX_PREFIX = "faces_hnsw_"
# Faces are locked against changes while their embeddings are copied, so many at once.
COPIED_AT_ONCE = 2000
# Whoever writes faces waits behind the one who waits for this lock.
BEGIN_TO_KEEP = """
DO $$ BEGIN
  SET LOCAL lock_timeout = '5s';
  LOCK TABLE faces IN SHARE ROW EXCLUSIVE MODE;
  UPDATE collections SET vectors_kept = true WHERE id = {:d};
END $$
"""


def index_name(collection_id: int) -> str:
    return f"{INDEX_PREFIX}{collection_id}"


def extension_version(session: Session | Connection) -> tuple[int, ...]:
    """The version of pgvector in this database, (0,) where it has none."""
    version = session.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    return tuple(int(part) for part in str(version or "0").split("."))


@contextmanager
def only_builder(connection: Connection) -> Iterator[bool]:
    """Whether nobody else builds indexes while this lasts."""
    alone = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": BUILDER_LOCK}))
    try:
        yield alone
    finally:
        # The lock is the connection's, which goes back to its pool; one that broke has lost it.
        if alone and not connection.invalidated:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": BUILDER_LOCK})


def outgrown(connection: Connection) -> Sequence[Collection]:
    """Collections that are too large for an exact scan and have no index."""
    return (
        Session(connection)
        .scalars(
            select(Collection).where(
                Collection.face_count >= INDEX_FROM_FACES, Collection.index_ready.is_(False)
            )
        )
        .all()
    )


def indexed(session: Session) -> Sequence[Collection]:
    return session.scalars(select(Collection).where(Collection.index_ready)).all()


def build(connection: Connection, collection: Collection) -> str:
    """Build the index of the collection and let searches use it; returns its name.

    In a connection that commits each statement by itself: CONCURRENTLY, so that uploads and searches go on
    meanwhile. A build that was broken off leaves an invalid index, which is dropped first.
    Raises DatabaseBusy where transactions that write faces take so long that photos would have to wait.
    """
    _begin_to_build(connection, collection)
    index = _hnsw(collection)
    connection.execute(DropIndex(index, if_exists=True))
    connection.execute(CreateIndex(index))
    return _ready(connection, collection)


def rebuild(connection: Connection, collection: Collection) -> str:
    """Build the index of the collection anew, beside the one that searches use until then; returns its name.

    In a connection that commits each statement by itself, by whoever alone builds; raises as `build`.
    """
    name = index_name(collection.id)
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is None:
        return build(connection, collection)
    _begin_to_build(connection, collection)
    connection.execute(text(f"REINDEX INDEX CONCURRENTLY {name}"))
    return _ready(connection, collection)


def _begin_to_build(connection: Connection, collection: Collection) -> None:
    with our_errors():
        _keep_vectors(connection, collection)
    if extension_version(connection) < PARALLEL_BUILD_FROM:
        connection.execute(text("SET max_parallel_maintenance_workers = 0"))


def _ready(connection: Connection, collection: Collection) -> str:
    connection.execute(
        update(Collection)
        .where(Collection.id == collection.id)
        # Of an index before, what was found tells nothing.
        .values(index_ready=True, index_ef=None, index_found=None, index_faces=None, index_measured_at=None)
    )
    return index_name(collection.id)


def _keep_vectors(connection: Connection, collection: Collection) -> None:
    """Have the embeddings of all faces of the collection in `face_vectors`, from now on."""
    kept = select(Collection.vectors_kept).where(Collection.id == collection.id)
    if not connection.scalar(kept):
        # Nobody who writes faces now began before it was known.
        connection.execute(text(BEGIN_TO_KEEP.format(collection.id)))
    after: uuid.UUID | None = uuid.UUID(int=0)
    while after is not None:
        after = _copy_some(connection, collection, after)


def _copy_some(connection: Connection, collection: Collection, after: uuid.UUID) -> uuid.UUID | None:
    """Copy the embeddings of the next faces behind `after`; returns the last one's id, None: no more."""
    behind = (Face.collection_id == collection.id, Face.id > after)
    last = connection.scalar(
        select(Face.id).where(*behind).order_by(Face.id).offset(COPIED_AT_ONCE - 1).limit(1)
    )
    some = select(Face.id, Face.collection_id, Face.quality, Face.embedding).where(*behind)
    if last is not None:
        some = some.where(Face.id <= last)
    connection.execute(
        insert(FaceVector)
        .from_select(
            ["face_id", "collection_id", "quality", "embedding"],
            some.order_by(Face.id).with_for_update(read=True),
        )
        .on_conflict_do_nothing()
    )
    return last


def drop_abandoned(connection: Connection) -> int:
    """Drop indexes that nobody reads: those of collections that were erased, which still hold their
    embeddings, and those that a release before this one had on `faces`; returns how many.

    In a connection that commits each statement by itself, as `build`, and by whoever alone builds.
    """
    there = {index_name(each) for each in connection.scalars(select(Collection.id))}
    built = connection.execute(
        text(
            "SELECT indexname, tablename FROM pg_indexes WHERE schemaname = current_schema()"
            " AND tablename IN ('faces', 'face_vectors') AND starts_with(indexname, :prefix)"
        ),
        {"prefix": INDEX_PREFIX},
    ).all()
    abandoned = sorted(
        row.indexname for row in built if row.tablename == "faces" or row.indexname not in there
    )
    if any(row.tablename == "faces" for row in built):
        # That release builds them again, should it come back.
        connection.execute(text("UPDATE collections SET index_ready = false WHERE index_ready"))
    for name in abandoned:
        index = Index(name, Face.id, postgresql_concurrently=True, _table=cast_type(Table, Face.__table__))
        connection.execute(DropIndex(index, if_exists=True))
    return len(abandoned)


def _hnsw(collection: Collection) -> Index:
    """Over the inner product of unit vectors, of this collection's faces alone."""
    embedding = cast(FaceVector.embedding, HALFVEC(collection.dimension))
    return Index(
        index_name(collection.id),
        embedding.label("embedding"),
        postgresql_concurrently=True,
        postgresql_using="hnsw",
        postgresql_with={"m": HNSW_M, "ef_construction": HNSW_EF_CONSTRUCTION},
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_where=FaceVector.collection_id == collection.id,
        _table=cast_type(Table, FaceVector.__table__),
    )
