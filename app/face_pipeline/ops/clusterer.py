"""Group the unknown faces of each collection, so that a group is one person (docs/clusters.md).

Run every minute by face-clusterer.timer. A run looks at the faces that are new since the last one, a few at
a time, each with its nearest neighbours; a group that one of them touches is looked at as one point, its
middle. What DBSCAN finds to hang together is parted again where its parts are too far from each other on
average: one face between two people would make them one.

Sources: Ester, Kriegel, Sander, Xu (1996), A density-based algorithm for discovering clusters; Sokal and
Michener (1958), A statistical method for evaluating systematic relationships (average linkage).
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from face_pipeline.engine import Pack, contract_id
from face_pipeline.parts import Parts
from face_pipeline.store import grouping
from face_pipeline.store.grouping import Embedding, Neighbour, Together
from face_pipeline.store.models import Collection

log = logging.getLogger(__name__)

# Of the distance within which a search calls two faces one person. A search asks about one face, groups ask
# about all pairs of a collection, among which there are many more who look alike (docs/clusters.md, figures).
DISTANCE_SHARE = 0.8
# Somebody like a face is enough for a group: most people are on few photos.
MIN_SAMPLES = 2
# A face with more like it finds the others by way of these.
NEIGHBOURS = 32
# Looked at in one transaction; and in one run, so that other collections have their turn.
FACES_AT_ONCE, FACES_OF_A_RUN = 200, 20_000
# DBSCAN takes a distance of zero for none.
LEAST_DISTANCE = 1e-6


@dataclass(frozen=True)
class Looked:
    """How many faces a run looked at, and in how many collections."""

    faces: int = 0
    collections: int = 0


def cluster(parts: Parts) -> Looked:
    """Look at what is new in every collection of the installed pack; nothing where another process does."""
    faces = collections = 0
    with parts.database.single_statements() as connection, grouping.only_clusterer(connection) as alone:
        for collection in _changed(parts) if alone else ():
            faces += _look_at(parts, collection)
            collections += 1
    return Looked(faces, collections)


def _changed(parts: Parts) -> Sequence[Collection]:
    with parts.database.reading() as session:
        return grouping.changed(session, contract_id(parts.pack))


def largest_distance(pack: Pack) -> float:
    """The cosine distance within which two faces, or two groups, may be one person's."""
    return DISTANCE_SHARE * (1 - pack.match_threshold)


def _look_at(parts: Parts, collection: Collection) -> int:
    """Returns how many faces were new. Where there are too many for a run, the next one goes on."""
    began = time.monotonic()
    with parts.database.reading() as session:
        waiting = grouping.waiting(session, collection, FACES_OF_A_RUN)
    for start in range(0, len(waiting), FACES_AT_ONCE):
        _look_at_some(parts, collection, waiting[start : start + FACES_AT_ONCE])
    if len(waiting) == FACES_OF_A_RUN:
        return len(waiting)
    seconds = time.monotonic() - began
    run = parts.database.in_transaction(
        lambda session: grouping.finish(session, collection, len(waiting), seconds)
    )
    if waiting and run is not None:
        log.info(
            "looked at %d unknown faces; %d groups now", len(waiting), run.clusters,
            extra={
                "operation": "cluster", "count": len(waiting), "duration_seconds": round(seconds, 1),
            },
        )  # fmt: skip
    return len(waiting)


def _look_at_some(parts: Parts, collection: Collection, face_ids: Sequence[uuid.UUID]) -> None:
    farthest = largest_distance(parts.pack)
    looked_at = set(face_ids)
    with parts.database.reading() as session:
        near = [
            each
            for each in grouping.neighbours(
                session, collection, face_ids, similarity=1 - farthest, limit=NEIGHBOURS,
                min_quality=parts.settings.cluster_min_quality,
            )
            # The others find these when it is their turn.
            if each.known or each.other_id in looked_at
        ]  # fmt: skip
        faces = {each.face_id for each in near}
        faces |= {each.other_id for each in near if each.cluster_id is None}
        clusters = {each.cluster_id for each in near if each.cluster_id is not None}
        points = grouping.middles(session, collection, sorted(clusters)) if clusters else {}
        points |= grouping.embeddings(session, sorted(faces)) if faces else {}
    groups = list(_together(points, near, farthest, clusters))
    placed = {face for group in groups for face in group.faces}
    alone = [face for face in face_ids if face not in placed]
    parts.database.in_transaction(lambda session: grouping.write(session, collection, groups, alone))


def _together(
    points: Mapping[uuid.UUID, Embedding],
    near: Sequence[Neighbour],
    farthest: float,
    clusters: set[uuid.UUID],
) -> Iterator[Together]:
    """The groups of two points and more, faces and clusters; `points` has what is still there."""
    names = list(points)
    place = {name: number for number, name in enumerate(names)}
    distances: dict[tuple[int, int], float] = {}
    for each in near:
        ends = each.face_id, each.cluster_id or each.other_id
        if all(end in place for end in ends):
            one, other = sorted(place[end] for end in ends)
            distance = max(1 - each.similarity, LEAST_DISTANCE)
            distances[one, other] = min(distance, distances.get((one, other), distance))
    if not distances:
        return
    labels = group(np.stack([points[name] for name in names]), distances, farthest)
    for label in range(labels.max() + 1):
        # In the order of `points`, which is that in which clusters take in others.
        members = [names[number] for number in np.flatnonzero(labels == label)]
        if len(members) > 1:
            yield Together(
                [name for name in members if name not in clusters],
                [name for name in members if name in clusters],
            )


def group(
    points: npt.NDArray[np.float32], distances: Mapping[tuple[int, int], float], farthest: float
) -> npt.NDArray[np.intp]:
    """The group of each point, 0 and up; -1 for those that belong to none.

    `points`: float32, shape (n, dimension), any norm; `distances`: cosine distances of the pairs of points
    that are neighbours, no farther than `farthest`.
    """
    # Here, for a run that finds nothing new does without: they take a second to load.
    from scipy.sparse import coo_matrix
    from sklearn.cluster import DBSCAN, AgglomerativeClustering

    rows, columns = np.array(list(distances)).T
    values = np.array(list(distances.values()))
    graph = coo_matrix(
        (np.tile(values, 2), (np.append(rows, columns), np.append(columns, rows))), shape=(len(points),) * 2
    ).tocsr()
    hanging = DBSCAN(eps=farthest, min_samples=MIN_SAMPLES, metric="precomputed").fit(graph).labels_
    labels = np.full(len(points), -1, np.intp)
    average = AgglomerativeClustering(
        n_clusters=None, distance_threshold=farthest, metric="precomputed", linkage="average"
    )
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    # A face without an embedding of this pack is zeros.
    lengths[lengths == 0] = 1
    points = points / lengths
    for label in range(hanging.max() + 1):
        members = np.flatnonzero(hanging == label)
        apart = np.maximum(1 - points[members] @ points[members].T, 0)
        # Most are within the distance of each other, and asking takes longer than all else.
        parts = 0 if apart.max() <= farthest else average.fit(apart).labels_
        labels[members] = labels.max() + 1 + parts
    return labels
