"""Search times, cached and not, by size of the collection, and the share of true matches found.

    python -m bench.search [--sizes 10000,100000] [--rounds 60]

Stored faces are made up: people at random on the unit sphere with several samples each, as like each other
as photos of one person are (cosine 0.69 on average), plus the faces of one real photo. Decoding, detection
and the embedding of the searched photo are real. Ratios are of medians taken in turns in one run: an uncached
search against its own decode + detect + embed, a cached one against an uncached one.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt
import requests
from face_pipeline.engine import load_engine
from face_pipeline.ops import indexer
from face_pipeline.store import vectors
from face_pipeline.store.database import Database
from face_pipeline.store.models import Batch, Collection, Photo
from sqlalchemy import insert, select, update

from bench.common import parser, photo_files, report
from bench.ingest import variant
from bench.stack import pipeline
from tests.installation import WORKER_ENVIRONMENT, App

SAME_PERSON_COSINE = 0.69
MATCH_COSINE = 0.5
COPY_CHUNK = 20_000


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def samples(people: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """One sample of each person; two samples of one person have cosine SAME_PERSON_COSINE on average."""
    noise = unit(random.normal(size=people.shape).astype(np.float32))
    share = np.sqrt(SAME_PERSON_COSINE)
    return unit(share * people + np.sqrt(1 - share**2) * noise)


def fill(
    database: Database, collection: Collection, count: int, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Add `count` faces; returns the people they belong to, float32 (people, dimension)."""
    people = unit(random.normal(size=(max(count // 5, 1), collection.dimension)).astype(np.float32))
    batch, photo = uuid.uuid4(), uuid.uuid4()
    with database.transaction() as session:
        session.execute(insert(Batch).values(id=batch, collection_id=collection.id))
        session.execute(
            insert(Photo).values(
                id=photo, collection_id=collection.id, batch_id=batch, sha256=uuid.uuid4().hex,
                filename="made-up", media_type="image/jpeg", byte_size=1, width=1, height=1, state="done",
                attempts=1,
            )
        )  # fmt: skip
    owners = random.integers(0, len(people), size=count)
    raw = database.engine.raw_connection()
    for start in range(0, count, COPY_CHUNK):
        rows = samples(people[owners[start : start + COPY_CHUNK]], random)
        lines = io.StringIO()
        for offset, row in enumerate(rows):
            vector = "[" + ",".join(f"{value:.4g}" for value in row) + "]"
            owner = f"{uuid.uuid4()}\t{photo}\t{collection.id}\t{start + offset}"
            lines.write(f"{owner}\t{{0,0,1,1}}\t[]\t1\t0.5\t{vector}\n")
        lines.seek(0)
        with raw.cursor() as cursor:
            cursor.copy_expert(
                "COPY faces (id, photo_id, collection_id, position, bbox, landmarks, detection_score,"
                " quality, embedding) FROM STDIN",
                lines,
            )
        raw.commit()
    with raw.cursor() as cursor:
        cursor.execute("ANALYZE faces")
    raw.commit()
    raw.close()
    with database.transaction() as session:
        session.execute(
            update(Collection)
            .where(Collection.id == collection.id)
            .values(face_count=Collection.face_count + count, version=Collection.version + 1)
        )
    return people


def collection_named(database: Database, name: str) -> Collection:
    with database.transaction() as session:
        return session.scalars(select(Collection).where(Collection.name == name)).one()


def true_matches_found(
    database: Database, name: str, people: npt.NDArray[np.float32], random: np.random.Generator
) -> float:
    """Share of stored faces over the match cosine that the collection's own way of searching returns."""
    collection = collection_named(database, name)
    found = expected = 0
    for person in samples(people[random.integers(0, len(people), size=200)], random):
        answers = []
        for exact in (True, None):
            with database.transaction() as session:
                matches = vectors.nearest(
                    session, collection, person, limit=10, threshold=MATCH_COSINE, exact=exact
                )
            answers.append({match.face_id for match in matches})
        expected += len(answers[0])
        found += len(answers[0] & answers[1])
    return found / expected if expected else 1.0


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share * 100))


def measure(app: App, name: str, queries: list[bytes], pack_dir: Path) -> dict[str, float]:
    """Milliseconds of uncached and cached searches, and of the same photos' inference alone, in turns.

    The inference is timed on one core, as a photo of an upload has it, and on as many as a search takes.
    """
    cores = app.installation.parts.settings.cores_of_a_search
    bare = load_engine(pack_dir, threads=1, prompt_threads=cores)
    bare.warm_up()
    session = requests.Session()
    app.search(queries[0], collection=name, threshold=MATCH_COSINE)
    inference, prompt, uncached, cached = [], [], [], []
    for query in queries[1:]:
        asked = app.prepare_search(query, collection=name, threshold=MATCH_COSINE)
        for promptly, times in ((False, inference), (True, prompt)):
            began = time.perf_counter()
            bare.analyse(query, promptly=promptly)
            times.append(1000 * (time.perf_counter() - began))
        for expected, times in (("miss", uncached), ("hit", cached)):
            began = time.perf_counter()
            answer = session.send(asked)
            times.append(1000 * (time.perf_counter() - began))
            assert answer.json()["cache"] == expected, answer.text
    middle = statistics.median(inference)
    return {
        "inference p50 ms": middle,
        "inference on the cores of a search p50 ms": statistics.median(prompt),
        "uncached p50 ms": percentile(uncached, 0.5),
        "uncached p95 ms": percentile(uncached, 0.95),
        "cached p50 ms": percentile(cached, 0.5),
        "cached p95 ms": percentile(cached, 0.95),
        "uncached / inference": percentile(uncached, 0.5) / middle,
        "uncached / inference on the cores of a search": percentile(uncached, 0.5)
        / statistics.median(prompt),
        "cached / uncached": percentile(cached, 0.5) / percentile(uncached, 0.5),
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--sizes", default="10000,100000", help="faces in each collection, comma-separated")
    options.add_argument("--rounds", type=int, default=60)
    arguments = options.parse_args()
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():
        # The C library reads its settings once: the inference timed here runs as it does in a worker.
        environment = {**os.environ, **WORKER_ENVIRONMENT}
        os.execve(sys.executable, [sys.executable, "-m", "bench.search", *sys.argv[1:]], environment)
    sources = [path.read_bytes() for path in photo_files(arguments.photos)]
    figures: dict[str, float] = {}
    with pipeline(arguments.pack) as app:
        app.session = requests.Session()
        app.start_worker(1, concurrency=2)
        database = app.installation.parts.database
        for size in (int(text) for text in arguments.sizes.split(",")):
            name = f"faces-{size}"
            batch = app.upload(("seed.jpg", sources[0]), collection=name).json()["batch_id"]
            app.wait_finished(batch)
            random = np.random.default_rng(size)
            began = time.monotonic()
            people = fill(database, collection_named(database, name), size, random)
            figures[f"{size}: fill s"] = time.monotonic() - began
            began = time.monotonic()
            built = indexer.build_indexes(app.installation.parts)
            if built:
                figures[f"{size}: index build s"] = time.monotonic() - began
                began = time.monotonic()
                indexer.measure_indexes(app.installation.parts)
                figures[f"{size}: index measured s"] = time.monotonic() - began
                measured = collection_named(database, name)
                figures[f"{size}: candidates (ef_search)"] = measured.index_ef or 0
                figures[f"{size}: found, as the indexer measured"] = measured.index_found or 0.0
            figures[f"{size}: true matches found"] = true_matches_found(database, name, people, random)
            queries = [
                variant(sources[n % len(sources)], 1_000_000 + size + n) for n in range(arguments.rounds + 1)
            ]
            for label, value in measure(app, name, queries, arguments.pack).items():
                figures[f"{size}: {label}"] = value
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
