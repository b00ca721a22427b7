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
from typing import NamedTuple
from typing import cast as cast_type

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Connection, Index, Table, cast, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateIndex, DropIndex

from face_pipeline.store.database import our_errors
from face_pipeline.store.models import Collection, Face, FaceVector


class Graph(NamedTuple):
    """What an HNSW index is built with: ways from each face (`m`), and candidates when one is put in.

    Left out, what pgvector takes.
    """

    m: int = 16
    ef_construction: int = 64


# Below this an exact scan of one collection is as quick as the index, and complete.
INDEX_FROM_FACES = 16_000
# (dimensions up to, faces from, graph), the first that fits a collection; else the plain one. In few
# dimensions more strangers lie near a face, and a walk needs more ways past them (docs/sizing.md).
GRAPHS = ((256, 300_000, Graph(32, 128)),)
PLAIN_GRAPH = Graph()
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
TAKE_ITS_PLACE = """
DO $$ BEGIN
  ALTER INDEX IF EXISTS {0} RENAME TO {0}_old;
  ALTER INDEX {0}_new RENAME TO {0};
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


def graph_of(collection: Collection, memory: int) -> Graph:
    """What the index of the collection is to be built with, at its dimension and size, in `memory` bytes.

    A build whose graph has no room in memory takes hours: then the plain graph, which is smaller.
    """
    for dimensions, faces, graph in GRAPHS:
        fits = collection.face_count * _bytes_of_face(graph, collection.dimension) <= memory
        if collection.dimension <= dimensions and collection.face_count >= faces and fits:
            return graph
    return PLAIN_GRAPH


def _bytes_of_face(graph: Graph, dimension: int) -> int:
    """While the graph is built: the embedding, twice `m` ways of 16 bytes, and what else pgvector keeps."""
    return 2 * dimension + 32 * graph.m + 200


def _memory_of_build(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))")))


def outgrown(connection: Connection) -> Sequence[Collection]:
    """Collections that are too large for an exact scan or for their index's graph, or whose index is gone.

    One that shrank keeps its graph, so that none is built anew each time that it grows and shrinks.
    """
    large = select(Collection).where((Collection.face_count >= INDEX_FROM_FACES) | Collection.index_ready)
    graphs, memory = _graphs(connection), _memory_of_build(connection)
    return [
        each
        for each in Session(connection).scalars(large.order_by(Collection.id))
        if not each.index_ready or graphs.get(index_name(each.id), Graph(0, 0)) < graph_of(each, memory)
    ]


def _graphs(connection: Connection) -> dict[str, Graph]:
    """What each index that is there was built with."""
    rows = connection.execute(
        text(
            "SELECT relname, reloptions FROM pg_class WHERE relkind = 'i' AND pg_table_is_visible(oid)"
            " AND starts_with(relname, :prefix)"
        ),
        {"prefix": INDEX_PREFIX},
    )
    given = {row.relname: dict(each.split("=") for each in row.reloptions or ()) for row in rows}
    return {
        name: Graph(**{each: int(options[each]) for each in Graph._fields if each in options})
        for name, options in given.items()
    }


def indexed(session: Session) -> Sequence[Collection]:
    return session.scalars(select(Collection).where(Collection.index_ready)).all()


def build(connection: Connection, collection: Collection) -> str:
    """Build the index of the collection and let searches use it; returns its name.

    In a connection that commits each statement by itself, by whoever alone builds: CONCURRENTLY, so that
    uploads and searches go on meanwhile, and beside the index that searches use until then, if there is one.
    What a build that was broken off left is dropped first.
    Raises DatabaseBusy where transactions that write faces take so long that photos would have to wait.
    """
    with our_errors():
        _keep_vectors(connection, collection)
    if extension_version(connection) < PARALLEL_BUILD_FROM:
        connection.execute(text("SET max_parallel_maintenance_workers = 0"))
    graph = graph_of(collection, _memory_of_build(connection))
    name = index_name(collection.id)
    former, new = (_hnsw(collection, graph, f"{name}_{which}") for which in ("old", "new"))
    for left in (former, new):
        connection.execute(DropIndex(left, if_exists=True))
    connection.execute(CreateIndex(new))
    connection.execute(text(TAKE_ITS_PLACE.format(name)))
    connection.execute(
        update(Collection)
        .where(Collection.id == collection.id)
        # Of an index before, what was found tells nothing.
        .values(index_ready=True, index_ef=None, index_found=None, index_faces=None, index_measured_at=None)
    )
    connection.execute(DropIndex(former, if_exists=True))
    return name


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
    embeddings, those of builds that were broken off, and those that a release before this one had on `faces`;
    returns how many.

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


def _hnsw(collection: Collection, graph: Graph, name: str) -> Index:
    """Over the inner product of unit vectors, of this collection's faces alone."""
    embedding = cast(FaceVector.embedding, HALFVEC(collection.dimension))
    return Index(
        name,
        embedding.label("embedding"),
        postgresql_concurrently=True,
        postgresql_using="hnsw",
        postgresql_with=graph._asdict(),
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_where=FaceVector.collection_id == collection.id,
        _table=cast_type(Table, FaceVector.__table__),
    )
