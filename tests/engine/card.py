"""A stand-in for a card: the sessions that it would have, on the CPU. It proves neither speed nor CUDA."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from face_pipeline.engine.runtimes import CPU
from face_pipeline.engine.runtimes.cuda import Cuda


class Cards(Cuda):
    """`made`: the file of each session, as it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def prepare(self, options: onnxruntime.SessionOptions) -> None:
        pass

    def _opened(self, path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        self.made.append(path.name)
        return onnxruntime.InferenceSession(str(path), options, providers=[CPU])
