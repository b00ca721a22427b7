"""A vector index has the graph that its collection needs, and gets a larger one as that grows."""

from __future__ import annotations

import numpy as np
import pytest
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import indexes, vectors
from face_pipeline.store.indexes import Graph
from face_pipeline.store.models import Collection
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from tests.app.test_vectors import DIMENSION, fill, make_collection, unit

pytestmark = pytest.mark.usefixtures("clean")

LARGER = Graph(20, 80)
ROWS = unit(np.random.default_rng(6).normal(size=(1000, DIMENSION)).astype(np.float32))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collections of some hundred faces get an index, and of a few more another."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    monkeypatch.setattr(indexes, "GRAPHS", ((0, 800, LARGER),))


def options(parts: Parts) -> dict[str, list[str]]:
    """What each vector index that PostgreSQL may use was built with."""
    with parts.database.reading() as session:
        rows = session.execute(
            text(
                "SELECT relname, reloptions FROM pg_class JOIN pg_index ON indexrelid = oid"
                " WHERE starts_with(relname, 'faces_hnsw_') AND indisvalid"
            )
        )
        return {row.relname: row.reloptions for row in rows}


def of(graph: Graph) -> list[str]:
    return [f"m={graph.m}", f"ef_construction={graph.ef_construction}"]


def found(parts: Parts, number: int) -> list[vectors.Match]:
    """What the index gives for a face that is stored."""
    with parts.database.reading() as session:
        return vectors.nearest(
            session, make_collection(parts, "default"), ROWS[number], limit=5, threshold=0.99, exact=False
        )


@pytest.mark.parametrize(
    ("dimension", "faces", "memory_mb", "graph"),
    [
        (128, 16_000, 2400, Graph(16, 64)),
        (128, 299_999, 2400, Graph(16, 64)),
        (128, 1_000_000, 2400, Graph(32, 128)),
        (128, 1_000_000, 1200, Graph(16, 64)),
        (512, 99_999, 2400, Graph(16, 64)),
        (512, 100_000, 2400, Graph(32, 128)),
        (512, 1_000_000, 2400, Graph(32, 128)),
        (512, 1_000_000, 2000, Graph(16, 64)),
    ],
)
def test_many_faces_get_a_graph_of_more_ways_where_memory_holds_it(
    monkeypatch: pytest.MonkeyPatch, dimension: int, faces: int, memory_mb: int, graph: Graph
) -> None:
    monkeypatch.undo()
    collection = Collection(face_count=faces)
    assert indexes.graph_of(collection, dimension, memory_mb * 2**20) == graph


def test_a_collection_that_outgrew_its_graph_gets_a_larger_one_once(parts: Parts) -> None:
    collection = make_collection(parts, "default")
    name = indexes.index_name(collection.id)
    fill(parts, collection, ROWS[:600])
    assert indexer.build_indexes(parts) == [name]
    indexer.measure_indexes(parts)
    assert options(parts) == {name: of(indexes.PLAIN_GRAPH)}
    fill(parts, collection, ROWS[600:790])
    assert indexer.build_indexes(parts) == [], "it is not large enough yet"
    fill(parts, collection, ROWS[790:])
    assert indexer.build_indexes(parts) == [name]
    assert options(parts) == {name: of(LARGER)}, "nothing of the former one is left"
    assert make_collection(parts, "default").index_ef is None, "the new one is to be measured"
    assert [len(found(parts, number)) for number in range(0, 1000, 100)] == [1] * 10
    assert indexer.build_indexes(parts) == []


def test_a_collection_that_shrank_keeps_its_graph(parts: Parts) -> None:
    collection = make_collection(parts, "default")
    fill(parts, collection, ROWS)
    assert len(indexer.build_indexes(parts)) == 1
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(face_count=400))
    assert indexer.build_indexes(parts) == []
    assert list(options(parts).values()) == [of(LARGER)]


def test_searches_use_the_former_index_while_a_larger_one_cannot_be_built(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    collection = make_collection(parts, "default")
    name = indexes.index_name(collection.id)
    fill(parts, collection, ROWS[:600])
    indexer.build_indexes(parts)
    fill(parts, collection, ROWS[600:])
    with monkeypatch.context() as broken:
        # More than pgvector takes: PostgreSQL refuses the statement.
        broken.setattr(indexes, "GRAPHS", ((0, 800, Graph(1000, 2000)),))
        with pytest.raises(DBAPIError):
            indexer.build_indexes(parts)
    assert options(parts) == {name: of(indexes.PLAIN_GRAPH)}
    assert make_collection(parts, "default").index_ready
    assert len(found(parts, 7)) == 1
    assert indexer.build_indexes(parts) == [name]
    assert options(parts) == {name: of(LARGER)}


def test_what_builds_left_that_were_broken_off_goes(parts: Parts) -> None:
    """One before its end, and one after the new index took the place of the former."""
    collection = make_collection(parts, "default")
    name = indexes.index_name(collection.id)
    fill(parts, collection, ROWS[:600])
    indexer.build_indexes(parts)
    with parts.database.transaction() as session:
        for left in ("old", "new"):
            session.execute(
                text(
                    f"CREATE INDEX {name}_{left} ON face_vectors USING hnsw"
                    f" ((embedding::halfvec({DIMENSION})) halfvec_ip_ops)"
                )
            )
    assert indexer.build_indexes(parts) == []
    assert list(options(parts)) == [name]


def test_an_index_that_somebody_dropped_is_built_by_the_next_run(parts: Parts) -> None:
    collection = make_collection(parts, "default")
    name = indexes.index_name(collection.id)
    fill(parts, collection, ROWS[:600])
    indexer.build_indexes(parts)
    with parts.database.transaction() as session:
        session.execute(text(f"DROP INDEX {name}"))
    assert indexer.build_indexes(parts) == [name]
    assert list(options(parts)) == [name]
