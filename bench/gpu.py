"""A card against the CPU and against the bare session: the same embeddings, how fast, and how much memory.

    python -m bench.gpu --pack DIR [--photos DIR] [--device cuda] [--memory-photos 10000] [--json FILE]

On a host with a card `playbooks/prove_gpu.yml` runs it, in a release and under the limits of its workers. It
needs no more than a release has; without --photos a portrait of its packages is made into photos of several
faces. Models are those that the pack's workers use: the prepared ones where it has them. The file of --json
also says which machine, driver and packages its figures belong to. `--device cpu` runs all of it without a
card, to try the program itself. Ends with 1 where onnxruntime would compute elsewhere, a face or an embedding
differs (cosine below 0.999), or memory grows.
"""

from __future__ import annotations

import concurrent.futures
import io
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pynvml
from face_pipeline.engine import DetectedFace, load_engine
from face_pipeline.engine.alignment import ALIGNED_SIDE
from face_pipeline.engine.decode import decode
from face_pipeline.engine.insightface_engine import DETECTION_THRESHOLD, InsightFaceEngine
from face_pipeline.engine.runtimes import Kind
from face_pipeline.engine.runtimes.onnx import Onnx
from face_pipeline.errors import FacePipelineError
from PIL import Image

from bench.common import PHOTOS, computer, installed, load, parser, photo_files, report, write

COSINE = 0.999
# A card rounds otherwise: a face this near to the threshold may be found by one alone.
SCORE_MARGIN = 0.02
SAME_FACE_OVERLAP = 0.5
THREADS = (1, 2, 4, 8, 16)
# Workers on one card, and the threads of each.
PROCESSES = (2, 4, 8)
THREADS_EACH = 8
ROUNDS = 5
SECONDS = 3.0
# Of the memory after a tenth of the photos: what the rest may add.
GROWTH = 1.05
# Faces along a side of the photos that are made.
MOSAICS = (1, 1, 1, 2, 3)
# What computes; a release has some of them.
PACKAGES = (
    "onnxruntime-gpu", "onnxruntime", "numpy", "opencv-python-headless", "insightface",
    "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cudnn-cu12", "nvidia-cublas-cu12",
)  # fmt: skip


def made_photos() -> list[bytes]:
    """JPEG files with 1 to 9 faces each, of a public-domain NASA portrait in scikit-image's wheel."""
    import skimage

    face = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    photos = []
    for number, along in enumerate(MOSAICS):
        photo = Image.new("RGB", (along * face.width, along * face.height))
        for x, y in itertools.product(range(along), repeat=2):
            photo.paste(face, (x * face.width, y * face.height))
        buffer = io.BytesIO()
        photo.rotate(3 * number).save(buffer, "JPEG", quality=90)
        photos.append(buffer.getvalue())
    return photos


def rate(work: Callable[[], int]) -> float:
    """Items a second: the median of some rounds, the first not counted."""
    found = []
    for _ in range(ROUNDS + 1):
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS / ROUNDS:
            done += work()
        found.append(done / (time.perf_counter() - began))
    return statistics.median(found[1:])


def overlap(one: DetectedFace, other: DetectedFace) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one.bbox[:2], other.bbox[:2]), np.minimum(one.bbox[2:], other.bbox[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    areas = sum(float(np.prod(face.bbox[2:] - face.bbox[:2])) for face in (one, other))
    return common / (areas - common)


def compare(one: InsightFaceEngine, other: InsightFaceEngine, photos: list[bytes]) -> tuple[int, int, float]:
    """Faces that both found, faces that one alone is sure of, and the least similar pair of embeddings."""
    common, alone, worst = 0, 0, 1.0
    for data in photos:
        left, right = one.analyse(data).faces, other.analyse(data).faces
        matched = []
        for face in left:
            twin = max(right, key=lambda candidate, face=face: overlap(face, candidate), default=None)  # type: ignore[misc]
            if twin is not None and overlap(face, twin) > SAME_FACE_OVERLAP:
                matched += [face, twin]
                worst = min(worst, float(np.dot(face.embedding, twin.embedding)))
        common += len(matched) // 2
        alone += sum(
            face.detection_score > DETECTION_THRESHOLD + SCORE_MARGIN
            for face in left + right
            if not any(face is each for each in matched)
        )
    return common, alone, worst


def memory_mib() -> float:
    """Of this process on its card; without one, resident."""
    try:
        pynvml.nvmlInit()
        card = _card()
        mine = [
            process.usedGpuMemory
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(card)
            if process.pid == os.getpid() and process.usedGpuMemory
        ]
        # In a container NVML knows processes by other numbers: then all of the card counts.
        return float(mine[0] if mine else pynvml.nvmlDeviceGetMemoryInfo(card).used) / 2**20
    except (pynvml.NVMLError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def card_name() -> str:
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlDeviceGetName(_card()))
    except (pynvml.NVMLError, ValueError):
        return "none"


def machine() -> dict[str, Any]:
    """What `computer` says, the card, its driver and the CUDA of the driver and of onnxruntime, and the
    versions of what computes."""
    card: dict[str, Any] = {"card": card_name()}
    try:
        card["driver"] = str(pynvml.nvmlSystemGetDriverVersion())
        version = pynvml.nvmlSystemGetCudaDriverVersion()
        card["CUDA of the driver"] = f"{version // 1000}.{version % 1000 // 10}"
    except pynvml.NVMLError:
        pass
    card["CUDA of onnxruntime"] = onnxruntime.cuda_version or None
    return {
        **computer(),
        **card,
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
    }


def _card() -> Any:
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return pynvml.nvmlDeviceGetHandleByIndex(int(first))


def in_threads(engine: InsightFaceEngine, photos: list[bytes], threads: int) -> float:
    """Photos a second through `analyse`."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        work = photos * max(1, 4 * threads // len(photos))
        return rate(lambda: len(list(pool.map(engine.analyse, work))))


def stages(engine: InsightFaceEngine, photos: list[bytes], threads: int) -> dict[str, float]:
    """Milliseconds that a photo takes in each step, at the median, with so many at once: what waits for a
    core, for Python or for the card takes longer than with one."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        work = photos * max(2, 8 * threads // len(photos))
        timings = [analysed.timings for analysed in pool.map(engine.analyse, work)]
    return {step: 1000 * statistics.median(each[step] for each in timings) for step in timings[0]}


class NoTime(Onnx):
    """A card that takes no time: its sessions compute a photo once and say the same again. For one thread."""

    on_card = True
    photo = 0

    def session(self, path: Path, threads: int = 1, callers: int = 1) -> Any:
        session = super().session(path, threads, callers)
        compute, said = session.run, {}

        def run(names: list[str], inputs: dict[str, Any]) -> list[Any]:
            key = self.photo, *(each.shape for each in inputs.values())
            if key not in said:
                said[key] = compute(names, inputs)
            return list(said[key])

        session.run = run
        return session


def beside_inferences(engine: InsightFaceEngine, photos: list[bytes]) -> float:
    """Milliseconds of one core that a photo takes beside its inferences, the least of some rounds: the cores
    of the host divided by it is what no card exceeds."""
    runtime = NoTime()
    same = type(engine)(engine.pack, runtime, prepared=engine._prepared)
    found = []
    for _ in range(ROUNDS + 1):
        began = time.thread_time()
        for runtime.photo, data in enumerate(photos):
            same.analyse(data)
        found.append(1000 * (time.thread_time() - began) / len(photos))
    return min(found[1:])


def in_processes(pack: Path, device: Kind, photos: list[bytes], processes: int) -> float:
    """Photos a second of so many workers on one card, each with its own engine and THREADS_EACH threads."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(processes)
    with concurrent.futures.ProcessPoolExecutor(processes, spawn, _join, (ready,)) as pool:
        return sum(pool.map(_as_worker, *zip(*[(pack, device, photos)] * processes, strict=True)))


def _join(ready: Any) -> None:
    global _ready
    _ready = ready


def _as_worker(pack: Path, device: Kind, photos: list[bytes]) -> float:
    engine: Any = load_engine(pack, threads=THREADS_EACH, device=device)
    engine.warm_up()
    _ready.wait()
    return in_threads(engine, photos, THREADS_EACH)


def decoding(photos: list[bytes], cores: int) -> float:
    """Photos a second that the cores decode and do nothing else: no worker of this host does more."""
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        work = photos * max(1, 4 * cores // len(photos))
        return rate(lambda: len(list(pool.map(decode, work))))


def bare(engine: InsightFaceEngine, photos: list[bytes]) -> float:
    """Photos a second of decode, detection and embedding, one after the other, and nothing else."""

    def once() -> int:
        for data in photos:
            boxes, _ = engine.detect(decode(data).pixels)
            if len(boxes):
                engine.embed([np.zeros((ALIGNED_SIDE, ALIGNED_SIDE, 3), np.uint8)] * len(boxes))
        return len(photos)

    return rate(once)


def throughput(
    engine: InsightFaceEngine, on_cpu: InsightFaceEngine, device: Kind, photos: list[bytes]
) -> Iterator[tuple[str, float]]:
    """Names and figures, each as it is found."""
    crop = np.random.default_rng(0).integers(0, 255, (ALIGNED_SIDE, ALIGNED_SIDE, 3), np.uint8)
    for size in engine._sizes:
        faces = rate(lambda size=size: len(engine._recogniser.get_feat([crop] * size)))  # type: ignore[misc]
        yield f"faces/s, batches of {size}", faces
    cores = len(os.sched_getaffinity(0))
    yield f"photos/s, decoding alone on {cores} cores", decoding(photos, cores)
    yield "photos/s, bare sessions on the CPU, one core", bare(on_cpu, photos)
    alone = bare(engine, photos)
    yield "photos/s, bare sessions", alone
    for threads in THREADS:
        found = in_threads(engine, photos, threads)
        yield f"photos/s, {threads} at once", found
        yield f"ratio to the bare sessions, {threads} at once", found / alone
    for threads in (THREADS[0], THREADS[-1]):
        for step, took in stages(engine, photos, threads).items():
            yield f"ms of a photo, {step}, {threads} at once", took
    yield "ms of one core for a photo, beside its inferences", beside_inferences(engine, photos)
    for processes in (each for each in PROCESSES if each * 2 <= cores):
        try:
            found = in_processes(engine.pack.path, device, photos, processes)
        except BrokenProcessPool:
            print(f"{processes} workers are too many for the memory here", file=sys.stderr)
            return
        yield f"photos/s, {processes} workers of {THREADS_EACH} threads", found


def memory(engine: InsightFaceEngine, photos: list[bytes], count: int) -> tuple[float, float]:
    """MiB after a tenth of `count` photos, and after all."""
    work = itertools.islice(itertools.cycle(photos), count)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.analyse, itertools.islice(work, max(1, count // 10))))
        before = memory_mib()
        # In parts: pool.map takes all it is given at once.
        while part := list(itertools.islice(work, 500)):
            list(pool.map(engine.analyse, part))
    return before, memory_mib()


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options.add_argument("--memory-photos", type=int, default=10_000)
    given = options.parse_args()
    if given.photos == PHOTOS and not PHOTOS.is_dir():
        photos = made_photos()
    else:
        photos = [path.read_bytes() for path in photo_files(given.photos)]
    try:
        engine: Any = load_engine(given.pack, threads=max(THREADS), device=given.device)
        # Looks where each operation is computed, and fails where that is not the card.
        engine.warm_up()
        on_cpu: Any = load_engine(given.pack, threads=1)
    except FacePipelineError as error:
        print(f"bench.gpu: {error}", file=sys.stderr)
        return 1
    if not isinstance(engine, InsightFaceEngine):
        print(f"bench.gpu: {given.pack} is no InsightFace pack: name one with --pack", file=sys.stderr)
        return 1
    begin = load()
    common, alone, worst = compare(engine, on_cpu, photos)
    figures: dict[str, Any] = {
        "pack": engine.pack.name,
        "computed on": engine.providers[0],
        "card": card_name(),
        "detector": "prepared" if "detection" in engine._prepared else "the pack's own",
        "faces compared with the CPU's": common,
        "faces that one of both found alone": alone,
        "worst cosine with the CPU's embedding": worst,
    }
    for name, found in figures.items():
        print(f"{name}: {found}", file=sys.stderr, flush=True)
    # What was found is seen also where the rest does not end.
    for name, found in throughput(engine, on_cpu, given.device, photos):
        print(f"{name}: {found:.4g}", file=sys.stderr, flush=True)
        figures[name] = found
    before, after = memory(engine, photos, given.memory_photos)
    figures[f"MiB after {max(1, given.memory_photos // 10)} photos"] = before
    figures[f"MiB after {given.memory_photos} photos"] = after
    report(figures, None)
    write({**figures, "machine": machine(), "load": {"begin": begin, "end": load()}}, given.json)
    wrong = []
    if common == 0:
        wrong.append("no face was found on any photo: name others with --photos")
    if alone:
        wrong.append(f"{alone} faces were found on the card alone or on the CPU alone")
    if worst < COSINE:
        wrong.append(f"embeddings differ from the CPU's: cosine {worst:.5f}")
    if after > GROWTH * before:
        wrong.append(f"memory grew from {before:.0f} to {after:.0f} MiB while nothing changed")
    for line in wrong:
        print(f"bench.gpu: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
