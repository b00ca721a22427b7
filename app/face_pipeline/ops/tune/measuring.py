"""Measure an engine on this host, in processes of its own that end with the measurement."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, cast

from face_pipeline.engine.prepared.record import Choice, Profile
from face_pipeline.engine.tuned import Figures
from face_pipeline.errors import FacePipelineError
from face_pipeline.ops.tune.process import READY, Answer, Job
from face_pipeline.ops.tune.rule import MEMORY_SHARE, combinations
from face_pipeline.words import counted

# As the units of workers set it: celery@.service, and the drop-in of every unit of the pipeline.
WORKER_ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}
# Other work only slows a measurement down: each is made twice, in turns, and the quicker one counts.
ROUNDS = 2
# Of the whole time, for searches on one core and on theirs.
SEARCH_PART = 0.1
# What a process may take to load its models, and beyond its time to answer.
PATIENCE_SECONDS = 180.0


class MeasurementFailed(FacePipelineError):
    """A process that was measured did not answer; the text says why."""

    code = "measurement_failed"


@dataclass(frozen=True)
class Subject:
    """What is measured: an installed pack as workers of this host load it, on the photos of these files.

    `most`: workers that the host may run. `search_cores`: those that one search may take.
    """

    pack: Path
    runtime: Choice
    profile: Profile
    decode_mb: int
    photos: Sequence[Path]
    cores: int
    memory_mb: int
    free_mb: int
    most: int
    search_cores: int


@dataclass(frozen=True)
class Measured:
    """`search_ms`: inference of one search, median milliseconds by cores."""

    figures: list[Figures]
    search_ms: dict[str, float]
    faces: int


def measure(subject: Subject, seconds: float, tell: Callable[[str], None]) -> Measured:
    """One thread alone, numbers of workers (rule.combinations), and searches, in `seconds` and the time that
    models take to load.

    Raises MeasurementFailed.
    """
    with tempfile.TemporaryDirectory(prefix="face-tune-") as directory:
        job = Job(
            pack=str(subject.pack),
            runtime=subject.runtime,
            profile=subject.profile,
            threads=1,
            search_cores=0,
            turns=directory,
            name="",
            decode_mb=subject.decode_mb,
            photos=[str(each) for each in subject.photos],
            seconds=0.0,
        )
        tell(f"looking at {counted(len(job.photos), 'photo')}")
        # Tells of photos that cannot be used, and what one worker takes at least.
        (first,) = _run([replace(job, each_once=True)])
        if not first.faces:
            raise MeasurementFailed(
                "there is no face on the photos, so that embedding would not be measured; name a directory "
                "of photos of faces with --photos"
            )
        room = min(subject.memory_mb * MEMORY_SHARE, subject.free_mb)
        tried = [(1, 1), *combinations(subject.cores, subject.most, room, first.peak_mb)]
        each_seconds = seconds * (1 - SEARCH_PART) / (ROUNDS * len(tried))
        found: dict[tuple[int, int], Figures] = {}
        for order in (tried, tried[::-1]):
            for workers, threads in order:
                tell(f"{counted(workers, 'worker')} x {counted(threads, 'thread')}")
                answers = _run(
                    [replace(job, threads=threads, seconds=each_seconds)] * workers,
                )
                found[workers, threads] = _better(
                    found.get((workers, threads)), _figures(workers, threads, answers)
                )
        cores = sorted({1, subject.search_cores})
        search_ms = {}
        for number in cores:
            tell(f"searches on {counted(number, 'core')}")
            wanted = replace(job, search_cores=number, seconds=seconds * SEARCH_PART / len(cores))
            (answer,) = _run([wanted])
            search_ms[str(number)] = round(answer.milliseconds, 1)
    return Measured([found[each] for each in tried], search_ms, first.faces)


def _figures(workers: int, threads: int, answers: Sequence[Answer]) -> Figures:
    return Figures(
        workers=workers,
        threads=threads,
        photos_per_second=round(sum(each.photos / each.seconds for each in answers), 2),
        resident_mb=round(max(each.resident_mb for each in answers), 1),
        peak_mb=round(max(each.peak_mb for each in answers), 1),
    )


def _better(old: Figures | None, new: Figures) -> Figures:
    """The quicker one's rate, and the larger one's memory."""
    if old is None:
        return new
    return replace(
        new,
        photos_per_second=max(old.photos_per_second, new.photos_per_second),
        resident_mb=max(old.resident_mb, new.resident_mb),
        peak_mb=max(old.peak_mb, new.peak_mb),
    )


def _run(jobs: Sequence[Job]) -> list[Answer]:
    """The answers of processes that load first and then work at the same time, one for each job."""
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile("w+"))
        processes = [
            stack.enter_context(_process(replace(job, name=f"worker{number}"), said))
            for number, job in enumerate(jobs, start=1)
        ]
        # A process that hangs ends the measurement.
        watch = threading.Timer(PATIENCE_SECONDS + jobs[0].seconds, _kill, [processes])
        watch.start()
        stack.callback(watch.cancel)
        lines = [cast(IO[str], each.stdout).readline() for each in processes]
        if any(line.strip() != READY for line in lines):
            raise _failure(next(line for line in lines if line.strip() != READY), said)
        for process in processes:
            with contextlib.suppress(BrokenPipeError):
                cast(IO[str], process.stdin).write("go\n")
                cast(IO[str], process.stdin).flush()
        lines = [cast(IO[str], each.stdout).readline() for each in processes]
        try:
            return [Answer(**json.loads(line)) for line in lines]
        except (ValueError, TypeError):
            raise _failure(next(line for line in lines if '"photos"' not in line), said) from None


def _failure(line: str, said: IO[str]) -> MeasurementFailed:
    """What a process answered in the place of what it was asked for, or else said last."""
    try:
        return MeasurementFailed(json.loads(line)["error"])
    except (ValueError, KeyError, TypeError):
        said.seek(0)
        lines = said.read().strip().splitlines()
        why = lines[-1] if lines else "it said nothing; there may have been no memory left"
        return MeasurementFailed(f"a process that was measured ended: {why}")


@contextlib.contextmanager
def _process(job: Job, said: IO[str]) -> Iterator[subprocess.Popen[str]]:
    # -P: nothing of the directory in which somebody types the command is run.
    command = [sys.executable, "-P", "-m", "face_pipeline.ops.tune.process", json.dumps(asdict(job))]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
        env={**os.environ, **WORKER_ENVIRONMENT},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _kill(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()
