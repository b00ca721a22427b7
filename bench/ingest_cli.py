"""`face-pipeline ingest` against the uploads of bench/ingest.py, until the ledger says `done`.

    python -m bench.ingest_cli [--photos-count 400] [--rounds 3]

The two take turns in one run, with the same pipeline, the same worker and as many photos; the ratio of their
medians is the figure. The command's time counts from its start: Python and imports, reading and hashing the
files, and its state on the disk are in it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench.common import ROOT, parser, photo_files, report
from bench.ingest import ingest, variant
from bench.stack import pipeline
from tests.installation import App


def ingest_by_command(app: App, photos: list[bytes], directory: Path) -> float:
    """Seconds from the start of the command until the last photo ended."""
    album = directory / "album"
    album.mkdir(parents=True)
    for number, data in enumerate(photos):
        (album / f"{number}.jpg").write_bytes(data)
    key, state = directory / "key", directory / "state.jsonl"
    key.write_text(app.api_key)
    began = time.time()
    subprocess.run(
        [sys.executable, "-m", "face_pipeline.cli", "ingest", str(album), "--state", str(state), "--json",
         "--url", app.url, "--key-file", str(key)],
        check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT / "app")},
    )  # fmt: skip
    records = [json.loads(line) for line in state.read_text().splitlines()[1:]]
    ended = began
    for batch in {record["batch"] for record in records}:
        # Seldom, as bench/ingest.py does.
        states = app.wait_finished(batch, 600, every=2)["states"]
        if states["failed"]:
            sys.exit(f"bench: {states['failed']} photos failed")
        rows = app.get(f"/api/v1/photos?batch={batch}&limit=200").json()["photos"]
        ended = max(ended, *(datetime.fromisoformat(row["finished_at"]).timestamp() for row in rows))
    return ended - began


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--photos-count", type=int, default=400)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--concurrency", type=int, default=(os.cpu_count() or 1) + 1, help="of the worker")
    arguments = options.parse_args()
    sources = [path.read_bytes() for path in photo_files(arguments.photos)]
    rates: dict[str, list[float]] = {"uploads of bench/ingest.py": [], "face-pipeline ingest": []}
    number = 0

    def fresh() -> list[bytes]:
        nonlocal number
        number += arguments.photos_count
        return [variant(sources[n % len(sources)], n) for n in range(number - arguments.photos_count, number)]

    with pipeline(arguments.pack, FACE_UPLOAD_MAX_PHOTOS="100") as app:
        app.start_worker(concurrency=arguments.concurrency)
        # Neither shall pay for what is done once.
        ingest(app, [variant(sources[0], 0)])
        for round_number in range(arguments.rounds):
            photos = fresh()
            rates["uploads of bench/ingest.py"].append(len(photos) / ingest(app, photos))
            photos = fresh()
            with tempfile.TemporaryDirectory(prefix="face-bench-", dir="/var/tmp") as directory:
                seconds = ingest_by_command(app, photos, Path(directory))
            rates["face-pipeline ingest"].append(len(photos) / seconds)
            told = ", ".join(f"{name} {rate[-1]:.2f}" for name, rate in rates.items())
            print(f"round {round_number + 1}: {told} photos/s")
    medians = {name: statistics.median(rate) for name, rate in rates.items()}
    report(
        {
            "photos of each": arguments.photos_count * arguments.rounds,
            **{f"{name}, photos/s (median)": rate for name, rate in medians.items()},
            "ratio": medians["face-pipeline ingest"] / medians["uploads of bench/ingest.py"],
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
