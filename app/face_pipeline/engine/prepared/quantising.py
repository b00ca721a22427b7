"""SCRFD in 8 bits, as processors with VNNI compute it: twice as quick, and nearly the same.

The heads stay in float32, which halves by how far landmarks move.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from face_pipeline.engine.prepared.graphs import (
    CENTRED,
    HEADS,
    Graph,
    GraphUnknown,
    first_convolution,
    merged,
)
from face_pipeline.engine.runtimes import quantiser
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
    made = quantiser.in_8_bits(
        graph.checked(), pictures, _halves, keep=HEADS, scales={CENTRED: (1 / HALF, HALF)}
    )
    return _taking_pixels(made, side)


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


def _halves(picture: Image) -> dict[str, FloatArray]:
    """What `_take_halves` wants."""
    planes = ((picture.astype(np.float32) - HALF) / HALF).transpose(2, 0, 1)
    return {CENTRED: np.ascontiguousarray(planes[None])}
