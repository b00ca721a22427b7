"""How long a verification of two photos takes, against the inferences of the two alone, in one run.

    python -m bench.verify [--rounds 60]

Each round has photos that were never seen before. The inferences are timed in this process: one photo after
the other on one core, as a photo of an upload has it, and on as many as a search takes; and both at once.
They take turns with the service, so that a machine that slows down slows both.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import requests
from face_pipeline.engine import load_engine

from bench.common import parser, photo_files, report
from bench.ingest import variant
from bench.stack import pipeline
from tests.installation import WORKER_ENVIRONMENT, App

WARM_UP = 5
VERIFY = "verify"
ONE_CORE = "two inferences on one core"
IN_TURN = "two inferences on the cores of a search"
AT_ONCE = "two inferences at once"

Photos: TypeAlias = tuple[bytes, bytes]


def verify(app: App, one: bytes, other: bytes) -> None:
    files = {"photo": ("one.jpg", one), "other": ("other.jpg", other)}
    answer = app.request("POST", "/api/v1/verify", files=files)
    assert answer.ok, answer.text


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=60)
    arguments = options.parse_args()
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():
        # The C library reads its settings once: the inference timed here runs as it does in a worker.
        environment = {**os.environ, **WORKER_ENVIRONMENT}
        os.execve(sys.executable, [sys.executable, "-m", "bench.verify", *sys.argv[1:]], environment)
    sources = [path.read_bytes() for path in photo_files(arguments.photos)]
    with pipeline(arguments.pack) as app, ThreadPoolExecutor(2) as both:
        app.session = requests.Session()
        app.start_worker(1, concurrency=2)
        cores = app.installation.parts.settings.cores_of_a_search
        bare = load_engine(arguments.pack, threads=2, prompt_threads=cores)
        bare.warm_up()
        # Photos that show a face, for one that does not is no verification.
        with_face = [source for source in sources if bare.analyse(source, promptly=True).faces]
        if not with_face:
            sys.exit("bench: no photo with a face; name a directory with --photos")
        copies = (variant(with_face[n % len(with_face)], 2_000_000 + n) for n in range(10**9))
        ways: dict[str, Callable[[Photos], object]] = {
            ONE_CORE: lambda photos: [bare.analyse(photo) for photo in photos],
            IN_TURN: lambda photos: [bare.analyse(photo, promptly=True) for photo in photos],
            AT_ONCE: lambda photos: list(both.map(lambda one: bare.analyse(one, promptly=True), photos)),
            VERIFY: lambda photos: verify(app, *photos),
        }
        times: dict[str, list[float]] = {what: [] for what in ways}
        for number in range(WARM_UP + arguments.rounds):
            photos = next(copies), next(copies)
            for what, work in ways.items():
                began = time.perf_counter()
                work(photos)
                if number >= WARM_UP:
                    times[what].append(1000 * (time.perf_counter() - began))
    middle = {what: statistics.median(took) for what, took in times.items()}
    figures = {f"{what}, p50 ms": value for what, value in middle.items()}
    figures[f"{VERIFY}, p95 ms"] = float(np.percentile(times[VERIFY], 95))
    for what in (ONE_CORE, IN_TURN, AT_ONCE):
        figures[f"{VERIFY} / {what}"] = middle[VERIFY] / middle[what]
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
