"""Model packs for tests: dlib's from PyPI, made once and kept; a small InsightFace one where at hand."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.photos import ROOT, SHARED_PACK, SHARED_YUNET

if TYPE_CHECKING:
    from face_pipeline.engine.prepared.record import Record

CACHE = Path(os.environ.get("FACE_CACHE_DIR", "/var/cache/face-pipeline"))
DLIB_LOCK = ROOT / "app" / "face_pipeline" / "engine" / "packs" / "dlib.txt"


def dlib_pack() -> Path:
    """The dlib pack, built from the hash-pinned package on first use, with its descriptor as ONNX."""
    from face_pipeline.engine import PackError, build_dlib_pack, convert_pack, read_pack, verify_pack

    target = CACHE / "packs" / "dlib"
    try:
        verify_pack(read_pack(target))
    except PackError:
        with tempfile.TemporaryDirectory() as source:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
                 "--no-build-isolation", "--dest", source, "--requirement", str(DLIB_LOCK)],
                check=True,
            )  # fmt: skip
            (archive,) = Path(source).glob("*.tar.gz")
            shutil.unpack_archive(archive, source, filter="data")
            target.parent.mkdir(parents=True, exist_ok=True)
            build_dlib_pack(Path(source), target)
    convert_pack(read_pack(target))
    return target


def insightface_pack() -> Path:
    """The small InsightFace pack; skips the test where it is absent."""
    if not SHARED_PACK.is_dir():
        pytest.skip(f"needs the InsightFace test pack {SHARED_PACK.name}, which is not beside this checkout")
    return SHARED_PACK


def opencv_pack() -> Path:
    """YuNet with the recogniser of the small InsightFace pack; skips the test where one of them is absent."""
    if not SHARED_YUNET.is_file():
        pytest.skip(f"needs the detector {SHARED_YUNET.name}, which is not beside this checkout")
    target = CACHE / "packs" / "yunet_mobilefacenet"
    target.mkdir(parents=True, exist_ok=True)
    tasks = {
        "detection": (SHARED_YUNET, {}),
        "recognition": (
            insightface_pack() / "recognition.onnx",
            {"embedding_dimension": 128, "preprocessing": {"mean": 127.5, "std": 127.5}},
        ),
    }
    manifest = {
        "manifest_version": 2,
        "model_id": target.name,
        "tasks": {
            role: {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), **more}
            for role, (file, more) in tasks.items()
        },
        "face_pipeline": {"engine": "opencv", "match_threshold": 0.38},
    }
    for file, _ in tasks.values():
        with contextlib.suppress(FileExistsError):
            (target / file.name).symlink_to(file)
    with tempfile.NamedTemporaryFile("w", dir=target, delete=False) as file:
        json.dump(manifest, file)
    Path(file.name).replace(target / "manifest.json")
    return target


# What a processor that is quick with 8 bits, and one that is not, says of itself.
VNNI, NO_VNNI = "flags\t\t: fpu avx512f avx512_vnni\n", "flags : avx2\n"


def prepare_fast(directory: Path, cpuinfo: str = VNNI, worth: float = 100) -> Record:
    """Copy the small InsightFace pack there and prepare its profiles exact and fast for onnxruntime; returns
    what came of fast. A processor that is slow with 8 bits refuses no test."""
    from face_pipeline.engine import read_pack
    from face_pipeline.engine.prepared import fast
    from face_pipeline.engine.prepared.preparing import prepare
    from face_pipeline.ops import sample

    shutil.copytree(insightface_pack(), directory, dirs_exist_ok=True)
    photos = {"first": sample.first(), "second": sample.second()}
    pack = read_pack(directory)
    exact = prepare(pack, photos, ("onnxruntime",), source="tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "WORTH", worth)
        return fast.prepare_fast(pack, exact, photos, ("onnxruntime",), source="tests", cpuinfo=cpuinfo)
