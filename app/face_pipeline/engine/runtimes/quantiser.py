"""onnxruntime's quantiser of models, which other runtimes compute too."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.quantization.quantize import quantize_static

from face_pipeline.engine.runtimes import CPU
from face_pipeline.engine.types import FloatArray, Image

Feed = Callable[[Image], dict[str, FloatArray]]


def in_8_bits(
    model: Any,
    pictures: Iterable[Image],
    feed: Feed,
    *,
    keep: Iterable[str],
    scales: Mapping[str, tuple[float, int]],
) -> Any:
    """An ONNX model with 8-bit values in QDQ form: activations unsigned, with the range that they have for
    the `pictures`, of which `feed` makes the model's inputs; weights signed, with a scale for each channel.

    The nodes `keep` stay as they are. `scales`: tensors whose scale and zero point are known.
    """
    known = {
        name: [
            {
                "quant_type": QuantType.QUInt8,
                "scale": np.array(scale, np.float32),
                "zero_point": np.array(zero, np.uint8),
            }
        ]
        for name, (scale, zero) in scales.items()
    }
    with tempfile.TemporaryDirectory() as directory:
        plain, made = Path(directory) / "plain.onnx", Path(directory) / "made.onnx"
        onnx.save(_folded(model, plain), plain)
        # It prints what it does, and what others read is printed too.
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                plain,
                made,
                _Calibration(pictures, feed),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(keep),
                calibrate_method=CalibrationMethod.MinMax,
                # All values of all pictures at once take gigabytes.
                extra_options={"TensorQuantOverrides": known, "CalibStridedMinMax": 1},
            )
        return onnx.load(made)


def _folded(model: Any, path: Path) -> Any:
    """The model without what constants decide, such as sizes. `path` is written over."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    made = onnx.shape_inference.infer_shapes(onnx.load(path))
    # What quantize_static asks whether it was done.
    add_pre_process_metadata(made)
    return made


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Gives the pictures of a range one after the other, as inputs."""

    def __init__(self, pictures: Iterable[Image], feed: Feed) -> None:
        self._pictures, self._feed = list(pictures), feed
        self._left: Iterator[Image] = iter(())

    def __len__(self) -> int:
        return len(self._pictures)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._pictures[start_index:end_index])

    def get_next(self) -> dict[str, FloatArray] | None:
        picture = next(self._left, None)
        return None if picture is None else self._feed(picture)
