"""onnxruntime on the CPU, and what holds for it on any device.

onnxruntime itself falls back to the CPU with no more than a warning: where its wheel has no CUDA, where a
library of CUDA is not found, and for each operation that a card does not take. `session` and `audit` make
errors of these.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from face_pipeline.engine.runtimes import CPU
from face_pipeline.engine.types import EngineError, ModelRefused

# Operations in which a model spends its time. Those that only handle shapes stay on the CPU by design.
HEAVY = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "ConvTranspose"}


class Onnx:
    """onnxruntime on the CPU. A runtime of another of its providers says how that differs."""

    provider = CPU
    on_card = False

    def session(self, path: Path, threads: int = 1, callers: int = 1) -> Any:  # noqa: ARG002
        """See Runtime. A session computes on the threads that call it, however many they are."""
        _share_arena()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Inputs have one size, so that the arena ends at what the threads need at once. Without it the C
        # library's allocator ends higher: 470 MB against 370 MB with four threads.
        options.enable_cpu_mem_arena = True
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return self._opened(path, options)
        except EngineError:
            raise
        except Exception as error:
            # onnxruntime's exception classes differ between its wheels.
            raise ModelRefused(f"onnxruntime refuses {path.name}: {error}") from error

    def audit(self, path: Path, infer: Callable[[Any], None]) -> None:
        """See Runtime. Each heavy operation is looked at."""
        with tempfile.TemporaryDirectory() as directory:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = f"{directory}/audit"
            looked = self._opened(path, options)
            infer(looked)
            events = json.loads(Path(looked.end_profiling()).read_text())
        elsewhere = sorted(
            {
                f"{event['args']['op_name']} on {event['args']['provider']}"
                for event in events
                if event.get("args", {}).get("op_name") in HEAVY
                and event["args"].get("provider") not in ("", None, self.provider)
            }
        )
        ran = any(event.get("args", {}).get("provider") == self.provider for event in events)
        if elsewhere or not ran:
            raise EngineError(
                f"{path.name} was to run on {self.provider}, onnxruntime ran "
                f"{', '.join(elsewhere) or 'nothing there'}"
            )

    def providers(self) -> list[Any]:
        """What onnxruntime is to compute on, best first, each with its options."""
        return [CPU]

    def prepare(self, options: onnxruntime.SessionOptions) -> None:
        """Get the device ready for a session, and set what such a session needs."""

    def fell_back(self, found: str) -> str:
        """What to tell where onnxruntime would compute on `found`."""
        return f"{self.provider} was asked for, onnxruntime would run on {found}"

    def _opened(self, path: Path, options: onnxruntime.SessionOptions) -> Any:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.prepare(options)
        made = onnxruntime.InferenceSession(str(path), options, providers=self.providers())
        if made.get_providers()[0] != self.provider:
            raise EngineError(self.fell_back(made.get_providers()[0]))
        return made


@cache
def _share_arena() -> None:
    """One memory arena for all sessions of the process: 20 MB less than one for each."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    unlimited = dict.fromkeys(("initial_chunk_size_bytes", "max_dead_bytes_per_chunk"), -1)
    onnxruntime.create_and_register_allocator(
        memory, onnxruntime.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": -1, **unlimited})
    )
