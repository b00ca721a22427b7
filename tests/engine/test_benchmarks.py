"""The table of what is wanted and what is reached: its programs run, and keep what others can judge by.

How quick anything is, no test says.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import gpu
from bench.table import RESULTS, ROWS
from tests import packs
from tests.photos import LABELLED, ROOT, labelled

# One row through the whole pipeline, and one of accuracy, on photos that show one face each.
MEASURED = ("ingest_yunet_0.3mp", "accuracy_avx2")
PHOTOS = ("obama_1.jpg", "harington_2.jpeg")
MACHINE = {
    "processor", "cores", "memory GB", "kernel", "python", "postgresql", "postgresql pgvector", "packages",
}  # fmt: skip
# A slash that begins a name, and not one between words.
PATH = r"(?<![\w.])/\w"


def table(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.table", *map(str, options)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of what was measured on two photos."""
    pack, opencv, labels = packs.insightface_pack(), packs.opencv_pack(), labelled()
    photos, made = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("results")
    for name in PHOTOS:
        shutil.copy(LABELLED / name, photos)
    (photos / "labels.json").write_text(json.dumps({"photos": {name: labels[name] for name in PHOTOS}}))
    done = table(
        "--rows", ",".join(MEASURED), "--rounds", "1", "--count", "4", "--mosaics", "1", "--photos", photos,
        "--pack", pack, "--opencv", opencv, "--results", made,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return made


def kept(directory: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}


def assert_of_anybody(name: str, result: dict[str, Any]) -> None:
    """Others can tell what was measured on what, and nobody whose machine that was."""
    row = {row.name: row for row in ROWS}.get(name)
    assert row, f"{name}.json is of no row of bench.table"
    assert (result["work"], result["wanted"], result["command"]) == (row.work, row.wanted, row.command)
    assert result["measured"] == row.told(result["figures"])
    assert set(result["machine"]) >= MACHINE
    assert set(result["machine"]["packages"]) >= {"onnxruntime", "openvino", "pgvector"}
    assert set(result["load"]) == {"begin", "end"}
    text = json.dumps(result)
    assert not re.search(PATH, text), re.findall(f".{{0,40}}{PATH}.{{0,40}}", text)
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


@pytest.mark.campaign("it measures for minutes")
def test_each_row_keeps_its_figures_and_what_they_were_measured_on(results: Path) -> None:
    found = kept(results)
    assert set(found) == set(MEASURED)
    for name, result in found.items():
        assert_of_anybody(name, result)
    assert found["ingest_yunet_0.3mp"]["figures"]["photos"] == 4


@pytest.mark.campaign("it measures for minutes")
def test_the_exact_profile_finds_what_face_analysis_finds_without_newer_instructions(results: Path) -> None:
    figures = kept(results)["accuracy_avx2"]["figures"]
    assert set(figures["engines"]) == {"exact, openvino", "fast, openvino"}
    sizes = figures["engines"]["exact, openvino"]["sizes"]
    assert sizes["photos"]["FaceAnalysis"] == len(PHOTOS)
    assert {(size["missed"], size["added"]) for size in sizes.values()} == {(0, 0)}
    assert min(size["cosine worst"] for size in sizes.values()) >= 0.999


@pytest.mark.campaign("it measures for minutes")
def test_the_table_is_made_of_what_is_kept(results: Path) -> None:
    lines = table("--show", "--results", results).stdout.splitlines()
    for name, result in kept(results).items():
        work = next(row.work for row in ROWS if row.name == name)
        assert any(f"| {work} |" in line and result["measured"] in line for line in lines)
    assert sum("| not measured |" in line for line in lines) == len(ROWS) - len(MEASURED)


@pytest.mark.parametrize("name", [path.stem for path in sorted(RESULTS.glob("*.json"))] or [None])
def test_what_is_kept_here_names_no_machine(name: str | None) -> None:
    if name is None:
        pytest.skip("nothing measured is kept in bench/results: python -m bench.table makes it")
    assert_of_anybody(name, kept(RESULTS)[name])


def test_figures_of_a_card_say_what_they_belong_to_and_nobody_whose_it_is() -> None:
    said = gpu.machine()
    assert set(said) >= {*MACHINE, "card", "CUDA of onnxruntime"} - {"postgresql", "postgresql pgvector"}
    assert set(said["packages"]) >= {"numpy", "opencv-python-headless", "insightface"}
    text = json.dumps(said)
    assert not re.search(PATH, text)
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_a_card_that_takes_no_time_computes_each_photo_once() -> None:
    runtime = gpu.NoTime()
    session = runtime.session(packs.insightface_pack() / "recognition.onnx")
    name = session.get_inputs()[0].name
    dark, light = (np.full((1, 3, 112, 112), value, np.float32) for value in (-1, 1))
    (said,) = session.run(None, {name: dark})
    assert session.run(None, {name: light})[0] is said
    runtime.photo = 1
    assert not np.array_equal(session.run(None, {name: light})[0], said)


def test_a_row_that_nobody_knows_is_named() -> None:
    done = table("--rows", "nothing")
    assert done.returncode == 2
    assert "no row nothing: --rows takes ingest_exact_0.3mp," in done.stderr


def test_photos_without_labels_are_named(tmp_path: Path) -> None:
    shutil.copy(packs.insightface_pack() / "manifest.json", tmp_path / "x.jpg")
    done = subprocess.run(
        [sys.executable, "-m", "bench.accuracy", "--pack", packs.insightface_pack(), "--photos", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs a labels.json that says who is on each photo" in done.stderr
