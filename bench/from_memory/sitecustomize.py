"""With this directory first on PYTHONPATH a worker of the benchmark computes nothing.

Its engine waits a while and answers with what the pack's own found on a few photos, as bench/around.py wrote
it down.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

FOUND = "FACE_BENCH_FOUND"
# As long as a worker of two on two cores computes on a small photo by the profile fast.
SECONDS = 0.02


class Remembering:
    """An `engine.Engine` with the pack, the contract and the turns of the real one."""

    providers = ("CPUExecutionProvider",)
    profile = "exact"
    match_threshold = 0.5

    def __init__(self, pack: Any, contract_id: str, turns: Any) -> None:
        self.pack, self.contract_id, self.dimension = pack, contract_id, pack.dimension
        # Written by the benchmark that started this process.
        self._found = itertools.cycle(pickle.loads(Path(os.environ[FOUND]).read_bytes()))
        self._turns = turns

    def warm_up(self) -> None:
        return

    def analyse(self, _: bytes, **__: Any) -> Any:
        with self._turns():
            time.sleep(SECONDS)
            return next(self._found)


def _load(pack_dir: Path, *, turns: Any = None, **_: Any) -> Remembering:
    from face_pipeline import engine

    pack = engine.read_pack(pack_dir)
    return Remembering(pack, engine.contract_id(pack), turns or engine.Turns())


# Of the processes that the benchmark starts, workers alone know an engine.
if FOUND in os.environ and "face_pipeline.worker" in sys.orig_argv:
    import face_pipeline.engine

    face_pipeline.engine.load_engine = _load  # type: ignore[assignment]
