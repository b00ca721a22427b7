"""One process that is measured: an engine as a worker has it, and threads that analyse photos for a while.

`python -m face_pipeline.ops.tune.process JOB` says `ready` once its models are loaded, waits for a line, and
answers in JSON what it did.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# What a worker holds in memory beside its engine: Celery, SQLAlchemy, the client of Redis.
import face_pipeline.parts  # noqa: F401
from face_pipeline.engine import Budget, Engine, Turns, load_engine
from face_pipeline.engine.prepared.record import Choice, Profile
from face_pipeline.errors import FacePipelineError

# As threads of a worker that ingest: whatever else the host does goes first.
NICENESS = 10
READY = "ready"


@dataclass(frozen=True)
class Job:
    """`search_cores`: those that one photo may take that somebody waits for; 0: photos are ingested, by
    `threads` threads. `turns`: the directory through which the processes of a measurement share the cores.

    `each_once`: every photo is analysed once, however long that takes.
    """

    pack: str
    runtime: Choice
    profile: Profile
    threads: int
    search_cores: int
    turns: str
    name: str
    decode_mb: int
    photos: list[str]
    seconds: float
    each_once: bool = False


@dataclass(frozen=True)
class Answer:
    """`seconds` from the first photo's begin to the last one's end; `milliseconds`: median of one photo."""

    photos: int
    faces: int
    seconds: float
    milliseconds: float
    resident_mb: float
    peak_mb: float


def load(job: Job) -> Engine:
    made = load_engine(
        Path(job.pack),
        threads=job.threads,
        prompt_threads=max(1, job.search_cores),
        turns=Turns(Path(job.turns), job.name),
        memory=Budget(job.decode_mb * 2**20),
        runtime=job.runtime,
        profile=job.profile,
    )
    made.warm_up()
    return made


def measure(engine: Engine, job: Job) -> Answer:
    began = time.monotonic()
    count = len(job.photos)

    def thread(first: int) -> list[tuple[int, float]]:
        """Faces and milliseconds of each photo."""
        done: list[tuple[int, float]] = []
        while (len(done) < count) if job.each_once else (time.monotonic() - began < job.seconds or not done):
            done.append(_analysed(engine, job.photos[(first + len(done)) % count], bool(job.search_cores)))
        return done

    # Each begins with another photo, so that a few photos are mixed, too.
    with ThreadPoolExecutor(job.threads) as pool:
        done = [each for thread_done in pool.map(thread, range(job.threads)) for each in thread_done]
    seconds = time.monotonic() - began
    return Answer(
        photos=len(done),
        faces=sum(faces for faces, _ in done),
        seconds=seconds,
        milliseconds=statistics.median(each for _, each in done),
        resident_mb=_memory_mb("VmRSS"),
        peak_mb=_memory_mb("VmHWM"),
    )


def _analysed(engine: Engine, path: str, promptly: bool) -> tuple[int, float]:
    began = time.perf_counter()
    try:
        # As a worker does: from the disk, one after the other.
        analysis = engine.analyse(Path(path).read_bytes(), promptly=promptly, thumbnail=not promptly)
    except FacePipelineError as error:
        raise type(error)(f"{path}: {error.message}") from error
    return len(analysis.faces), 1000 * (time.perf_counter() - began)


def _memory_mb(field: str) -> float:
    """VmRSS: now; VmHWM: the most it ever was."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def main(arguments: Sequence[str]) -> int:
    os.nice(NICENESS)
    answer: dict[str, Any]
    try:
        job = Job(**json.loads(arguments[0]))
        engine = load(job)
        print(READY, flush=True)
        if not sys.stdin.readline():
            return 1
        answer = asdict(measure(engine, job))
    except (FacePipelineError, OSError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
