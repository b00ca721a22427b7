"""A card against the CPU and against the bare session: the same embeddings, how fast, and how much memory.

    python -m bench.gpu --pack DIR --photos DIR [--device cuda] [--memory-photos 10000] [--json FILE]

On a host with a card, in a checkout with requirements/app-cuda12.lock (or 13). `--device cpu` runs all of it
without a card, to try the program itself. Ends with 1 where an embedding differs (cosine below 0.999) or
memory grows.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pynvml
from face_pipeline.engine import load_engine
from face_pipeline.engine.decode import decode
from face_pipeline.engine.insightface_engine import ALIGNED_SIDE, InsightFaceEngine

from bench.stack import parser, photo_files, report

COSINE = 0.999
THREADS = (1, 2, 4, 8, 16)
ROUNDS = 5
SECONDS = 3.0
# Of the memory after a tenth of the photos: what the rest may add.
GROWTH = 1.05


def rate(work: Callable[[], int]) -> float:
    """Items a second: the median of some rounds, the first not counted."""
    found = []
    for _ in range(ROUNDS + 1):
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS / ROUNDS:
            done += work()
        found.append(done / (time.perf_counter() - began))
    return statistics.median(found[1:])


def worst_cosine(one: InsightFaceEngine, other: InsightFaceEngine, photos: list[bytes]) -> float:
    """The least similar pair of embeddings of the same face, one of each engine."""
    worst = 1.0
    for data in photos:
        faces, again = one.analyse(data).faces, other.analyse(data).faces
        if len(faces) != len(again):
            return -1.0
        for left, right in zip(faces, again, strict=True):
            worst = min(worst, float(np.dot(left.embedding, right.embedding)))
    return worst


def memory_mib() -> float:
    """Of the first visible card; without one, of this process."""
    try:
        pynvml.nvmlInit()
        return float(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used) / 2**20
    except pynvml.NVMLError:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def in_threads(engine: InsightFaceEngine, photos: list[bytes], threads: int) -> float:
    """Photos a second through `analyse`."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        work = photos * max(1, 4 * threads // len(photos))
        return rate(lambda: len(list(pool.map(engine.analyse, work))))


def bare(engine: InsightFaceEngine, photos: list[bytes]) -> float:
    """Photos a second of decode, detection and embedding, one after the other, and nothing else."""

    def once() -> int:
        for data in photos:
            photo = decode(data, detector_side=engine.pack.detector_side)
            boxes, _ = engine._detector.detect(photo.pixels)
            if len(boxes):
                engine._recogniser.get_feat(
                    [np.zeros((ALIGNED_SIDE, ALIGNED_SIDE, 3), np.uint8)] * len(boxes)
                )
        return len(photos)

    return rate(once)


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options.add_argument("--memory-photos", type=int, default=10_000)
    given = options.parse_args()
    photos = [path.read_bytes() for path in photo_files(given.photos)]
    engine: Any = load_engine(given.pack, threads=max(THREADS), device=given.device)
    engine.warm_up()
    on_cpu: Any = load_engine(given.pack, threads=1)
    figures: dict[str, Any] = {
        "provider": engine.providers[0],
        "worst_cosine_with_cpu": worst_cosine(engine, on_cpu, photos),
    }
    crop = np.random.default_rng(0).integers(0, 255, (ALIGNED_SIDE, ALIGNED_SIDE, 3), np.uint8)
    for size in engine._sizes:
        figures[f"faces_per_second_batch_{size}"] = rate(
            lambda size=size: len(engine._recogniser.get_feat([crop] * size))
        )
    figures["photos_per_second_bare"] = bare(engine, photos)
    for threads in THREADS:
        figures[f"photos_per_second_threads_{threads}"] = in_threads(engine, photos, threads)
    best = max(figures[f"photos_per_second_threads_{threads}"] for threads in THREADS)
    figures["pipeline_of_bare"] = best / figures["photos_per_second_bare"]
    figures["cpu_photos_per_second_bare"] = bare(on_cpu, photos)
    work = itertools.islice(itertools.cycle(photos), given.memory_photos)
    tenth = max(1, given.memory_photos // 10)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.analyse, itertools.islice(work, tenth)))
        figures["memory_mib_after_a_tenth"] = memory_mib()
        # In parts: pool.map takes all it is given at once.
        while part := list(itertools.islice(work, 500)):
            list(pool.map(engine.analyse, part))
    figures["memory_mib_at_the_end"] = memory_mib()
    figures["photos_for_memory"] = given.memory_photos
    report(figures, given.json)
    wrong = []
    if figures["worst_cosine_with_cpu"] < COSINE:
        wrong.append(f"embeddings differ from the CPU's: cosine {figures['worst_cosine_with_cpu']:.5f}")
    if figures["memory_mib_at_the_end"] > GROWTH * figures["memory_mib_after_a_tenth"]:
        wrong.append("memory grew while nothing changed")
    for line in wrong:
        print(f"bench.gpu: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
