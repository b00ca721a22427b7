"""What it costs to take a photo, before a worker sees it: processor time of the web service and its servers.

    python -m bench.uploads [--requests 40] [--rounds 5] [--against DIRECTORY]

Photos go to a real gunicorn over HTTP, one a request and ten a request; no worker runs. `--against` names
another checkout of this repository: its web service takes turns with this one's, on the same PostgreSQL and
Redis, and the ratios are given.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import requests

from bench.common import machine, parser, photo_files, report
from bench.ingest import variant
from bench.stack import pipeline
from tests.installation import App, start_web

SIZES = (1, 10)
OWN, OTHER = "this", "the other"


def used(pid: int) -> float:
    """CPU seconds of a process and all its children, those that ended too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0.0
    own = sum(int(each) for each in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return own + sum(used(int(each)) for each in children)


def send(app: App, groups: list[list[bytes]]) -> dict[str, float]:
    """Milliseconds a photo: passed, and of each process's CPU time."""
    servers = {
        "web": app.web.pid, "PostgreSQL": app.installation.postgres.pid, "Redis": app.installation.redis.pid
    }  # fmt: skip
    before = {name: used(pid) for name, pid in servers.items()}
    began = time.perf_counter()
    for group in groups:
        answer = app.upload(*((f"{n}.jpg", data) for n, data in enumerate(group)))
        answer.raise_for_status()
    took = time.perf_counter() - began
    count = sum(map(len, groups))
    spent = {f"{name} CPU": used(pid) - before[name] for name, pid in servers.items()}
    return {name: 1000 * seconds / count for name, seconds in {"passed": took, **spent}.items()}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--requests", type=int, default=40, help="of one photo; a quarter as many of ten")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--against", type=Path, help="another checkout")
    given = options.parse_args()
    sources = [path.read_bytes() for path in photo_files(given.photos)]
    figures: dict[str, object] = {
        "machine": machine(), "rounds": given.rounds,
        "KB a photo (mean)": statistics.mean(map(len, sources)) / 1000,
    }  # fmt: skip
    with pipeline(given.pack, FACE_UPLOAD_MAX_PHOTOS="100") as app:
        apps = {OWN: app}
        if given.against:
            code = str(given.against.resolve() / "app")
            apps[OTHER] = App(app.installation, *start_web(app.installation, "other.log", PYTHONPATH=code))
        for each in apps.values():
            each.session = requests.Session()
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        number = 0
        for turn in range(given.rounds + 1):
            for size in SIZES:
                for name in sorted(apps, reverse=bool(turn % 2)):
                    count = given.requests if size == 1 else max(1, given.requests // 4)
                    photos = [variant(sources[n % len(sources)], number + n) for n in range(count * size)]
                    number += len(photos)
                    groups = [photos[start : start + size] for start in range(0, len(photos), size)]
                    figure = send(apps[name], groups)
                    # The first turn opens connections and fills caches.
                    if turn:
                        found.setdefault((name, size), []).append(figure)
    for size in SIZES:
        for what in found[OWN, size][0]:
            median = {name: statistics.median(each[what] for each in found[name, size]) for name in apps}
            for name, value in median.items():
                figures[f"{size} a request, {what} ms/photo, {name}"] = value
            if given.against:
                figures[f"{size} a request, {what}, {OWN} / {OTHER}"] = median[OWN] / median[OTHER]
    report(figures, given.json)


if __name__ == "__main__":
    main()
