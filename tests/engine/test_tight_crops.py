"""A photo cut to its face is found, and what shows no face still shows none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from face_pipeline.engine import Engine, load_engine
from face_pipeline.engine.border import bordered
from face_pipeline.engine.decode import decode
from face_pipeline.engine.types import FloatArray, Image

from tests import packs
from tests.photos import LABELLED, astronaut, labelled


@pytest.fixture(scope="module", params=["dlib", "insightface", "opencv"])
def engine(request: pytest.FixtureRequest) -> Engine:
    made = load_engine(getattr(packs, f"{request.param}_pack")(), threads=1)
    made.warm_up()
    return made


def png(pixels: Image) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", pixels)[1])


def cut(pixels: Image, box: FloatArray, wider: float = 0.0) -> Image:
    """The part of a picture in a box, made `wider` by a share of the box on each side."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box
    across, down = wider * (x2 - x1), wider * (y2 - y1)
    left, top = max(0, round(float(x1 - across))), max(0, round(float(y1 - down)))
    right, bottom = min(width, round(float(x2 + across))), min(height, round(float(y2 + down)))
    return pixels[top:bottom, left:right]


def a_face(engine: Engine) -> tuple[Image, FloatArray, FloatArray]:
    """Pixels of a portrait, the box of its face and its embedding."""
    pixels = np.asarray(astronaut(), np.uint8)[:, :, ::-1]
    (face,) = engine.analyse(png(pixels)).faces
    return pixels, face.bbox, face.embedding


@pytest.mark.parametrize("wider", [0.0, 0.08])
def test_a_photo_cut_to_its_face_shows_the_same_person(engine: Engine, wider: float) -> None:
    pixels, box, embedding = a_face(engine)
    crop = cut(pixels, box, wider)
    analysis = engine.analyse(png(crop))
    (face,) = analysis.faces
    assert face.embedding @ embedding >= engine.match_threshold
    x1, y1, x2, y2 = face.bbox
    # HOG's boxes may reach over the edge of a picture, where a face is found at first.
    reach = 0.0 if engine.pack.engine == "insightface" else 0.1 * max(crop.shape)
    assert -reach <= x1 < x2 <= crop.shape[1] + reach, "the box is inside the picture"
    assert -reach <= y1 < y2 <= crop.shape[0] + reach
    assert (x2 - x1) * (y2 - y1) > 0.3 * crop.shape[0] * crop.shape[1]
    left, right, nose, *_ = face.landmarks
    assert left[0] < nose[0] < right[0]
    assert engine.analyse(png(crop), promptly=True).faces[0].embedding @ face.embedding > 0.999


@pytest.mark.parametrize(
    "form",
    [
        "its own box",
        *(
            pytest.param(form, marks=pytest.mark.campaign("the tightest is tested"))
            for form in ("64 pixels wide", "a little wider", "four times as large")
        ),
    ],
)
def test_every_labelled_face_is_found_again_when_its_photo_is_cut_to_it(engine: Engine, form: str) -> None:
    import cv2

    missed, tried = [], 0
    for name, who in labelled().items():
        data = (LABELLED / name).read_bytes()
        faces = engine.analyse(data).faces if len(who) == 1 else []
        if len(faces) != 1:
            continue
        photo = decode(data)
        crop = cut(photo.pixels, faces[0].bbox / photo.scale, 0.08 if form == "a little wider" else 0)
        factor = {"64 pixels wide": 64 / crop.shape[1], "four times as large": 4.0}.get(form, 1.0)
        if factor != 1:
            if engine.pack.engine == "dlib" and factor < 1:
                # HOG finds no face under 80 pixels, with or without a border.
                factor = max(factor, 100 / crop.shape[1])
            crop = np.asarray(
                cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
            )
        tried += 1
        found = engine.analyse(png(crop)).faces
        if not any(face.embedding @ faces[0].embedding >= engine.match_threshold for face in found):
            missed.append(name)
    assert tried >= 15
    assert missed == []


def _faceless() -> dict[str, Image]:
    """Textures, gradients, shapes, and the pictures of things that scikit-image brings."""
    import cv2
    import skimage.data

    random = np.random.default_rng(0)
    made: dict[str, Image] = {}
    for number in range(6):
        size = (*random.integers(40, 600, 2), 3)
        made[f"noise {number}"] = random.integers(0, 256, size, dtype=np.uint8)
        coarse = random.integers(0, 256, (4 * number + 3, 4 * number + 3, 3), dtype=np.uint8)
        made[f"clouds {number}"] = np.asarray(
            cv2.resize(coarse, (400, 400), interpolation=cv2.INTER_CUBIC), np.uint8
        )
        discs = np.full((400, 400, 3), 40 * number, np.uint8)
        for _ in range(6):
            middle = (int(random.integers(400)), int(random.integers(400)))
            cv2.circle(discs, middle, int(random.integers(10, 120)), random.integers(0, 256, 3).tolist(), -1)
        made[f"discs {number}"] = discs
    slope = np.linspace(0, 255, 300, dtype=np.uint8)
    made["slope"] = np.dstack([np.tile(slope, (400, 1))] * 3)
    made["plain"] = np.full((300, 300, 3), 180, np.uint8)
    for path in sorted(Path(skimage.data.__file__).parent.glob("*.*")):
        if path.stem in ("brick", "coffee", "coins", "grass", "gravel", "moon", "rocket", "chelsea", "page"):
            made[path.stem] = np.asarray(cv2.imread(str(path)), np.uint8)
    return made


def test_what_shows_no_face_still_shows_none(engine: Engine) -> None:
    found = {name: len(engine.analyse(png(pixels)).faces) for name, pixels in _faceless().items()}
    assert {name: number for name, number in found.items() if number} == {}


def test_photos_whose_face_was_found_before_keep_their_embedding_bit_for_bit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look is for photos without a face alone: with it or without it others are the same."""
    pixels, box, embedding = a_face(engine)

    def never(*_: object) -> None:
        raise AssertionError("a photo with a face was looked at again")

    monkeypatch.setattr(type(engine), "_look_again", never)
    (face,) = engine.analyse(png(pixels)).faces
    assert face.embedding.tobytes() == embedding.tobytes()
    assert face.bbox.tobytes() == box.tobytes()


def test_a_border_is_put_around_a_picture_of_any_size_and_no_strip() -> None:
    for size in ((1, 1), (3, 1), (40, 100), (3000, 2000)):
        pixels = np.full((*size, 3), 90, np.uint8)
        again = bordered(pixels, 640)
        assert again is not None
        assert again.pixels.shape == (640, 640, 3)
        whole = np.array([again.offset / again.scale, (again.offset + again.size) / again.scale])
        assert again.cut(whole.astype(np.float32).reshape(4)) == pytest.approx(
            [0, 0, size[1], size[0]], abs=1e-2
        )
    for size in ((1, 641), (641, 1), (100, 301)):
        assert bordered(np.zeros((*size, 3), np.uint8), 640) is None
