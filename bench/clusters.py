"""What groups of unknown faces cost beside the ingest of their photos, and how right they are.

    python -m bench.clusters [--faces 100000] [--rounds 5] [--photos-count 60]
    python -m bench.clusters --quality 20000

Stored faces are made up, as those of bench.search. Ingest of real photos and runs over as many new faces
take turns; figures are of their medians. `run` is the clusterer in this process; `process` is the whole
command, as the timer starts it. With --quality nothing is ingested: made-up faces of people, some of whom
look alike, are grouped with several distances.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from face_pipeline.ops import clusterer, indexer
from face_pipeline.parts import Parts
from face_pipeline.store import collections
from face_pipeline.store.grouping import member
from face_pipeline.store.models import ClusterFace, Face
from sqlalchemy import select, text

from bench.common import parser, photo_files, report
from bench.ingest import ingest, variant
from bench.search import collection_named, fill, unit
from bench.stack import pipeline
from tests.app.test_vectors import fill as put
from tests.installation import WORKER_ENVIRONMENT, App

SHARES = (1.0, 0.9, 0.85, 0.8, 0.7)
# Of people made up for --quality: how like each other faces of one person are, from the worst to the best;
# how many look like somebody else, and how much; how many faces are poor, and what of them is the person's.
SAME_PERSON = (0.55, 0.8)
ALIKE, ALIKE_COSINE = 0.1, 0.45
POOR, POOR_SHARE = 0.05, (0.6, 0.85)
FACES_OF_ONE_MOST = 400
LARGE = "faces"


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def stored(parts: Parts) -> list[Any]:
    """Of all faces of the large collection the embedding, the place on their photo, and the group."""
    with parts.database.reading() as session:
        rows = session.execute(
            select(Face.embedding, Face.position, ClusterFace.cluster_id)
            .join(ClusterFace, member())
            .where(Face.collection_id == collection_named(parts.database, LARGE).id)
        ).all()
    return list(rows)


def most_like(rows: list[Any], people: npt.NDArray[np.float32]) -> list[int]:
    """Whose each face is: of made-up people no two are alike."""
    found: list[int] = []
    for start in range(0, len(rows), 1000):
        embeddings = np.array([row.embedding for row in rows[start : start + 1000]], np.float32)
        found += np.argmax(embeddings @ people.T, axis=1).tolist()
    return found


def pairwise(whose: Iterable[Any], groups: Iterable[Any]) -> tuple[float, float]:
    """Of pairs in one group the share that is one person's; of pairs of one person the share in one group."""
    both = [each for each in zip(whose, groups, strict=True) if each[1] is not None]
    right = sum(comb(count, 2) for count in Counter(both).values())
    together = sum(comb(count, 2) for count in Counter(group for _, group in both).values())
    wanted = sum(comb(count, 2) for count in Counter(whose).values())
    return right / max(together, 1), right / max(wanted, 1)


def cost(arguments: Namespace) -> dict[str, float]:
    sources = [path.read_bytes() for path in photo_files(arguments.photos)]
    figures: dict[str, float] = {}
    with pipeline(arguments.pack, FACE_UPLOAD_MAX_PHOTOS="100") as app:
        app.start_worker(1, concurrency=2)
        parts = app.installation.parts
        people = first_fill(app, arguments.faces, sources[0])
        figures["faces"] = arguments.faces
        figures["index build s"] = timed(lambda: indexer.build_indexes(parts))
        first = timed(lambda: until_done(parts))
        figures["first runs, all faces: ms a face"] = 1000 * first / arguments.faces
        rows = stored(parts)
        figures["pairwise precision"], figures["pairwise recall"] = pairwise(
            most_like(rows, people), [row.cluster_id for row in rows]
        )
        photo, face, process = [], [], []
        number = 0
        for round_number in range(arguments.rounds):
            photos = [variant(sources[n % len(sources)], number + n) for n in range(arguments.photos_count)]
            number += len(photos)
            photo.append(ingest(app, photos) / len(photos))
            clusterer.cluster(parts)
            more(parts, len(photos), round_number)
            face.append(timed(lambda: clusterer.cluster(parts)) / len(photos))
            more(parts, len(photos), 100 + round_number)
            process.append(timed(lambda: app.installation.run("cluster")) / len(photos))
        idle = [timed(lambda: clusterer.cluster(parts)) for _ in range(20)]
        figures["ingest ms a photo"] = 1000 * statistics.median(photo)
        figures["run ms a new face"] = 1000 * statistics.median(face)
        figures["run / ingest"] = statistics.median(face) / statistics.median(photo)
        figures["process ms a new face"] = 1000 * statistics.median(process)
        figures["run without news ms"] = 1000 * statistics.median(idle)
        figures["process without news s"] = statistics.median(
            timed(lambda: app.installation.run("cluster")) for _ in range(5)
        )
    return figures


def first_fill(app: App, faces: int, seed: bytes) -> npt.NDArray[np.float32]:
    """The large collection, made as it comes to be on a host; its people."""
    batch = app.upload(("seed.jpg", seed), collection=LARGE).json()["batch_id"]
    app.wait_finished(batch)
    return more(app.installation.parts, faces, faces)


def more(parts: Parts, faces: int, seed: int) -> npt.NDArray[np.float32]:
    collection = collection_named(parts.database, LARGE)
    return fill(parts.database, collection, faces, np.random.default_rng(seed))


def until_done(parts: Parts) -> None:
    while clusterer.cluster(parts).faces:
        pass


def world(count: int, dimension: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp]]:
    """Faces of made-up people, and whose they are: most people have few faces, some have many."""
    random = np.random.default_rng(1)
    sizes = np.minimum(random.zipf(1.6, size=count), FACES_OF_ONE_MOST)
    owners = random.permutation(np.repeat(np.arange(count), sizes)[:count])
    people = unit(random.normal(size=(count, dimension)).astype(np.float32))
    alike = int(count * ALIKE)
    one, other = random.integers(0, count, size=(2, alike))
    people[other] = unit(ALIKE_COSINE * people[one] + np.sqrt(1 - ALIKE_COSINE**2) * people[other])
    own = np.sqrt(random.uniform(*SAME_PERSON, size=count))[owners]
    poor = random.random(count) < POOR
    own[poor] *= random.uniform(*POOR_SHARE, size=np.count_nonzero(poor))
    noise = unit(random.normal(size=(count, dimension)).astype(np.float32))
    return unit(own[:, None] * people[owners] + np.sqrt(1 - own[:, None] ** 2) * noise), owners


def quality(arguments: Namespace) -> dict[str, float]:
    figures: dict[str, float] = {}
    with pipeline(arguments.pack) as app:
        parts = app.installation.parts
        faces, owners = world(arguments.quality, parts.pack.dimension)
        with parts.database.transaction() as session:
            large = collections.open_collection(session, LARGE, parts.pack)
        put(parts, large, faces)
        indexer.build_indexes(parts)
        for share in SHARES:
            with parts.database.transaction() as session:
                session.execute(text("TRUNCATE clusters, cluster_faces, cluster_runs"))
            clusterer.DISTANCE_SHARE = share
            until_done(parts)
            rows = stored(parts)
            whose = [int(owners[row.position]) for row in rows]
            figures[f"{share}: precision"], figures[f"{share}: recall"] = pairwise(
                whose, [row.cluster_id for row in rows]
            )
    return figures


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--faces", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--photos-count", type=int, default=120, help="new in a run: those of a minute")
    options.add_argument("--quality", type=int, metavar="FACES", help="ask how right the groups are instead")
    arguments = options.parse_args()
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():
        # As the unit runs it; numerical libraries read these once.
        environment = {**os.environ, **WORKER_ENVIRONMENT}
        os.execve(sys.executable, [sys.executable, "-m", "bench.clusters", *sys.argv[1:]], environment)
    report(quality(arguments) if arguments.quality else cost(arguments), arguments.json)


if __name__ == "__main__":
    main()
