"""What the pipeline takes around the inference: processor time a photo of each of its processes.

    python -m bench.around [--photos-count 600] [--rounds 3] [--against DIRECTORY]

Photos go by HTTP through the web service, Redis and two workers to the ledger state `done`, with everything
real but the engine: it waits a while and answers from memory. So decoding, inference and thumbnails are not
in the figures, which are steady on a busy host too. `--against` names another checkout of this repository,
which takes turns with this one on the same servers.
"""

from __future__ import annotations

import os
import pickle
import statistics
import time
from pathlib import Path

from face_pipeline.engine import load_engine

from bench.common import ROOT, machine, parser, photo_files, report
from bench.from_memory.sitecustomize import FOUND
from bench.ingest import ingest, resized, variant
from bench.stack import pipeline
from bench.uploads import OTHER, OWN, used
from tests.installation import App, start_web

WORKERS, THREADS = 2, 4
WARM = 60
TOGETHER = "together"


class Turn:
    """One checkout's web service and workers, for as long as its turn lasts."""

    def __init__(self, app: App, checkout: Path, found: Path) -> None:
        installation = app.installation
        code = str(checkout / "app")
        url, self._web = start_web(installation, "web.log", PYTHONPATH=code)
        self.app = App(installation, url, self._web)
        remembering = f"{ROOT / 'bench' / 'from_memory'}:{code}"
        self._workers = [
            self.app.start_worker(
                number + 1, concurrency=THREADS, PYTHONPATH=remembering, **{FOUND: str(found)}
            )
            for number in range(WORKERS)
        ]

    def spent(self) -> dict[str, float]:
        """CPU seconds until now."""
        installation = self.app.installation
        return {
            "web": used(self._web.pid),
            "workers": sum(used(each.pid) for each in self._workers),
            "PostgreSQL": used(installation.postgres.pid),
            "Redis": used(installation.redis.pid),
            "client": time.process_time(),
        }

    def measure(self, photos: list[bytes]) -> dict[str, float]:
        """Milliseconds a photo, by process."""
        before = self.spent()
        rate = len(photos) / ingest(self.app, photos)
        after = self.spent()
        figures = {name: 1000 * (after[name] - before[name]) / len(photos) for name in before}
        return {**figures, TOGETHER: sum(figures.values()), "photos/s": rate}

    def end(self) -> None:
        for process in [self._web, *self._workers]:
            self.app.installation.end(process)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--photos-count", type=int, default=600)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--megapixels", type=float, default=0.3)
    options.add_argument("--against", type=Path, help="another checkout")
    given = options.parse_args()
    checkouts = {OWN: ROOT} | ({OTHER: given.against.resolve()} if given.against else {})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    number = 0
    with pipeline(given.pack, FACE_UPLOAD_MAX_PHOTOS="100") as app:
        directory = app.installation.directory
        files = [resized(path, given.megapixels, directory) for path in photo_files(given.photos)]
        sources = [path.read_bytes() for path in files]
        engine = load_engine(given.pack, threads=os.cpu_count() or 1)
        answers = directory / "answers"
        answers.write_bytes(pickle.dumps([engine.analyse(each, thumbnail=True) for each in sources]))
        for turn in range(given.rounds):
            for name in sorted(checkouts, reverse=bool(turn % 2)):
                running = Turn(app, checkouts[name], answers)
                for count in (WARM, given.photos_count):
                    photos = [variant(sources[n % len(sources)], number + n) for n in range(count)]
                    number += count
                    figures = running.measure(photos)
                found[name].append(figures)
                running.end()
                print(f"round {turn + 1}, {name}: {figures}")
    told: dict[str, object] = {"machine": machine(), "rounds": given.rounds, "photos": given.photos_count}
    for what in found[OWN][0]:
        for name in checkouts:
            told[f"{what}, ms/photo, {name}"] = statistics.median(each[what] for each in found[name])
    report(told, given.json)


if __name__ == "__main__":
    main()
