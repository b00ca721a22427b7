"""How long the pages' own answers take in a full installation, as ratios to one that is empty.

    python -m bench.pages [--photos-count 100000] [--persons 5000] [--rounds 15] [--bound 300] [--searches]

Two installations in one run: one as full as asked, whose contents are made up, and one with a single photo,
so that each page has something to open. Both are asked in turns, signed in as a browser is: for the HTML of
each page, and for what its modules ask for when it opens or is filtered. Times are medians, from the request
to the last byte; whatever takes longer than the bound in the full one is named.

With --searches vector indexes are built, and what Unknown looks for among the people is measured too.
What the pages weigh is told too: the first paint of Photos, compressed as nginx does it, and one question of
an upload that waits. The exit status is 1 where an answer or the first paint is over its bound.
"""

from __future__ import annotations

import gzip
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import requests
from face_pipeline.web.api import cursors
from face_pipeline.web.ui.pages import PAGES
from sqlalchemy import text

from bench.common import parser
from bench.seed import LEAST, Contents, one, seed
from bench.stack import pipeline
from tests.installation import App

HTML = "HTML"
WARM_UP = 2
# As roles/nginx compresses.
GZIP_LEVEL, GZIP_LEAST = 5, 1024
FIRST_PAINT_MOST = 100_000
# What a page asks for, by its name; "frame": every page. What stands for a name in braces, `_places` says.
CALLS = {
    "frame": ("/health/ready", "/collections?limit=200"),
    "overview": ("/overview", "/overview/charts?span=6h"),
    "photos": (
        "/photos?limit=48",
        "/photos?limit=48&collection=default",
        "/photos?limit=48&sort=oldest",
        "/photos?limit=48&state=failed",
        "/photos?limit=48&state=failed&reason=worker_lost",
        "/photos?limit=48&state=received&state=queued&state=processing",
        "/photos?limit=48&filename=img_0001",
        "/photos?limit=48&filename=nowhere",
        "/photos?limit=48&filename=nowhere&collection=default",
        "/photos?limit=48&person_id={most}",
        "/photos?limit=48&person_id={person}",
        "/photos?limit=48&batch={batch}",
        "/photos?limit=48&faces=unknown",
        "/photos?limit=48&faces=some",
        "/photos?limit=48&faces=none",
        "/photos?limit=48&faces=none&collection=gate",
        "/photos?limit=48&faces=unknown&state=done&filename=99&collection=default",
        "/photos?limit=48&since={middle}",
        "/photos?limit=48&until={middle}&faces=unknown",
        "/photos?limit=96&cursor={deep}",
        "/photos?limit=96&cursor={deep}&sort=oldest",
        "/photos?limit=96&cursor={deep}&collection=default",
        "/photos?limit=96&cursor={deep}&faces=unknown",
        "/photos/{photo}",
        "/photos/{photo}/trail",
    ),
    "people": (
        "/persons?limit=60&sort=name",
        "/persons?limit=60&sort=faces",
        "/persons?limit=60&sort=newest",
        "/persons?limit=60&sort=name&collection=default",
        "/persons?limit=60&sort=faces&collection=default",
        "/persons?limit=60&sort=name&name=9",
        "/persons?limit=60&sort=faces&name=abc",
        "/persons?limit=60&sort=faces&cursor={few}",
        "/persons?limit=8&name=person&collection=default",
        "/persons/{most}",
        "/persons/{most}/faces?limit=60&sort=least_sure",
        "/persons/{most}/faces?limit=60&sort=newest",
        "/persons/{person}/faces?limit=60&sort=least_sure",
    ),
    "unknown": (
        "/clusters?limit=50",
        "/clusters?limit=50&collection=default",
        "/clusters?limit=50&hidden=true&min_faces=1",
        "/clusters/{cluster}?limit=60",
        "/collections/default",
    ),
    "search": ("/faces/{face}",),
    "jobs": ("/jobs", "/failures", "/failures?collection=default"),
    "keys": ("/keys?limit=50",),
    "hooks": ("/hooks?limit=200", "/hooks/{hook}/deliveries?limit=20"),
    "audit": (
        "/audit?limit=50",
        "/audit?limit=50&collection=default",
        "/audit?limit=50&action=person.rename",
        "/audit?limit=50&outcome=refused",
        "/audit?limit=50&outcome=failed",
        "/audit?limit=50&actor=nobody",
        "/audit?limit=50&subject={photo}",
        "/audit?limit=50&since={middle}",
    ),
    "system": ("/system", "/system/doctor"),
    "uploads": ("/events?last=0", "/events?after={end}&limit=200&collection=default"),
}
SEARCH = "POST /api/v1/search"
# Asked by a key that reaches two collections alone, too.
LIMITED = (
    "/overview",
    "/photos?limit=48",
    "/photos?limit=48&state=failed",
    "/photos?limit=48&faces=unknown",
    "/persons?limit=60&sort=faces",
    "/clusters?limit=50",
    "/failures",
)
LIMITED_TO = ["club", "default"]
PLACES = {
    "photo": "SELECT id FROM photos WHERE state = 'done' ORDER BY received_at DESC LIMIT 1",
    "batch": "SELECT batch_id FROM photos ORDER BY received_at DESC LIMIT 1",
    "most": "SELECT person_id FROM faces WHERE person_id IS NOT NULL"
    " GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
    "person": "SELECT id FROM persons ORDER BY id LIMIT 1",
    "cluster": "SELECT cluster_id FROM cluster_faces WHERE cluster_id IS NOT NULL"
    " GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
    "face": "SELECT face_id FROM cluster_faces WHERE cluster_id IS NOT NULL ORDER BY face_id LIMIT 1",
    "hook": "SELECT id FROM hooks ORDER BY id LIMIT 1",
}
AS_MODULES_ARE_LOADED = re.compile(r'(?:href|src)="(/static/[^"]+\.(?:css|js|svg))"')
EVENT = """
INSERT INTO events (kind, collection_id, photo_id, face_count)
SELECT 'photo.done', collection_id, photos.id, 2
FROM photos JOIN collections ON collections.id = collection_id
WHERE collections.name = 'default' LIMIT 1
"""


class Visitor:
    """Somebody who is signed in to the pages of an installation."""

    def __init__(self, app: App, key: str | None = None) -> None:
        self.app, self.places = app, _places(app)
        self.session = requests.Session()
        answer = self.session.post(f"{app.url}/session", json={"api_key": key or app.api_key}, timeout=60)
        answer.raise_for_status()
        self.session.headers["X-CSRF-Token"] = answer.json()["csrf_token"]

    def ask(self, path: str) -> requests.Response:
        """The answer to a path of the pages, or to a call of the API as CALLS has it."""
        if path == SEARCH:
            body = {"face_id": self.places["face"], "group_by": "person", "limit": 100}
            return self._send("POST", "/api/v1/search", json=body)
        return self._send("GET", path.format(**self.places))

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        answer = self.session.request(method, self.app.url + path, timeout=120, **options)
        if not answer.ok:
            sys.exit(f"bench: {method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer

    def seconds(self, path: str) -> float:
        began = time.perf_counter()
        self.ask(path)
        return time.perf_counter() - began


def _places(app: App) -> dict[str, str]:
    """What stands for the names in braces."""
    parts = app.installation.parts
    found: dict[str, str] = {name: one(parts, query) for name, query in PLACES.items()}
    # Nine tenths of the photos are newer.
    behind = "FROM photos ORDER BY received_at OFFSET (SELECT count(*) / 10 FROM photos) LIMIT 1"
    at, photo = one(parts, f"SELECT received_at {behind}"), one(parts, f"SELECT id {behind}")
    middle = one(
        parts, "SELECT received_at FROM photos ORDER BY 1 OFFSET (SELECT count(*) / 2 FROM photos) LIMIT 1"
    )
    found["deep"] = cursors.make(at, photo)
    found["few"] = cursors.make(3, found["person"])
    found["middle"] = middle.isoformat().replace("+00:00", "Z").replace("+", "%2B")
    found["end"] = app.get("/api/v1/events?last=0").json()["next_cursor"]
    return found


@dataclass(frozen=True)
class Case:
    """One thing that is asked for; `limited`: by a key that reaches some collections alone."""

    page: str
    path: str
    limited: bool = False

    @property
    def shown(self) -> str:
        what = f"{HTML} {self.path}" if self.page == HTML else self.path
        return f"{what} (limited key)" if self.limited else what


def cases(searches: bool) -> Iterator[Case]:
    opened = {"photos": "/photos/{photo}", "people": "/people/{most}"}
    for page in PAGES:
        yield Case(HTML, page.path)
        if page.paths:
            yield Case(HTML, opened[page.name])
    for name, paths in CALLS.items():
        for path in paths:
            yield Case(name, path if path.startswith("/health") else f"/api/v1{path}")
    if searches:
        yield Case("unknown", SEARCH)
    for path in LIMITED:
        yield Case("limited", f"/api/v1{path}", limited=True)


def limited_key(app: App) -> str:
    body = {"name": "limited", "scopes": ["read"], "collections": LIMITED_TO}
    answer = app.request("POST", "/api/v1/keys", json=body)
    if not answer.ok:
        sys.exit(f"bench: {answer.status_code} {answer.text}")
    return str(answer.json()["api_key"])


def measure(apps: dict[str, App], searches: bool, rounds: int) -> dict[Case, dict[str, float]]:
    """Median milliseconds of each case, in each of the installations."""
    visitors = {
        limited: {name: Visitor(app, limited_key(app) if limited else None) for name, app in apps.items()}
        for limited in (False, True)
    }
    times: dict[Case, dict[str, list[float]]] = {
        case: {name: [] for name in apps} for case in cases(searches)
    }
    for number in range(WARM_UP + rounds):
        for case, of_case in times.items():
            for name in apps:
                took = visitors[case.limited][name].seconds(case.path)
                if number >= WARM_UP:
                    of_case[name].append(1000 * took)
    return {
        case: {name: statistics.median(values) for name, values in of_case.items()}
        for case, of_case in times.items()
    }


def compressed(data: bytes) -> int:
    return len(gzip.compress(data, GZIP_LEVEL)) if len(data) >= GZIP_LEAST else len(data)


def first_paint(visitor: Visitor) -> dict[str, int]:
    """Compressed bytes of what Photos loads before its first picture."""
    html = visitor.ask("/photos").content
    weights = {"HTML": compressed(html), "CSS": 0, "modules": 0, "icons": 0}
    kinds = {"css": "CSS", "js": "modules", "svg": "icons"}
    for path in sorted(set(AS_MODULES_ARE_LOADED.findall(html.decode()))):
        weights[kinds[path.rpartition(".")[2]]] += compressed(visitor.ask(path).content)
    return weights


def weight(answer: requests.Response) -> int:
    """Bytes of the answer in HTTP/1.1 as the web service sends it, which nginx compresses from 1 KB on."""
    lines = sum(len(name) + len(value) + 4 for name, value in answer.headers.items())
    return len(f"HTTP/1.1 {answer.status_code} {answer.reason}\r\n\r\n") + lines + compressed(answer.content)


def poll(visitor: Visitor) -> dict[str, int]:
    """Bytes of one question of an upload, while nothing happened and after one event."""
    path = "/api/v1/events?after={end}&limit=200&collection=default"
    weights = {"nothing new": weight(visitor.ask(path)), "of which the body": len(visitor.ask(path).content)}
    with visitor.app.installation.parts.database.transaction() as session:
        session.execute(text(EVENT))
    weights |= {"one event": weight(visitor.ask(path)), "its body": len(visitor.ask(path).content)}
    return weights


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--photos-count", type=int, default=100_000)
    options.add_argument("--persons", type=int, default=5_000)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--bound", type=float, default=300, help="milliseconds that an answer may take")
    options.add_argument("--searches", action="store_true", help="with vector indexes, and a search")
    arguments = options.parse_args()
    photos = arguments.photos_count
    contents = Contents(
        photos=photos, faces=photos * 8 // 5, persons=arguments.persons, most=max(6, photos // 50),
        groups=max(4, photos // 200), entries=max(1, photos // 5),
    )  # fmt: skip
    with ExitStack() as stack:
        apps: dict[str, App] = {}
        for name, its in (("empty", LEAST), ("full", contents)):
            apps[name] = stack.enter_context(pipeline(arguments.pack))
            began = time.perf_counter()
            seed(apps[name].installation.parts, its, indexed=arguments.searches)
            print(f"{name}: filled in {time.perf_counter() - began:.0f} s", flush=True)
        found = measure(apps, arguments.searches, arguments.rounds)
        visitor = Visitor(apps["full"])
        weights = {"first paint of Photos": first_paint(visitor), "one question of an upload": poll(visitor)}
    tell(found, weights, arguments)


def tell(found: dict[Case, dict[str, float]], weights: dict[str, dict[str, int]], arguments: Any) -> None:
    width = max(len(case.shown) for case in found)
    print(f"{'':{width}}  empty ms  full ms  ratio")
    for case, its in found.items():
        ratio = its["full"] / its["empty"]
        print(f"{case.shown:{width}}  {its['empty']:8.1f}  {its['full']:7.1f}  {ratio:5.2f}")
    for what, sizes in weights.items():
        print(f"{what}, bytes:", ", ".join(f"{name} {size:,}" for name, size in sizes.items()))
    paint = sum(weights["first paint of Photos"].values())
    if arguments.json:
        figures = {case.shown: its | {"ratio": its["full"] / its["empty"]} for case, its in found.items()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures | weights, indent=2) + "\n")
    over = [case.shown for case, its in found.items() if its["full"] > arguments.bound]
    if over:
        sys.exit(f"bench: over {arguments.bound:g} ms: {'; '.join(over)}")
    if paint > FIRST_PAINT_MOST:
        sys.exit(f"bench: the first paint of Photos weighs {paint:,} bytes")
    print(f"all within {arguments.bound:g} ms; first paint of Photos {paint:,} of {FIRST_PAINT_MOST:,} bytes")


if __name__ == "__main__":
    main()
