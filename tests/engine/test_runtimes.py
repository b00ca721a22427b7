"""A worker asked for a card computes on it or does not start. No card is here.

Shown without one: every way in which onnxruntime would fall back to the CPU ends the start, with a reason.
That a card computes the same is shown by bench/gpu.py on a host that has one.
"""

from __future__ import annotations

import ast
import concurrent.futures
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from face_pipeline.engine import EngineError, load_engine
from face_pipeline.engine.prepared.record import host
from face_pipeline.engine.runtimes import CPU, available, cuda
from face_pipeline.engine.runtimes.cuda import CUDA, Cuda
from face_pipeline.engine.runtimes.onnx import Onnx

from tests import packs
from tests.engine.card import Cards
from tests.installation import WORKER_ENVIRONMENT
from tests.photos import ROOT

without_cuda = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)


@without_cuda
def test_the_wheel_without_cuda_is_named() -> None:
    with pytest.raises(
        EngineError, match=r"the installed onnxruntime .* has no CUDA: run ./face-ansible site.yml"
    ):
        load_engine(packs.insightface_pack(), threads=1, device="cuda")


def test_a_pack_that_knows_no_card_is_named() -> None:
    with pytest.raises(EngineError, match="computes on the CPU alone: choose another pack"):
        load_engine(packs.dlib_pack(), threads=1, device="cuda")


def worker(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A worker with the test pack, until it ends."""
    pack = packs.insightface_pack()
    environment = {
        **WORKER_ENVIRONMENT,
        **settings,
        "FACE_MODELS_DIR": str(pack.parent),
        "FACE_MODEL_PACK": pack.name,
        "FACE_CREDENTIALS_DIR": str(tmp_path),
        "FACE_REDIS_USER": "worker",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "app"),
    }
    for name in ("database_password", "redis_password_worker"):
        (tmp_path / name).write_text("x" * 40)
    return subprocess.run(
        [sys.executable, "-m", "face_pipeline.worker", "--hostname", "worker1@tests"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@without_cuda
def test_a_worker_asked_for_a_card_ends_with_the_reason_and_is_not_started_again(tmp_path: Path) -> None:
    done = worker(tmp_path, FACE_DEVICE="cuda")
    assert done.returncode == 78, done.stdout + done.stderr
    assert "has no CUDA" in done.stdout


@without_cuda
def test_a_worker_that_cannot_use_the_profile_fast_says_why(tmp_path: Path) -> None:
    done = worker(tmp_path, FACE_DEVICE="cuda", FACE_PROFILE="fast")
    assert "the profile exact is used instead of fast: a card has the profile exact alone" in done.stdout


@pytest.mark.skipif(available("openvino"), reason="OpenVINO is installed here")
def test_a_worker_asked_for_a_runtime_that_is_missing_ends_with_the_reason(tmp_path: Path) -> None:
    done = worker(tmp_path, FACE_RUNTIME="openvino")
    assert done.returncode == 78, done.stdout + done.stderr
    assert "FACE_RUNTIME=openvino, and openvino is not installed in this release" in done.stdout


def test_libraries_that_are_lacking_are_no_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel knows CUDA and cannot load it: onnxruntime itself would warn, and take the CPU."""
    made = onnxruntime.InferenceSession
    monkeypatch.setattr(cuda, "_load_libraries", lambda: None)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **_: made(path, options, providers=[CPU]),
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(EngineError, match=f"{CUDA} was asked for .*'3'.*would run on {CPU}"):
        load_engine(packs.insightface_pack(), threads=1, device="cuda")


class Idle(Cuda):
    """As if onnxruntime had the card, and gave the model's work to the CPU all the same."""

    def prepare(self, options: onnxruntime.SessionOptions) -> None:
        pass

    def _opened(self, path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(str(path), options, providers=[CPU])


def test_an_operation_that_runs_elsewhere_is_named() -> None:
    engine = load_engine(packs.insightface_pack(), threads=1)
    engine.runtime = Idle()  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match=rf"was to run on {CUDA}, onnxruntime ran .*Conv on {CPU}"):
        engine.warm_up()


def test_the_same_audit_passes_where_the_work_is_done() -> None:
    looked: list[str] = []

    class Watched(Onnx):
        on_card = True

        def audit(self, path: Path, infer: Callable[[Any], None]) -> None:
            super().audit(path, infer)
            looked.append(path.name)

    engine = load_engine(packs.insightface_pack(), threads=1)
    engine.runtime = Watched()  # type: ignore[attr-defined]
    engine.warm_up()
    assert len(looked) == 2


def test_no_session_of_a_card_sees_a_second_size() -> None:
    """cuDNN looks for its algorithms again with each other size: 600 ms a batch on an H100."""
    card = Cards()
    session = card.session(packs.insightface_pack() / "recognition.onnx")
    name = session.get_inputs()[0].name
    for faces in (4, 1, 4, 1, 32):
        (vectors,) = session.run(None, {name: np.zeros((faces, 3, 112, 112), np.float32)})
        assert len(vectors) == faces
    assert len(card.made) == 3
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        zeros = np.zeros((2, 3, 112, 112), np.float32)
        found = list(pool.map(lambda _: session.run(None, {name: zeros})[0].shape, range(16)))
    assert found == [(2, 128)] * 16
    assert len(card.made) == 4


def test_the_version_of_a_library_is_found_whichever_wheel_it_came_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hosts with a card have onnxruntime-gpu, and nothing that is called onnxruntime."""
    versions = {"onnxruntime-gpu": "1.31.1"}

    def installed(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", installed)
    assert host(("onnxruntime",))["onnxruntime"] == "1.31.1"


def test_a_runtimes_library_is_known_to_its_runtime_alone() -> None:
    """So another runtime is one module beside the others, and no engine knows of it."""
    engine = ROOT / "app/face_pipeline/engine"
    knowing = {
        file.relative_to(engine).parts[0]
        for file in engine.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if {"onnxruntime", "openvino"} & set(
            [name.name for name in node.names] if isinstance(node, ast.Import) else
            [node.module] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert knowing == {"runtimes"}
