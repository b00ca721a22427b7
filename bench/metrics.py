"""What the metrics cost: photos a second with and without them, and the cost of being asked.

    python -m bench.metrics [--photos-count 150] [--rounds 7]

Two web services and workers on one PostgreSQL and Redis take turns; one of them counts nothing. The one that
counts is asked as Prometheus does meanwhile, only each second instead of every 15.
"""

from __future__ import annotations

import os
import statistics
import threading
import time

import requests

from bench.common import ROOT, parser, photo_files, report
from bench.ingest import cpu_seconds, ingest, variant
from bench.stack import pipeline
from tests.installation import App, start_web

SCRAPES = 50


def asked(urls: list[str], stop: threading.Event) -> None:
    while not stop.wait(1):
        for url in urls:
            requests.get(url, timeout=5).raise_for_status()


def scrape(url: str) -> tuple[float, int, int]:
    """Median milliseconds of an answer, its series, its bytes."""
    times = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        text = requests.get(url, timeout=5).text
        times.append(1000 * (time.perf_counter() - began))
    series = sum(not line.startswith("#") for line in text.splitlines())
    return statistics.median(times), series, len(text.encode())


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--photos-count", type=int, default=150)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--concurrency", type=int, default=(os.cpu_count() or 1) + 1)
    arguments = options.parse_args()
    sources = [path.read_bytes() for path in photo_files(arguments.photos)]
    rates: dict[str, list[float]] = {"with": [], "without": []}
    cpu: dict[str, list[float]] = {"with": [], "without": []}
    with pipeline(arguments.pack, FACE_UPLOAD_MAX_PHOTOS="100") as counting:
        installation = counting.installation
        counted = dict(installation.environment)
        plain = {**counted, "PYTHONPATH": f"{ROOT / 'bench' / 'uncounted'}:{counted['PYTHONPATH']}"}
        installation.environment = plain
        uncounting = App(installation, *start_web(installation, "web-uncounted.log"))
        number = 0
        for round_number in range(arguments.rounds):
            turns = [("with", counting, counted), ("without", uncounting, plain)]
            for name, app, environment in turns if round_number % 2 else reversed(turns):
                installation.environment = environment
                worker = app.start_worker(1, concurrency=arguments.concurrency)
                stop = threading.Event()
                urls = [f"{app.url}/metrics", worker.metrics_url] if name == "with" else []  # type: ignore[attr-defined]
                prometheus = threading.Thread(target=asked, args=(urls, stop))
                prometheus.start()
                ingest(app, [variant(sources[n % len(sources)], number + n) for n in range(20)])
                number += 20
                photos = [
                    variant(sources[n % len(sources)], number + n) for n in range(arguments.photos_count)
                ]
                number += len(photos)
                children = f"/proc/{app.web.pid}/task/{app.web.pid}/children"
                with open(children) as listed:  # noqa: PTH123 (a file of /proc)
                    pids = [worker.pid, *map(int, listed.read().split())]
                before = cpu_seconds(pids)
                rates[name].append(len(photos) / ingest(app, photos))
                cpu[name].append(1000 * (cpu_seconds(pids) - before) / len(photos))
                stop.set()
                prometheus.join()
                if name == "with" and round_number == arguments.rounds - 1:
                    asked_worker = scrape(worker.metrics_url)  # type: ignore[attr-defined]
                    asked_web = scrape(f"{app.url}/metrics")
                installation.end(worker)
            latest = ", ".join(f"{name} {rates[name][-1]:.2f}" for name in rates)
            print(f"round {round_number + 1}: {latest} photos/s")
    figures: dict[str, object] = {
        "photos": arguments.photos_count * arguments.rounds,
        "photos/s with metrics (median)": statistics.median(rates["with"]),
        "photos/s without (median)": statistics.median(rates["without"]),
        "ratio": statistics.median(rates["with"]) / statistics.median(rates["without"]),
        "CPU ms/photo with (median)": statistics.median(cpu["with"]),
        "CPU ms/photo without (median)": statistics.median(cpu["without"]),
        "CPU ratio, without / with": statistics.median(cpu["without"]) / statistics.median(cpu["with"]),
    }
    for name, (milliseconds, series, size) in (("worker", asked_worker), ("web", asked_web)):
        figures |= {
            f"scrape of a {name}, ms (median)": milliseconds,
            f"series of a {name}": series,
            f"bytes of a {name}": size,
        }
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
