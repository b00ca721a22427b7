"""All engines on real models: one person is recognised, strangers are not, whatever the file looks like."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from face_pipeline.engine import Engine, EngineError, PhotoBroken, inspect, load_engine
from PIL import Image, ImageFile, ImageOps

from tests import packs
from tests.oddities import saved
from tests.photos import LABELLED, ROOT, astronaut, astronaut_again, astronaut_jpeg, jpeg, labelled, no_face

# Orientation -> what a camera held that way stores; the inverse of what a viewer does (TIFF 6.0, tag 274).
STORED = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: ImageOps.mirror(image.rotate(90, expand=True)).rotate(180),
    6: lambda image: image.rotate(90, expand=True),
    7: lambda image: ImageOps.mirror(image.rotate(90, expand=True)),
    8: lambda image: image.rotate(-90, expand=True),
}


@pytest.fixture(scope="module", params=["dlib", "insightface", "opencv"])
def engine(request: pytest.FixtureRequest) -> Engine:
    directory = getattr(packs, f"{request.param}_pack")()
    made = load_engine(directory, threads=4, prompt_threads=2)
    made.warm_up()
    return made


def test_a_face_is_found_with_a_unit_embedding(engine: Engine) -> None:
    analysis = engine.analyse(astronaut_jpeg())
    (face,) = analysis.faces
    assert (analysis.width, analysis.height) == (512, 512)
    assert face.embedding.shape == (engine.dimension,)
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
    assert 0 < face.detection_score <= 1
    assert 0 < face.quality <= 1
    left, right, nose = face.landmarks[:3]
    assert left[0] < nose[0] < right[0]
    assert set(analysis.timings) == {"decode", "detect", "align", "embed"}
    assert engine.analyse(no_face()).faces == []


def test_a_photo_is_decoded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its faces and its thumbnail; what an upload is checked by decodes nothing."""
    photos, decoded = (astronaut_jpeg(), no_face()), list[str]()

    def counted(library: Any, name: str) -> None:
        own = getattr(library, name)

        def counting(*given: Any, **more: Any) -> Any:
            decoded.append(name)
            return own(*given, **more)

        monkeypatch.setattr(library, name, counting)

    counted(cv2, "imdecode")
    counted(ImageFile.ImageFile, "load")
    for data in photos:
        inspect(data, max_bytes=10**7, max_pixels=10**7)
    assert decoded == []
    for analysed, data in enumerate(photos, 1):
        assert engine.analyse(data, thumbnail=True).thumbnail
        assert len(decoded) == analysed


def test_another_picture_of_the_person_is_over_the_threshold(engine: Engine) -> None:
    one, two = (engine.analyse(data).faces[0].embedding for data in (astronaut_jpeg(), astronaut_again()))
    assert one @ two >= engine.match_threshold


@pytest.mark.parametrize("pack", ["insightface", "opencv"])
def test_a_small_face_of_a_large_photo_is_embedded_from_all_its_pixels(pack: str) -> None:
    engine = load_engine(getattr(packs, f"{pack}_pack")(), threads=1)
    photo = Image.new("RGB", (3000, 2000), "grey")
    photo.paste(astronaut().resize((400, 400)), (1300, 800))
    data = jpeg(photo)
    # Only a JPEG can be decoded at half its size.
    whole = saved(Image.open(io.BytesIO(data)), "PNG")
    (face,), (expected,) = engine.analyse(data).faces, engine.analyse(whole).faces
    assert face.bbox[2] - face.bbox[0] < 112
    assert face.embedding @ expected.embedding > 0.999


def test_every_labelled_pair_is_on_its_side_of_the_threshold(engine: Engine) -> None:
    faces = []
    for name, who in labelled().items():
        if len(who) == 1 and who[0] is not None:
            found = engine.analyse((LABELLED / name).read_bytes()).faces
            largest = max(found, key=lambda face: face.bbox[2] - face.bbox[0])
            faces.append((who[0], name, largest.embedding))
    pairs = list(itertools.combinations(faces, 2))
    assert len(pairs) > 100
    for (one, first, a), (other, second, b) in pairs:
        assert (one == other) == (a @ b >= engine.match_threshold), f"{first} {second}: {a @ b:.3f}"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_gives_the_upright_box(engine: Engine, orientation: int) -> None:
    upright = astronaut().crop((40, 0, 440, 512))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    # What a viewer does with the stored picture gives the upright one back.
    stored = STORED[orientation](upright)
    stored.save(buffer, "JPEG", quality=95, exif=exif)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        shown = ImageOps.exif_transpose(image)
    assert shown.size == upright.size
    analysis = engine.analyse(buffer.getvalue())
    expected = engine.analyse(jpeg(shown, quality=95))
    assert (analysis.width, analysis.height) == upright.size
    assert analysis.faces
    assert np.abs(analysis.faces[0].bbox - expected.faces[0].bbox).max() < 12


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGBA", "PNG"), ("L", "PNG"), ("P", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "WEBP")],
)
def test_colour_modes_show_the_same_person(engine: Engine, mode: str, form: str) -> None:
    buffer = io.BytesIO()
    astronaut().convert(mode).save(buffer, form)
    reference = engine.analyse(astronaut_jpeg()).faces[0].embedding
    best = max(face.embedding @ reference for face in engine.analyse(buffer.getvalue()).faces)
    assert best >= engine.match_threshold


def test_a_large_photo_is_decoded_at_half_size_with_boxes_at_full_size(engine: Engine) -> None:
    large = astronaut().resize((2048, 2048), Image.Resampling.LANCZOS)
    analysis = engine.analyse(jpeg(large))
    assert (analysis.width, analysis.height) == (2048, 2048)
    small = engine.analyse(astronaut_jpeg()).faces[0]
    face = max(analysis.faces, key=lambda each: each.embedding @ small.embedding)
    assert np.abs(face.bbox / 4 - small.bbox).max() < 25
    assert face.embedding @ small.embedding >= engine.match_threshold


def test_threads_share_one_engine_and_get_the_same_answer(engine: Engine) -> None:
    photos = [astronaut_jpeg(), astronaut_again(), no_face()] * 8
    expected = [[face.embedding for face in engine.analyse(data).faces] for data in photos[:3]]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number, analysis in enumerate(pool.map(engine.analyse, photos)):
            for face, vector in zip(analysis.faces, expected[number % 3], strict=True):
                assert np.allclose(face.embedding, vector, atol=1e-5)


def test_a_photo_analysed_promptly_has_the_same_faces(engine: Engine) -> None:
    """A search takes several cores, an upload one: their embeddings have to be those of one contract."""
    (alone,), (prompt,) = (
        engine.analyse(astronaut_jpeg(), promptly=promptly).faces for promptly in (False, True)
    )
    assert np.allclose(alone.bbox, prompt.bbox, atol=0.1)
    assert alone.embedding @ prompt.embedding > 0.9999


def test_a_photo_analysed_promptly_takes_several_cores() -> None:
    """Seen by the threads of onnxruntime in a process of its own, where nothing else starts any."""
    begun = []
    for cores in (1, 3):
        program = (
            "import os, pathlib; from face_pipeline.engine import load_engine; "
            f"pack = pathlib.Path({str(packs.insightface_pack())!r}); "
            f"engine = load_engine(pack, threads=1, prompt_threads={cores}); "
            "print(len(os.listdir('/proc/self/task')))"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "app"), "OMP_NUM_THREADS": "1"}
        answer = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        begun.append(int(answer.stdout))
    assert begun[1] - begun[0] == 2


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xe0" + b"x" * 2000, b"RIFF\x10\0\0\0WEBPxxxxxxxxxxxxx"])
def test_what_cannot_be_decoded_is_said_so(engine: Engine, data: bytes) -> None:
    with pytest.raises(PhotoBroken):
        engine.analyse(data)


def _pack_with(directory: Path, original: Path, files: dict[str, str | bytes]) -> Path:
    """A copy of a pack whose tasks have other files (a name in the pack, or content), with right hashes."""
    shutil.copytree(original, directory, copy_function=shutil.copyfile)
    directory.chmod(0o755)
    manifest = json.loads((directory / "manifest.json").read_text())
    for role, file in files.items():
        if isinstance(file, bytes):
            (directory / f"{role}.bad").write_bytes(file)
            file = f"{role}.bad"
        manifest["tasks"][role]["file"] = file
        manifest["tasks"][role]["sha256"] = hashlib.sha256((directory / file).read_bytes()).hexdigest()
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


@pytest.mark.parametrize(
    "files",
    [
        {"detection": "recognition.onnx"},
        {"recognition": "detection.onnx"},
        {"detection": b"no model"},
        {"recognition": b""},
    ],
)
def test_onnx_models_that_do_not_fit_end_the_start(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    """Celery swallows errors of other classes, and would run without a model."""
    with pytest.raises(EngineError, match="pack scrfd2"):
        load_engine(_pack_with(tmp_path / "pack", packs.insightface_pack(), files), threads=1)


@pytest.mark.parametrize("hidden", ["output", "input"])
def test_a_model_that_loads_and_does_not_run_as_promised_ends_the_start(tmp_path: Path, hidden: str) -> None:
    import onnx

    original = packs.insightface_pack()
    model = onnx.load(original / "recognition.onnx")
    if hidden == "output":
        # Its dimension is known only once it ran.
        model.graph.output[0].type.tensor_type.shape.dim[-1].dim_param = "D"
        files: dict[str, str | bytes] = {"recognition": model.SerializeToString()}
    else:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
        files = {"recognition": model.SerializeToString()}
    directory = _pack_with(tmp_path / "pack", original, files)
    manifest = json.loads((directory / "manifest.json").read_text())
    if hidden == "output":
        manifest["tasks"]["recognition"]["embedding_dimension"] = 512
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(EngineError, match="pack scrfd2"):
        load_engine(directory, threads=1).warm_up()


@pytest.mark.parametrize(
    "files",
    [{"landmarks": "dlib_face_recognition_resnet_model_v1.dat"}, {"recognition": b"no model"}],
)
def test_dlib_models_that_do_not_fit_end_the_start(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    with pytest.raises(EngineError, match="pack dlib"):
        load_engine(_pack_with(tmp_path / "pack", packs.dlib_pack(), files), threads=1)


def _fresh_process(code: str, home: Path, **extra: str) -> None:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")
    }
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT / "app"), **extra}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=home, timeout=120)


def test_an_inference_leaves_no_trace_of_telemetry(tmp_path: Path) -> None:
    """onnxruntime reports to its vendor unless told not to, and never where CI is set: so it is not, here."""
    pack = packs.insightface_pack()
    code = (
        "import pathlib, face_pipeline.engine as e\n"
        f"engine = e.load_engine(pathlib.Path({str(pack)!r}), threads=1); engine.warm_up()\n"
    )
    ours, control = tmp_path / "ours", tmp_path / "control"
    ours.mkdir()
    control.mkdir()
    _fresh_process(code, ours)
    assert [str(path) for path in ours.rglob("*") if path.is_file()] == []
    bare = (
        "import onnxruntime, time\n"
        f"model = {str(pack / 'recognition.onnx')!r}\n"
        "onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])\n"
        "time.sleep(1)\n"
    )
    _fresh_process(bare, control)
    assert [path for path in control.rglob("*") if path.is_file()], "without the variable it would write"


def test_a_web_process_loads_no_model_runtime(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, face_pipeline.engine as e\n"
        f"e.contract_id(e.read_pack(pathlib.Path({str(packs.dlib_pack())!r})))\n"
        "loaded = {'onnxruntime', 'cv2', 'dlib', 'insightface', 'onnx', 'scipy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    _fresh_process(code, tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 7), (1, 100), (100, 1), (10, 1000), (3000, 30)])
def test_a_tiny_or_narrow_photo_has_no_face(engine: Engine, size: tuple[int, int]) -> None:
    for form in ("JPEG", "PNG", "WEBP", "AVIF"):
        buffer = io.BytesIO()
        Image.new("RGB", size, "grey").save(buffer, form)
        assert engine.analyse(buffer.getvalue()).faces == []
