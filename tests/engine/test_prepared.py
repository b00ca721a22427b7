"""Models that were prepared for a host find what the pack's originals find, or are not used."""

from __future__ import annotations

import concurrent.futures
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from face_pipeline.engine import EngineError, load_engine, read_pack
from face_pipeline.engine.insightface_engine import InsightFaceEngine
from face_pipeline.engine.prepared import fast, graphs
from face_pipeline.engine.prepared.models import PreparedDetector, PreparedRecogniser
from face_pipeline.engine.prepared.preparing import prepare
from face_pipeline.engine.prepared.record import DIRECTORY, FAST, RECORD, choose, usable
from face_pipeline.engine.runtimes import LIBRARIES, Library, available, load_runtime
from face_pipeline.errors import ConfigurationError
from face_pipeline.ops import sample
from insightface.model_zoo.scrfd import SCRFD
from onnx import TensorProto, helper, numpy_helper

from tests import packs
from tests.engine.card import Cards
from tests.packs import NO_VNNI, VNNI, prepare_fast
from tests.photos import LABELLED, ROOT, astronaut_again, astronaut_jpeg, labelled, no_face

PHOTOS = {"one": astronaut_jpeg(), "two": astronaut_again(), "none": no_face(), "LICENSE": b"no photo"}
# prctl(2): memory is never both written and run.
PR_SET_MDWE = 65
# Small, so that a made-up model takes no time; coarse grids have few cells.
SIDE = 64


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    if not available(request.param):
        pytest.skip(f"needs {request.param}, which is not installed here")
    return request.param


@pytest.fixture(scope="module")
def prepared_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test pack with its models prepared for every library that is here."""
    directory = copied(tmp_path_factory.mktemp("prepared"))
    prepare(read_pack(directory), PHOTOS, tuple(filter(available, LIBRARIES)), source="tests")
    return directory


def copied(directory: Path) -> Path:
    shutil.copytree(packs.insightface_pack(), directory, dirs_exist_ok=True)
    return directory


def scrfd(seed: int = 1) -> onnx.ModelProto:
    """A detector of SCRFD's build with weights of chance: two scaled, one bare head for each stride."""
    random = np.random.default_rng(seed)
    nodes, constants, outputs = [], [], {"scores": [], "boxes": [], "points": []}

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def convolve(name: str, taken: str, takes: int, gives: int, stride: int = 1) -> str:
        weights = random.normal(0, (takes * 9) ** -0.5, (gives, takes, 3, 3)).astype(np.float32)
        bias = random.normal(0, 0.1, gives).astype(np.float32)
        inputs = [taken, constant(f"{name}.w", weights), constant(f"{name}.b", bias)]
        nodes.append(
            helper.make_node(
                "Conv", inputs, [name], name, kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2
            )
        )
        return name

    features = convolve("stem", convolve("in", "picture", 3, 6, 2), 6, 6, 2)
    for stride in (8, 16, 32):
        features = convolve(f"down{stride}", features, 6, 6, 2)
        for kind, values in (("scores", 1), ("boxes", 4), ("points", 10)):
            name = f"{kind}{stride}"
            last = convolve(f"{name}.conv", features, 6, 2 * values)
            if kind == "boxes":
                scale = constant(f"{name}.scale", np.float32(0.5 + stride / 10))
                nodes.append(helper.make_node("Mul", [last, scale], [f"{name}.scaled"]))
                last = f"{name}.scaled"
            nodes.append(helper.make_node("Transpose", [last], [f"{name}.last"], perm=[2, 3, 0, 1]))
            shape = constant(f"{name}.shape", np.array([-1, values], np.int64))
            end = f"{name}.flat" if kind == "scores" else name
            nodes.append(helper.make_node("Reshape", [f"{name}.last", shape], [end]))
            if kind == "scores":
                nodes.append(helper.make_node("Sigmoid", [end], [name]))
            outputs[kind].append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, values]))
    taken = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(
        nodes, "made", [taken], [*outputs["scores"], *outputs["boxes"], *outputs["points"]], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def test_a_rewritten_detector_finds_the_same_boxes_and_landmarks(tmp_path: Path, library: Library) -> None:
    original, rewritten = tmp_path / "original.onnx", tmp_path / "rewritten.onnx"
    onnx.save(scrfd(), original)
    onnx.save(graphs.detector(scrfd(), SIDE, 127.5, 128.0), rewritten)
    known = SCRFD(str(original), load_runtime().session(original), static_shape_sessions=False)
    known.prepare(0, input_size=(SIDE, SIDE), det_thresh=0.5)
    ours = PreparedDetector(load_runtime(library=library).session(rewritten), SIDE, 0.5)
    picture = np.random.default_rng(2).integers(0, 256, (50, 90, 3), np.uint8)
    expected, found = known.detect(picture), ours.detect(picture)
    assert len(expected[0]) > 5
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_graphs_of_another_build_are_named() -> None:
    no_landmarks = scrfd()
    del no_landmarks.graph.output[6:]
    with pytest.raises(graphs.GraphUnknown, match="6 outputs, an SCRFD with landmarks has 9"):
        graphs.detector(no_landmarks, SIDE, 127.5, 128.0)
    swapped = scrfd()
    swapped.graph.output[0].name, swapped.graph.output[3].name = "boxes8", "scores8"
    with pytest.raises(graphs.GraphUnknown, match="output boxes8 is not made as SCRFD's are"):
        graphs.detector(swapped, SIDE, 127.5, 128.0)
    normalising = scrfd()
    normalising.graph.node[0].input[0] = "less"
    normalising.graph.node.insert(0, helper.make_node("Relu", ["picture"], ["less"]))
    with pytest.raises(graphs.GraphUnknown, match="its input goes elsewhere"):
        graphs.detector(normalising, SIDE, 127.5, 128.0)


def test_every_labelled_photo_gives_the_same_faces(prepared_pack: Path, library: Library) -> None:
    originals = load_engine(packs.insightface_pack(), threads=1)
    engine = load_engine(prepared_pack, threads=1, prompt_threads=2, runtime=library)
    engine.warm_up()
    faces = 0
    for promptly, name in enumerate(labelled()):
        data = (LABELLED / name).read_bytes()
        expected = originals.analyse(data).faces
        found = engine.analyse(data, promptly=bool(promptly % 2)).faces
        assert len(found) == len(expected), name
        for one, other in zip(expected, found, strict=True):
            assert one.embedding @ other.embedding >= 0.999, name
            np.testing.assert_allclose(one.bbox, other.bbox, atol=0.1)
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.1)
            assert other.detection_score == pytest.approx(one.detection_score, abs=1e-3)
        faces += len(found)
    assert faces > 20
    assert engine.contract_id == originals.contract_id


def test_a_pack_that_was_not_prepared_runs_on_each_runtime(library: Library) -> None:
    """Its graphs take any size, and several faces at once."""
    known = load_engine(packs.insightface_pack(), threads=1)
    engine = load_engine(packs.insightface_pack(), threads=1, runtime=library)
    engine.warm_up()
    (expected,), (found,) = (each.analyse(astronaut_jpeg()).faces for each in (known, engine))
    assert expected.embedding @ found.embedding >= 0.999
    np.testing.assert_allclose(expected.bbox, found.bbox, atol=0.1)


def test_threads_that_come_together_each_get_their_own_faces(prepared_pack: Path, library: Library) -> None:
    engine = load_engine(prepared_pack, threads=4, runtime=library)
    photos = [astronaut_jpeg(), astronaut_again()] * 8
    alone = [engine.analyse(data).faces[0].embedding for data in photos[:2]]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda data: engine.analyse(data).faces[0].embedding, photos))
    for number, embedding in enumerate(together):
        assert embedding @ alone[number % 2] >= 0.99999


def test_a_photo_is_computed_on_the_thread_that_asks(prepared_pack: Path, library: Library) -> None:
    """Threads that ingest have a lower priority than those that search, and keep it while they compute."""
    engine = load_engine(prepared_pack, threads=2, runtime=library)
    engine.warm_up()
    photo = astronaut_jpeg()

    def share(_: int) -> float:
        mine, everybody = time.thread_time(), time.process_time()
        for _ in range(5):
            engine.analyse(photo)
        return (time.thread_time() - mine) / (time.process_time() - everybody)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert next(iter(pool.map(share, [0]))) > 0.8


def test_what_a_model_gave_is_not_written_over(tmp_path: Path, library: Library) -> None:
    path = tmp_path / "rewritten.onnx"
    onnx.save(graphs.detector(scrfd(), SIDE, 127.5, 128.0), path)
    session = load_runtime(library=library).session(path)
    black, white = (np.full((1, SIDE, SIDE, 3), value, np.uint8) for value in (0, 255))
    (first,) = session.run(["head_8"], {"pixels": black})
    kept = first.copy()
    session.run(["head_8"], {"pixels": white})
    np.testing.assert_array_equal(first, kept)


def test_a_card_takes_the_prepared_detector_and_the_recogniser_of_many_faces(prepared_pack: Path) -> None:
    pack = read_pack(prepared_pack)
    found = choose(pack, "auto", "exact", on_card=True)
    assert found.library == "onnxruntime"
    assert found.record is not None
    engine = InsightFaceEngine(pack, Cards(), prepared=found.record.paths(pack))
    assert isinstance(engine._detector, PreparedDetector)
    assert not isinstance(engine._recogniser, PreparedRecogniser)
    (face,) = engine.analyse(astronaut_jpeg()).faces
    (alike,) = load_engine(packs.insightface_pack(), threads=1).analyse(astronaut_jpeg()).faces
    assert float(np.dot(face.embedding, alike.embedding)) > 0.9999


@pytest.fixture
def spoiled(tmp_path: Path, prepared_pack: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(prepared_pack, tmp_path / "pack"))


def test_what_was_prepared_is_used(spoiled: Path) -> None:
    (spoiled / "detection.onnx").unlink()
    assert usable(read_pack(spoiled)) is not None


def test_a_prepared_model_that_changed_is_not_used(spoiled: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (spoiled / DIRECTORY / "recognition.onnx").open("ab") as file:
        file.write(b"more")
    engine = load_engine(spoiled, threads=1)
    assert "(recognition) is not what was prepared: the pack's originals are used" in caplog.text
    assert engine.providers == ("CPUExecutionProvider",)
    assert len(engine.analyse(astronaut_jpeg()).faces) == 1


def test_what_was_prepared_of_another_pack_is_not_used(
    spoiled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = spoiled / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw.setdefault("face_pipeline", {})["detector_side"] = 320
    manifest.write_text(json.dumps(raw))
    load_engine(spoiled, threads=1)
    assert "is of another pack or release: the pack's originals are used" in caplog.text


@pytest.mark.parametrize("text", ["{", "[]", '{"files": {"detection": {"name": "../x"}}}'])
def test_a_record_that_is_none_is_told(spoiled: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (spoiled / DIRECTORY / "record.json").write_text(text)
    assert len(load_engine(spoiled, threads=1).analyse(astronaut_jpeg()).faces) == 1
    assert "record.json cannot be read" in caplog.text


def test_models_that_find_something_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = copied(tmp_path)
    made = graphs.recogniser
    monkeypatch.setattr(graphs, "recogniser", lambda model, side, mean, std: made(model, side, mean, std * 2))
    with pytest.raises(EngineError, match=r"do not find on one what the originals find: embeddings have a"):
        prepare(read_pack(directory), PHOTOS, ("onnxruntime",), source="tests")
    assert usable(read_pack(directory)) is None
    assert list((directory / "prepared").iterdir()) == []


def test_photos_without_a_face_prove_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no face is on the 1 sample photos .*with --photos"):
        prepare(read_pack(copied(tmp_path)), {"none": no_face()}, ("onnxruntime",), source="tests")


def test_a_unit_that_may_not_write_code_is_told_what_to_do(prepared_pack: Path) -> None:
    """As systemd's MemoryDenyWriteExecute does it. onnxruntime needs none."""
    code = (
        "import ctypes, pathlib, sys; from face_pipeline.engine import EngineError, load_engine\n"
        f"denied = ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0\n"
        "try:\n"
        f"    engine = load_engine(pathlib.Path({str(prepared_pack)!r}), threads=1, runtime=sys.argv[1])\n"
        "    engine.warm_up(); said = 'runs'\n"
        "except EngineError as error: said = error.message\n"
        "print(said if denied else 'cannot be denied')\n"
    )

    def said(library: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, library],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "app")},
            capture_output=True, text=True, timeout=300, check=True,
        ).stdout  # fmt: skip

    if said("onnxruntime") == "cannot be denied\n":
        pytest.skip("needs a kernel that denies writable code by prctl(2), Linux 6.3")
    assert said("onnxruntime") == "runs\n"
    if available("openvino"):
        assert "MemoryDenyWriteExecute=yes forbids this unit: run ./face-ansible site.yml" in said("openvino")


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "face_pipeline.cli", "pack", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "app"), **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def people(directory: Path) -> Path:
    """A directory of three photos, by person."""
    for name in ("one/first.jpg", "one/second.jpg", "another/first.jpg"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(sample.second() if "second" in name else sample.first())
    return directory


def test_a_pack_is_prepared_once(tmp_path: Path) -> None:
    directory = copied(tmp_path)
    assert json.loads(run("describe", directory).stdout)["prepared"] is None
    first = run("prepare", directory, "--format", "json")
    assert json.loads(first.stdout)["made"] is True, first.stderr
    record = (directory / DIRECTORY / "record.json").read_bytes()
    again = run("prepare", directory, "--runtime", "onnxruntime")
    assert again.stdout.startswith("unchanged: "), again.stderr
    assert (directory / DIRECTORY / "record.json").read_bytes() == record
    described = json.loads(run("describe", directory).stdout)
    assert described["runtime"] == described["prepared"]["quickest"]
    assert described["prepared"]["differences"]["onnxruntime"]["faces"] == 2
    assert run("verify", directory).returncode == 0
    photos = people(tmp_path / "photos")
    made = run("prepare", directory, "--again", "--runtime", "onnxruntime", "--photos", photos)
    assert made.stdout.startswith("prepared: onnxruntime is quickest here")
    described = json.loads(run("describe", directory).stdout)
    assert described["prepared"]["differences"]["onnxruntime"]["faces"] == 3
    # Every worker may read it, whatever root's umask is.
    assert {oct(each.stat().st_mode & 0o777) for each in (directory / DIRECTORY).iterdir()} == {"0o644"}


def test_wrong_photos_are_named(tmp_path: Path) -> None:
    pack = packs.insightface_pack()
    done = run("prepare", pack, "--photos", tmp_path / "nowhere")
    assert done.returncode == 78
    assert "--photos: " in done.stderr
    assert "name a directory of photos of faces" in done.stderr


def test_a_pack_of_an_engine_without_rewritings_is_left_alone() -> None:
    done = run("prepare", packs.opencv_pack())
    assert done.returncode == 0, done.stderr
    assert done.stdout == "unchanged: engine opencv takes the pack's models as they are\n"


@pytest.mark.skipif(available("openvino"), reason="OpenVINO is installed here")
def test_a_runtime_that_is_not_installed_is_named(tmp_path: Path) -> None:
    done = run("prepare", packs.insightface_pack(), "--runtime", "openvino")
    assert done.returncode == 1
    assert "openvino is not installed in this release: run ./face-ansible site.yml" in done.stderr


@pytest.fixture(scope="module")
def fast_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test pack with its profile fast prepared by onnxruntime, whatever this processor is."""
    directory = tmp_path_factory.mktemp("fast")
    assert not prepare_fast(directory).refused
    return directory


def test_the_fast_profile_finds_the_same_people(fast_pack: Path) -> None:
    originals = load_engine(packs.insightface_pack(), threads=1)
    engine = load_engine(fast_pack, threads=1, profile="fast")
    cosines = []
    for name in labelled():
        data = (LABELLED / name).read_bytes()
        expected, found = (each.analyse(data).faces for each in (originals, engine))
        assert len(found) == len(expected), name
        for one in expected:
            other = min(found, key=lambda each, one=one: float(np.abs(each.bbox - one.bbox).max()))
            cosines.append(float(one.embedding @ other.embedding))
    assert len(cosines) > 20
    assert np.median(cosines) >= 0.99
    assert min(cosines) >= 0.95
    # It is not exact under another name.
    assert min(cosines) < 0.9999
    assert engine.contract_id == originals.contract_id


def test_a_changed_fast_model_leaves_exact_in_use(
    fast_pack: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoiled = Path(shutil.copytree(fast_pack, tmp_path / "pack"))
    with (spoiled / FAST / "detection.onnx").open("ab") as file:
        file.write(b"more")
    assert load_engine(spoiled, threads=1, profile="fast").profile == "exact"
    assert "(detection) is not what was prepared: the profile exact is used" in caplog.text
    assert "the profile exact is used instead of fast: its models do not fit their record" in caplog.text
    shutil.rmtree(spoiled / FAST)
    assert load_engine(spoiled, threads=1, profile="fast").profile == "exact"
    assert "exact is used instead of fast: it was not prepared (./face-ansible site.yml" in caplog.text


def test_fast_is_used_only_where_it_was_found_good(fast_pack: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(fast_pack, tmp_path / "pack"))
    path = directory / FAST / RECORD
    known = json.loads(path.read_text())

    def refusal(**changed: object) -> str:
        path.write_text(json.dumps({**known, **changed}))
        use = choose(read_pack(directory), "onnxruntime", "fast")
        assert use.profile == ("exact" if use.refusal else "fast")
        return use.refusal

    assert refusal() == ""
    moved = refusal(host={**known["host"], "processor": "another"})
    assert moved.startswith("it was measured on another processor or with another onnxruntime")
    older = refusal(host={**known["host"], "onnxruntime": "1.0"})
    assert older.startswith("it was measured on another processor or with another onnxruntime")
    times = {name: value for name, value in known["milliseconds"].items() if name != "onnxruntime"}
    assert refusal(milliseconds=times) == "onnxruntime errs too much with it"


@pytest.mark.parametrize("pack", ["dlib", "opencv"])
def test_an_engine_without_the_profile_fast_says_so(pack: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = load_engine(getattr(packs, f"{pack}_pack")(), threads=1, profile="fast")
    assert engine.profile == "exact"
    assert f"exact is used instead of fast: the engine {pack} runs packs as they came" in caplog.text


@pytest.mark.campaign("it calibrates one")
def test_a_badly_calibrated_detector_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ranges from black pictures cut off what faces give."""
    made = fast.quantised
    black = [np.zeros((640, 640, 3), np.uint8)]
    monkeypatch.setattr(
        fast, "quantised", lambda model, side, mean, std, _: made(model, side, mean, std, black)
    )
    record = prepare_fast(tmp_path)
    assert record.refused.startswith("onnxruntime: it misses ")
    assert "0.2% is the most" in record.refused
    assert [each.name for each in (tmp_path / FAST).iterdir()] == ["record.json"]
    engine = load_engine(tmp_path, threads=1, profile="fast")
    assert "the profile exact is used instead of fast: onnxruntime: it misses" in caplog.text
    assert len(engine.analyse(astronaut_jpeg()).faces) == 1


@pytest.mark.parametrize(
    ("cpuinfo", "quick"),
    [
        (VNNI, True),
        ("flags : sse avx_vnni\n", True),
        ("Features\t: fp asimd asimddp\n", True),
        ("flags : avx2 avx512f\nbugs : avx512_vnni\n", False),
        ("Features\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_processors_that_are_quick_with_8_bits_are_known(cpuinfo: str, quick: bool) -> None:
    assert fast.multiplies_bytes(cpuinfo) is quick


def test_a_processor_without_vnni_keeps_exact(tmp_path: Path) -> None:
    assert "this processor has no VNNI" in prepare_fast(tmp_path, NO_VNNI).refused
    assert choose(read_pack(tmp_path), "auto", "fast").profile == "exact"


@pytest.mark.campaign("it calibrates for long; a badly calibrated one is tested")
def test_what_is_hardly_quicker_is_refused(tmp_path: Path) -> None:
    refused = prepare_fast(tmp_path, worth=0.01).refused
    assert re.fullmatch(r"it takes [\d.]+ ms a photo here, exact takes [\d.]+", refused)
    assert [each.name for each in (tmp_path / FAST).iterdir()] == [RECORD]
    use = choose(read_pack(tmp_path), "auto", "fast")
    assert (use.profile, use.refusal) == ("exact", refused)


def test_a_detector_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise graphs.GraphUnknown("it has no convolution")

    monkeypatch.setattr(fast, "quantised", unknown)
    refused = prepare_fast(tmp_path).refused
    assert refused == "the detector cannot be made of 8 bits: it has no convolution"


@pytest.mark.campaign("the exact one is tested")
def test_the_fast_profile_is_prepared_once(tmp_path: Path) -> None:
    """Also where it is refused, as on a processor without VNNI. Nobody has to keep the photos."""
    directory = copied(tmp_path)
    photos = people(tmp_path / "photos")
    wanted = ("--profile", "fast", "--runtime", "onnxruntime", "--photos", photos)
    first = run("prepare", directory, *wanted, "--format", "json")
    assert json.loads(first.stdout)["made"] is True, first.stderr
    record = (directory / FAST / "record.json").read_bytes()
    assert json.loads(record)["photos"] == str(photos)
    shutil.rmtree(photos)
    again = run("prepare", directory, *wanted)
    assert again.stdout.startswith(
        ("unchanged: fast on onnxruntime", "unchanged: the profile exact is used")
    ), again.stderr
    assert (directory / FAST / "record.json").read_bytes() == record
    # Exact stays what is used where fast is not asked for.
    assert json.loads(run("describe", directory).stdout)["prepared"]["profile"] == "exact"
