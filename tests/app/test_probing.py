"""What an index finds is measured by questions like those of new photos, and searches go by it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from face_pipeline.actions import doctor
from face_pipeline.cli import host
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import indexes, probing, vectors
from face_pipeline.store.models import Collection, FaceVector
from sqlalchemy import delete, func, text, update

from tests.app.test_vectors import DIMENSION, add_person, fill, make_collection, name_faces, near, sent, unit
from tests.installation import App

pytestmark = pytest.mark.usefixtures("clean")

PEOPLE, PHOTOS_OF_EACH = 500, 4
# Of two photos of one person; with the dlib pack, whose threshold is 0.91, they match.
ALIKE = 0.95


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collections of some hundred faces get an index, and are measured by fewer questions."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    monkeypatch.setattr(probing, "PROBES", 60)


def faces() -> npt.NDArray[np.float32]:
    """Embeddings of four photos of each person: two of one person have the cosine ALIKE on average."""
    random = np.random.default_rng(7)
    people = unit(random.normal(size=(PEOPLE, DIMENSION)).astype(np.float32))
    rows = [near(person, PHOTOS_OF_EACH, ALIKE**0.5, seed) for seed, person in enumerate(people)]
    return np.concatenate(rows)


def measured(parts: Parts, name: str = "default") -> Collection:
    indexer.build_indexes(parts)
    indexer.measure_indexes(parts)
    return make_collection(parts, name)


def change(parts: Parts, **values: Any) -> None:
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(**values))


def candidates_of_a_search(parts: Parts, collection: Collection) -> int:
    """How many PostgreSQL is told to keep by a search of the collection."""
    with parts.database.reading() as session, sent(session) as statements:
        vectors.nearest(session, collection, unit(np.ones((1, DIMENSION), np.float32))[0],
                        limit=5, threshold=0.0)  # fmt: skip
    (candidates,) = re.findall(r"'hnsw.ef_search', '(\d+)'", statements[0])
    return int(candidates)


def test_a_good_index_is_searched_with_the_fewest_candidates(parts: Parts) -> None:
    fill(parts, make_collection(parts, "default"), faces())
    collection = measured(parts)
    assert collection.index_found is not None
    assert collection.index_found >= probing.FOUND_ENOUGH
    assert (collection.index_ef, collection.index_faces) == (100, PEOPLE * PHOTOS_OF_EACH)
    assert candidates_of_a_search(parts, collection) == 100


def test_what_is_measured_of_a_poor_index_is_what_new_photos_find_by_it(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """A graph of few ways, in which the walk goes astray whatever the candidates."""
    monkeypatch.setattr(indexes, "PLAIN_GRAPH", indexes.Graph(3, 6))
    monkeypatch.setattr(probing, "CANDIDATES", (10, 20, 100))
    monkeypatch.setattr(probing, "PROBES", 200)
    rows = faces()
    fill(parts, make_collection(parts, "default"), rows)
    collection = measured(parts)
    found = expected = 0
    for number in range(0, len(rows), 10):
        new = near(rows[number], 1, ALIKE, number)[0]
        with parts.database.reading() as session:
            exact, by_index = (
                vectors.nearest(session, collection, new, limit=10, threshold=0.91, exact=exact)
                for exact in (True, None)
            )
        expected += len(exact)
        found += len(by_index)
    assert collection.index_ef == 100
    assert collection.index_found is not None
    assert collection.index_found < probing.FOUND_ENOUGH
    assert collection.index_found == pytest.approx(found / expected, abs=0.12)


def lose_half(parts: Parts) -> None:
    """Half of the faces are no more in the index of their collection, which is measured again."""
    half = "80000000-0000-0000-0000-000000000000"
    with parts.database.transaction() as session:
        session.execute(delete(FaceVector).where(FaceVector.face_id < half))
    change(parts, index_measured_at=None)
    indexer.measure_indexes(parts)


def found_by_doctor(parts: Parts) -> doctor.Finding:
    (finding,) = [each for each in doctor.examine(parts) if each.check == "vector index"]
    return finding


def test_the_doctor_and_prometheus_are_told_what_an_index_finds(web_app: App, parts: Parts) -> None:
    def shown() -> dict[str, float]:
        lines = web_app.get("/metrics").text.splitlines()
        told = [line.rsplit(" ", 1) for line in lines if line.startswith("face_recognition_index_")]
        return {name: float(value) for name, value in told}

    assert "searched exactly" in found_by_doctor(parts).message
    fill(parts, make_collection(parts, "staff"), faces())
    indexer.build_indexes(parts)
    assert found_by_doctor(parts).message == "staff: not measured yet"
    assert shown() == {}
    indexer.measure_indexes(parts)
    finding = found_by_doctor(parts)
    assert finding.state == "ok"
    assert finding.message.startswith("staff: finds ")
    assert re.search(r"% of the true matches with 100 candidates, measured \d{4}-\d\d-\d\d$", finding.message)
    ratio, ef = (
        f'face_recognition_index_{name}{{collection="staff"}}' for name in ("found_ratio", "ef_search")
    )
    assert shown()[ratio] >= 0.995
    assert shown()[ef] == 100
    change(parts, index_found=0.98)
    assert found_by_doctor(parts).state == "warn"
    lose_half(parts)
    finding = found_by_doctor(parts)
    assert finding.state == "fail"
    assert "index --rebuild staff" in finding.mend
    assert shown()[ratio] == pytest.approx(0.5, abs=0.2)
    assert shown()[ef] == 800


@pytest.mark.campaign("it builds the index of a large collection again")
def test_an_index_that_lost_faces_finds_them_once_it_is_built_anew(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(parts, make_collection(parts, "staff"), faces())
    measured(parts)
    lose_half(parts)
    assert make_collection(parts, "staff").index_ef == 800
    assert host.main(["index", "--rebuild", "staff"]) == 0
    told = capsys.readouterr().out
    assert "the index of staff was built anew" in told
    assert "with 100 candidates" in told
    collection = make_collection(parts, "staff")
    assert collection.index_ef == 100
    assert collection.index_found is not None
    assert collection.index_found >= 0.995


def test_an_index_that_is_not_there_cannot_be_built_anew(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host.main(["index", "--rebuild", "staff"]) == 1
    assert "there is no collection 'staff'" in capsys.readouterr().err
    make_collection(parts, "staff")
    assert host.main(["index", "--rebuild", "staff"]) == 1
    assert "searches are exact" in capsys.readouterr().err
    with parts.database.single_statements() as connection, indexes.only_builder(connection):
        assert host.main(["index", "--rebuild", "staff"]) == 1
    assert "once face-indexer.service has ended" in capsys.readouterr().err


def test_an_index_that_somebody_dropped_is_built(parts: Parts) -> None:
    fill(parts, make_collection(parts, "staff"), faces()[:600])
    collection = measured(parts, "staff")
    with parts.database.transaction() as session:
        session.execute(text(f"DROP INDEX {indexes.index_name(collection.id)}"))
    assert host.main(["index", "--rebuild", "staff"]) == 0
    with parts.database.reading() as session:
        there = session.scalar(text("SELECT count(*) FROM pg_indexes WHERE indexname = :name"),
                               {"name": indexes.index_name(collection.id)})  # fmt: skip
    assert there == 1


@pytest.mark.campaign("it builds the index of a large collection again")
def test_an_index_is_measured_again_after_a_week_and_when_its_collection_has_grown(parts: Parts) -> None:
    rows = faces()
    fill(parts, make_collection(parts, "default"), rows[:600])
    first = measured(parts)
    assert indexer.measure_indexes(parts) == 0
    change(parts, index_measured_at=func.now() - timedelta(days=6))
    assert indexer.measure_indexes(parts) == 0
    change(parts, index_measured_at=func.now() - timedelta(days=8))
    again = measured(parts)
    assert again.index_measured_at is not None
    assert first.index_measured_at is not None
    assert again.index_measured_at > first.index_measured_at
    fill(parts, again, rows[600:950])
    assert measured(parts).index_faces == 950


def test_an_index_that_is_built_anew_is_measured_anew(parts: Parts) -> None:
    fill(parts, make_collection(parts, "default"), faces()[:600])
    measured(parts)
    change(parts, index_ready=False, index_ef=800)
    indexer.build_indexes(parts)
    assert make_collection(parts, "default").index_ef is None
    assert indexer.measure_indexes(parts) == 1


def test_a_collection_of_another_model_and_an_empty_one_are_let_be(parts: Parts) -> None:
    fill(parts, make_collection(parts, "default"), faces()[:600])
    indexer.build_indexes(parts)
    with parts.database.transaction() as session:
        session.execute(text("DELETE FROM faces"))
    assert indexer.measure_indexes(parts) == 0
    change(parts, contract_id="of-another-model")
    with parts.database.transaction() as session:
        assert probing.due(session, "of-another-model")
    assert indexer.measure_indexes(parts) == 0


def test_a_question_is_as_like_the_faces_of_a_person_as_they_are_each_other(parts: Parts) -> None:
    """So is a new photo of theirs; one that shows somebody without a name is as like theirs alone."""
    collection = make_collection(parts, "default")
    named = near(np.eye(DIMENSION, dtype=np.float32)[0], 8, 0.98, 1)
    alone = near(np.eye(DIMENSION, dtype=np.float32)[1], 1, 0.98, 2)
    fill(parts, collection, np.concatenate([named, alone]))
    name_faces(parts, collection, add_person(parts, collection, "Anna"), named.mean(axis=0), 8)
    with parts.database.reading() as session:
        asked = np.array(probing._questions(session, collection, 0.91, 100, np.random.default_rng(3)))
    of_anna = asked @ named.T
    pairs = (named @ named.T)[np.triu_indices(8, 1)]
    assert sorted(of_anna.mean(axis=1))[1] == pytest.approx(pairs.mean(), abs=0.01)
    assert of_anna.max() < 0.99
    assert (asked @ alone.T).max() == pytest.approx(pairs.mean(), abs=0.02)
