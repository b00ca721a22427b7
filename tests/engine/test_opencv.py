"""YuNet and SFace on our runtimes against OpenCV, which has both computed by its own dnn."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from face_pipeline.engine import EngineError, load_engine, read_pack
from face_pipeline.engine.alignment import align
from face_pipeline.engine.opencv_engine import OpenCVEngine, SFace
from face_pipeline.engine.runtimes import load_runtime
from face_pipeline.engine.runtimes.onnx import Onnx
from face_pipeline.engine.yunet import OVERLAP_THRESHOLD, SCORE_THRESHOLD, Yunet

from tests import packs
from tests.photos import LABELLED, astronaut_jpeg, labelled, no_face

SIDE = 640


@pytest.fixture(scope="module")
def pack() -> Path:
    return packs.opencv_pack()


def photos() -> dict[str, Any]:
    """Name -> pixels (BGR), the longer side as long as what the detector looks at."""
    found = {}
    for name in sorted(labelled()):
        pixels = cv2.imread(str(LABELLED / name))
        scale = SIDE / max(pixels.shape[:2])
        found[name] = cv2.resize(pixels, None, fx=scale, fy=scale)
    return found


def test_faces_are_those_of_opencvs_own_detector(pack: Path) -> None:
    model = pack / "face_detection_yunet_2026may.onnx"
    theirs = cv2.FaceDetectorYN.create(str(model), "", (SIDE, SIDE), SCORE_THRESHOLD, OVERLAP_THRESHOLD)
    ours = Yunet(load_runtime().session(model), SIDE)
    compared = 0
    for name, pixels in photos().items():
        # The smallest that the photo fits into; OpenCV by itself would take the next 32 pixels.
        fits = [size for size in ours.sizes() if np.all(np.array(size) >= pixels.shape[:2])]
        height, width = min(fits, key=np.prod)
        padded = np.zeros((height, width, 3), np.uint8)
        padded[: pixels.shape[0], : pixels.shape[1]] = pixels
        theirs.setInputSize((width, height))
        expected = theirs.detect(padded)[1]
        boxes, landmarks = ours.detect(pixels)
        assert len(boxes) == len(expected), name
        found = np.hstack((boxes[:, :2], boxes[:, 2:4] - boxes[:, :2], landmarks.reshape(-1, 10)))
        assert np.abs(found - expected[:, :14]).max() < 1, name
        assert np.abs(boxes[:, 4] - expected[:, 14]).max() < 0.001, name
        compared += len(boxes)
    assert compared > 20


def test_a_photo_of_any_shape_has_its_boxes_in_its_own_pixels(pack: Path) -> None:
    engine = load_engine(pack, threads=1)
    (whole,) = engine.analyse(astronaut_jpeg()).faces
    pixels = cv2.imdecode(np.frombuffer(astronaut_jpeg(), np.uint8), cv2.IMREAD_COLOR)
    for above, left in ((0, 300), (700, 0), (137, 1211)):
        wide = cv2.copyMakeBorder(pixels, above, 0, left, 0, cv2.BORDER_CONSTANT, value=(90, 90, 90))
        (face,) = engine.analyse(cv2.imencode(".png", wide)[1].tobytes()).faces
        assert np.abs(face.bbox - whole.bbox - [left, above, left, above]).max() < 8
        assert face.embedding @ whole.embedding > engine.match_threshold


def test_a_recogniser_takes_what_opencvs_own_gives_it(pack: Path) -> None:
    """SFace is laid on the same points, in the same order of colours, without normalisation."""
    model = pack / "recognition.onnx"
    theirs = cv2.FaceRecognizerSF.create(str(model), "")
    engine = load_engine(pack, threads=1)
    assert isinstance(engine, OpenCVEngine)
    ours = SFace(load_runtime().session(model), 0.0, 1.0)
    for name, pixels in photos().items():
        boxes, landmarks = engine._detector.detect(pixels)
        for box, points in zip(boxes, landmarks, strict=True):
            row = np.hstack((box[:2], box[2:4] - box[:2], points.ravel(), box[4:]))
            expected = theirs.alignCrop(pixels, row[None])
            crop = align(pixels, points)
            assert np.abs(crop.astype(int) - expected).mean() < 0.5, name
            vector, other = ours.get_feat([expected])[0], theirs.feature(expected)[0]
            assert np.abs(vector - other).max() < 1e-3 * np.abs(other).max(), name


def test_the_published_pack_takes_pixels_as_they_are(pack: Path) -> None:
    """SFace normalises inside the model: a mean and a factor of ours would be a second time."""
    from face_pipeline.engine.pack import known_pack

    for file in known_pack("yunet_sface").files:
        assert file.preprocessing == {}


@pytest.mark.parametrize("wrong", ["another model", "another size"])
def test_a_detector_that_is_no_yunet_ends_the_start(pack: Path, tmp_path: Path, wrong: str) -> None:
    import onnx

    copy = tmp_path / "pack"
    shutil.copytree(pack, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    task = manifest["tasks"]["detection"]
    if wrong == "another model":
        task["file"] = "recognition.onnx"
    else:
        model = onnx.load(pack / task["file"])
        for size in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            size.dim_value = 320
        task["file"] = "small.onnx"
        onnx.save(model, copy / task["file"])
    task["sha256"] = hashlib.sha256((copy / task["file"]).read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    said = "no YuNet" if wrong == "another model" else "set detector_side"
    with pytest.raises(EngineError, match=f"pack {manifest['model_id']}: the detector .*{said}"):
        load_engine(copy, threads=1)
    if wrong == "another size":
        manifest["face_pipeline"]["detector_side"] = 320
        (copy / "manifest.json").write_text(json.dumps(manifest))
        small = load_engine(copy, threads=1)
        assert len(small.analyse(astronaut_jpeg()).faces) == 1
        assert small.analyse(no_face()).faces == []


def test_the_input_has_few_sizes_and_they_follow_the_photo(pack: Path) -> None:
    sizes = Yunet(load_runtime().session(pack / "face_detection_yunet_2026may.onnx"), SIDE).sizes()
    assert len(sizes) == len(set(sizes)) == 9
    assert {(SIDE, SIDE), (512, SIDE), (SIDE, 128)} <= set(sizes)


def test_a_card_sees_every_size_before_the_first_photo(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each it takes memory and looks for the quickest way: no photo should wait. No card is here."""

    class Card(Onnx):
        on_card = True

    seen = []
    plain = Yunet.look
    monkeypatch.setattr(
        Yunet, "look", lambda self, pixels: seen.append(pixels.shape[:2]) or plain(self, pixels)
    )
    engine = OpenCVEngine(read_pack(pack), Card())
    engine.warm_up()
    assert set(seen) == set(engine._detector.sizes())
