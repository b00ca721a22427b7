"""A share of searches is asked of both packs of a move: nobody waits for it, and counts alone are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_pipeline.actions import analysis, reembedding, searches
from face_pipeline.actions import shadows as asking
from face_pipeline.actions.uploads import Upload
from face_pipeline.broker import shadows
from face_pipeline.broker.messages import FoundFace
from face_pipeline.broker.shadows import Search
from face_pipeline.engine import contract_id, load_engine
from face_pipeline.errors import BadRequest, NotFound, Unavailable
from face_pipeline.ops.reembedding import _told
from face_pipeline.parts import Parts
from face_pipeline.store import audit, ledger
from face_pipeline.store.models import Face
from face_pipeline.store.reembedding import Shadowed
from face_pipeline.store.rights import Role
from face_pipeline.store.vectors import GroupBy
from PIL import Image
from sqlalchemy import select, text

from tests.app import stock
from tests.app.test_ledger import a_face
from tests.app.test_reembedding import nothing_moved, portraits, rows, run, start  # noqa: F401
from tests.app.test_vectors import make_collection
from tests.installation import App, as_role, wait_until
from tests.photos import astronaut_jpeg

SERVICE = audit.SERVICE
FACE = FoundFace.of(a_face())


def a_search(photo: bytes = b"a photo", **other: Any) -> Search:
    return dataclasses.replace(Search("dlib-1", [1], [FACE], photo), **other)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "shadows"


def test_a_search_is_handed_over_as_it_is(directory: Path) -> None:
    photo = np.random.default_rng(0).bytes(3_000_000)
    with shadows.listening(directory, 100) as inbox:
        assert shadows.offer(directory, a_search(photo, collections=[7, 8]))
        found = inbox.take(5)
        assert found is not None
        assert (found.contract_id, found.collections, found.photo) == ("dlib-1", [7, 8], photo)
        (face,) = found.faces
        assert face.bbox == FACE.bbox
        assert np.array_equal(face.embedding, FACE.embedding)
        assert inbox.take(0.01) is None
        assert (directory.stat().st_mode & 0o777) == 0o700
    assert list(directory.iterdir()) == [], "nothing of it was on a disk"


def test_who_searches_waits_for_nobody(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not shadows.offer(directory, a_search()), "nobody listens"
    with shadows.listening(directory, 0):
        assert not shadows.offer(directory, a_search()), "none is wanted"
    with shadows.listening(directory, 100) as inbox:
        began = time.monotonic()
        assert [shadows.offer(directory, a_search()) for _ in range(5)] == [True, True, False, False, False]
        assert time.monotonic() - began < 1
        assert inbox.take(1) is not None
        monkeypatch.setattr(shadows, "OLD_SECONDS", 0)
        assert inbox.take(1) is None, "it waited for too long"
        (directory / shadows.SOCKET).unlink()
        assert not shadows.offer(directory, a_search()), "who listened was killed"


def test_a_share_of_searches_is_handed_over(directory: Path) -> None:
    with shadows.listening(directory, 30) as inbox:
        taken = 0
        for _ in range(300):
            if shadows.offer(directory, a_search()):
                taken += 1
                inbox.take(1)
    assert 50 < taken < 130


def grey() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (200, 200), "grey").save(made, "JPEG")
    return made.getvalue()


@pytest.mark.usefixtures("clean", "nothing_moved")
def test_both_packs_are_asked_and_counts_alone_are_kept(web_app: App, parts: Parts) -> None:
    (photo,) = portraits(parts, 1, stock.person(parts, "Eileen"))
    with pytest.raises(NotFound):
        reembedding.shadow(parts, 100, by=SERVICE)
    start(parts)
    with pytest.raises(BadRequest, match="take 0 to 100"):
        reembedding.shadow(parts, 101, by=SERVICE)
    reembedding.shadow(parts, 100, by=SERVICE)
    with parts.database.reading() as session:
        face = session.scalars(select(Face).where(Face.photo_id == photo)).one()
    own = dataclasses.replace(FACE, bbox=list(face.bbox))
    stranger = dataclasses.replace(own, embedding=np.eye(128, dtype=np.float32)[0])
    search = Search(contract_id(parts.pack), [face.collection_id], [own], astronaut_jpeg())
    loaded: list[Any] = []

    def load(side: Any) -> Any:
        loaded.extend([] if loaded else [load_engine(Path(side.pack), threads=1)])
        return loaded[0]

    def counted() -> Shadowed:
        return reembedding.status(parts).shadowed

    with as_role(parts, Role.REEMBED) as unit, ThreadPoolExecutor(1) as pool:
        asking.attend(unit, 0.2, load)
        assert loaded == [], "not all photos were looked at"
        run(parts)
        enough = threading.Event()

        def attend() -> None:
            while not enough.is_set():
                asking.attend(unit, 0.5, load)

        ending = pool.submit(attend)

        def handed_over(one: Search, number: int) -> None:
            def offered() -> bool:
                assert not ending.done(), ending.result()
                return shadows.offer(parts.settings.shadow_dir, one)

            wait_until(offered, 30, "somebody to listen")
            wait_until(lambda: counted().searches == number, 30, "the search to be counted")

        try:
            handed_over(search, 1)
            assert counted() == Shadowed(1, 1, 0, 1, 1, 1.0)
            # One whom the pack in use does not know; two that the other does not see; no collection.
            handed_over(dataclasses.replace(search, faces=[stranger]), 2)
            assert counted() == Shadowed(2, 2, 0, 1, 1, 1.0)
            handed_over(dataclasses.replace(search, photo=grey()), 3)
            handed_over(dataclasses.replace(search, photo=b"no photo"), 4)
            handed_over(dataclasses.replace(search, collections=[0]), 5)
            assert counted() == Shadowed(5, 2, 2, 1, 1, 1.0)
        finally:
            enough.set()
        ending.result(30)
    lines = list(_told(reembedding.status(parts)))
    assert lines[-3].startswith("searches of people: 100% are asked of both packs; 5 were so far")
    assert "for 1 (50.0%), the same face first for 1 (50.0%)" in lines[-2]
    assert lines[-1] == "  they share 50.0% of their matches"
    told = web_app.get("/metrics").text
    for same in ("person", "face", "matches"):
        assert f'face_recognition_reembedding_shadow_ratio{{same="{same}"}} 0.5' in told
    kept = rows(parts, "SELECT action, details - 'source' - 'target' FROM audit WHERE action ~ 'shadow'")
    assert kept == [("reembedding.shadow", {"percent": 100})]
    # It begins anew, and ends.
    reembedding.shadow(parts, 0, by=SERVICE)
    assert counted() == Shadowed()
    asking.attend(parts, 0.2, load)
    assert not shadows.offer(parts.settings.shadow_dir, search)


def found_by(parts: Parts, data: bytes) -> list[str | None]:
    """Who is found in the default collection."""
    photo = Upload(
        ledger.NewPhoto(hashlib.sha256(data).hexdigest(), "a.jpg", "image/jpeg", 9, 9, 9), data, ended=True
    )
    wish = searches.Wish(5, 0.9, 0.0, GroupBy.FACE)
    answer = searches.search(parts, photo, names=["default"], wish=wish, gone=lambda: False, by=SERVICE)
    return [match.person_name for match in answer.faces[0].matches]


@pytest.mark.usefixtures("clean")
def test_a_search_during_which_the_pack_changes_finds_nobody_wrongly(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its face is another pack's by then: it would be like nobody."""
    make_collection(parts, "default")
    stock.photo(parts, stock.person(parts, "Eileen"))

    def analyse(*_: object) -> tuple[list[FoundFace], bool]:
        with parts.database.transaction() as session:
            session.execute(text("UPDATE collections SET contract_id = 'another'"))
        return [FACE], False

    monkeypatch.setattr(analysis, "analyse", analyse)
    with pytest.raises(Unavailable, match="moved to another model pack") as refused:
        found_by(parts, b"one")
    assert refused.value.code == "pack_changing"


@pytest.mark.usefixtures("clean")
def test_a_search_is_offered_and_its_answer_stays_what_it_is(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make_collection(parts, "default")
    stock.photo(parts, stock.person(parts, "Eileen"))
    monkeypatch.setattr(analysis, "analyse", lambda *_: ([FACE], False))
    asked = partial(found_by, parts)

    with as_role(parts, Role.WEB), shadows.listening(parts.settings.shadow_dir, 100) as inbox:
        assert asked(b"one") == ["Eileen"]
        found = inbox.take(1)
        assert found is not None
        assert (found.collections, found.photo) == ([collection.id], b"one")
        assert asked(b"one") == ["Eileen"]
        assert inbox.take(0.01) is None, "an answer that was kept is asked of nobody"
    assert asked(b"two") == ["Eileen"]
