"""How many photos a second an engine does on this host by each runtime, against InsightFace's own program.

    python -m bench.runtimes [--rounds 5] [--threads 2] [--isa avx2] [--json FILE]

Each way is a process of its own, for FaceAnalysis' threads spin on after their work; they take turns, one
round each. All decode the same JPEG files, find faces and make embeddings: FaceAnalysis with its defaults
from a plain loop and from --threads threads, ours with the pack's originals and with the models prepared for
this host, exact and, where this host does not refuse it, fast, by onnxruntime and, where it is installed, by
OpenVINO. `--isa avx2`: OpenVINO alone, kept from newer instructions, and what this host would say of the
profile fast if its processor did not list them; onnxruntime cannot be kept from them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from face_pipeline.engine import load_engine, read_pack
from face_pipeline.engine.prepared.record import Choice, candidates, choose, usable

from bench.common import ROOT, limit, machine, parser, photo_files, report, with_isa
from tests.installation import WORKER_ENVIRONMENT

LOOP = "FaceAnalysis, a loop"
THREADED = "FaceAnalysis, threads"
ORIGINALS = "originals, onnxruntime"
# Before the name of the library.
PREPARED, FAST = "prepared", "fast"


def face_analysis(pack: Path) -> Callable[[bytes], int]:
    import cv2
    import numpy as np
    from insightface.app import FaceAnalysis

    made: Any = FaceAnalysis(name=pack.name, root=str(pack.parent.parent), providers=["CPUExecutionProvider"])
    made.prepare(ctx_id=0, det_size=(640, 640))
    return lambda data: len(made.get(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)))


def ours(pack: Path, way: str, threads: int) -> Callable[[bytes], int]:
    models, _, library = way.partition(", ")
    chosen: Any = {"runtime": library, "profile": "fast" if models == FAST else "exact"}
    engine = load_engine(pack, threads=threads, **chosen)
    engine.warm_up()
    return lambda data: len(engine.analyse(data).faces)


def work(way: str, pack: Path, photos: list[bytes], threads: int) -> None:
    """One line for each line of the standard input: photos a second, processor ms a photo, faces."""
    # What libraries print is no answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    theirs = way in (LOOP, THREADED)
    analyse = face_analysis(pack) if theirs else ours(pack, way, threads)
    with ThreadPoolExecutor(1 if way == LOOP else threads) as pool:
        list(pool.map(analyse, photos[:4]))
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            began, cpu = time.perf_counter(), time.process_time()
            faces = sum(pool.map(analyse, photos))
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
            print(json.dumps([len(photos) / took, 1000 * cpu / len(photos), faces]), file=answers, flush=True)


class Way:
    """A process that does one round when it is asked."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.rounds: list[list[float]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.runtimes", "--way", name, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **WORKER_ENVIRONMENT},
        )  # fmt: skip
        if self._read() != "ready":
            sys.exit(f"bench: {name} did not start")

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def go(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.rounds.append(json.loads(self._read()))

    def median(self, column: int) -> float:
        return statistics.median(each[column] for each in self.rounds)

    def end(self) -> None:
        self._process.communicate()


def prepared(pack: Path, directory: Path, runtime: Choice = "auto") -> Path:
    """A copy of the pack with its models prepared for a runtime, placed as FaceAnalysis wants it; `auto`: for
    every one here. The profile fast is calibrated on the portrait that comes with scikit-image."""
    copy = Path(
        shutil.copytree(pack, directory / "models" / pack.name, ignore=shutil.ignore_patterns("prepared"))
    )
    command = [
        sys.executable, "-m", "face_pipeline.cli", "pack", "prepare", str(copy), "--profile", "fast",
        "--runtime", runtime,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "app")},
    )
    if done.returncode:
        sys.exit(f"bench: {pack.name} was not prepared: {done.stdout}{done.stderr}")
    return copy


def runtime_with(isa: str | None) -> Choice:
    """What may be measured: OpenVINO alone knows a bound of instructions."""
    return "openvino" if isa else "auto"


def without_vnni(pack: Path) -> str:
    """What the profile fast says of this host, had its processor nothing newer than AVX2; the prepared pack
    has no profile fast afterwards."""
    from face_pipeline.engine.prepared.fast import prepare_fast

    made, exact = read_pack(pack), usable(read_pack(pack))
    assert exact
    flags = re.sub(r"\bavx(512|_vnni|10)\w*", "", Path("/proc/cpuinfo").read_text())
    return prepare_fast(made, exact, {}, ("openvino",), source="", cpuinfo=flags).refused


def main() -> None:
    options = with_isa(parser(__doc__ or ""))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--count", type=int, default=0, help="photos a round (default: each photo once)")
    options.add_argument("--way", help="the process of one way; of this program's own")
    given = options.parse_args()
    limit(given.isa)
    photos = [path.read_bytes() for path in photo_files(given.photos)]
    if given.count:
        photos = [photos[number % len(photos)] for number in range(given.count)]
    if given.way:
        work(given.way, given.pack, photos, given.threads)
        return
    same = ["--photos", str(given.photos), "--threads", str(given.threads), "--count", str(given.count)]
    refused = {}
    with tempfile.TemporaryDirectory() as directory:
        copy = prepared(given.pack, Path(directory), runtime_with(given.isa))
        # What onnxruntime computes is not limited, and stays here to compare with.
        names = {LOOP: copy, THREADED: copy, ORIGINALS: given.pack}
        for library in candidates(runtime_with(given.isa)):
            names[f"{PREPARED}, {library}"] = copy
            if refusal := choose(read_pack(copy), library, "fast").refusal:
                refused[f"{FAST}, {library}: refused"] = refusal
            else:
                names[f"{FAST}, {library}"] = copy
        ways = {name: Way(name, [*same, "--pack", str(pack)]) for name, pack in names.items()}
        for _ in range(given.rounds):
            for way in ways.values():
                way.go()
        for way in ways.values():
            way.end()
        if given.isa:
            refused[f"{FAST}, where the processor lists {given.isa} at most: refused"] = without_vnni(copy)
    figures: dict[str, Any] = {
        "machine": machine(),
        "threads": given.threads,
        "instructions of OpenVINO": given.isa or "all",
        "rounds": given.rounds,
        "photos a round": len(photos),
    }
    for name, way in ways.items():
        figures[f"{name}: photos/s"] = way.median(0)
        figures[f"{name}: CPU ms a photo"] = way.median(1)
        figures[f"{name}: faces"] = int(way.median(2))
    for name, way in ways.items():
        if name != THREADED:
            figures[f"{name}, against {THREADED}"] = way.median(0) / ways[THREADED].median(0)
    report(figures | refused, given.json)


if __name__ == "__main__":
    main()
