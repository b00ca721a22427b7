"""What the audit costs a search and a look at a photo, and what its chain costs an entry.

    python -m bench.audit [--rounds 200] [--entries 5000]

In turns in one run, on a database that waits for its disk: one statement that changes nothing (`SELECT 1`),
an entry as a search leaves it (`note`), one as a change leaves it (`write`), and whole searches, from the
cache and not. Ratios are of medians. Then all that was written is sealed and verified: per entry, beside the
writing of one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import requests
from face_pipeline.actions import chain
from face_pipeline.store import audit
from sqlalchemy import text

from bench.common import parser, photo_files, report
from bench.ingest import variant
from bench.stack import pipeline


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--entries", type=int, default=5000, help="that are sealed and verified")
    arguments = options.parse_args()
    source = photo_files(arguments.photos)[0].read_bytes()
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        times.setdefault(name, []).append(1000 * (time.perf_counter() - began))

    with pipeline(arguments.pack) as app:
        app.session = requests.Session()
        app.start_worker(1, concurrency=2)
        app.wait_finished(app.upload(("seed.jpg", source)).json()["batch_id"])
        database = app.installation.parts.database
        queries = [app.prepare_search(variant(source, 1000 + number)) for number in range(20)]

        def statement() -> None:
            with database.reading() as session:
                session.execute(text("SELECT 1"))

        def note() -> None:
            with database.reading() as session:
                audit.note(session, audit.SERVICE, "search.run", collection="default", details={"faces": 1})

        def write() -> None:
            with database.reading() as session:
                audit.write(session, audit.SERVICE, "search.run", collection="default", details={"faces": 1})

        for number in range(arguments.rounds):
            for name, work in (("statement", statement), ("note", note), ("write", write)):
                timed(name, work)
            query = queries[number % len(queries)]
            name = "search, not cached" if number < len(queries) else "search, cached"
            timed(name, lambda query=query: app.session.send(query).raise_for_status())  # type: ignore[union-attr,misc]
        for _ in range(arguments.entries):
            note()
        began, sealed = time.perf_counter(), 0
        while done := chain.seal(app.installation.parts):
            sealed += done
        sealing = 1000 * (time.perf_counter() - began) / sealed
        began = time.perf_counter()
        found = chain.verify(app.installation.parts, by=audit.SERVICE)
        verifying = 1000 * (time.perf_counter() - began) / found.entries
        assert found.fault is None
    middle = {name: statistics.median(values) for name, values in times.items()}
    figures = {f"{name} p50 ms": value for name, value in middle.items()}
    figures |= {
        "note / statement": middle["note"] / middle["statement"],
        "note / search, cached": middle["note"] / middle["search, cached"],
        "note / search, not cached": middle["note"] / middle["search, not cached"],
        "write / note": middle["write"] / middle["note"],
        "entries sealed": sealed,
        "sealing of an entry / note": sealing / middle["note"],
        "verification of an entry / note": verifying / middle["note"],
    }
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
