"""ONNX graphs rewritten to compute the same with less work: what no runtime finds by itself.

Pixels go in as they are decoded, and the heads of SCRFD end as one convolution for each stride. Each value
stays what it was but for the order in which floats are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# SCRFD's outputs in their order: scores, boxes and landmarks, each for three strides; two anchors a cell.
STRIDES = (8, 16, 32)
HEADS = tuple(f"head_{stride}" for stride in STRIDES)
ANCHORS = 2
# Values of one anchor: its score, the distances to the four sides, five points.
VALUES = (1, 4, 10)
# The picture without its mean, as the first convolution takes it.
CENTRED = "centred"
# Channels of a merged head: 30, filled up to a width that vectors of 16 floats divide.
HEAD_CHANNELS = 32
# Where a map's channels go last: of the exports with and without a batch.
CHANNELS_LAST = ([2, 3, 0, 1], [0, 2, 3, 1])


class GraphUnknown(Exception):
    """A graph of another shape than these rewritings know; the message says in what it differs."""


def detector(model: Any, side: int, mean: float, std: float) -> Any:
    """SCRFD with landmarks for squares of `side` pixels.

    Takes uint8, shape (1, side, side, 3), BGR. Gives for each stride float32, shape (1, 32, rows, columns):
    the logits of two anchors, their boxes (4 each) and landmarks (10 each), and two channels of nothing.
    Raises GraphUnknown.
    """
    graph = merged(model, side)
    _take_pixels(graph, side, mean, std)
    return graph.checked()


def merged(model: Any, side: int) -> Graph:
    """SCRFD that still takes what it took, and gives what `detector` gives. Raises GraphUnknown."""
    graph = Graph.of(model)
    outputs = [each.name for each in graph.proto.output]
    if len(outputs) != len(STRIDES) * len(VALUES):
        raise GraphUnknown(f"it has {len(outputs)} outputs, an SCRFD with landmarks has 9")
    heads = [_merge_heads(graph, outputs[at :: len(STRIDES)], name) for at, name in enumerate(HEADS)]
    graph.end_at(
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [1, HEAD_CHANNELS, side // stride, side // stride]
        )
        for name, stride in zip(heads, STRIDES, strict=True)
    )
    return graph


def recogniser(model: Any, side: int, mean: float, std: float) -> Any:
    """ArcFace for one aligned face: uint8, shape (1, side, side, 3), BGR, to float32, shape (1, D).

    Raises GraphUnknown.
    """
    graph = Graph.of(model)
    if len(graph.proto.output) != 1:
        raise GraphUnknown(f"it has {len(graph.proto.output)} outputs, an ArcFace has one")
    shape = graph.proto.output[0].type.tensor_type.shape
    if len(shape.dim) == 2:
        shape.dim[0].Clear()
        shape.dim[0].dim_value = 1
    _take_pixels(graph, side, mean, std)
    return graph.checked()


@dataclass
class Graph:
    """A graph that is being rewritten, with its constants and who makes and takes each value."""

    model: Any
    proto: Any

    @classmethod
    def of(cls, model: Any) -> Graph:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        # Shapes that were true for any size.
        del copy.graph.value_info[:]
        made = cls(copy, copy.graph)
        constants = {each.name for each in copy.graph.initializer}
        inputs = [each for each in copy.graph.input if each.name not in constants]
        if len(inputs) != 1:
            raise GraphUnknown(f"it has {len(inputs)} inputs, one was expected")
        # Old exports name their weights as inputs, too.
        del copy.graph.input[:]
        copy.graph.input.extend(inputs)
        return made

    def maker(self, value: str) -> Any:
        """The node that makes a value; None for an input or a weight."""
        return next((node for node in self.proto.node if value in node.output), None)

    def constant(self, value: str) -> np.ndarray[Any, Any]:
        for each in self.proto.initializer:
            if each.name == value:
                return numpy_helper.to_array(each)
        node = self.maker(value)
        if node is not None and node.op_type == "Constant":
            return numpy_helper.to_array(_attributes(node)["value"])
        raise GraphUnknown(f"{value} is computed, a constant was expected")

    def add_constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        self.proto.initializer.append(numpy_helper.from_array(value, name))
        return name

    def end_at(self, outputs: Iterable[Any]) -> None:
        """Make `outputs` those of the graph, and take out what no output needs."""
        found = list(outputs)
        del self.proto.output[:]
        self.proto.output.extend(found)
        needed = {each.name for each in found}
        kept = []
        for node in reversed(self.proto.node):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input)
        nodes = kept[::-1]
        del self.proto.node[:]
        self.proto.node.extend(nodes)
        self._forget_constants(needed)

    def begin_with(self, nodes: Iterable[Any], side: int) -> None:
        """Put `nodes` in front; the first takes `pixels`: uint8, shape (1, side, side, 3)."""
        every = [*nodes, *self.proto.node]
        del self.proto.node[:]
        self.proto.node.extend(every)
        del self.proto.input[:]
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, side, side, 3])
        self.proto.input.append(pixels)

    def _forget_constants(self, needed: set[str]) -> None:
        constants = [each for each in self.proto.initializer if each.name in needed]
        del self.proto.initializer[:]
        self.proto.initializer.extend(constants)

    def checked(self) -> Any:
        self._forget_constants({name for node in self.proto.node for name in node.input})
        onnx.checker.check_model(self.model)
        return self.model


def _attributes(node: Any) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _merge_heads(graph: Graph, outputs: list[str], name: str) -> str:
    """One convolution for what three make of the same features; the name of its output."""
    heads = [_head(graph, output, values) for output, values in zip(outputs, VALUES, strict=True)]
    first = heads[0].convolution
    for each in heads[1:]:
        if each.convolution.input[0] != first.input[0]:
            raise GraphUnknown(f"the heads of {name} look at different features")
        if _attributes(each.convolution) != _attributes(first):
            raise GraphUnknown(f"the convolutions of {name} differ in more than their weights")
    weights = np.concatenate([each.weights for each in heads])
    bias = np.concatenate([each.bias for each in heads])
    more = HEAD_CHANNELS - len(weights)
    graph.proto.node.append(
        helper.make_node(
            "Conv",
            [
                first.input[0],
                graph.add_constant(f"{name}.weight", np.pad(weights, ((0, more), (0, 0), (0, 0), (0, 0)))),
                graph.add_constant(f"{name}.bias", np.pad(bias, (0, more))),
            ],
            [name],
            name,
            **_attributes(first),
        )
    )
    return name


@dataclass
class _Head:
    convolution: Any
    weights: np.ndarray[Any, Any]
    bias: np.ndarray[Any, Any]


def _head(graph: Graph, output: str, values: int) -> _Head:
    """The convolution behind an output, its weights with the scale that follows it."""
    scale: Any = np.float32(1)
    sigmoids, channels_last = 0, False
    value = output
    while (node := graph.maker(value)) is not None and node.op_type != "Conv":
        value = node.input[0]
        if node.op_type == "Mul":
            scale = scale * graph.constant(node.input[1])
        elif node.op_type == "Transpose":
            channels_last = list(_attributes(node)["perm"]) in CHANNELS_LAST
        elif node.op_type == "Sigmoid":
            sigmoids += 1
        elif node.op_type != "Reshape":
            raise GraphUnknown(f"{node.op_type} before output {output} was not expected")
    if node is None or not channels_last or np.size(scale) != 1 or sigmoids != (values == VALUES[0]):
        raise GraphUnknown(f"output {output} is not made as SCRFD's are")
    weights = graph.constant(node.input[1])
    if len(weights) != ANCHORS * values or _attributes(node).get("group", 1) != 1:
        raise GraphUnknown(f"output {output} has {len(weights)} channels, not {ANCHORS * values}")
    bias = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros(len(weights), np.float32)
    factor = np.float32(np.reshape(scale, ()))
    return _Head(node, weights * factor, bias * factor)


def first_convolution(graph: Graph) -> tuple[Any, np.ndarray[Any, Any]]:
    """The node that takes the picture, and its weights for BGR instead of RGB. Raises GraphUnknown."""
    pixels = graph.proto.input[0].name
    takers = [node for node in graph.proto.node if pixels in node.input]
    if [node.op_type for node in takers] != ["Conv"]:
        raise GraphUnknown("its input goes elsewhere than into one convolution")
    weights = graph.constant(takers[0].input[1])
    if weights.shape[1] != 3:
        raise GraphUnknown(f"it takes {weights.shape[1]} channels, not the 3 of a colour picture")
    return takers[0], np.ascontiguousarray(weights[:, ::-1])


def _take_pixels(graph: Graph, side: int, mean: float, std: float) -> None:
    """uint8 NHWC BGR in; the mean is taken off here, and the first convolution does the rest.

    Not the mean, for around a picture that convolution sees zeros, which are grey only after it.
    """
    first, weights = first_convolution(graph)
    first.input[0] = CENTRED
    first.input[1] = graph.add_constant("first.weight", weights / np.float32(std))
    step: Callable[..., Any] = helper.make_node
    graph.add_constant("mean", np.float32(mean).reshape(1, 1, 1, 1))
    before = [
        step("Transpose", ["pixels"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        step("Cast", ["planes"], ["floats"], "floats", to=TensorProto.FLOAT),
        step("Sub", ["floats", "mean"], [CENTRED], CENTRED),
    ]
    graph.begin_with(before, side)
