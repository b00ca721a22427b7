"""What it takes to erase a person with many photos, and what photos that come in meanwhile notice of it.

    python -m bench.erasure [--faces 10000] [--others 100000] [--rounds 3]

The person has as many photos as faces, each with a file, in a collection with the faces of others and, from
16,000 on, a vector index. Meanwhile
photos of others come in and end, one after the other, by a worker's statements and without any inference: how
long each takes, beside how long it takes when nobody erases, is what ingest notices.
"""

from __future__ import annotations

import hashlib
import io
import statistics
import threading
import time
import uuid

import numpy as np
import requests
from face_pipeline.engine import DetectedFace
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import collections, ledger, persons
from sqlalchemy import text

from bench.common import parser, report
from bench.search import collection_named, fill
from bench.stack import pipeline
from tests.installation import App

COLLECTION = "default"
QUIET_SECONDS = 5.0


def add_person(parts: Parts, name: str, faces: int, random: np.random.Generator) -> uuid.UUID:
    """A person with that many photos of one face each; their files are small."""
    contents = [f"{name} {number}".encode() for number in range(faces)]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    for name, content in zip(hashes, contents, strict=True):
        # Without a flush for each, which takes minutes.
        path = parts.originals.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with parts.database.transaction() as session:
        collection = collections.open_collection(session, COLLECTION, parts.pack)
        person = persons.open_person(session, collection, name).id
        rows = [ledger.NewPhoto(each, "a.jpg", "image/jpeg", 1, 1, 1) for each in hashes]
        ledger.accept(session, collection, rows, person=name, request_id=None)
        session.execute(
            text("UPDATE photos SET state = 'done' WHERE person_id = :person"), {"person": person}
        )
        photo_ids = session.scalars(
            text("SELECT id FROM photos WHERE person_id = :person"), {"person": person}
        ).all()
    lines = io.StringIO()
    for photo_id, row in zip(photo_ids, random.normal(size=(faces, collection.dimension)), strict=True):
        vector = "[" + ",".join(f"{value:.3g}" for value in row) + "]"
        owner = f"{uuid.uuid4()}\t{photo_id}\t{collection.id}\t{person}\t0"
        lines.write(f"{owner}\t{{0,0,1,1}}\t[]\t1\t0.5\t{vector}\n")
    lines.seek(0)
    raw = parts.database.engine.raw_connection()
    with raw.cursor() as cursor:
        cursor.copy_expert(
            "COPY faces (id, photo_id, collection_id, person_id, position, bbox, landmarks, detection_score,"
            " quality, embedding) FROM STDIN",
            lines,
        )
        cursor.execute("UPDATE collections SET face_count = face_count + %s", (faces,))
    raw.commit()
    raw.close()
    return person


class Ingest(threading.Thread):
    """Accepts, claims and ends photos with one face, one after the other; `times` of each, seconds."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(daemon=True)
        self.parts, self.ended, self.times = parts, threading.Event(), list[float]()
        embedding = np.ones(parts.pack.dimension, np.float32) / np.sqrt(parts.pack.dimension)
        self.face = DetectedFace(
            bbox=np.array([0, 0, 1, 1], np.float32), landmarks=np.zeros((5, 2), np.float32),
            detection_score=1.0, quality=0.5, embedding=embedding.astype(np.float32),
        )  # fmt: skip

    def run(self) -> None:
        database = self.parts.database
        with database.transaction() as session:
            collection = collections.open_collection(session, COLLECTION, self.parts.pack)
        while not self.ended.is_set():
            began = time.perf_counter()
            new = ledger.NewPhoto(uuid.uuid4().hex * 2, "a.jpg", "image/jpeg", 1, 1, 1)
            with database.transaction() as session:
                _, (accepted,) = ledger.accept(session, collection, [new], person=None, request_id=None)
            with database.single_statements() as connection:
                held = ledger.claim(connection, accepted.photo_id, worker="bench", lease_seconds=60)
                assert held is not None
                ledger.finish(connection, held, [self.face])
            self.times.append(time.perf_counter() - began)

    def stop(self) -> list[float]:
        self.ended.set()
        self.join()
        return self.times


def erase(app: App, person: uuid.UUID, *, dry_run: bool) -> tuple[float, dict[str, int]]:
    began = time.perf_counter()
    answer = app.request("DELETE", f"/api/v1/persons/{person}", params={"dry_run": str(dry_run).lower()})
    answer.raise_for_status()
    return time.perf_counter() - began, answer.json()


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share * 100))


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--faces", type=int, default=10_000)
    options.add_argument("--others", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    random = np.random.default_rng(1)
    quiet: list[float] = []
    during: list[float] = []
    times: dict[str, list[float]] = {"dry run": [], "one face": [], "real": [], "rest": []}
    at_once: list[float] = []
    with pipeline(arguments.pack) as app:
        app.session = requests.Session()
        parts = app.installation.parts
        add_person(parts, "seed", 1, random)
        fill(parts.database, collection_named(parts.database, COLLECTION), arguments.others, random)
        indexer.build_indexes(parts)
        for number in range(arguments.rounds):
            alone = add_person(parts, f"alone {number}", 1, random)
            times["one face"].append(erase(app, alone, dry_run=False)[0])
            person = add_person(parts, f"person {number}", arguments.faces, random)
            times["dry run"].append(erase(app, person, dry_run=True)[0])
            ingest = Ingest(parts)
            ingest.start()
            time.sleep(QUIET_SECONDS)
            before = len(ingest.times)
            seconds, receipt = erase(app, person, dry_run=False)
            after = len(ingest.times)
            everything = ingest.stop()
            assert receipt["faces"] == arguments.faces, receipt
            times["real"].append(seconds)
            at_once.append(receipt["originals"] / arguments.faces)
            began = time.perf_counter()
            indexer.remove_originals(parts)
            times["rest"].append(time.perf_counter() - began)
            quiet += everything[:before]
            during += everything[before : after + 1]
            print(f"round {number + 1}: {seconds:.2f} s, {after - before} photos ended meanwhile", flush=True)
    real = statistics.median(times["real"])
    report(
        {
            "faces of the person": arguments.faces,
            "faces of others": arguments.others,
            "erase s (median)": real,
            "erase s (most)": max(times["real"]),
            "files that go at once, share (median)": statistics.median(at_once),
            "the others, by the indexer, s (median)": statistics.median(times["rest"]),
            "dry run / erase": statistics.median(times["dry run"]) / real,
            "erase one face s (median)": statistics.median(times["one face"]),
            "photo ends p50 ms, nobody erases": 1000 * percentile(quiet, 0.5),
            "photo ends p50 ms, meanwhile": 1000 * percentile(during, 0.5),
            "p50 meanwhile / before": percentile(during, 0.5) / percentile(quiet, 0.5),
            "p95 meanwhile / before": percentile(during, 0.95) / percentile(quiet, 0.95),
            "longest meanwhile / one erasure": max(during) / real,
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
