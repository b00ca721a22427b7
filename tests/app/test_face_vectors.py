"""The rows of which vector indexes are made: they follow what comes, goes and moves, and no name."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from face_pipeline.actions import doctor, erasure, persons
from face_pipeline.ops import clusterer, indexer
from face_pipeline.parts import Parts
from face_pipeline.store import audit, clusters, indexes, upkeep, vectors
from face_pipeline.store.models import Cluster, Collection, FaceVector
from face_pipeline.store.rights import Role
from sqlalchemy import func, select, text

from tests.app import stock
from tests.app.test_clusters import faces_of, people, put
from tests.app.test_ledger import a_face
from tests.app.test_vectors import DIMENSION, fill, make_collection, unit
from tests.installation import as_role, wait_until

pytestmark = pytest.mark.usefixtures("clean")


def large(parts: Parts, name: str = "default", *, build: bool = True) -> Collection:
    """A collection of 600 faces of nobody, with an index."""
    collection = make_collection(parts, name)
    fill(parts, collection, unit(np.random.default_rng(4).normal(size=(600, DIMENSION)).astype(np.float32)))
    if build:
        with parts.database.single_statements() as connection:
            indexes.build(connection, collection)
    return make_collection(parts, name)


def found(parts: Parts, collection: Collection) -> list[str | None]:
    """The names of those whom the index finds by the face that photos of `stock` show."""
    with parts.database.reading() as session:
        matches = vectors.nearest(
            session, collection, a_face().embedding, limit=10, threshold=0.99, exact=False
        )
    return [match.person_name for match in matches]


def rows(parts: Parts) -> list[Any]:
    """Which versions of its rows the index holds."""
    with parts.database.transaction() as session:
        return list(session.execute(text("SELECT face_id, ctid, xmin FROM face_vectors ORDER BY face_id")))


def kept(parts: Parts) -> int:
    with parts.database.transaction() as session:
        return session.scalar(select(func.count()).select_from(FaceVector)) or 0


def test_who_is_named_merged_and_taken_apart_is_found_by_the_index_whose_rows_stay(parts: Parts) -> None:
    anna, berta = stock.person(parts, "Anna"), stock.person(parts, "Berta")
    for each in (anna, berta, berta):
        stock.photo(parts, each)
    collection = large(parts)
    before = rows(parts)
    assert len(before) == 603
    merged = persons.merge(parts, anna, berta, by=audit.SERVICE)
    assert found(parts, collection) == ["Anna"] * 3
    persons.undo_merge(parts, merged.merge.id, by=audit.SERVICE)
    assert sorted(map(str, found(parts, collection))) == ["Anna", "Berta", "Berta"]
    assert rows(parts) == before


def test_a_group_that_gets_a_name_stays_in_the_index_as_it_is(parts: Parts) -> None:
    (anna,) = people(1, 1)
    put(parts, faces_of(anna, 6, 1))
    collection = large(parts)
    # As its unit does.
    with as_role(parts, Role.UPKEEP) as unit:
        clusterer.cluster(unit)
    before = rows(parts)
    with parts.database.transaction() as session:
        group = session.scalars(select(Cluster.id)).one()
        assert clusters.name(session, group, "Anna", audit.SERVICE).given == 6
    with parts.database.reading() as session:
        matches = vectors.nearest(session, collection, anna, limit=10, threshold=0.7, exact=False)
    assert [match.person_name for match in matches] == ["Anna"] * 6
    assert rows(parts) == before


def test_an_index_knows_what_is_new_what_moved_and_what_is_gone(parts: Parts) -> None:
    here, there = large(parts), large(parts, "other")
    anna = stock.person(parts, "Anna")
    photo_id = stock.photo(parts, anna)
    stock.person(parts, "anna", collection="other")
    assert (found(parts, here), found(parts, there)) == (["Anna"], [])
    with parts.database.transaction() as session:
        upkeep.move(session, photo_id, "other", by=audit.SERVICE)
    assert (found(parts, here), found(parts, there)) == ([], ["anna"])
    with parts.database.transaction() as session:
        upkeep.move(session, photo_id, "default", by=audit.SERVICE)
    assert (found(parts, here), found(parts, there)) == (["Anna"], [])
    erasure.person(parts, anna, dry_run=False, by=audit.SERVICE)
    assert (found(parts, here), found(parts, there)) == ([], [])
    for name in ("default", "other"):
        erasure.collection(parts, name, dry_run=False, by=audit.SERVICE)
    assert kept(parts) == 0, "no embedding outlives its collection"


def test_a_small_collection_keeps_each_embedding_once(parts: Parts) -> None:
    large(parts)
    stock.photo(parts, None, collection="small")
    assert kept(parts) == 600
    with parts.database.transaction() as session:
        upkeep.move(session, stock.photo(parts, None), "small", by=audit.SERVICE)
    assert kept(parts) == 600


def test_a_face_that_is_being_written_while_its_collection_gets_an_index_is_in_it(parts: Parts) -> None:
    """Its transaction began before the embeddings were kept, and ends after they were copied."""
    collection = large(parts, build=False)
    photo_id = stock.photo(parts, state="received")
    values = {"photo": photo_id, "in": collection.id, "embedding": str(a_face().embedding.tolist())}

    def build() -> None:
        with parts.database.single_statements() as connection:
            indexes.build(connection, collection)

    def waits_or_is_done() -> bool:
        with parts.database.reading() as session:
            return built.done() or bool(
                session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode ~ 'Share'"))
            )

    with ThreadPoolExecutor(1) as other, parts.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO faces (id, photo_id, collection_id, position, bbox, landmarks, detection_score,"
                " quality, embedding) VALUES (gen_random_uuid(), :photo, :in, 0, '{0,0,1,1}', '[]', 1, 0.5,"
                " CAST(:embedding AS halfvec))"
            ),
            values,
        )
        built = other.submit(build)
        wait_until(waits_or_is_done, 30, "the build to reach the face that is being written")
        session.commit()
        built.result(timeout=60)
    assert found(parts, make_collection(parts, "default")) == [None]


def test_an_index_waits_for_the_next_run_rather_than_stop_the_photos(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    monkeypatch.setattr(indexes, "BEGIN_TO_KEEP", indexes.BEGIN_TO_KEEP.replace("'5s'", "'50ms'"))
    large(parts, build=False)
    with parts.database.transaction() as session:
        session.execute(text("UPDATE faces SET position = position"))
        assert indexer.build_indexes(parts) == []
    assert len(indexer.build_indexes(parts)) == 1


def test_a_copy_that_was_broken_off_is_completed(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    monkeypatch.setattr(indexes, "COPIED_AT_ONCE", 70)
    collection = large(parts, build=False)
    other = large(parts, "other", build=False)
    plain, seen = indexes._copy_some, []

    def breaks(connection: Any, of: indexes.Side, after: uuid.UUID) -> uuid.UUID | None:
        seen.append(after)
        if len(seen) == 3:
            raise InterruptedError
        return plain(connection, of, after)

    monkeypatch.setattr(indexes, "_copy_some", breaks)
    with parts.database.single_statements() as connection:
        with pytest.raises(InterruptedError):
            indexes.build(connection, collection)
        assert kept(parts) == 140
        assert not make_collection(parts, "default").index_ready
        indexes.build(connection, collection)
        assert kept(parts) == 600
        indexes.build(connection, other)
    assert kept(parts) == 1200


def test_the_index_of_the_release_before_goes_and_a_new_one_comes(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = large(parts, build=False)
    stock.photo(parts, None)
    # It shrank since.
    small = make_collection(parts, "small")
    name, other = (indexes.index_name(each.id) for each in (collection, small))
    with parts.database.transaction() as session:
        for each, of in ((name, collection), (other, small)):
            session.execute(
                text(
                    f"CREATE INDEX {each} ON faces USING hnsw ((embedding::halfvec({DIMENSION}))"
                    f" halfvec_ip_ops) WHERE collection_id = {of.id}"
                )
            )
        session.execute(text("UPDATE collections SET index_ready = true"))
    collection = make_collection(parts, "default")
    with parts.database.reading() as session:
        nearest = vectors.nearest(session, collection, a_face().embedding, limit=1, threshold=0.99)
    assert len(nearest) == 1, "all are found before there is a new index"
    assert indexer.build_indexes(parts) == [name]
    with parts.database.transaction() as session:
        on = session.scalars(
            text(f"SELECT tablename FROM pg_indexes WHERE indexname IN ('{name}', '{other}')")
        ).all()
        former = session.scalars(text("SELECT index_ready FROM collections")).all()
    assert (on, former) == (["face_vectors"], [False, False])
    assert found(parts, make_collection(parts, "default")) == [None]
    finding = next(finding for finding in doctor.examine(parts) if finding.check == "vector index")
    assert finding.ok, finding.message
