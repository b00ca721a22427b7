"""OpenVINO on the CPU: on Intel's and AMD's processors quicker than onnxruntime with most convolutions.

Always in float32: its bfloat16 is slower on processors without AMX, and would make other embeddings.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from face_pipeline.engine.runtimes import OPENVINO
from face_pipeline.engine.types import ModelRefused

# What its code generator says where memory cannot be both written and run.
NO_CODE = "can't protect"


class OpenVino:
    """See Runtime."""

    provider = OPENVINO
    on_card = False

    def session(self, path: Path, threads: int = 1, callers: int = 1) -> Any:
        """See Runtime. The model is compiled for each caller: one stream computes on the thread that calls,
        with that thread's priority, but lets other callers wait; several compute on threads of their own."""
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            # Workers are processes: each would pin its threads to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = _core().read_model(str(path))
            compiled = [_core().compile_model(model, "CPU", options) for _ in range(callers)]
        except RuntimeError as error:
            raise ModelRefused(f"OpenVINO refuses {path.name}: {_reason(error)}") from error
        return Session(compiled)

    def audit(self, path: Path, infer: Callable[[Any], None]) -> None:
        """See Runtime. There is no other device that it could take."""
        infer(self.session(path))


@dataclass(frozen=True)
class Value:
    """An input or output of a model; None: a dimension of any size."""

    name: str
    shape: list[int | None]


class Session:
    """A compiled model for each caller, with what engines use of onnxruntime's InferenceSession."""

    def __init__(self, compiled: Sequence[Any]) -> None:
        self._inputs = [_value(each) for each in compiled[0].inputs]
        self._outputs = [_value(each) for each in compiled[0].outputs]
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for each in compiled:
            self._requests.put(each.create_infer_request())

    def get_inputs(self) -> list[Value]:
        return self._inputs

    def get_outputs(self) -> list[Value]:
        return self._outputs

    def get_providers(self) -> list[str]:
        return [OPENVINO]

    def run(self, names: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """Arrays of the outputs of those names; waits while more than the callers of the session compute."""
        request = self._requests.get()
        try:
            # The inputs stay the caller's: nothing writes to them meanwhile.
            request.infer(dict(inputs), share_inputs=True)
            # Outputs are the request's memory, which its next caller overwrites.
            return [np.array(request.get_tensor(name).data) for name in names]
        finally:
            self._requests.put(request)


@cache
def _core() -> Any:
    return openvino.Core()


def _value(port: Any) -> Value:
    shape = [each.get_length() if each.is_static else None for each in port.get_partial_shape()]
    return Value(port.get_any_name(), shape)


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    if NO_CODE in last:
        return (
            f"{last}; it writes the code that it runs, which MemoryDenyWriteExecute=yes forbids this unit: "
            "run ./face-ansible site.yml, or set face_runtime to onnxruntime"
        )
    return last
