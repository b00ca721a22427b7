"""dlib's descriptor as an ONNX model beside its pack: the same numbers 24 times as quickly.

dlib's wheel computes without BLAS and holds the interpreter's lock; onnxruntime does neither. The model is
made when the pack is installed (dlib_conversion.py). The pack stays what it is, and so does its contract.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from face_pipeline.engine.pack import Pack
from face_pipeline.engine.runtimes import Runtime
from face_pipeline.engine.types import FloatArray, Image

CHIP_SIDE = 150
DIMENSION = 128
INPUT = "chips"
MODEL = "descriptor.onnx"
# What the model was made from, and the hash of what came of it.
RECORD = "descriptor.json"


class Descriptor:
    """May be called from several threads at once."""

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._session = runtime.session(path)

    def __call__(self, chip: Image) -> FloatArray:
        """float32, shape (128,), not normalised, of a chip: uint8, shape (150, 150, 3), RGB."""
        return np.asarray(self._session.run(None, {INPUT: chip[None]})[0][0], np.float32)


def stored(pack: Pack) -> Path | None:
    """The model beside the pack; None where there is none, or it is not the one that was compared."""
    path = pack.path / MODEL
    try:
        record = json.loads((pack.path / RECORD).read_text(encoding="utf-8"))
        found = {"model": model_hash(path), "weights": weights_hash(pack)}
        return path if {name: record.get(name) for name in found} == found else None
    except (OSError, ValueError, AttributeError):
        return None


def weights_hash(pack: Pack) -> str:
    return next(each.sha256 for each in pack.files if each.role == "recognition")


def model_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
