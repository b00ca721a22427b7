"""Naming, renaming and merging people of many faces, and an upload's photos meanwhile, as ratios.

    python -m bench.people [--faces 10000] [--indexed 20000] [--photos-count 300] [--rounds 5]

A person of `--faces` made-up faces, one a photo, is merged into another and taken apart again, and renamed,
and a group of as many unknown faces gets a name; by itself, then while photos are ingested into the same
collection. `--indexed` other faces are there too: from 16,000 on the collection has a vector index.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import requests
from face_pipeline.ops import indexer
from face_pipeline.store.database import Database
from face_pipeline.store.models import Batch, Collection
from sqlalchemy import insert, text

from bench.common import parser, photo_files, report
from bench.ingest import ingest, variant
from bench.search import collection_named, fill
from bench.stack import pipeline
from tests.installation import App

NAME = "people"
PERSONS = "/api/v1/persons"
CALLS = ("name", "rename", "merge", "undo")
# A photo of each face of the batch, as uploads make them.
OWN_PHOTOS = """
INSERT INTO photos (id, collection_id, batch_id, person_id, sha256, filename, media_type, byte_size, width,
                    height, state, attempts, received_at)
SELECT id, collection_id, :batch, :person, md5(id::text), 'made-up', 'image/jpeg', 1, 1, 1, 'done', 1, now()
FROM faces WHERE collection_id = :collection AND person_id IS NULL LIMIT :count
"""
# Faces of nobody, as one group that waits for a name; and as they were.
GROUP = """
WITH made AS (INSERT INTO clusters (id, collection_id) VALUES (:cluster, :collection)),
unnamed AS (UPDATE faces SET person_id = NULL WHERE person_id = :person)
INSERT INTO cluster_faces (face_id, collection_id, cluster_id)
SELECT id, collection_id, :cluster FROM faces
WHERE collection_id = :collection AND (person_id IS NULL OR person_id = :person) ORDER BY id LIMIT :count
ON CONFLICT (face_id) DO UPDATE SET cluster_id = :cluster
"""
OWN_FACES = """
UPDATE faces SET photo_id = photos.id, position = 0, person_id = :person
FROM photos WHERE photos.id = faces.id AND photos.batch_id = :batch
"""


def give(database: Database, collection: Collection, person_id: str, count: int) -> None:
    """Make `count` of the collection's made-up faces the person's, each on a photo of its own."""
    batch = uuid.uuid4()
    with database.transaction() as session:
        session.execute(insert(Batch).values(id=batch, collection_id=collection.id))
        values = {"batch": batch, "person": person_id, "collection": collection.id, "count": count}
        session.execute(text(OWN_PHOTOS), values)
        session.execute(text(OWN_FACES), values)
    with database.single_statements() as connection:
        connection.execute(text("VACUUM ANALYZE faces, photos"))


def seconds(call: Callable[[], requests.Response]) -> tuple[float, requests.Response]:
    began = time.perf_counter()
    answer = call()
    took = time.perf_counter() - began
    if not answer.ok:
        sys.exit(f"bench: {answer.status_code} {answer.text}")
    return took, answer


def group(database: Database, collection: Collection, person_id: str, count: int) -> str:
    """Make one group of `count` unknown faces, and of those of the person who got the last one."""
    cluster = str(uuid.uuid4())
    values = {"cluster": cluster, "collection": collection.id, "person": person_id, "count": count}
    with database.transaction() as session:
        session.execute(text("DELETE FROM clusters"))
        session.execute(text(GROUP), values)
    return cluster


def name_group(app: App, person_id: str, count: int) -> float:
    """Seconds to give a group of `count` faces to a person."""
    database = app.installation.parts.database
    cluster = group(database, collection_named(database, "default"), person_id, count)
    took, answer = seconds(
        lambda: app.request("POST", f"/api/v1/clusters/{cluster}/name", json={"person_id": person_id})
    )
    if answer.json()["face_count"] != count:
        sys.exit(f"bench: not all were named: {answer.text}")
    return took


def measure(app: App, kept: str, other: str, third: str, faces: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, round by round; `third` is whose the group is."""
    times: dict[str, list[float]] = {call: [] for call in CALLS}
    for _ in range(rounds):
        times["name"].append(name_group(app, third, faces))
        took, _ = seconds(
            lambda: app.request("PATCH", f"{PERSONS}/{other}", json={"name": f"Name {uuid.uuid4()}"})
        )
        times["rename"].append(took)
        took, answer = seconds(lambda: app.request("POST", f"{PERSONS}/{kept}/merge", json={"from": other}))
        times["merge"].append(took)
        undo = partial(app.request, "POST", f"/api/v1/merges/{answer.json()['id']}/undo")
        took, _ = seconds(undo)
        times["undo"].append(took)
    return times


def beside(
    app: App, photos: list[bytes], kept: str, other: str, third: str, faces: int
) -> tuple[float, dict[str, list[float]]]:
    """Seconds of the ingest, and of the calls that are made until it ends."""
    taken: list[float] = []
    work = threading.Thread(target=lambda: taken.append(ingest(app, photos)))
    work.start()
    times: dict[str, list[float]] = {call: [] for call in CALLS}
    while work.is_alive():
        for call, values in measure(app, kept, other, third, faces, 1).items():
            times[call] += values
    work.join()
    return taken[0], times


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--faces", type=int, default=10_000, help="of the person who is merged")
    options.add_argument("--indexed", type=int, default=0, help="faces of nobody beside them")
    options.add_argument("--photos-count", type=int, default=300)
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    sources = [path.read_bytes() for path in photo_files(Path(arguments.photos))]
    copies = [variant(sources[n % len(sources)], n) for n in range(2 * arguments.photos_count)]
    with pipeline(arguments.pack, FACE_UPLOAD_MAX_PHOTOS="100") as app:
        app.start_worker(1, concurrency=3)
        database = app.installation.parts.database
        kept, other, third = (
            app.request("POST", PERSONS, json={"name": name}).json()["id"]
            for name in ("Kept", "Other", "Third")
        )
        collection = collection_named(database, "default")
        fill(database, collection, 2 * arguments.faces + arguments.indexed, np.random.default_rng(1))
        give(database, collection, other, arguments.faces)
        indexed = bool(indexer.build_indexes(app.installation.parts))
        alone = measure(app, kept, other, third, arguments.faces, arguments.rounds)
        quiet = ingest(app, copies[: arguments.photos_count])
        busy, meanwhile = beside(app, copies[arguments.photos_count :], kept, other, third, arguments.faces)
    figures: dict[str, object] = {
        "faces of the person": arguments.faces,
        "vector index": "yes" if indexed else "no",
    }
    for call, values in alone.items():
        figures[f"{call} s (median)"] = statistics.median(values)
        figures[f"{call} s (longest)"] = max(values)
        figures[f"{call} beside an ingest / alone"] = statistics.median(meanwhile[call]) / statistics.median(
            values
        )
    figures["rounds beside the ingest"] = len(meanwhile["merge"])
    figures["photos/s beside them / alone"] = quiet / busy
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
