"""SCRFD in 8 bits, as processors with VNNI compute it: twice as quick, and nearly the same.

Activations are unsigned, and range from the least to the most that sample pictures gave; weights are signed
with a scale for each channel. The heads stay in float32, which halves by how far landmarks move.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.quantization.quantize import quantize_static

from face_pipeline.engine.prepared.graphs import (
    CENTRED,
    HEADS,
    Graph,
    GraphUnknown,
    first_convolution,
    merged,
)
from face_pipeline.engine.types import FloatArray, Image

# Scales for each channel came with this version.
OPSET = 13
# So a byte itself is the 8-bit value: pixel = 128 * value + 128.
HALF = 128


def quantised(model: Any, side: int, mean: float, std: float, pictures: Iterable[Image]) -> Any:
    """As graphs.detector, in 8 bits. `pictures` to find the ranges on: uint8, shape (side, side, 3), BGR.

    Raises GraphUnknown.
    """
    graph = merged(onnx.version_converter.convert_version(model, OPSET), side)
    _take_halves(graph, side, mean, std)
    with tempfile.TemporaryDirectory() as directory:
        plain, made = Path(directory) / "plain.onnx", Path(directory) / "made.onnx"
        onnx.save(_folded(graph.checked(), plain), plain)
        # It prints what it does, and what others read is printed too.
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                plain,
                made,
                _Calibration(pictures),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(HEADS),
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "TensorQuantOverrides": {
                        CENTRED: [
                            {
                                "quant_type": QuantType.QUInt8,
                                "scale": np.array(1 / HALF, np.float32),
                                "zero_point": np.array(HALF, np.uint8),
                            }
                        ]
                    },
                    # All values of all pictures at once take gigabytes.
                    "CalibStridedMinMax": 1,
                },
            )
        return _taking_pixels(onnx.load(made), side)


def _take_halves(graph: Graph, side: int, mean: float, std: float) -> None:
    """CENTRED in: float32, shape (1, 3, side, side), BGR, (pixel - HALF) / HALF."""
    first, weights = first_convolution(graph)
    bias = graph.constant(first.input[2]) if len(first.input) > 2 else np.zeros(len(weights), np.float32)
    # Around a picture is HALF instead of the mean then, which is half a step of its 255.
    offset = weights.sum(axis=(1, 2, 3)) * np.float32((HALF - mean) / std)
    inputs = [
        CENTRED,
        graph.add_constant("first.weight", weights * np.float32(HALF / std)),
        graph.add_constant("first.bias", (bias + offset).astype(np.float32)),
    ]
    del first.input[:]
    first.input.extend(inputs)
    del graph.proto.input[:]
    shape = [1, 3, side, side]
    graph.proto.input.append(helper.make_tensor_value_info(CENTRED, onnx.TensorProto.FLOAT, shape))


def _folded(model: Any, path: Path) -> Any:
    """The model without what constants decide, such as sizes. `path` is written over."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = onnx.shape_inference.infer_shapes(onnx.load(path))
    # What quantize_static asks whether it was done.
    add_pre_process_metadata(made)
    return made


def _taking_pixels(model: Any, side: int) -> Any:
    """Bytes in, which are the first 8-bit values as they are."""
    graph = Graph.of(model)
    (quantise,) = (node for node in graph.proto.node if CENTRED in node.input)
    if quantise.op_type != "QuantizeLinear":
        raise GraphUnknown("its first convolution was not quantised")
    planes = quantise.output[0]
    graph.proto.node.remove(quantise)
    graph.begin_with([helper.make_node("Transpose", ["pixels"], [planes], "planes", perm=[0, 3, 1, 2])], side)
    return graph.checked()


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Gives the pictures of a range one after the other, as `_take_halves` wants them."""

    def __init__(self, pictures: Iterable[Image]) -> None:
        self._pictures = list(pictures)
        self._left: Iterator[Image] = iter(())

    def __len__(self) -> int:
        return len(self._pictures)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._left = iter(self._pictures[start_index:end_index])

    def get_next(self) -> dict[str, FloatArray] | None:
        picture = next(self._left, None)
        return None if picture is None else {CENTRED: _halves(picture)}


def _halves(picture: Image) -> FloatArray:
    return np.ascontiguousarray(((picture.astype(np.float32) - HALF) / HALF).transpose(2, 0, 1)[None])
