"""dlib's descriptor as an ONNX model beside its pack: the same numbers 24 times as quickly.

dlib's wheel computes without BLAS and holds the interpreter's lock; onnxruntime does neither. The model is
made when the pack is installed, from the pack's own weights, and compared with dlib there. The pack stays
what it is, and so does its contract.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import dlib
import numpy as np

from face_pipeline.engine.dlib_network import CHIP_SIDE, INPUT, as_onnx
from face_pipeline.engine.pack import Pack
from face_pipeline.engine.runtimes import Runtime
from face_pipeline.engine.types import EngineError, FloatArray, Image

MODEL = "descriptor.onnx"
# What the model was made from, and the hash of what came of it.
RECORD = "descriptor.json"
# Between any two numbers of a descriptor; the smallest step of a float32 near 1 is 1.2e-7.
MOST_DIFFERENCE = 1e-6
# Sides of the squares that chips for the comparison are made of, pixels: from noise to a few plain colours.
TRIAL_SQUARES = (1, 5, 15, 50)


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
        found = {"model": _sha256(path), "weights": _weights(pack)}
        return path if {name: record.get(name) for name in found} == found else None
    except (OSError, ValueError, AttributeError):
        return None


def store(pack: Pack, runtime: Runtime) -> float:
    """Make the model and put it beside the pack; the greatest difference from dlib that was seen.

    Raises EngineError where the weights are another network's or the numbers are not dlib's, OSError where
    the directory cannot be written.
    """
    weights = pack.file("recognition")
    with tempfile.TemporaryDirectory(dir=pack.path, prefix=".convert") as work:
        made, told = Path(work) / MODEL, Path(work) / RECORD
        made.write_bytes(as_onnx(weights.read_bytes()).SerializeToString())
        difference = _difference(Descriptor(made, runtime), dlib.face_recognition_model_v1(str(weights)))
        if not difference <= MOST_DIFFERENCE:
            raise EngineError(
                f"pack {pack.name}: {MODEL} differs from dlib by {difference:.2g}, {MOST_DIFFERENCE:.0e} is "
                "allowed; tell the authors, with the kind of processor"
            )
        record = {"model": _sha256(made), "weights": _weights(pack), "difference": difference}
        told.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        made.replace(pack.path / MODEL)
        told.replace(pack.path / RECORD)
    return difference


def _difference(ours: Descriptor, theirs: Any) -> float:
    random = np.random.default_rng(0)
    worst = 0.0
    for square in TRIAL_SQUARES:
        colours = random.integers(0, 256, (CHIP_SIDE // square, CHIP_SIDE // square, 3), np.uint8)
        chip = np.repeat(np.repeat(colours, square, axis=0), square, axis=1)
        expected = np.array(theirs.compute_face_descriptor(chip))
        worst = max(worst, float(np.abs(ours(chip) - expected).max()))
    return worst


def _weights(pack: Pack) -> str:
    return next(each.sha256 for each in pack.files if each.role == "recognition")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
