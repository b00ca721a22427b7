"""dlib's face recognition network as an ONNX model, read from the file that dlib keeps its weights in.

The network is dlib's ResNet with 29 convolutions (http://dlib.net/dnn_face_recognition_ex.cpp.html). Behind a
chain of version numbers its file holds the layers in the order in which they compute. Tags and skips, which
say what a residual block adds, are written nowhere; they follow from the rest: a block begins where the one
before it ended, and what it adds is its own input, or the average of that where it has a pool.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from face_pipeline.engine.dlib_descriptor import CHIP_SIDE, DIMENSION, INPUT
from face_pipeline.engine.types import EngineError, FloatArray

OUTPUT = "descriptors"
# dlib divides by it what is left of a pixel once the mean colour is taken off (input_rgb_image_sized).
PIXEL_RANGE = 256.0
# The versions of layers are smaller, the length of the input's name is not.
LEAST_NAME = 10
# What every runtime here reads.
OPSET, IR_VERSION = 13, 8


def as_onnx(weights: bytes) -> onnx.ModelProto:
    """The network of dlib_face_recognition_resnet_model_v1.dat.

    Takes `chips`: uint8, shape (n, 150, 150, 3), RGB, what dlib.get_face_chip cuts. Gives `descriptors`:
    float32, shape (n, 128), not normalised. Raises EngineError for another network.
    """
    try:
        return _Network(_Reader(weights)).model()
    except ValueError as error:
        raise EngineError(f"the weights are not those of dlib's face recognition network: {error}") from error


class _Reader:
    """dlib's serialisation (dlib/serialize.h, dlib/cuda/tensor_tools.h): integers as a length and
    little-endian bytes, reals as mantissa and exponent, tensors as four sizes and plain float32."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def ended(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ValueError("the file ends too early")
        self._at += count
        return part

    def integer(self) -> int:
        control = self.take(1)[0]
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> list[int]:
        return [self.integer() for _ in range(count)]

    def reals(self, count: int) -> list[float]:
        return [math.ldexp(*self.integers(2)) for _ in range(count)]

    def text(self, length: int | None = None) -> str:
        return self.take(self.integer() if length is None else length).decode("ascii")

    def text_behind_versions(self) -> str:
        while (length := self.integer()) < LEAST_NAME:
            pass
        return self.text(length)

    def tensor(self) -> FloatArray:
        version, *shape = self.integers(5)
        if version != 2 or min(shape) < 0:
            raise ValueError(f"a tensor of version {version} and shape {shape}")
        return np.frombuffer(self.take(4 * int(np.prod(shape))), "<f4").reshape(shape)

    def shape(self) -> list[int]:
        """Of a part of a layer's parameters."""
        return self.integers(5)[1:]

    def end_of_layer(self) -> None:
        """What training left behind: three flags, and gradients, which are empty."""
        self.take(3)
        for _ in range(3):
            self.tensor()


class _Network:
    """Reads layer after layer, each to nodes of ONNX. `_last` is what was computed last, `_block` where the
    residual block that is being read began, `_branch` what it computed before its pool."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._last = self._block = self._branch = INPUT
        self._read()

    def model(self) -> onnx.ModelProto:
        chips = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", CHIP_SIDE, CHIP_SIDE, 3])
        descriptors = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", DIMENSION])
        self._nodes[-1].output[0] = OUTPUT
        graph = helper.make_graph(self._nodes, "dlib", [chips], [descriptors], self._constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        made.ir_version = IR_VERSION
        onnx.checker.check_model(made)
        return made

    def _read(self) -> None:
        reader = self._reader
        reader.integer()
        if (loss := reader.text()) != "loss_metric_2":
            raise ValueError(f"it was trained with {loss!r}")
        reader.reals(2)
        self._pixels()
        layers = {
            "con_4": self._convolution, "relu_": self._activation, "max_pool_2": self._max_pool,
            "avg_pool_2": self._average_pool, "add_prev_": self._addition, "fc_2": self._dense,
        }  # fmt: skip
        while not reader.ended():
            name = reader.text()
            if name not in layers:
                raise ValueError(f"it has a layer {name!r}")
            layers[name]()
        if self._shapes[self._last] != (DIMENSION,):
            raise ValueError(f"it ends with {self._shapes[self._last]}")

    def _pixels(self) -> None:
        reader = self._reader
        if (first := reader.text_behind_versions()) != "input_rgb_image_sized":
            raise ValueError(f"it begins with {first!r}")
        colour = np.array(reader.reals(3), np.float32)
        if (size := reader.integers(2)) != [CHIP_SIDE, CHIP_SIDE]:
            raise ValueError(f"it takes pictures of {size}")
        self._add("Cast", INPUT, to=TensorProto.FLOAT)
        self._add("Sub", self._last, self._constant(colour))
        self._add("Div", self._last, self._constant(np.array(PIXEL_RANGE, np.float32)))
        self._add("Transpose", self._last, shape=(3, CHIP_SIDE, CHIP_SIDE), perm=[0, 3, 1, 2])

    def _convolution(self) -> None:
        """With the affine layer behind it, to which batch normalisation came down after training."""
        reader, first = self._reader, self._shapes[self._last][1] == CHIP_SIDE
        parameters = reader.tensor().ravel()
        filters, height, width, stride, _, padding, _ = reader.integers(7)
        weights = parameters[:-filters].reshape(reader.shape())
        reader.shape(), reader.reals(4)
        reader.end_of_layer()
        if first:
            # The layer on the input keeps how many pictures one sample became.
            reader.integer()
        if (name := reader.text()) != "affine_":
            raise ValueError(f"a convolution is followed by {name!r}")
        factor, summand = np.split(reader.tensor().ravel(), 2)
        reader.shape(), reader.shape(), reader.integer()
        reader.end_of_layer()
        self._add(
            "Conv",
            self._last,
            self._constant(weights * factor[:, None, None, None]),
            self._constant(parameters[-filters:] * factor + summand),
            shape=(filters, *self._sides(height, stride, padding)),
            kernel_shape=[height, width],
            strides=[stride, stride],
            pads=[padding] * 4,
        )

    def _activation(self) -> None:
        self._reader.end_of_layer()
        added = self._nodes[-1].op_type == "Add"
        self._add("Relu", self._last, shape=self._shapes[self._last])
        if added:
            self._block = self._last

    def _max_pool(self) -> None:
        self._window("MaxPool", self._reader.integers(6))
        self._block = self._last

    def _average_pool(self) -> None:
        """Of a block's input; of size 0 behind the last block: over everything there is."""
        window = self._reader.integers(6)
        if window[0] == 0:
            self._reader.end_of_layer()
            self._add("ReduceMean", self._last, shape=self._shapes[self._last][:1], axes=[2, 3], keepdims=0)
        else:
            self._branch, self._last = self._last, self._block
            self._window("AveragePool", window)

    def _window(self, kind: str, window: list[int]) -> None:
        self._reader.end_of_layer()
        height, width, stride, _, padding, _ = window
        self._add(
            kind,
            self._last,
            shape=(self._shapes[self._last][0], *self._sides(height, stride, padding)),
            kernel_shape=[height, width],
            strides=[stride, stride],
            pads=[padding] * 4,
        )

    def _addition(self) -> None:
        """dlib adds tensors of unlike sizes as if the missing were zeros."""
        self._reader.end_of_layer()
        if self._nodes[-1].op_type == "AveragePool":
            one, other = self._branch, self._last
        else:
            one, other = self._last, self._block
        shape = tuple(map(max, self._shapes[one], self._shapes[other]))
        padded = [self._padded(each, shape) for each in (one, other)]
        self._add("Add", *padded, shape=shape)

    def _padded(self, name: str, shape: tuple[int, ...]) -> str:
        lacking = [wanted - there for wanted, there in zip(shape, self._shapes[name], strict=True)]
        if not any(lacking):
            return name
        self._add("Pad", name, self._constant(np.array([0, 0, 0, 0, 0, *lacking], np.int64)), shape=shape)
        return self._last

    def _dense(self) -> None:
        reader = self._reader
        outputs, _ = reader.integers(2)
        weights = reader.tensor()
        reader.shape(), reader.shape(), reader.integer(), reader.reals(4)
        reader.end_of_layer()
        self._add("MatMul", self._last, self._constant(weights.reshape(-1, outputs)), shape=(outputs,))

    def _sides(self, size: int, stride: int, padding: int) -> tuple[int, ...]:
        return tuple(1 + (side + 2 * padding - size) // stride for side in self._shapes[self._last][1:])

    def _add(self, kind: str, *inputs: str, shape: tuple[int, ...] = (), **attributes: Any) -> None:
        """`shape`: of what it computes, without the batch."""
        self._last = f"{kind}_{len(self._nodes)}"
        self._shapes[self._last] = shape
        self._nodes.append(helper.make_node(kind, inputs, [self._last], name=self._last, **attributes))

    def _constant(self, values: np.typing.NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
