"""How long a verification of two photos takes, against the inferences of the two alone, in one run.

    python -m bench.verify [--rounds 60]

Each round has photos that were never seen before. The inferences are timed in this process, one photo after
the other and both at once, on as many cores as a search has; in turns with the service, so that a machine
that slows down slows both.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests
from face_pipeline.engine import load_engine

from bench.common import parser, photo_files, report
from bench.ingest import variant
from bench.stack import pipeline
from tests.installation import WORKER_ENVIRONMENT, App

WARM_UP = 5


def verify(app: App, one: bytes, other: bytes) -> float:
    """Milliseconds."""
    files = {"photo": ("one.jpg", one), "other": ("other.jpg", other)}
    began = time.perf_counter()
    answer = app.request("POST", "/api/v1/verify", files=files)
    elapsed = 1000 * (time.perf_counter() - began)
    assert answer.ok, answer.text
    return elapsed


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
        served, in_turn, at_once = [], [], []
        for number in range(WARM_UP + arguments.rounds):
            photos = next(copies), next(copies)
            began = time.perf_counter()
            for photo in photos:
                bare.analyse(photo, promptly=True)
            middle = time.perf_counter()
            list(both.map(lambda photo: bare.analyse(photo, promptly=True), photos))
            ended = time.perf_counter()
            elapsed = verify(app, *photos)
            if number >= WARM_UP:
                served.append(elapsed)
                in_turn.append(1000 * (middle - began))
                at_once.append(1000 * (ended - middle))
    report(
        {
            "verify p50 ms": statistics.median(served),
            "verify p95 ms": float(np.percentile(served, 95)),
            "two inferences, one after the other, p50 ms": statistics.median(in_turn),
            "two inferences, at once, p50 ms": statistics.median(at_once),
            "verify / two inferences, one after the other": statistics.median(served)
            / statistics.median(in_turn),
            "verify / two inferences, at once": statistics.median(served) / statistics.median(at_once),
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
