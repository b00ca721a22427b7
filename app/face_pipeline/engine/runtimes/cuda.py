"""onnxruntime on one NVIDIA card: the first that CUDA_VISIBLE_DEVICES leaves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from face_pipeline.engine.runtimes import CPU
from face_pipeline.engine.runtimes.onnx import Onnx
from face_pipeline.engine.types import EngineError

CUDA = "CUDAExecutionProvider"
# onnxruntime warns for each session that no provider of a newer kind, a plug-in, has the card. What it lacks
# of CUDA it says as errors.
ERRORS = 3
# The default doubles the arena with each request that does not fit, and gives nothing back.
AS_REQUESTED = 1


class Cuda(Onnx):
    """`memory_limit_mb` is what all sessions of the process may take of the card; 0: no bound."""

    provider = CUDA
    on_card = True

    def __init__(self, memory_limit_mb: int = 0) -> None:
        self._memory_limit_mb = memory_limit_mb

    def session(self, path: Path, threads: int = 1, callers: int = 1) -> Any:
        """See Runtime. In truth one for each size of input, see SessionPerSize."""
        return SessionPerSize(lambda: super(Cuda, self).session(path, threads, callers))

    def providers(self) -> list[Any]:
        options = {
            "device_id": "0",
            # Inputs have few sizes: the best algorithm of each is looked for once, while the worker warms up.
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "cudnn_conv_use_max_workspace": "0",
        }
        # What the card does not take (shapes) needs a place; `audit` looks that it is no more.
        return [(CUDA, options), CPU]

    def prepare(self, options: onnxruntime.SessionOptions) -> None:
        _load_libraries()
        try:
            _share_memory(self._memory_limit_mb)
        except Exception as error:
            # onnxruntime's exception classes differ between its wheels.
            raise EngineError(self.fell_back(CPU)) from error
        # Plans of memory are kept for each size of input, and add up.
        options.enable_mem_pattern = False

    def fell_back(self, found: str) -> str:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        cards = "every card" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r}"
        return (
            f"{CUDA} was asked for ({cards}), onnxruntime would run on {found}: look at "
            "`nvidia-smi` and at the lines before this one, which name the library that it lacks"
        )


class SessionPerSize:
    """A session for each size of input, with what engines use of onnxruntime's InferenceSession.

    onnxruntime keeps what cuDNN found to be quickest for the last size alone, and looks again when another
    one comes: batches of 1 to 32 faces in turn take 600 ms each on an H100, where each alone takes 2 to 5.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._spare: Any = make()
        self._described = self._spare
        self._sessions: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._lock = threading.Lock()

    def get_inputs(self) -> Any:
        return self._described.get_inputs()

    def get_outputs(self) -> Any:
        return self._described.get_outputs()

    def get_providers(self) -> Any:
        return self._described.get_providers()

    def run(self, names: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        """As InferenceSession's. The first of a size waits for a session to be made."""
        size = tuple(each.shape for each in inputs.values())
        session = self._sessions.get(size)
        if session is None:
            session = self._first_of(size)
        return list(session.run(names, inputs))

    def _first_of(self, size: tuple[tuple[int, ...], ...]) -> Any:
        with self._lock:
            if size not in self._sessions:
                made, self._spare = self._spare or self._make(), None
                self._sessions[size] = made
            return self._sessions[size]


@cache
def _load_libraries() -> None:
    if CUDA not in onnxruntime.get_available_providers():
        raise EngineError(
            f"FACE_DEVICE=cuda, and the installed onnxruntime {onnxruntime.__version__} has no CUDA: "
            "run ./face-ansible site.yml with this host in the group `gpu`, or set FACE_DEVICE=cpu"
        )
    onnxruntime.set_default_logger_severity(ERRORS)
    # Those that came as wheels beside it.
    onnxruntime.preload_dlls()


@cache
def _share_memory(limit_mb: int) -> None:
    """One arena of the card's memory for all sessions of the process, of at most `limit_mb`; 0: no bound."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cuda", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    unset = dict.fromkeys(("initial_chunk_size_bytes", "max_dead_bytes_per_chunk"), -1)
    arena = {"max_mem": limit_mb * 1024**2, "arena_extend_strategy": AS_REQUESTED, **unset}
    onnxruntime.create_and_register_allocator_v2(CUDA, memory, {}, onnxruntime.OrtArenaCfg(arena))
