"""What is stored is moved from dlib's pack to the small InsightFace one, and back."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_pipeline.actions import erasure, reembedding
from face_pipeline.engine import contract_id, load_engine, read_pack
from face_pipeline.errors import Conflict, FacePipelineError, NotFound, Unavailable
from face_pipeline.ops import clusterer, indexer
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, compatible, embeddings, indexes, ledger, vectors
from face_pipeline.store import reembedding as store
from face_pipeline.store.models import Collection, Face, LookOutcome, Reembedding
from face_pipeline.store.rights import Role
from sqlalchemy import delete, select, text, update

from tests import packs
from tests.app import stock
from tests.app.test_ledger import a_face, add_photo
from tests.app.test_vectors import DIMENSION, fill, make_collection, unit
from tests.installation import App, Installation, as_role, start_web, wait_until
from tests.photos import LABELLED, astronaut_jpeg, labelled

pytestmark = pytest.mark.usefixtures("clean", "nothing_moved")

PHOTOS = {
    "obama_1.jpg": "one", "obama_2.jpg": "one", "obama_3.jpg": "one",
    "biden_1.jpg": "other", "biden_2.jpg": "other", "lacamoire_1.png": None,
}  # fmt: skip
LATE, ASKED = "biden_2.jpg", "obama_4.jpg"
SERVICE = audit.SERVICE


def quiet(done: int, of: int) -> None:
    """Nobody looks at how far it is."""


@pytest.fixture
def nothing_moved(parts: Parts) -> Iterator[None]:
    def forget() -> None:
        with parts.database.transaction() as session:
            session.execute(text("TRUNCATE face_embeddings, reembedding_photos, reembeddings"))

    forget()
    yield
    forget()


def rows(parts: Parts, query: str, **values: Any) -> list[Any]:
    with parts.database.reading() as session:
        return [tuple(row) for row in session.execute(text(query), values)]


def all_faces(parts: Parts) -> list[Any]:
    return rows(parts, "SELECT id, person_id, photo_id, bbox::text, embedding::text FROM faces ORDER BY id")


def start(parts: Parts) -> store.Way:
    return reembedding.start(parts, packs.insightface_pack(), by=SERVICE)


def run(parts: Parts, *, again: bool = False) -> int:
    return reembedding.run(parts, again=again, by=SERVICE, progress=quiet)


def switch(parts: Parts, leave_behind: int = 0) -> reembedding.Switched:
    return reembedding.switch(parts, leave_behind=leave_behind, by=SERVICE, progress=quiet)


def back(parts: Parts, leave_behind: int = 0) -> reembedding.Switched:
    return reembedding.back(parts, leave_behind=leave_behind, by=SERVICE, progress=quiet)


def portraits(parts: Parts, number: int, *persons: uuid.UUID | None, first: int = 0) -> list[uuid.UUID]:
    """Photos of the astronaut whose face is stored where the small InsightFace pack finds it."""
    engine = load_engine(packs.insightface_pack(), threads=1)
    (face,) = engine.analyse(astronaut_jpeg()).faces
    made = [
        stock.photo(
            parts, persons[each % len(persons)] if persons else None, data=astronaut_jpeg(first + each)
        )
        for each in range(number)
    ]
    with parts.database.transaction() as session:
        session.execute(update(Face).where(Face.photo_id.in_(made)).values(bbox=face.bbox.tolist()))
    return made


def search(app: App, photo: str) -> Any:
    return app.search((LABELLED / photo).read_bytes())


def best(app: App, photo: str) -> str | None:
    (face,) = search(app, photo).json()["faces"]
    found: str | None = face["matches"][0]["person_name"] if face["matches"] else None
    return found


@pytest.fixture
def other_pack(installation: Installation) -> dict[str, str]:
    """Settings of processes that have the other pack."""
    pack = packs.insightface_pack()
    there = installation.parts.settings.models_dir / pack.name
    if not there.exists():
        there.symlink_to(pack)
    return {"FACE_MODEL_PACK": pack.name}


@pytest.mark.campaign("two packs look at every photo for minutes")
def test_all_is_moved_while_photos_come_in_and_back(
    live_app: App, parts: Parts, other_pack: dict[str, str]
) -> None:
    labelled()
    installation = live_app.installation
    run_, pack = installation.run, str(packs.insightface_pack())

    def upload(name: str) -> Any:
        person = PHOTOS.get(name)
        return live_app.upload(
            (name, (LABELLED / name).read_bytes()), **({"person": person} if person else {})
        )

    for name in PHOTOS:
        if name != LATE:
            live_app.wait_finished(upload(name).json()["batch_id"])
    before = all_faces(parts)
    assert best(live_app, ASKED) == "one"

    told = run_("reembed", "start", pack).stdout
    assert contract_id(parts.pack) in told
    refused = run_("reembed", "switch", check=False)
    assert (refused.returncode, "run `face-pipeline reembed run`" in refused.stderr) == (1, True), refused
    assert "5 photos looked at" in run_("reembed", "run").stdout
    assert all_faces(parts) == before, "searches are as they were"
    found = json.loads(run_("reembed", "status", "--format", "json").stdout)
    assert found["progress"]["waiting"] == found["progress"]["left"]["all"] == 0
    assert found["progress"]["embedded"] == len(before)
    # Three of one person find each other with both packs; of the other one there is a single photo.
    assert found["agreement"] == {
        "searches": 3, "source": 3, "target": 3, "agreed": 3, "strangers_source": 0, "strangers_target": 0,
    }  # fmt: skip
    metrics = live_app.get("/metrics").text
    assert 'face_recognition_reembedding_photos{state="done"} 5.0' in metrics
    assert "face_recognition_reembedding_agreement_ratio 1.0" in metrics
    assert 'face_recognition_reembedding_right_ratio{pack="other"} 1.0' in metrics
    assert "face_recognition_reembedding_idle_seconds 0.0" in metrics
    told = run_("reembed", "status").stdout
    assert "photos: 5 of 5 looked at (100.0%), 0 to go" in told
    assert "both packs find the same person, or nobody, for 3 (100.0%)" in told

    # One that comes in before the switch, when the workers have ended.
    installation.end(live_app.workers.pop(1))
    late = upload(LATE)
    assert late.status_code == 202
    told = run_("reembed", "switch").stdout
    assert "default: embeddings of insightface-" in told
    assert "0 faces left behind" in told
    for answer in (upload("obama_4.jpg"), search(live_app, ASKED)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "pack_changing")
        assert answer.headers["Retry-After"]
    # A worker of the former pack leaves it alone, one of the other takes it.
    former = live_app.start_worker(instance=2)
    (photo,) = late.json()["photos"]
    parts.celery.send_task("face_pipeline.ingest", [photo["id"]], queue="ingest")
    url, web = start_web(installation, "web-moved.log", **other_pack)
    moved = App(installation, url, web, live_app.workers)
    try:
        # Nor does it make a search of the other pack a mistake of whoever asks.
        answer = search(moved, ASKED)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "pack_changing")
        assert rows(parts, "SELECT state, attempts FROM photos WHERE id = :id", id=photo["id"]) == [
            ("received", 0)
        ] or rows(parts, "SELECT state, attempts FROM photos WHERE id = :id", id=photo["id"]) == [
            ("queued", 0)
        ]
        installation.end(former)
        worker = moved.start_worker(instance=3, **other_pack)
        with parts.database.transaction() as session:
            session.execute(
                text("UPDATE photos SET received_at = now() - interval '1 min' WHERE state <> 'done'")
            )
        run_("reconcile")
        assert moved.wait_finished(late.json()["batch_id"])["states"]["done"] == 1
        assert best(moved, ASKED) == "one"
        assert best(moved, "biden_1.jpg") == "other"
        # Who is who has stayed, by the id of each face.
        now = {row[0]: row[1:4] for row in all_faces(parts)}
        assert {row[0]: row[1:4] for row in before}.items() <= now.items()
        installation.end(worker)
    finally:
        installation.end(web)
        live_app.workers.clear()

    # Back: the one that came in is looked at by the former pack.
    told = run_("reembed", "back", "--index-later").stdout
    assert f"default: embeddings of {contract_id(parts.pack)} now; 0 faces left behind" in told
    again = {row[0]: row for row in all_faces(parts)}
    assert [again[row[0]] for row in before] == before, "the very embeddings that they had"
    assert len(again) == len(before) + 1
    live_app.start_worker(instance=4)
    assert best(live_app, ASKED) == "one"
    assert best(live_app, LATE) == "other"
    run_("reembed", "end", "--for-good")
    assert "face_recognition_reembedding" not in live_app.get("/metrics").text
    assert rows(parts, "SELECT count(*) FROM face_embeddings") == [(0,)]
    actions = [each for (each,) in rows(parts, "SELECT action FROM audit WHERE action LIKE 'reembedding%'")]
    assert {f"reembedding.{each}" for each in ("start", "run", "switch", "back", "end")} == set(actions)


def test_killed_at_any_moment_it_goes_on_where_it_was(
    clean: Installation, parts: Parts, tmp_path: Path
) -> None:
    portraits(parts, 40, stock.person(parts, "Eileen"))
    start(parts)
    # As systemd starts it: with one secret.
    unit = clean.signed_in_as(Role.REEMBED)
    shutil.copy(Path(unit["FACE_CREDENTIALS_DIR"]) / "database_password", tmp_path)
    unit["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    command = (sys.executable, "-m", "face_pipeline.cli", "reembed", "run", "--every", "1s")
    process = clean.spawn("reembed.log", *command, **unit)

    def begun() -> bool:
        assert process.poll() is None, clean.log("reembed.log")
        return rows(parts, "SELECT count(*) FROM reembedding_photos") > [(0,)]

    wait_until(begun, 60, "the first photos to be looked at", every=0.01)
    clean.end(process, signal.SIGKILL)
    ((done,),) = rows(parts, "SELECT count(*) FROM reembedding_photos")
    assert done < 40
    with pytest.raises(Conflict, match="run `face-pipeline reembed run` to its end"):
        switch(parts)
    wait_until(lambda: _goes(parts, run), 30, "the lock of the one that was killed to be free")
    assert rows(parts, "SELECT count(*) FROM reembedding_photos WHERE outcome = 'done'") == [(40,)]
    assert rows(parts, "SELECT count(*) FROM face_embeddings") == [(40,)]
    found = reembedding.status(parts)
    assert (found.progress.waiting, found.progress.left.all, found.progress.embedded) == (0, 0, 40)
    # Killed between two looks, and after all.
    assert run(parts) == 0
    switch(parts)
    process = clean.spawn("reembed.log", *command, **unit)
    assert process.wait(60) == 0
    (line,) = map(json.loads, clean.log("reembed.log").splitlines())
    assert (line["service_name"], line["message"]) == ("face-reembed", "nothing is left to be moved")


def test_the_unit_looks_at_what_comes_in_until_all_is_switched(parts: Parts) -> None:
    eileen = stock.person(parts, "Eileen")
    (gone, *_) = portraits(parts, 5, eileen)
    parts.originals.path(stock.sha256(parts, gone)).unlink()
    start(parts)
    told: list[int] = []
    with as_role(parts, Role.REEMBED) as unit, ThreadPoolExecutor(1) as pool:

        def told_now() -> store.Told:
            with as_role(parts, Role.WEB) as web, web.database.reading() as session:
                found = store.told(session)
            assert found is not None
            return found

        before = told_now()
        assert (before.photos["waiting"], before.photos["done"], before.idle_seconds > 0) == (0, 0, True)
        ending = pool.submit(
            reembedding.attend, unit, threads=1, every=0.1, by=SERVICE,
            progress=lambda done, _: told.append(done),
        )  # fmt: skip

        def looked(number: int) -> bool:
            assert not ending.done(), ending.result()
            found = told_now()
            looked_at = sum(found.photos.values())
            return (looked_at, found.photos["waiting"], found.idle_seconds) == (number, 0, 0)

        try:
            wait_until(lambda: looked(5), 60, "all photos to be looked at")
            found = told_now()
            assert found.photos == {"waiting": 0, "done": 4, "missing": 1, "damaged": 0, "refused": 0}
            assert (found.left, found.searches, found.agreed) == (1, 4, 4)
            portraits(parts, 2, eileen, first=10)
            wait_until(lambda: looked(7), 60, "those that came in to be looked at")
            wait_until(
                lambda: _goes(parts, lambda each: switch(each, 1)), 30, "the unit to let others switch"
            )
            ending.result(60)
        except BaseException:
            # Whoever attends to it ends then, and can be waited for.
            parts.database.in_transaction(lambda session: session.execute(delete(Reembedding)))
            raise
    with parts.database.reading() as session:
        assert store.told(session) is None
    assert told
    assert rows(parts, "SELECT DISTINCT actor_kind FROM audit WHERE action = 'reembedding.run'")


def _goes(parts: Parts, work: Callable[[Parts], Any]) -> bool:
    """Whether it could be done by now: nobody else was at it, and all photos were looked at."""
    try:
        work(parts)
    except (Conflict, Unavailable):
        return False
    return True


def test_what_is_left_behind_is_named_found_by_nobody_and_brought_back(parts: Parts) -> None:
    eileen = stock.person(parts, "Eileen")
    kept, gone, damaged, hidden, useless = portraits(parts, 5, eileen)
    parts.originals.path(stock.sha256(parts, gone)).unlink()
    parts.originals.path(stock.sha256(parts, damaged)).write_bytes(b"other bytes")
    with parts.database.transaction() as session:
        session.execute(update(Face).where(Face.photo_id == hidden).values(bbox=[0, 0, 9, 9]))
        embeddings.add(session, eileen, parts.pack, [a_face().embedding], SERVICE)
    photo = stock.photo(parts, None, data=b"no photo at all")
    before = all_faces(parts)
    start(parts)
    assert run(parts) == 6
    found = reembedding.status(parts)
    assert found.progress.lost == {"missing": [gone], "damaged": [damaged], "refused": [photo]}
    assert found.progress.named == [hidden]
    assert vars(found.progress.left) == {
        "not_found": 1, "missing": 1, "damaged": 1, "refused": 1, "embeddings": 1,
    }  # fmt: skip
    assert found.progress.more_faces == 1
    # An original that is back is looked at again.
    parts.originals.write({stock.sha256(parts, gone): astronaut_jpeg(1)})
    assert run(parts) == 0
    assert run(parts, again=True) == 3
    with pytest.raises(Conflict, match="4 faces have no embedding of the other pack") as refused:
        switch(parts, 3)
    assert "--leave-behind 4" in str(refused.value)
    assert all_faces(parts) == before

    assert switch(parts, 4).left == 4
    (unmade,) = stock.faces_of(parts, hidden)
    with parts.database.reading() as session:
        collection = collections.by_name(session, "default")
        own = embeddings.face(session, stock.faces_of(parts, kept)[0], SERVICE)
        matches = vectors.nearest(session, collection, own.embedding, limit=20, threshold=0.01)
        assert {each.photo_id for each in matches} == {kept, gone, useless}
        with pytest.raises(Conflict, match="has no embedding of insightface-"):
            embeddings.face(session, unmade, SERVICE)
    assert reembedding.status(parts).without_embedding == 4
    with pytest.raises(FacePipelineError, match="of the 4 faces that have no other"):
        reembedding.end(parts, for_good=False, by=SERVICE)

    assert back(parts).left == 0
    assert all_faces(parts) == before
    # And there once more: what was left behind is left behind again.
    assert back(parts, 4).left == 4
    assert back(parts).left == 0
    assert all_faces(parts) == before


def test_one_runtime_looks_at_all_that_needs_no_code_of_its_own(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit may not write code (MemoryDenyWriteExecute), whatever the pack was measured with."""
    used: list[Any] = []

    def load(*arguments: Any, **more: Any) -> Any:
        used.append(more["runtime"])
        return load_engine(*arguments, **more)

    monkeypatch.setattr(reembedding, "load_engine", load)
    portraits(parts, 1)
    start(parts)
    run(parts)
    assert used == ["onnxruntime", "onnxruntime"]


def test_who_is_erased_meanwhile_leaves_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = portraits(parts, 3, stock.person(parts, "Eileen"))
    start(parts)
    run(parts)

    def erase(photo_id: uuid.UUID) -> None:
        erasure.photo(parts, photo_id, dry_run=False, by=SERVICE)

    erase(photos[0])
    assert rows(parts, "SELECT count(*) FROM face_embeddings") == [(2,)]
    assert rows(parts, "SELECT count(*) FROM reembedding_photos") == [(2,)]
    # While it is looked at: after it was read, before it is kept.
    late = portraits(parts, 5, None, first=10)[4]

    def look(*arguments: Any, **more: Any) -> Any:
        monkeypatch.setattr(reembedding, "_look", looked_at)
        found = looked_at(*arguments, **more)
        erase(late)
        return found

    looked_at = reembedding._look
    monkeypatch.setattr(reembedding, "_look", look)
    run(parts)
    left = rows(parts, "SELECT count(*) FROM photos")
    assert rows(parts, "SELECT count(*) FROM reembedding_photos") == left
    assert rows(parts, "SELECT count(*) FROM face_embeddings") == left
    switch(parts)
    # Both embeddings go.
    erase(photos[1])
    assert rows(
        parts, "SELECT count(*) FROM face_embeddings WHERE face_id NOT IN (SELECT id FROM faces)"
    ) == [(0,)]


@pytest.fixture
def large(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Large:
    """A collection with an index, all of whose photos another pack of other dimensions has looked at."""
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    collection = make_collection(parts, "default")
    fill(parts, collection, normal(600, DIMENSION))
    indexer.build_indexes(parts)
    way = store.Way(
        store.Side(contract_id(parts.pack), "/a", DIMENSION, 0.91), store.Side("other-1", "/b", 64, 0.4)
    )
    with parts.database.transaction() as session:
        store.begin(session, way, SERVICE)
    made = Large(parts, way)
    made.look(64)
    return made


def normal(number: int, dimension: int, seed: int = 0) -> Any:
    return unit(np.random.default_rng(seed).normal(size=(number, dimension)).astype(np.float32))


class Large:
    """A large collection; `other`: what the other pack made of its faces."""

    def __init__(self, parts: Parts, way: store.Way) -> None:
        self.parts, self.way = parts, way
        self.other: dict[uuid.UUID, Any] = {}

    @property
    def collection(self) -> Collection:
        with self.parts.database.reading() as session:
            return collections.by_name(session, "default")

    def look(self, dimension: int) -> None:
        """As the unit does, in its role: the pack that makes so many dimensions looks at what is new."""
        waiting = rows(
            self.parts,
            "SELECT id, photo_id FROM faces WHERE photo_id NOT IN (SELECT photo_id FROM reembedding_photos)",
        )
        made = dict(
            zip(
                (face for face, _ in waiting),
                normal(len(waiting), dimension, dimension + len(waiting)),
                strict=True,
            )
        )
        self.other |= made
        ((photo,),) = {(photo,) for _, photo in waiting}
        looked = [store.Looked(photo, LookOutcome.DONE, made)]
        with as_role(self.parts, Role.REEMBED) as unit_:
            unit_.database.in_transaction(lambda session: store.keep(session, looked))
            unit_.database.in_transaction(store.is_through)

    def nearest(self, embedding: Any) -> uuid.UUID | None:
        """Whom the index finds, and an exact scan too."""
        found = set()
        with self.parts.database.reading() as session:
            for exact in (True, False):
                embedding = np.asarray(embedding / np.linalg.norm(embedding), np.float32)
                matches = vectors.nearest(
                    session, self.collection, embedding, limit=1, threshold=0.9, exact=exact
                )
                found.add(matches[0].face_id if matches else None)
        (one,) = found
        return one

    def finds_what_the_other_made(self) -> bool:
        some = list(self.other)[::100]
        return [self.nearest(self.other[face]) for face in some] == some

    def kept(self) -> dict[str, int]:
        """How many vectors there are, by their table and dimensions."""
        counts = rows(
            self.parts,
            "SELECT 'first', vector_dims(embedding), count(*) FROM face_vectors GROUP BY 2 UNION ALL"
            " SELECT 'second', vector_dims(embedding), count(*) FROM second_vectors GROUP BY 2",
        )
        return {f"{table} {dimension}": count for table, dimension, count in counts}

    def indexed(self) -> list[str]:
        found = rows(self.parts, "SELECT indexname FROM pg_indexes WHERE indexname ~ '_hnsw_' ORDER BY 1")
        return [name for (name,) in found]

    def works_with(self) -> str | None:
        with self.parts.database.single_statements() as connection:
            return compatible.said(connection)


def test_a_large_collection_has_both_indexes_before_it_is_switched_and_back(
    parts: Parts, large: Large
) -> None:
    before = all_faces(parts)
    face, own = before[7][0], np.array(json.loads(before[7][4]))
    with pytest.raises(Conflict, match="default: no index yet of what the other pack made"):
        switch(parts)
    assert reembedding.status(parts).unindexed == ["default"]
    assert large.works_with() == compatible.WORKS_WITH
    number = large.collection.id
    first, second = indexes.index_name(number), indexes.index_name(number, second=True)
    assert indexer.build_indexes(parts) == [second]
    assert indexer.build_indexes(parts) == []
    assert large.works_with() == compatible.SECOND_VECTORS, "no earlier release comes back meanwhile"
    assert reembedding.status(parts).unindexed == []
    # One that comes in before the switch gets both.
    fill(parts, large.collection, normal(1, DIMENSION))
    large.look(64)
    assert large.kept() == {"first 128": 601, "second 64": 601}
    with as_role(parts, Role.WEB) as web:
        assert Large(web, large.way).nearest(own) == face
    with as_role(parts, Role.REEMBED) as unit_, unit_.database.snapshot() as session:
        found = store.both(session, large.way, number, (own, large.other[face]), 10)
    assert found is not None
    assert [matches[0] for matches in found] == [(face, None)] * 2, "a search of both asks both indexes"

    switch(parts)
    with as_role(parts, Role.WEB) as web:
        assert Large(web, large.way).nearest(large.other[face]) == face
    now = large.collection
    assert (now.contract_id, now.dimension) == ("other-1", 64)
    assert (now.index_ready, now.other_index_ready) == (True, True)
    assert large.indexed() == [first, second]
    assert indexer.build_indexes(parts) == [], "nothing is left to be built"
    assert large.finds_what_the_other_made()
    indexer.measure_indexes(parts)
    # One that comes in after it is found at once, and by the former pack after the way back.
    (new,) = normal(1, 64)
    fill(parts, now, np.array([new]))
    ((late,),) = rows(parts, "SELECT id FROM faces WHERE id NOT IN (SELECT face_id FROM face_vectors)")
    assert large.nearest(new) == late
    large.other.clear()
    large.look(DIMENSION)
    assert large.kept() == {"first 128": 602, "second 64": 602}

    back(parts)
    assert large.indexed() == [first, second]
    assert indexer.build_indexes(parts) == []
    assert large.nearest(own) == face
    assert large.nearest(large.other[late]) == late
    again = {row[0]: row for row in all_faces(parts)}
    assert [again[row[0]] for row in before] == before
    reembedding.end(parts, for_good=True, by=SERVICE)
    assert large.kept() == {"first 128": 602}
    assert large.indexed() == [first]
    assert large.works_with() == compatible.WORKS_WITH
    assert large.nearest(own) == face


def test_who_is_moved_or_erased_is_in_no_index_of_either_pack(parts: Parts, large: Large) -> None:
    indexer.build_indexes(parts)
    there = make_collection(parts, "there")

    def erased(number: int) -> None:
        face, other = next(iter(large.other.items()))
        del large.other[face]
        with parts.database.transaction() as session:
            session.execute(delete(Face).where(Face.id == face))
        if large.collection.dimension == 64:
            assert large.nearest(other) is None
        assert set(large.kept().values()) == {number}

    def moved(number: int) -> None:
        face, other = next(iter(large.other.items()))

        def move(to: Collection) -> None:
            with parts.database.transaction() as session:
                session.execute(update(Face).where(Face.id == face).values(collection_id=to.id))

        move(there)
        assert set(large.kept().values()) == {number}
        move(large.collection)
        assert set(large.kept().values()) == {number + 1}
        if large.collection.dimension == 64:
            assert large.nearest(other) == face

    erased(599)
    moved(598)
    switch(parts)
    erased(598)
    moved(597)
    reembedding.end(parts, for_good=True, by=SERVICE)
    assert large.kept() == {"second 64": 598}
    assert large.indexed() == [indexes.index_name(large.collection.id, second=True)]
    assert large.works_with() == compatible.SECOND_VECTORS, "an earlier release would not find them"
    erasure.collection(parts, "default", dry_run=False, by=SERVICE)
    indexer.build_indexes(parts)
    assert (large.kept(), large.indexed()) == ({}, [])
    assert large.works_with() == compatible.WORKS_WITH


def test_a_switch_without_the_other_index_keeps_the_one_for_the_way_back(parts: Parts, large: Large) -> None:
    before = all_faces(parts)
    reembedding.switch(parts, index_later=True, by=SERVICE, progress=quiet)
    now = large.collection
    assert (now.index_ready, now.other_index_ready) == (False, True)
    back(parts)
    assert large.collection.index_ready
    assert all_faces(parts) == before
    assert large.nearest(np.array(json.loads(before[7][4]))) == before[7][0]
    reembedding.back(parts, index_later=True, by=SERVICE, progress=quiet)
    assert indexer.build_indexes(parts) == [indexes.index_name(now.id, second=True)]
    assert large.finds_what_the_other_made()


def test_a_worker_of_the_former_pack_writes_nothing_into_a_collection_that_was_moved(parts: Parts) -> None:
    way = store.Way(
        store.Side(contract_id(parts.pack), "/a", DIMENSION, 0.91), store.Side("other-1", "/b", 64, 0.4)
    )
    photo_id = add_photo(parts)

    def claim(contract: str) -> ledger.Claim | None:
        with parts.database.single_statements() as connection:
            return ledger.claim(connection, photo_id, worker="w@tests", lease_seconds=60, contract=contract)

    with parts.database.transaction() as session:
        store.begin(session, way, SERVICE)
    assert claim("other-1") is None, "before the switch those of the other pack wait"
    held = claim(way.source.contract)
    assert held is not None
    parts.database.in_transaction(lambda session: store.switch(session, way, held.collection_id, 0, SERVICE))
    with parts.database.single_statements() as connection, pytest.raises(ledger.LeaseLost):
        ledger.finish(connection, held, [a_face()])
    assert rows(parts, "SELECT count(*) FROM faces") == [(0,)]
    with parts.database.transaction() as session:
        session.execute(text("UPDATE photos SET lease_until = now() - interval '1 min'"))
        ledger.release_lapsed(session, max_attempts=3)
    assert claim(way.source.contract) is None
    assert claim("other-1") is not None
    # Whoever read the collection before it was moved, and writes after.
    with parts.database.transaction() as session:
        stale = session.scalars(select(Collection)).one()
        parts.database.in_transaction(store_back)
        with pytest.raises(Unavailable, match="was moved to another model pack just now"):
            collections.hold(session, stale)


def store_back(session: Any) -> None:
    way = store.turn(session, SERVICE)
    ((collection_id, _),) = store.to_move(session, way)
    # Its photo is not done.
    store.switch(session, way, collection_id, 0, SERVICE)


def test_groups_and_measures_go_on_with_faces_that_have_no_embedding(parts: Parts) -> None:
    for _ in range(4):
        stock.photo(parts, None)
    start(parts)
    with parts.database.transaction() as session:
        session.execute(text("INSERT INTO reembedding_photos SELECT id, 'missing', 0 FROM photos"))
        store.is_through(session)
    assert switch(parts, 4).left == 4
    moved = Parts(
        parts.settings.model_copy(
            update={
                "models_dir": packs.insightface_pack().parent, "model_pack": packs.insightface_pack().name
            }
        )
    )  # fmt: skip
    assert contract_id(moved.pack) == contract_id(read_pack(packs.insightface_pack()))
    clusterer.cluster(moved)
    assert rows(parts, "SELECT count(*) FROM clusters") == [(0,)]


def test_what_cannot_be_done_says_what_to_do(clean: Installation, parts: Parts) -> None:
    make_collection(parts, "default")

    def refused(*command: str) -> tuple[int, str]:
        done = clean.run("reembed", *command, check=False)
        return done.returncode, done.stderr

    code, told = refused("status")
    assert (code, "begin with `face-pipeline reembed start DIR`" in told) == (1, True), told
    code, told = refused("start", str(parts.settings.pack_dir))
    assert (code, "name another one" in told) == (1, True), told
    code, told = refused("start", "/nonexistent")
    assert (code, "there is no model pack in /nonexistent" in told) == (78, True), told
    start(parts)
    code, told = refused("start", str(packs.insightface_pack()))
    assert (code, "`face-pipeline reembed end` ends it" in told) == (1, True), told
    code, told = refused("back")
    assert (code, "no collection was switched" in told) == (1, True), told
    with store.alone(parts.database):
        code, told = refused("run")
        assert (code, "another `face-pipeline reembed` is at work" in told) == (1, True), told
    code, told = refused("run", "--every", "1s", "--again")
    assert (code, "leave --every out" in told) == (1, True), told
    clean.run("reembed", "end")
    clean.run("reembed", "run", "--every", "1s")
    with pytest.raises(NotFound):
        reembedding.status(parts)
    assert rows(parts, "SELECT count(*) FROM collections WHERE other_contract_id IS NOT NULL") == [(0,)]
