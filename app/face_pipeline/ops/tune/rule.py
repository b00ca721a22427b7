"""What is worth measuring on a host, and which of it to take. No clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence

from face_pipeline.engine.tuned import Figures

# What loses no more than this is as quick as the best.
QUICK_ENOUGH = 0.97
# The other parts of an installation want the other half: PostgreSQL, Redis, the web service, the page cache.
MEMORY_SHARE = 0.5
# One goes on while the other starts again, and the work around the inference has a second interpreter.
WORKERS_LEAST = 2
# Threads of a worker beyond those that compute: they write the last photo and fetch the next one.
THREADS_BESIDE = 3
# As the setting FACE_WORKER_CONCURRENCY allows.
THREADS_MOST = 64
# A worker that is started for a queue computes after about as long.
WAIT_SECONDS = 10.0
# A limit is no plan: the kernel ends a worker that reaches it.
LIMIT_FACTOR = 2
# Below it site.yml refuses.
LIMIT_LEAST_MB = 1024
LIMIT_STEP_MB = 64


def threads_for(workers: int, cores: int) -> int:
    """Threads of each of so many workers: its part of the cores, and some that wait for others."""
    part = math.ceil(cores / workers)
    return min(THREADS_MOST, part + max(THREADS_BESIDE, part // 2))


def combinations(cores: int, most: int, room_mb: float, one_mb: float) -> list[tuple[int, int]]:
    """Workers and threads to measure: 1, 2, 4, … workers, and one for each core.

    No more than `most` and than have room, where one takes `one_mb`.
    """
    bound = max(1, min(cores, most, int(room_mb // one_mb)))
    counts = {1, bound, *(2**power for power in range(bound.bit_length()) if 2**power < bound)}
    return [(workers, threads_for(workers, cores)) for workers in sorted(counts)]


def choose(measured: Sequence[Figures], cores: int, memory_mb: float) -> Figures:
    """Of those nearly as quick as the best that has room in this memory, the one that takes least.

    One worker alone is taken where there is one core, or no room for a second; where none has room, the
    one that takes least.
    """
    candidates = [each for each in measured if each.threads == threads_for(each.workers, cores)]
    fitting = [each for each in candidates if each.memory_mb <= memory_mb * MEMORY_SHARE]
    if not fitting:
        return min(candidates, key=lambda each: each.memory_mb)
    several = [each for each in fitting if each.workers >= WORKERS_LEAST] or fitting
    best = max(each.photos_per_second for each in several)
    quick = [each for each in several if each.photos_per_second >= QUICK_ENOUGH * best]
    return min(quick, key=lambda each: (each.memory_mb, each.workers))


def memory_limit_mb(peak_mb: float, decode_mb: int) -> int:
    """At which the kernel is to end a worker: twice what it took, and what decoding may take beside it."""
    wanted = LIMIT_FACTOR * peak_mb + decode_mb
    return max(LIMIT_LEAST_MB, LIMIT_STEP_MB * math.ceil(wanted / LIMIT_STEP_MB))


def waiting_for(photos_per_second: float, threads: int) -> int:
    """Waiting tasks for which one worker of this rate is enough: what it does while another would start."""
    return max(threads, round(photos_per_second * WAIT_SECONDS))
