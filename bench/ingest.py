"""Photos a second from HTTP upload to ledger `done`, against a program without a pipeline on the same cores.

    python -m bench.ingest [--photos-count 200] [--rounds 3] [--against FaceAnalysis]

That is our own bare inference loop, or one that people write (bench/models.py). The two take turns in one
run; the ratio of their medians is the figure. Wall time and CPU time are given: on a machine with other load
only the ratio of CPU times is to be trusted.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import requests
from face_pipeline.engine import read_pack
from face_pipeline.engine.prepared.record import choose
from PIL import Image

from bench import models
from bench.common import ROOT, parser, photo_files, report
from bench.stack import pipeline
from tests.installation import WORKER_ENVIRONMENT, App, resident_mib

BARE = "bare"
UPLOAD_CLIENTS = 2
PHOTOS_PER_REQUEST = 10
COLLECTION = "default"


def variant(data: bytes, number: int) -> bytes:
    """The same picture as another file: a JPEG comment behind the start marker."""
    text = f"copy {number}".encode()
    return data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[2:]


def resized(path: Path, megapixels: float, directory: Path) -> Path:
    """The photo as a camera of that many pixels stores it: JPEG, quality 90."""
    with Image.open(path) as image:
        factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = (round(image.width * factor), round(image.height * factor))
        target = directory / f"{path.stem}.jpg"
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target, "JPEG", quality=90)
    return target


def ingest(app: App, photos: list[bytes]) -> float:
    """Upload all, as one batch; seconds from the first byte until the ledger says that the last photo ended.

    The client shares the cores with what it measures: it keeps its connections, and asks for one batch alone,
    seldom. When the last photo ended, the ledger knows.
    """
    groups = [
        photos[start : start + PHOTOS_PER_REQUEST] for start in range(0, len(photos), PHOTOS_PER_REQUEST)
    ]
    with requests.Session() as session:
        client = dataclasses.replace(app, session=session)
        began = time.time()
        made = client.request("POST", "/api/v1/batches", json={"collection": COLLECTION})
        made.raise_for_status()
        batch = str(made.json()["id"])

        def send(group: list[bytes]) -> None:
            files = ((f"{number}.jpg", data) for number, data in enumerate(group))
            client.upload(*files, collection=COLLECTION, batch=batch).raise_for_status()

        with concurrent.futures.ThreadPoolExecutor(UPLOAD_CLIENTS) as pool:
            list(pool.map(send, groups))
        states = client.wait_finished(batch, 600, every=2)["states"]
        if states["failed"]:
            sys.exit(f"bench: {states['failed']} photos failed")
        return max(_ends(client, batch)) - began


def _ends(client: App, batch: str) -> Iterator[float]:
    """When each photo of the batch ended."""
    cursor = ""
    while True:
        page = client.get(f"/api/v1/photos?batch={batch}&limit=200{cursor}").json()
        for row in page["photos"]:
            yield datetime.fromisoformat(row["finished_at"]).timestamp()
        if not page["next_cursor"]:
            return
        cursor = f"&cursor={page['next_cursor']}"


def bare(pack: Path, files: list[Path], count: int, threads: int, profile: str) -> dict[str, float]:
    """The decode, detect, embed loop in a process of its own."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "bare_loop.py"), "--pack", str(pack), "--threads", str(threads),
         "--count", str(count), "--profile", profile, *map(str, files)],
        check=True, capture_output=True, text=True,
        env={**os.environ, **WORKER_ENVIRONMENT, "PYTHONPATH": str(ROOT / "app")},
    )  # fmt: skip
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


def against(given: argparse.Namespace, files: list[Path]) -> float:
    """One turn of the program without a pipeline: photos a second."""
    if given.against == BARE:
        return bare(given.pack, files, given.photos_count, given.threads, given.profile)["photos_per_second"]
    turn = models.turn(given.against, given.against_pack or given.pack, files[0].parent, given.seconds)
    return turn["photos/s"]


def cpu_seconds(pids: list[int]) -> float:
    """CPU time of running processes and their waited children, from /proc."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--photos-count", type=int, default=400)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument(
        "--against", choices=(BARE, models.FACE_ANALYSIS, models.FACE_RECOGNITION), default=BARE
    )
    options.add_argument("--against-pack", type=Path, help="of FaceAnalysis or face_recognition, if another")
    options.add_argument("--seconds", type=float, default=10.0, help="of each of their turns")
    options.add_argument("--megapixels", type=float, help="resize every photo to this size first")
    options.add_argument("--profile", choices=("exact", "fast"), default="exact", help="of a prepared pack")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the bare loop")
    options.add_argument("--concurrency", type=int, default=(os.cpu_count() or 1) + 1, help="of the worker")
    arguments = options.parse_args()
    use = choose(read_pack(arguments.pack), "auto", arguments.profile)
    if use.refusal:
        sys.exit(f"bench: the profile {arguments.profile} is refused here: {use.refusal}")
    files = photo_files(arguments.photos)
    scaled = tempfile.TemporaryDirectory(prefix="face-bench-photos-")
    if arguments.megapixels:
        files = [resized(path, arguments.megapixels, Path(scaled.name)) for path in files]
    sources = [path.read_bytes() for path in files]
    rates: list[float] = []
    others: list[float] = []
    other = arguments.against
    with pipeline(arguments.pack, FACE_UPLOAD_MAX_PHOTOS="100", FACE_PROFILE=arguments.profile) as app:
        workers = [
            app.start_worker(number + 1, concurrency=arguments.concurrency)
            for number in range(arguments.workers)
        ]
        number = 0
        for round_number in range(arguments.rounds):
            others.append(against(arguments, files))
            photos = [variant(sources[n % len(sources)], number + n) for n in range(arguments.photos_count)]
            number += len(photos)
            rates.append(len(photos) / ingest(app, photos))
            print(f"round {round_number + 1}: {other} {others[-1]:.2f}, pipeline {rates[-1]:.2f} photos/s")
        figures = {
            "photos": arguments.photos_count * arguments.rounds,
            "KB a photo (mean)": statistics.mean(len(data) for data in sources) / 1000,
            "rounds": arguments.rounds,
            "pack": arguments.pack.name,
            "runtime": use.library,
            "models": use.profile if use.record else "as the pack came",
            f"threads of {other}": arguments.threads if other == BARE else models.KINDS[other][1],
            "workers": arguments.workers,
            "threads of a worker": arguments.concurrency,
            f"{other} photos/s (median)": statistics.median(others),
            "pipeline photos/s (median)": statistics.median(rates),
            f"{other} photos/s (each round)": [round(rate, 2) for rate in others],
            "pipeline photos/s (each round)": [round(rate, 2) for rate in rates],
            "ratio": statistics.median(rates) / statistics.median(others),
            "worker resident MiB": max(resident_mib(worker.pid) for worker in workers),
            "worker peak MiB": max(resident_mib(worker.pid, "VmHWM") for worker in workers),
            "web process resident MiB": max(
                resident_mib(int(pid))
                for pid in Path(f"/proc/{app.web.pid}/task/{app.web.pid}/children").read_text().split()
            ),
            "worker CPU ms/photo": 1000 * cpu_seconds([worker.pid for worker in workers]) / number,
        }
    scaled.cleanup()
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
