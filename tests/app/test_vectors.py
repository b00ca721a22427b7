"""Search among stored faces: exact, and by the index, on a real pgvector."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from face_pipeline.config import get_settings
from face_pipeline.errors import DatabaseUnavailable
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import collections, indexes, vectors
from face_pipeline.store.models import Batch, Collection, Face, Person, Photo
from sqlalchemy import Connection, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

pytestmark = pytest.mark.usefixtures("clean")

DIMENSION = 128


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_collection(parts: Parts, name: str) -> Collection:
    with parts.database.transaction() as session:
        return collections.open_collection(session, name, parts.pack)


def fill(
    parts: Parts, collection: Collection, embeddings: npt.NDArray[np.float32], **columns: object
) -> None:
    """One photo holds all the faces: only their embeddings matter here."""
    photo_id, batch = uuid.uuid4(), uuid.uuid4()
    with parts.database.transaction() as session:
        session.execute(insert(Batch).values(id=batch, collection_id=collection.id))
        session.execute(
            insert(Photo).values(
                id=photo_id, collection_id=collection.id, batch_id=batch, sha256=uuid.uuid4().hex,
                filename="many.jpg", media_type="image/jpeg", byte_size=1, width=1, height=1, state="done",
                attempts=1,
            )
        )  # fmt: skip
        session.execute(
            update(Collection)
            .where(Collection.id == collection.id)
            .values(face_count=Collection.face_count + len(embeddings), version=Collection.version + 1)
        )
    lines = io.StringIO()
    for position, row in enumerate(embeddings):
        vector = "[" + ",".join(f"{value:.5g}" for value in row) + "]"
        lines.write(
            f"{uuid.uuid4()}\t{photo_id}\t{collection.id}\t{position}\t{{0,0,1,1}}\t[]\t1\t0.5\t{vector}\n"
        )
    lines.seek(0)
    raw = parts.database.engine.raw_connection()
    with raw.cursor() as cursor:
        cursor.copy_expert(
            "COPY faces (id, photo_id, collection_id, position, bbox, landmarks, detection_score, quality,"
            " embedding) FROM STDIN",
            lines,
        )
    raw.commit()
    raw.close()


@pytest.mark.parametrize(("faces", "candidates"), [(16_000, 100), (100_000, 100), (1_000_000, 800)])
def test_a_search_looks_at_as_many_candidates_as_find_its_matches(faces: int, candidates: int) -> None:
    """As measured with faces of 128 dimensions: 0.997 of the true matches at 100,000, 0.993 at a million."""
    assert vectors.ef_search(Collection(face_count=faces)) == candidates
    assert vectors.ef_search(Collection(face_count=faces, index_ef=200)) == 200, "its own was measured"


def test_the_nearest_faces_come_first_with_their_cosine(parts: Parts) -> None:
    collection = make_collection(parts, "default")
    base = unit(np.random.default_rng(0).normal(size=(1, DIMENSION)).astype(np.float32))
    noise = unit(np.random.default_rng(1).normal(size=(3, DIMENSION)).astype(np.float32))
    rows = unit(base + np.array([[0.1], [0.4], [5.0]], np.float32) * noise)
    fill(parts, collection, rows)
    with parts.database.transaction() as session:
        found = vectors.nearest(session, collection, base[0], limit=5, threshold=0.5)
    expected = [value for value in (rows @ base[0]).tolist() if value >= 0.5]
    assert [match.similarity for match in found] == pytest.approx(sorted(expected, reverse=True), abs=2e-3)


def test_other_collections_are_never_searched(parts: Parts) -> None:
    rows = unit(np.random.default_rng(0).normal(size=(5, DIMENSION)).astype(np.float32))
    fill(parts, make_collection(parts, "one"), rows)
    other = make_collection(parts, "two")
    with parts.database.transaction() as session:
        assert vectors.nearest(session, other, rows[0], limit=5, threshold=-1) == []


def test_a_grown_collection_gets_an_index_that_finds_what_an_exact_scan_finds(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 2_000)
    random = np.random.default_rng(2)
    people = unit(random.normal(size=(1000, DIMENSION)).astype(np.float32))
    rows = unit(
        np.repeat(people, 3, axis=0) + 0.05 * random.normal(size=(3000, DIMENSION)).astype(np.float32)
    )
    small, large = make_collection(parts, "small"), make_collection(parts, "large")
    fill(parts, small, rows[:100])
    fill(parts, large, rows)
    assert indexer.build_indexes(parts) == [indexes.index_name(large.id)]
    assert indexer.build_indexes(parts) == [], "a second run builds nothing"
    with parts.database.transaction() as session:
        ready = {row.name: row.index_ready for row in session.scalars(select(Collection))}
    assert ready == {"small": False, "large": True}

    large = make_collection(parts, "large")
    assert "faces_hnsw" in _plan(parts, large, rows[0])
    assert "faces_hnsw" not in _plan(parts, large, rows[0], exact=True)
    found = expected = 0
    for query in people[:100]:
        answers = []
        for exact in (True, False):
            with parts.database.transaction() as session:
                matches = vectors.nearest(session, large, query, limit=10, threshold=0.7, exact=exact)
            answers.append({match.face_id for match in matches})
        expected += len(answers[0])
        found += len(answers[0] & answers[1])
    assert expected >= 250
    assert found / expected >= 0.995


def test_a_broken_off_build_is_done_again(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, unit(np.random.default_rng(3).normal(size=(600, DIMENSION)).astype(np.float32)))
    assert len(indexer.build_indexes(parts)) == 1
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(index_ready=False))
    assert len(indexer.build_indexes(parts)) == 1


def test_a_build_that_fails_keeps_no_other_from_building(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """Also none that another process does, while this one lives on."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, unit(np.random.default_rng(3).normal(size=(600, DIMENSION)).astype(np.float32)))
    with monkeypatch.context() as broken:
        # More than pgvector takes: PostgreSQL refuses the statement.
        broken.setattr(indexes, "PLAIN_GRAPH", indexes.Graph(1000, 2000))
        with pytest.raises(DBAPIError):
            indexer.build_indexes(parts)
    other = Parts(get_settings())
    try:
        assert len(indexer.build_indexes(other)) == 1
    finally:
        other.database.close()


def test_a_build_whose_connection_breaks_says_so(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, unit(np.random.default_rng(3).normal(size=(600, DIMENSION)).astype(np.float32)))

    def hang_up(connection: Connection, _: indexes.Side) -> str:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        raise AssertionError

    with monkeypatch.context() as broken:
        broken.setattr(indexes, "build_side", hang_up)
        with pytest.raises(DatabaseUnavailable):
            indexer.build_indexes(parts)
    assert len(indexer.build_indexes(parts)) == 1


def test_faces_added_after_the_build_are_found(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, unit(np.random.default_rng(4).normal(size=(600, DIMENSION)).astype(np.float32)))
    indexer.build_indexes(parts)
    late = unit(np.random.default_rng(5).normal(size=(1, DIMENSION)).astype(np.float32))
    fill(parts, collection, late)
    with parts.database.transaction() as session:
        session.execute(insert(Person).values(collection_id=collection.id, name="late", id=uuid.uuid4()))
    with parts.database.transaction() as session:
        (match,) = vectors.nearest(
            session, make_collection(parts, "default"), late[0], limit=1, threshold=0.9
        )
    assert match.similarity == pytest.approx(1, abs=1e-3)


def add_person(parts: Parts, collection: Collection, name: str) -> uuid.UUID:
    person_id = uuid.uuid4()
    with parts.database.transaction() as session:
        session.execute(insert(Person).values(collection_id=collection.id, name=name, id=person_id))
    return person_id


def name_faces(
    parts: Parts, collection: Collection, person_id: uuid.UUID, like: npt.NDArray[np.float32], most: int
) -> None:
    """Give the `most` faces nearest to `like` to a person."""
    with parts.database.transaction() as session:
        faces = session.scalars(
            select(Face.id)
            .where(Face.collection_id == collection.id)
            .order_by(Face.embedding.max_inner_product(like))
            .limit(most)
        ).all()
        session.execute(update(Face).where(Face.id.in_(faces)).values(person_id=person_id))


def near(base: npt.NDArray[np.float32], number: int, cosine: float, seed: int) -> npt.NDArray[np.float32]:
    """Rows of that cosine to `base`."""
    random = np.random.default_rng(seed).normal(size=(number, DIMENSION)).astype(np.float32)
    across = unit(random - (random @ base)[:, None] * base)
    return np.asarray(cosine * base + np.sqrt(1 - cosine**2) * across, np.float32)


def axis(number: int) -> npt.NDArray[np.float32]:
    return np.eye(DIMENSION, dtype=np.float32)[number]


@pytest.mark.parametrize("indexed", [False, True])
def test_the_best_face_of_each_person_comes_once_with_how_many_match(
    monkeypatch: pytest.MonkeyPatch, indexed: bool, parts: Parts
) -> None:
    """Anna has more faces than an index gives at once, all nearer than Bert's; two faces are nobody's."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    names = {}
    for seed, (name, number, cosine) in enumerate(
        [("Anna", 1200, 0.97), ("Bert", 3, 0.95), ("Carla", 2, 0.93), ("Dora", 400, 0.80)]
    ):
        rows = near(axis(0), number, cosine, seed)
        fill(parts, collection, rows)
        names[name] = add_person(parts, collection, name)
        unnamed = select(Face.id).where(Face.collection_id == collection.id, Face.person_id.is_(None))
        with parts.database.transaction() as session:
            session.execute(update(Face).where(Face.id.in_(unnamed)).values(person_id=names[name]))
    fill(parts, collection, near(axis(0), 2, 0.94, 9))
    fill(parts, collection, near(axis(5), 100, 0.9, 10))
    if indexed:
        indexer.build_indexes(parts)
    collection = make_collection(parts, "default")
    assert collection.index_ready is indexed

    def found(limit: int, **options: Any) -> list[tuple[str | None, int | None]]:
        with parts.database.reading() as session:
            matches = vectors.nearest_people(
                session, collection, axis(0), limit=limit, threshold=0.9, **options
            )
        similar = [match.similarity for match in matches]
        assert similar == sorted(similar, reverse=True)
        return [(match.person_name, match.face_count) for match in matches]

    everybody = [("Anna", 1200), ("Bert", 3), (None, 1), (None, 1), ("Carla", 2)]
    assert found(10) == everybody
    assert found(2) == everybody[:2]
    assert found(10, named=True) == [each for each in everybody if each[0] is not None]
    with parts.database.reading() as session:
        faces = vectors.nearest(session, collection, axis(0), limit=1300, threshold=0.5, named=True)
    assert [match.person_name for match in faces[1200:]] == ["Bert"] * 3 + ["Carla"] * 2 + ["Dora"] * 95
    assert found(1) == everybody[:1]
    assert found(10, min_quality=0.9) == []
    with parts.database.reading() as session:
        (best, *_) = vectors.nearest_people(session, collection, axis(0), limit=5, threshold=0.9)
        (same,) = vectors.nearest(session, collection, axis(0), limit=1, threshold=0.9, exact=True)
    assert best.similarity == same.similarity


def test_the_best_face_of_a_person_is_taken_from_the_index(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """A collection in which the index decides is not scanned for it."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, unit(np.random.default_rng(3).normal(size=(3000, DIMENSION)).astype(np.float32)))
    fill(parts, collection, near(axis(0), 6, 0.95, 1))
    indexer.build_indexes(parts)
    name_faces(parts, make_collection(parts, "default"), add_person(parts, collection, "Anna"), axis(0), 6)
    assert "faces_hnsw" in _plan(
        parts, make_collection(parts, "default"), axis(0), search=vectors.nearest_people
    )
    for search in (vectors.nearest, vectors.nearest_people):
        plan = _plan(parts, make_collection(parts, "default"), axis(0), search=partial(search, named=True))
        assert "faces_hnsw" in plan, "each face that the index gives is asked for its person"


@pytest.mark.parametrize("indexed", [False, True])
def test_the_faces_of_a_photo_are_compared_25_at_a_time_each_with_its_own_matches(
    monkeypatch: pytest.MonkeyPatch, indexed: bool, parts: Parts
) -> None:
    """Thirty faces: somebody for each even one, nobody for the odd ones, in two statements."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, unit(np.random.default_rng(3).normal(size=(600, DIMENSION)).astype(np.float32)))
    for number in range(0, 30, 2):
        fill(parts, collection, near(axis(number), 2, 0.95, number))
        name_faces(parts, collection, add_person(parts, collection, f"person {number}"), axis(number), 2)
    if indexed:
        indexer.build_indexes(parts)
    collection = make_collection(parts, "default")
    asked = [axis(number) for number in range(30)]
    for search in (vectors.nearest_to_each, vectors.nearest_people_to_each):
        with parts.database.reading() as session, sent(session) as statements:
            found = search(session, collection, asked, limit=5, threshold=0.9)
        each = 2 if search is vectors.nearest_to_each else 1
        assert [[match.person_name for match in matches] for matches in found] == [
            [f"person {number}"] * each if number % 2 == 0 else [] for number in range(30)
        ]
        assert len(statements) == 2
    with parts.database.reading() as session:
        assert vectors.nearest_to_each(session, collection, [], limit=5, threshold=0.9) == []


def test_many_faces_at_once_are_found_by_the_index(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, unit(np.random.default_rng(3).normal(size=(3000, DIMENSION)).astype(np.float32)))
    indexer.build_indexes(parts)
    collection = make_collection(parts, "default")
    for search in (vectors.nearest_to_each, vectors.nearest_people_to_each):

        def three(*given: Any, search: Callable[..., Any] = search, **wanted: Any) -> Any:
            return search(given[0], given[1], [axis(0), axis(1), axis(2)], **wanted)

        assert "faces_hnsw" in _plan(parts, collection, axis(0), search=three)


@pytest.mark.parametrize("search", [vectors.nearest, vectors.nearest_people])
def test_faces_that_are_not_wanted_keep_an_index_from_hiding_no_other(
    monkeypatch: pytest.MonkeyPatch, parts: Parts, search: Callable[..., list[vectors.Match]]
) -> None:
    """More faces of a bad quality lie before the good ones than the index is walked for."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, near(axis(0), 1500, 0.97, 1))
    with parts.database.transaction() as session:
        session.execute(update(Face).values(quality=0.1))
    fill(parts, collection, near(axis(0), 3, 0.95, 2))
    indexer.build_indexes(parts)
    collection = make_collection(parts, "default")
    with parts.database.reading() as session:
        # Instead of 20,000 faces.
        session.execute(text("SET hnsw.max_scan_tuples = 300"))
        try:
            by_index = search(
                session, collection, axis(0), limit=5, threshold=0.9, min_quality=0.4, exact=False
            )
            found = search(session, collection, axis(0), limit=5, threshold=0.9, min_quality=0.4)
        finally:
            session.execute(text("RESET hnsw.max_scan_tuples"))
    assert len(by_index) < 3, "the index alone gives up before them"
    assert len(found) == 3


def test_an_index_that_gave_a_face_that_does_not_match_is_believed(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """Two matches of five that were asked for are all there are: nothing is scanned for others."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, near(axis(0), 600, 0.5, 1))
    name_faces(parts, collection, add_person(parts, collection, "Dora"), axis(0), 2)
    fill(parts, collection, near(axis(0), 2, 0.97, 2))
    name_faces(parts, collection, add_person(parts, collection, "Anna"), axis(0), 2)
    indexer.build_indexes(parts)
    for search in (vectors.nearest, vectors.nearest_people):
        collection = make_collection(parts, "default")
        with parts.database.reading() as session, sent(session) as statements:
            found = search(session, collection, axis(0), limit=5, threshold=0.9, named=True)
        assert {match.person_name for match in found} == {"Anna"}
        assert len(statements) == 1


@contextmanager
def sent(session: Session) -> Iterator[list[str]]:
    """The searches that PostgreSQL gets from the session meanwhile, with their settings and values."""
    statements: list[str] = []

    def remember(_c: Any, cursor: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
        if "<#>" in statement:
            statements.append(cursor.mogrify(statement, parameters).decode())

    pool = session.get_bind().engine
    event.listen(pool, "before_cursor_execute", remember)
    try:
        yield statements
    finally:
        event.remove(pool, "before_cursor_execute", remember)


def _plan(
    parts: Parts,
    collection: Collection,
    query: npt.NDArray[np.float32],
    exact: bool | None = None,
    search: Callable[..., list[vectors.Match]] = vectors.nearest,
) -> str:
    """How PostgreSQL runs the statement that a search sends, in a session as a search has it."""
    with parts.database.reading() as session:
        with sent(session) as statements:
            search(session, collection, query, limit=5, threshold=-1, exact=exact)
        *settings, search = statements[0].split("; ")
        if exact:
            # Nothing speaks for the index more than this.
            settings = [f"SELECT set_config('enable_{way}', 'off', true)" for way in ("sort", "seqscan")]
        explained = "; ".join([*settings, f"EXPLAIN {search}"]).replace("%", "%%")
        rows = session.connection().exec_driver_sql(explained).all()
        sort = session.scalar(text("SHOW enable_sort"))
    assert sort == "on", "settings of a search are not those of the connection"
    return "\n".join(str(row[0]) for row in rows)
