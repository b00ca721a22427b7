"""How long a search takes while many photos are ingested, against its time on an idle pipeline.

    python -m bench.queues [--photos-count 1000] [--workers 2] [--concurrency 4]

Searches follow one another on one connection; each is for another copy of a photo, so that none is cached.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import requests

from bench.common import parser, photo_files, report
from bench.ingest import PHOTOS_PER_REQUEST, variant
from bench.stack import pipeline
from tests.installation import App

IDLE_SEARCHES = 80


def search(app: App, photo: bytes) -> float:
    began = time.perf_counter()
    answer = app.search(photo)
    assert answer.ok, answer.text
    assert answer.json()["cache"] == "miss"
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--photos-count", type=int, default=1000)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--concurrency", type=int, default=4)
    arguments = options.parse_args()
    sources = [path.read_bytes() for path in photo_files(arguments.photos)]
    copies = (variant(sources[n % len(sources)], n) for n in range(10**9))
    with pipeline(arguments.pack, FACE_UPLOAD_MAX_PHOTOS="100") as app:
        app.session = requests.Session()
        for number in range(arguments.workers):
            app.start_worker(number + 1, concurrency=arguments.concurrency)
        for _ in range(10):
            search(app, next(copies))
        idle = [search(app, next(copies)) for _ in range(IDLE_SEARCHES)]
        batches = []
        for _ in range(arguments.photos_count // PHOTOS_PER_REQUEST):
            group = [(f"{n}.jpg", next(copies)) for n in range(PHOTOS_PER_REQUEST)]
            batches.append(app.upload(*group).json()["batch_id"])
        last = f"/api/v1/batches/{batches[-1]}"
        busy: list[float] = []
        # The last batch waits until all others are begun.
        while app.get(last).json()["states"].get("queued", 0) > 0:
            busy += [search(app, next(copies)) for _ in range(5)]
        for batch in batches:
            app.wait_finished(batch, 600, every=1)
    p95_idle, p95_busy = float(np.percentile(idle, 95)), float(np.percentile(busy, 95))
    report(
        {
            "photos": len(batches) * PHOTOS_PER_REQUEST,
            "workers": arguments.workers,
            "threads of a worker": arguments.concurrency,
            "searches meanwhile": len(busy),
            "idle p50 ms": statistics.median(idle),
            "idle p95 ms": p95_idle,
            "while ingesting p50 ms": statistics.median(busy),
            "while ingesting p95 ms": p95_busy,
            "p95 while ingesting / idle": p95_busy / p95_idle,
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
