"""Runtimes: what computes a model, behind one protocol. One module for each library and kind of device.

A further one is a module here and a line in `load_runtime`. Of a dlib pack it computes the descriptor alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

Kind = Literal["cpu", "cuda"]
# What computes on a CPU; a card is onnxruntime's.
Library = Literal["onnxruntime", "openvino"]
LIBRARIES: tuple[Library, ...] = get_args(Library)
# The processor, by onnxruntime's name of it.
CPU = "CPUExecutionProvider"
# The processor again, where OpenVINO itself computes and not onnxruntime.
OPENVINO = "OpenVINO"


class Runtime(Protocol):
    """Computes on one device, and never on another than the one that was asked for.

    provider: the device by onnxruntime's name of it, or the library's own, as metrics and the log show it.
    on_card: a card computes many faces at once quicker than one after the other, whatever the number of
        cores, and takes the memory that each size of input needs when it first comes.
    """

    provider: str
    on_card: bool

    def session(self, path: Path, threads: int = 1, callers: int = 1) -> Any:
        """A session of the model at `path` (ONNX), with onnxruntime's interface; `threads`: the cores of one
        inference, `callers`: how many run one at once without waiting for each other.

        Raises ModelRefused for a model that it cannot load, EngineError where it would compute elsewhere.
        """
        ...

    def audit(self, path: Path, infer: Callable[[Any], None]) -> None:
        """Let `infer` run one inference on a session of its own.

        Raises EngineError where that computed elsewhere than on the device.
        """
        ...


def load_runtime(kind: Kind = "cpu", memory_limit_mb: int = 0, library: Library = "onnxruntime") -> Runtime:
    """The runtime of a device; memory_limit_mb: what all its sessions may take of a card, 0: no bound;
    `library`: what computes on a CPU.

    Loads the library that computes. The first session raises EngineError where the device is lacking.
    """
    if kind == "cuda":
        from face_pipeline.engine.runtimes.cuda import Cuda

        return Cuda(memory_limit_mb)
    if library == "openvino":
        from face_pipeline.engine.runtimes.openvino import OpenVino

        return OpenVino()
    from face_pipeline.engine.runtimes.onnx import Onnx

    return Onnx()


def available(library: Library) -> bool:
    """Whether the library is installed, without loading it."""
    return find_spec(library) is not None


def version(library: Library) -> str:
    """The version that is installed, whichever of its packages it came with."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(f"{library}-gpu")
    return metadata.version(library)
