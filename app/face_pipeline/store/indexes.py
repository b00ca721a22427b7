"""The HNSW indexes of large collections, and how they are built.

One a collection, and not one for all: HNSW filters after it has walked the graph, so that an index over
several collections finds too little in the small ones (docs/architecture.md, Search). They are on
`face_vectors`, whose rows stay as they are while faces change hands: a new version of a row is put into the
graph anew, which reads thousands of pages.

A collection that is moved to another model pack (reembedding.py), or was a while ago, has a second one, of
what that pack made: on `second_vectors`, until the two tables change places.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from typing import cast as cast_type

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import ColumnElement, Connection, Index, Table, case, cast, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateIndex, DropIndex

from face_pipeline.store import compatible
from face_pipeline.store.database import our_errors
from face_pipeline.store.models import (
    Collection,
    Face,
    FaceEmbedding,
    FaceVector,
    Reembedding,
    SecondVector,
    Vector,
)


class Graph(NamedTuple):
    """What an HNSW index is built with: ways from each face (`m`), and candidates when one is put in.

    Left out, what pgvector takes.
    """

    m: int = 16
    ef_construction: int = 64


# Below this an exact scan of one collection is as quick as the index, and complete.
INDEX_FROM_FACES = 16_000
# (dimensions over, faces from, graph), the first that fits a collection; else the plain one. The more faces,
# the more strangers a walk has to get past, for which it needs more ways (docs/sizing.md).
GRAPHS = ((256, 100_000, Graph(32, 128)), (0, 300_000, Graph(32, 128)))
PLAIN_GRAPH = Graph()
# 0.8.2 mended a buffer overflow in parallel HNSW builds.
PARALLEL_BUILD_FROM = (0, 8, 2)
BUILDER_LOCK = 7_312_005
INDEX_PREFIX, SECOND_PREFIX = "faces_hnsw_", "second_hnsw_"
# Faces are locked against changes while their embeddings are copied, so many at once.
COPIED_AT_ONCE = 2000
# Whoever writes faces waits behind the one who waits for this lock.
BEGIN_TO_KEEP = """
DO $$ BEGIN
  SET LOCAL lock_timeout = '5s';
  LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE;
  UPDATE collections SET {kept} = true WHERE id = {collection:d};
END $$
"""
TAKE_ITS_PLACE = """
DO $$ BEGIN
  ALTER INDEX IF EXISTS {0} RENAME TO {0}_old;
  ALTER INDEX {0}_new RENAME TO {0};
END $$
"""


@dataclass(frozen=True)
class Side:
    """What an index is made of: the embeddings of a collection's faces that are searched, or, with `other`,
    those that the other pack made."""

    collection: Collection
    dimension: int
    other: bool = False

    @property
    def table(self) -> type[Vector]:
        return FaceVector if self.collection.vectors_turned == self.other else SecondVector

    @property
    def name(self) -> str:
        return index_name(self.collection.id, second=self.table is SecondVector)


def index_name(collection_id: int, *, second: bool = False) -> str:
    return f"{SECOND_PREFIX if second else INDEX_PREFIX}{collection_id}"


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


def graph_of(collection: Collection, dimension: int, memory: int) -> Graph:
    """What an index of the collection is to be built with, at that dimension and its size, in `memory` bytes.

    A build whose graph has no room in memory takes hours: then the plain graph, which is smaller.
    """
    for over, faces, graph in GRAPHS:
        fits = collection.face_count * _bytes_of_face(graph, dimension) <= memory
        if dimension > over and collection.face_count >= faces and fits:
            return graph
    return PLAIN_GRAPH


def _bytes_of_face(graph: Graph, dimension: int) -> int:
    """While the graph is built: the embedding, twice `m` ways of 16 bytes, and what else pgvector keeps."""
    return 2 * dimension + 32 * graph.m + 200


def _memory_of_build(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))")))


def to_build(connection: Connection) -> Iterator[Side]:
    """What is to be indexed: of what searches use first. By whoever alone builds each before asking on."""
    # What earlier releases do not know of may have been erased since.
    compatible.say(connection)
    for each in outgrown(connection):
        yield Side(each, each.dimension)
    yield from beside(connection)


def outgrown(connection: Connection) -> Sequence[Collection]:
    """Collections that are too large for an exact scan or for their index's graph, or whose index is gone.

    One that shrank keeps its graph, so that none is built anew each time that it grows and shrinks.
    """
    large = select(Collection).where(_is_large())
    graphs, memory = _graphs(connection), _memory_of_build(connection)
    return [
        each
        for each in Session(connection).scalars(large.order_by(Collection.id))
        if not each.index_ready
        or graphs.get(Side(each, each.dimension).name, Graph(0, 0)) < graph_of(each, each.dimension, memory)
    ]


def beside(connection: Connection) -> list[Side]:
    """What is to have an index beside the one that searches use: what another pack made, of large collections
    that are moved to it, or were moved from it. Once it had looked at all photos: one build is quicker."""
    is_target = Reembedding.target_contract == Collection.other_contract_id
    rows = connection.execute(
        select(
            Collection.id,
            case((is_target, Reembedding.target_dimension), else_=Reembedding.source_dimension).label(
                "other"
            ),
        )
        .join(Reembedding, or_(is_target, Reembedding.source_contract == Collection.other_contract_id))
        .where(Reembedding.through_at.is_not(None), _is_large())
    ).all()
    dimensions, there = {row.id: row.other for row in rows}, _graphs(connection)
    moved = Session(connection).scalars(select(Collection).where(Collection.id.in_(dimensions)))
    sides = [Side(each, dimensions[each.id], other=True) for each in moved]
    return [each for each in sides if not each.collection.other_index_ready or each.name not in there]


def _is_large() -> ColumnElement[bool]:
    return (Collection.face_count >= INDEX_FROM_FACES) | Collection.index_ready


def without_other(session: Session, contract: str) -> Sequence[str]:
    """Names of large collections of that engine contract that have no index of what the other pack made."""
    query = select(Collection.name).where(
        Collection.contract_id == contract, _is_large(), ~Collection.other_index_ready
    )
    return session.scalars(query.order_by(Collection.name)).all()


def _graphs(connection: Connection) -> dict[str, Graph]:
    """What each index that is there was built with."""
    rows = connection.execute(
        text(
            "SELECT relname, reloptions FROM pg_class WHERE relkind = 'i' AND pg_table_is_visible(oid)"
            " AND (starts_with(relname, :first) OR starts_with(relname, :second))"
        ),
        {"first": INDEX_PREFIX, "second": SECOND_PREFIX},
    )
    given = {row.relname: dict(each.split("=") for each in row.reloptions or ()) for row in rows}
    return {
        name: Graph(**{each: int(options[each]) for each in Graph._fields if each in options})
        for name, options in given.items()
    }


def indexed(session: Session) -> Sequence[Collection]:
    return session.scalars(select(Collection).where(Collection.index_ready)).all()


def build(connection: Connection, collection: Collection) -> str:
    """Build the index of the collection and let searches use it; returns its name. As `build_side`."""
    return build_side(connection, Side(collection, collection.dimension))


def build_side(connection: Connection, side: Side) -> str:
    """Build an index and let searches use it, now or after a switch (`other`); returns its name.

    In a connection that commits each statement by itself, by whoever alone builds: CONCURRENTLY, so that
    uploads and searches go on meanwhile, and beside the index that searches use until then, if there is one.
    What a build that was broken off left is dropped first.
    Raises DatabaseBusy where transactions that write faces take so long that photos would have to wait.
    """
    collection = side.collection
    with our_errors():
        _keep_vectors(connection, side)
    if extension_version(connection) < PARALLEL_BUILD_FROM:
        connection.execute(text("SET max_parallel_maintenance_workers = 0"))
    graph = graph_of(collection, side.dimension, _memory_of_build(connection))
    name = side.name
    former, new = (_hnsw(side, graph, f"{name}_{which}") for which in ("old", "new"))
    for left in (former, new):
        connection.execute(DropIndex(left, if_exists=True))
    connection.execute(CreateIndex(new))
    connection.execute(text(TAKE_ITS_PLACE.format(name)))
    of_it = update(Collection).where(Collection.id == collection.id)
    # Of an index before, what was found tells nothing.
    unknown = {"index_ef": None, "index_found": None, "index_faces": None, "index_measured_at": None}
    connection.execute(
        of_it.values(other_index_ready=True) if side.other else of_it.values(index_ready=True, **unknown)
    )
    connection.execute(DropIndex(former, if_exists=True))
    return name


def _keep_vectors(connection: Connection, side: Side) -> None:
    """Have the embeddings of all faces of the side in its table, from now on."""
    kept = Collection.other_vectors_kept if side.other else Collection.vectors_kept
    if not connection.scalar(select(kept).where(Collection.id == side.collection.id)):
        # Nobody who writes them now began before it was known.
        begin = BEGIN_TO_KEEP.format(
            tables="faces, face_embeddings" if side.other else "faces",
            kept=kept.key, collection=side.collection.id,
        )  # fmt: skip
        connection.execute(text(begin))
    if side.other:
        compatible.say(connection)
    after: uuid.UUID | None = uuid.UUID(int=0)
    while after is not None:
        after = _copy_some(connection, side, after)


def _copy_some(connection: Connection, side: Side, after: uuid.UUID) -> uuid.UUID | None:
    """Copy the embeddings of the next faces behind `after`; returns the last one's id, None: no more."""
    behind = (Face.collection_id == side.collection.id, Face.id > after)
    last = connection.scalar(
        select(Face.id).where(*behind).order_by(Face.id).offset(COPIED_AT_ONCE - 1).limit(1)
    )
    embedding = FaceEmbedding.embedding if side.other else Face.embedding
    some = select(Face.id, Face.collection_id, Face.quality, embedding).where(*behind)
    if side.other:
        some = some.join(FaceEmbedding, FaceEmbedding.face_id == Face.id)
    if last is not None:
        some = some.where(Face.id <= last)
    connection.execute(
        insert(side.table)
        .from_select(
            ["face_id", "collection_id", "quality", "embedding"],
            some.order_by(Face.id).with_for_update(read=True, of=Face),
        )
        .on_conflict_do_nothing()
    )
    return last


def drop_abandoned(connection: Connection) -> int:
    """Drop indexes that nobody reads: those of collections that were erased, which still hold their
    embeddings, those of builds that were broken off, of another pack that was given up, and those that a
    release before this one had on `faces`; returns how many.

    In a connection that commits each statement by itself, as `build`, and by whoever alone builds.
    """
    there = {
        Side(each, each.dimension, other).name
        for each in Session(connection).scalars(select(Collection))
        for other in (False, True)
        if not other or each.other_vectors_kept
    }
    built = connection.execute(
        text(
            "SELECT indexname, tablename FROM pg_indexes WHERE schemaname = current_schema()"
            " AND tablename IN ('faces', 'face_vectors', 'second_vectors')"
            " AND (starts_with(indexname, :first) OR starts_with(indexname, :second))"
        ),
        {"first": INDEX_PREFIX, "second": SECOND_PREFIX},
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


def forget_other(session: Session) -> None:
    """Forget what other packs made, with its indexes, as the tables' owner and while nobody builds."""
    collections = session.scalars(select(Collection)).all()
    searched = {Side(each, each.dimension).table for each in collections if each.vectors_kept}
    for collection in collections:
        if not collection.other_vectors_kept:
            continue
        side = Side(collection, collection.dimension, other=True)
        for name in (side.name, f"{side.name}_new", f"{side.name}_old"):
            session.execute(text(f"DROP INDEX IF EXISTS {name}"))
        if side.table in searched:
            session.execute(delete(side.table).where(side.table.collection_id == collection.id))
        else:
            # Its room is free at once.
            session.execute(text(f"TRUNCATE {side.table.__tablename__}"))
    session.execute(update(Collection).values(other_vectors_kept=False, other_index_ready=False))
    compatible.say(session.connection())


def _hnsw(side: Side, graph: Graph, name: str) -> Index:
    """Over the inner product of unit vectors, of this collection's faces alone."""
    embedding = cast(side.table.embedding, HALFVEC(side.dimension))
    return Index(
        name,
        embedding.label("embedding"),
        postgresql_concurrently=True,
        postgresql_using="hnsw",
        postgresql_with=graph._asdict(),
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_where=side.table.collection_id == side.collection.id,
        _table=cast_type(Table, side.table.__table__),
    )
