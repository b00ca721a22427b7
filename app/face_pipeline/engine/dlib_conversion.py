"""Makes dlib's descriptor as an ONNX model from the pack's own weights, and compares it with dlib.

Apart from what uses the model: the library that builds it takes a quarter of a second to load, and memory.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import dlib
import numpy as np

from face_pipeline.engine.dlib_descriptor import (
    CHIP_SIDE,
    MODEL,
    RECORD,
    Descriptor,
    model_hash,
    weights_hash,
)
from face_pipeline.engine.dlib_network import as_onnx
from face_pipeline.engine.pack import Pack
from face_pipeline.engine.runtimes import Runtime
from face_pipeline.engine.types import EngineError

# Between any two numbers of a descriptor; the smallest step of a float32 near 1 is 1.2e-7.
MOST_DIFFERENCE = 1e-6
# Sides of the squares that chips for the comparison are made of, pixels: from noise to a few plain colours.
TRIAL_SQUARES = (1, 5, 15, 50)


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
        record = {"model": model_hash(made), "weights": weights_hash(pack), "difference": difference}
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
