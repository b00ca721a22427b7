"""dlib's descriptor as ONNX: the numbers are dlib's, and what is not known to be so is not used."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from face_pipeline.cli import main
from face_pipeline.engine import load_engine

from tests import packs
from tests.photos import LABELLED, astronaut, astronaut_again, astronaut_jpeg, jpeg, labelled

MODEL = "descriptor.onnx"
SLOWLY = "dlib computes descriptors itself"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The dlib pack as it comes, without what is made from it."""
    pack = tmp_path / "dlib"
    pack.mkdir()
    for path in packs.dlib_pack().iterdir():
        if not path.name.startswith("descriptor"):
            shutil.copyfile(path, pack / path.name)
    return pack


def embeddings(pack: Path, photos: list[bytes]) -> np.ndarray:
    engine = load_engine(pack, threads=1)
    return np.stack([face.embedding for data in photos for face in engine.analyse(data).faces])


def test_faces_have_dlibs_own_embeddings(bare: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = [astronaut_jpeg(), astronaut_again()]
    if LABELLED.is_dir():
        photos += [(LABELLED / name).read_bytes() for name in sorted(labelled())[:6]]
    with caplog.at_level(logging.WARNING):
        converted = embeddings(packs.dlib_pack(), photos)
        assert SLOWLY not in caplog.text
        own = embeddings(bare, photos)
    assert SLOWLY in caplog.text
    assert len(own) >= 2
    assert np.abs(converted - own).max() < 1e-6


def test_a_pack_is_converted_once(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "prepare", str(bare)]) == 0
    assert f"{MODEL} made, which differs from dlib by" in capsys.readouterr().out
    made = (bare / MODEL).stat().st_mtime_ns
    assert main(["pack", "prepare", str(bare)]) == 0
    assert capsys.readouterr().out.startswith("unchanged: ")
    assert (bare / MODEL).stat().st_mtime_ns == made
    assert sorted(path.name for path in bare.iterdir() if "convert" in path.name) == []
    # Services run under another user.
    assert (bare / MODEL).stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize(
    "changed",
    ["model", "record", pytest.param("weights", marks=pytest.mark.campaign("another record is tested"))],
)
def test_a_model_of_other_origin_is_not_used(
    bare: Path, changed: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", "prepare", str(bare)]) == 0
    record = json.loads((bare / "descriptor.json").read_text())
    if changed == "model":
        (bare / MODEL).write_bytes((bare / MODEL).read_bytes() + b"\0")
    elif changed == "weights":
        (bare / "descriptor.json").write_text(json.dumps(record | {"weights": "0" * 64}))
    else:
        (bare / "descriptor.json").write_text("[")
    with caplog.at_level(logging.WARNING):
        assert len(embeddings(bare, [astronaut_jpeg()])) == 1
    assert SLOWLY in caplog.text
    assert main(["pack", "prepare", str(bare)]) == 0
    assert "made" in capsys.readouterr().out


def test_a_pack_says_how_closely_its_detector_looks(bare: Path) -> None:
    """A face of a quarter of a photo is found on less of it; one of a tenth is not."""
    manifest = json.loads((bare / "manifest.json").read_text())
    faces = []
    for number, side in enumerate((None, 480, 80)):
        pack = bare.with_name(f"dlib{number}")
        shutil.copytree(packs.dlib_pack(), pack)
        if side:
            manifest["face_pipeline"]["hog_side"] = side
            (pack / "manifest.json").write_text(json.dumps(manifest))
        photo = jpeg(astronaut().resize((1024, 1024)))
        faces.append(load_engine(pack, threads=1).analyse(photo).faces)
    (whole,), (reduced,), none = faces
    assert none == []
    assert np.abs(whole.bbox - reduced.bbox).max() < 40
    assert whole.embedding @ reduced.embedding > 0.95


def test_weights_of_another_network_are_left_to_dlib(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((bare / "manifest.json").read_text())
    task, whole = manifest["tasks"]["recognition"], bare / manifest["tasks"]["recognition"]["file"]
    for content, said in (
        (
            (bare / manifest["tasks"]["landmarks"]["file"]).read_bytes(),
            "not those of dlib's face recognition",
        ),
        (whole.read_bytes()[:-5], "the file ends too early"),
    ):
        whole.write_bytes(content)
        task["sha256"] = hashlib.sha256(content).hexdigest()
        (bare / "manifest.json").write_text(json.dumps(manifest))
        assert main(["pack", "prepare", str(bare)]) == 0
        told = capsys.readouterr().out
        assert told.startswith("unchanged: dlib itself computes descriptors")
        assert said in told
        assert not (bare / MODEL).exists()


def test_weights_that_are_damaged_are_not_converted(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = bare / json.loads((bare / "manifest.json").read_text())["tasks"]["recognition"]["file"]
    data = bytearray(file.read_bytes())
    data[1_000_000] ^= 1
    file.write_bytes(data)
    assert main(["pack", "prepare", str(bare)]) != 0
    assert "its manifest says" in capsys.readouterr().err
