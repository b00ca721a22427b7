"""Where onnxruntime computes: the CPU or one NVIDIA card, and never the one where the other was asked for.

onnxruntime itself falls back to the CPU with no more than a warning: where its wheel has no CUDA, where a
library of CUDA is not found, and for each operation that a card does not take. `session` and `audit` make
errors of these.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from face_pipeline.engine.types import EngineError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Operations in which a model spends its time. Those that only handle shapes stay on the CPU by design.
HEAVY = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "ConvTranspose"}
# Sessions of an engine: a detector and a recogniser, each with an arena of its own.
SESSIONS = 2


@dataclass(frozen=True)
class Device:
    """`cuda` is the first card that CUDA_VISIBLE_DEVICES leaves; 0 MB: no limit but the card's own."""

    kind: Literal["cpu", "cuda"] = "cpu"
    memory_limit_mb: int = 0

    @property
    def provider(self) -> str:
        return CUDA if self.kind == "cuda" else CPU

    def providers(self) -> list[Any]:
        if self.kind == "cpu":
            return [CPU]
        options = {
            "device_id": "0",
            # The default doubles the arena with each request that does not fit, and gives nothing back.
            "arena_extend_strategy": "kSameAsRequested",
            # Inputs have few sizes: the best algorithm of each is looked for once, while the worker warms up.
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "cudnn_conv_use_max_workspace": "0",
        }
        if self.memory_limit_mb:
            options["gpu_mem_limit"] = str(self.memory_limit_mb * 1024**2 // SESSIONS)
        # What the card does not take (shapes) needs a place; `audit` looks that it is no more.
        return [(CUDA, options), CPU]


def session(path: Path, device: Device, options: onnxruntime.SessionOptions) -> Any:
    """A session on `device`; raises EngineError where onnxruntime would take another."""
    if device.kind == "cuda":
        _load_libraries()
        # Plans of memory are kept for each size of input, and add up.
        options.enable_mem_pattern = False
    made = onnxruntime.InferenceSession(str(path), options, providers=device.providers())
    if made.get_providers()[0] != device.provider:
        raise EngineError(_fell_back(device, made.get_providers()[0]))
    return made


def audit(path: Path, device: Device, infer: Callable[[Any], None]) -> None:
    """Let `infer` run one inference on a session of its own, and look where each heavy operation ran."""
    with tempfile.TemporaryDirectory() as directory:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = f"{directory}/audit"
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        looked = session(path, device, options)
        infer(looked)
        events = json.loads(Path(looked.end_profiling()).read_text())
    elsewhere = sorted(
        {
            f"{event['args']['op_name']} on {event['args']['provider']}"
            for event in events
            if event.get("args", {}).get("op_name") in HEAVY
            and event["args"].get("provider") not in ("", None, device.provider)
        }
    )
    ran = any(event.get("args", {}).get("provider") == device.provider for event in events)
    if elsewhere or not ran:
        raise EngineError(
            f"{path.name} was to run on {device.provider}, onnxruntime ran "
            f"{', '.join(elsewhere) or 'nothing there'}"
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


def _fell_back(device: Device, found: str) -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = "every card" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r}"
    return (
        f"{device.provider} was asked for ({cards}), onnxruntime would run on {found}: look at "
        "`nvidia-smi` and at the lines before this one, which name the library that it lacks"
    )
