"""Workers with the profile fast, from a photo to its faces, and what is told where fast was refused."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from face_pipeline.engine import load_engine
from face_pipeline.parts import Parts
from face_pipeline.store.models import Face, Photo
from sqlalchemy import select

from tests.installation import App, Installation, start_web
from tests.packs import NO_VNNI, prepare_fast
from tests.photos import LABELLED, labelled

Start = Callable[[Path], App]


@pytest.fixture
def start(clean: Installation) -> Iterator[Start]:
    """Starts web and one worker with a pack, and the profile fast asked for."""
    started: list[App] = []

    def with_pack(pack: Path) -> App:
        wanted = {
            "FACE_MODELS_DIR": str(pack.parent), "FACE_MODEL_PACK": pack.name,
            "FACE_PROFILE": "fast", "FACE_RUNTIME": "onnxruntime",
        }  # fmt: skip
        app = App(clean, *start_web(clean, **wanted))
        started.append(app)
        app.start_worker(**wanted)
        return app

    yield with_pack
    for app in started:
        for process in (*app.workers.values(), app.web):
            clean.end(process, signal.SIGKILL)


def profile_in_metrics(app: App) -> str:
    lines = requests.get(app.workers[1].metrics_url, timeout=5).text.splitlines()  # type: ignore[attr-defined]
    (engine,) = (line for line in lines if line.startswith("face_recognition_engine_info{"))
    return engine.partition('profile="')[2].partition('"')[0]


@pytest.mark.campaign("tests/engine/test_prepared.py compares the two without a worker")
def test_a_worker_with_the_profile_fast_finds_the_people_that_exact_finds(
    start: Start, tmp_path: Path, parts: Parts
) -> None:
    pack = tmp_path / "fast"
    assert not prepare_fast(pack).refused
    app = start(pack)
    assert profile_in_metrics(app) == "fast"
    told = app.get("/api/v1/system").json()["runtime"]
    assert (told["profile_wanted"], told["profile"], told["profile_refusal"]) == ("fast", "fast", None)
    names = sorted(name for name in labelled() if name.endswith(".jpg"))
    sent = app.upload(*((name, (LABELLED / name).read_bytes()) for name in names)).json()
    assert app.wait_finished(sent["batch_id"])["states"]["done"] == len(names)

    exact = load_engine(pack, threads=1, runtime="onnxruntime")
    cosines = []
    with parts.database.reading() as session:
        for name in names:
            found = session.scalars(select(Face).join(Photo).where(Photo.filename == name)).all()
            expected = exact.analyse((LABELLED / name).read_bytes()).faces
            assert len(found) == len(expected), name
            for one in expected:
                other = min(
                    found, key=lambda each, one=one: float(np.abs(np.array(each.bbox) - one.bbox).max())
                )
                cosines.append(float(np.asarray(other.embedding) @ one.embedding))
    assert len(cosines) > 15
    assert np.median(cosines) >= 0.99
    assert min(cosines) >= 0.95
    # It was fast that found them.
    assert min(cosines) < 0.9999

    app.upload(("obama_1.jpg", (LABELLED / "obama_1.jpg").read_bytes()), person="one").raise_for_status()
    (face,) = app.search((LABELLED / "obama_2.jpg").read_bytes()).json()["faces"]
    assert {match["person_name"] for match in face["matches"]} >= {"one"}


def test_where_fast_was_refused_a_worker_is_exact_and_everybody_is_told(start: Start, tmp_path: Path) -> None:
    pack = tmp_path / "refused"
    why = prepare_fast(pack, NO_VNNI).refused
    assert "this processor has no VNNI" in why
    app = start(pack)
    assert profile_in_metrics(app) == "exact"
    lines = [json.loads(line) for line in app.installation.log("worker1.log").splitlines() if line[:1] == "{"]
    (line,) = [each for each in lines if f"instead of fast: {why}" in each["message"]]
    assert line["log_level"] == "WARNING"

    told = app.get("/api/v1/system").json()["runtime"]
    assert (told["profile_wanted"], told["profile"], told["profile_refusal"]) == ("fast", "exact", why)
    assert told["prepared"] is True
    (finding,) = [
        each for each in app.get("/api/v1/system/doctor").json()["findings"] if each["check"] == "runtime"
    ]
    assert finding["state"] == "warn"
    assert why in finding["found"]
    assert "set face_profile to exact" in finding["mend"]

    sent = app.upload(("one.jpg", (LABELLED / "obama_1.jpg").read_bytes())).json()
    assert app.wait_finished(sent["batch_id"])["states"]["done"] == 1
