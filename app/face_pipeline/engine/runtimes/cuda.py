"""onnxruntime on one NVIDIA card: the first that CUDA_VISIBLE_DEVICES leaves."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import onnxruntime

from face_pipeline.engine.runtimes import CPU
from face_pipeline.engine.runtimes.onnx import Onnx
from face_pipeline.engine.types import EngineError

CUDA = "CUDAExecutionProvider"
# Sessions of an engine: a detector and a recogniser, each with an arena of its own.
SESSIONS = 2


class Cuda(Onnx):
    """`memory_limit_mb` is what all sessions of an engine may take of the card; 0: no bound."""

    provider = CUDA
    on_card = True

    def __init__(self, memory_limit_mb: int = 0) -> None:
        self._memory_limit_mb = memory_limit_mb

    def providers(self) -> list[Any]:
        options = {
            "device_id": "0",
            # The default doubles the arena with each request that does not fit, and gives nothing back.
            "arena_extend_strategy": "kSameAsRequested",
            # Inputs have few sizes: the best algorithm of each is looked for once, while the worker warms up.
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "cudnn_conv_use_max_workspace": "0",
        }
        if self._memory_limit_mb:
            options["gpu_mem_limit"] = str(self._memory_limit_mb * 1024**2 // SESSIONS)
        # What the card does not take (shapes) needs a place; `audit` looks that it is no more.
        return [(CUDA, options), CPU]

    def prepare(self, options: onnxruntime.SessionOptions) -> None:
        _load_libraries()
        # Plans of memory are kept for each size of input, and add up.
        options.enable_mem_pattern = False

    def fell_back(self, found: str) -> str:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        cards = "every card" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r}"
        return (
            f"{CUDA} was asked for ({cards}), onnxruntime would run on {found}: look at "
            "`nvidia-smi` and at the lines before this one, which name the library that it lacks"
        )


@cache
def _load_libraries() -> None:
    if CUDA not in onnxruntime.get_available_providers():
        raise EngineError(
            f"FACE_DEVICE=cuda, and the installed onnxruntime {onnxruntime.__version__} has no CUDA: "
            "run ./face-ansible site.yml with this host in the group `gpu`, or set FACE_DEVICE=cpu"
        )
    # Those that came as wheels beside it.
    onnxruntime.preload_dlls()
