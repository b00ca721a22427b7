"""Engines: what turns a photo into faces with embeddings.

Importing this package loads no model runtime, so that web processes can read packs and check uploads;
`load_engine` does, and is called once in a worker process, after it started (never before a fork).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from face_pipeline.engine.inspect import PhotoInfo, inspect
from face_pipeline.engine.memory import Budget, MemoryBusy
from face_pipeline.engine.pack import (
    Certainty,
    LicenceNotAccepted,
    Pack,
    PackDamaged,
    PackError,
    PackInvalid,
    PackMissing,
    build_dlib_pack,
    contract_id,
    read_pack,
    verify_pack,
)
from face_pipeline.engine.prepared.record import INSTEAD_OF_FAST, Choice, Profile, choose
from face_pipeline.engine.runtimes import Kind, load_runtime
from face_pipeline.engine.turns import Turns
from face_pipeline.engine.types import Analysis, DetectedFace, Engine, EngineError, PhotoBroken, PhotoRejected
from face_pipeline.errors import FacePipelineError

__all__ = [
    "Analysis", "Budget", "Certainty", "DetectedFace", "Engine", "EngineError", "LicenceNotAccepted",
    "MemoryBusy", "Pack", "PackDamaged", "PackError", "PackInvalid", "PackMissing", "PhotoBroken",
    "PhotoInfo", "PhotoRejected", "Turns", "build_dlib_pack", "contract_id", "convert_pack", "inspect",
    "load_engine", "read_pack", "verify_pack",
]  # fmt: skip

log = logging.getLogger(__name__)


def load_engine(
    pack_dir: Path,
    *,
    threads: int,
    prompt_threads: int = 1,
    device: Kind = "cpu",
    gpu_memory_limit_mb: int = 0,
    turns: Turns | None = None,
    memory: Budget | None = None,
    runtime: Choice = "auto",
    profile: Profile = "exact",
) -> Engine:
    """The engine of a pack, its files verified first; `threads` is how many will call it at once,
    `prompt_threads` how many cores one photo may take that is analysed `promptly`; others wait for `turns`.
    `memory`: what all decoding may take; None: no bound. `runtime`: what computes on a CPU, "auto": what was
    measured as quicker when the pack was prepared. `profile`: which prepared models are used on a CPU; where
    those of fast are not to be used here, exact is, and the log says why.

    Raises PackError for a missing, damaged or invalid pack, EngineError when the runtime cannot use a model,
    or would use another device than the one that is asked for.
    """
    pack = read_pack(pack_dir)
    verify_pack(pack)
    try:
        return _load(
            pack, threads, prompt_threads, device, gpu_memory_limit_mb, turns, memory, runtime, profile
        )
    except FacePipelineError:
        raise
    except Exception as error:
        # Model libraries fail with whatever a model of another shape leads them to. Every such case has to
        # end the start of a worker, so it gets a class that callers know.
        raise EngineError(
            f"pack {pack.name}: its models do not fit engine {pack.engine} "
            f"({type(error).__name__}: {error}); check the tasks in its manifest"
        ) from error


def _load(
    pack: Pack,
    threads: int,
    prompt_threads: int,
    kind: Kind,
    gpu_memory_limit_mb: int,
    turns: Turns | None,
    memory: Budget | None,
    runtime: Choice,
    profile: Profile,
) -> Engine:
    use = choose(pack, runtime, profile, on_card=kind != "cpu")
    if use.refusal:
        log.warning("pack %s: %s", pack.name, INSTEAD_OF_FAST.format(use.refusal))
    if pack.engine == "dlib":
        if kind != "cpu":
            raise EngineError(
                f"FACE_DEVICE={kind}, and pack {pack.name} computes on the CPU alone: "
                "choose another pack (face_model_pack), or set FACE_DEVICE=cpu"
            )
        from face_pipeline.engine.dlib_engine import DlibEngine

        return DlibEngine(pack, load_runtime(kind), threads=threads, memory=memory)
    from face_pipeline.engine.insightface_engine import InsightFaceEngine
    from face_pipeline.engine.opencv_engine import OpenCVEngine

    callers = min(threads, len(os.sched_getaffinity(0)))
    if pack.engine == "opencv":
        return OpenCVEngine(
            pack, load_runtime(kind, gpu_memory_limit_mb), prompt_threads, turns, memory, callers
        )
    return InsightFaceEngine(
        pack,
        load_runtime(kind, gpu_memory_limit_mb, use.library),
        prompt_threads,
        turns,
        memory,
        callers,
        prepared=use.record.paths(pack) if use.record else None,
        profile=use.profile,
    )


def convert_pack(pack: Pack) -> str:
    """Put beside an installed pack what its engine computes quicker; what was done, in words, or "" where
    nothing was to do.

    Raises PackDamaged, EngineError where the result is not the pack's own, OSError.
    """
    if pack.engine != "dlib":
        return ""
    from face_pipeline.engine import dlib_descriptor

    if dlib_descriptor.stored(pack) is not None:
        return ""
    from face_pipeline.engine import dlib_conversion

    verify_pack(pack)
    difference = dlib_conversion.store(pack, load_runtime())
    return f"{dlib_descriptor.MODEL} made, which differs from dlib by {difference:.1e} at most"
