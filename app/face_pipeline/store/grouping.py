"""What the clusterer reads of the unknown faces, and how it writes down which belong together.

It locks clusters, then faces, then the collection. It changes no row of `faces`, and no `version`: no search
knows of clusters.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    and_,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from face_pipeline.store import vectors
from face_pipeline.store.models import Cluster, ClusterFace, ClusterRun, Collection, Face

CLUSTERER_LOCK = 7_312_006
# Of an index: how many candidates are kept, and the most that are looked at for unknown ones among them.
EF_SEARCH, SCAN_MOST = 64, 2000
# The middle of a large cluster is that of so many of its faces.
FACES_FOR_MIDDLE = 100

Embedding = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """A face that was looked at, or is looked at now (`known` False), near one that is looked at now."""

    face_id: uuid.UUID
    other_id: uuid.UUID
    similarity: float
    cluster_id: uuid.UUID | None
    known: bool


@dataclass(frozen=True)
class Together:
    """Faces of one cluster: the first of `clusters`, which takes in the others, or a new one."""

    faces: Sequence[uuid.UUID]
    clusters: Sequence[uuid.UUID]


@contextmanager
def only_clusterer(connection: Connection) -> Iterator[bool]:
    """Whether nobody else makes clusters while this lasts."""
    alone = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": CLUSTERER_LOCK}))
    try:
        yield alone
    finally:
        if alone and not connection.invalidated:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": CLUSTERER_LOCK})


def member() -> ColumnElement[bool]:
    """Whether what a row of `cluster_faces` says of a face still holds."""
    return and_(
        ClusterFace.face_id == Face.id,
        ClusterFace.collection_id == Face.collection_id,
        Face.person_id.is_(None),
    )


def changed(session: Session, contract: str) -> Sequence[Collection]:
    """Collections of the contract whose faces or names changed since the last look."""
    return session.scalars(
        select(Collection)
        .outerjoin(ClusterRun, ClusterRun.collection_id == Collection.id)
        .where(
            Collection.contract_id == contract,
            or_(ClusterRun.version.is_(None), ClusterRun.version != Collection.version),
        )
        .order_by(Collection.id)
    ).all()


def waiting(session: Session, collection: Collection, limit: int) -> Sequence[uuid.UUID]:
    """Unknown faces that were not looked at yet, at most `limit`, in no order that says anything of them."""
    return session.scalars(
        select(Face.id)
        .where(
            Face.collection_id == collection.id,
            Face.person_id.is_(None),
            ~exists().where(ClusterFace.face_id == Face.id, ClusterFace.collection_id == collection.id),
        )
        .order_by(Face.id)
        .limit(limit)
    ).all()


def neighbours(
    session: Session,
    collection: Collection,
    face_ids: Sequence[uuid.UUID],
    *,
    similarity: float,
    limit: int,
    min_quality: float,
) -> list[Neighbour]:
    """For each face at most `limit` unknown faces whose cosine reaches `similarity`, the most alike.

    In a session that commits each statement by itself (`database.reading`).
    """
    other, row, indexed = aliased(Face), aliased(ClusterFace), vectors.table_of(collection)
    theirs: Any = other.embedding
    own: Any = Face.embedding
    near_ones = select(other.id).where(other.person_id.is_(None), other.quality >= min_quality)
    if collection.index_ready:
        # As the collection's index has it.
        theirs, own = (cast(each, HALFVEC(collection.dimension)) for each in (indexed.embedding, own))
        near_ones = near_ones.join(indexed, indexed.face_id == other.id)
    distance = theirs.max_inner_product(own).label("distance")
    near = (
        near_ones.add_columns(distance)
        .where((indexed if collection.index_ready else other).collection_id == collection.id)
        .order_by(distance)
        # The face itself is the nearest.
        .limit(limit + 1)
        .lateral("near")
    )
    rows = session.execute(
        select(Face.id, near.c.id.label("other_id"), near.c.distance, row.face_id, row.cluster_id)
        .select_from(Face)
        .join(near, true())
        .outerjoin(row, and_(row.face_id == near.c.id, row.collection_id == collection.id))
        .where(
            Face.id.in_(face_ids),
            Face.quality >= min_quality,
            near.c.id != Face.id,
            near.c.distance <= cast(-similarity, Double),
        ),
        execution_options={"local_settings": _index_settings() if collection.index_ready else ()},
    ).all()
    return [
        Neighbour(row.id, row.other_id, -row.distance, row.cluster_id, row.face_id is not None)
        for row in rows
    ]


def _index_settings() -> tuple[tuple[str, str], ...]:
    return (
        ("hnsw.ef_search", str(EF_SEARCH)),
        ("hnsw.iterative_scan", "relaxed_order"),
        ("hnsw.max_scan_tuples", str(SCAN_MOST)),
        ("enable_sort", "off"),
    )


def embeddings(session: Session, face_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Embedding]:
    """Embeddings (float32, shape (dimension,), L2 norm 1) of those faces that are still there."""
    rows = session.execute(select(Face.id, Face.embedding).where(Face.id.in_(face_ids)))
    return {row.id: np.asarray(row.embedding, np.float32) for row in rows}


def middles(
    session: Session, collection: Collection, cluster_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, Embedding]:
    """Mean embeddings (float32, shape (dimension,)) of those clusters that still have faces.

    In the order in which they take in others: the largest first, of those with FACES_FOR_MIDDLE faces and
    more the oldest.
    """
    of_cluster = (
        select(Face.embedding)
        .join(ClusterFace, member())
        .where(ClusterFace.cluster_id == Cluster.id, Face.collection_id == collection.id)
        .limit(FACES_FOR_MIDDLE)
        .lateral("of_cluster")
    )
    rows = session.execute(
        select(Cluster.id, func.avg(of_cluster.c.embedding, type_=HALFVEC()).label("mean"))
        .select_from(Cluster)
        .join(of_cluster, true())
        .where(Cluster.id.in_(cluster_ids))
        .group_by(Cluster.id)
        .order_by(func.count().desc(), Cluster.created_at, Cluster.id)
    )
    return {row.id: np.asarray(row.mean, np.float32) for row in rows}


def write(
    session: Session, collection: Collection, groups: Sequence[Together], alone: Sequence[uuid.UUID]
) -> None:
    """Write down which faces belong together, and which are like no other.

    What was named, moved, erased or merged meanwhile is left out.
    """
    wanted = {cluster for group in groups for cluster in group.clusters}
    clusters = {
        row.id: row.hidden
        for row in session.execute(
            select(Cluster.id, Cluster.hidden)
            .where(Cluster.id.in_(wanted))
            .order_by(Cluster.id)
            .with_for_update()
        )
    }
    unknown = _still_unknown(
        session, collection, [*alone, *(face for group in groups for face in group.faces)]
    )
    if not _is_there(session, collection):
        return
    rows: dict[uuid.UUID, uuid.UUID | None] = {face: None for face in alone if face in unknown}
    for group in groups:
        there = [cluster for cluster in group.clusters if cluster in clusters]
        faces = [face for face in group.faces if face in unknown]
        kept = _one_cluster(session, collection, there, faces, any(clusters[each] for each in there))
        rows.update(dict.fromkeys(faces, kept))
    if rows:
        statement = insert(ClusterFace)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["face_id"],
                set_={
                    "collection_id": statement.excluded.collection_id,
                    "cluster_id": statement.excluded.cluster_id,
                },
            ),
            [
                {"face_id": face, "collection_id": collection.id, "cluster_id": cluster}
                for face, cluster in sorted(rows.items())
            ],
        )


def _still_unknown(session: Session, collection: Collection, face_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the faces that are in the collection and nobody's; they stay until the transaction ends."""
    return set(
        session.scalars(
            select(Face.id)
            .where(Face.id.in_(face_ids), Face.collection_id == collection.id, Face.person_id.is_(None))
            .order_by(Face.id)
            # FOR KEY SHARE: waits for who removes one, and for nobody else.
            .with_for_update(read=True, key_share=True)
        )
    )


def _is_there(session: Session, collection: Collection) -> bool:
    """Whether the collection is still there; then it stays until the transaction ends."""
    there = select(Collection.id).where(Collection.id == collection.id)
    return session.scalar(there.with_for_update(read=True, key_share=True)) is not None


def _one_cluster(
    session: Session,
    collection: Collection,
    there: Sequence[uuid.UUID],
    faces: Sequence[uuid.UUID],
    hidden: bool,
) -> uuid.UUID | None:
    """The cluster that takes these faces, and the others of `there`; None for one face that is left alone."""
    if not there:
        if len(faces) < 2:
            return None
        cluster_id = uuid.uuid4()
        session.execute(insert(Cluster).values(id=cluster_id, collection_id=collection.id))
        return cluster_id
    kept, *others = there
    if others:
        session.execute(update(ClusterFace).where(ClusterFace.cluster_id.in_(others)).values(cluster_id=kept))
        session.execute(delete(Cluster).where(Cluster.id.in_(others)))
    session.execute(
        # Who hid one of them has seen this person.
        update(Cluster).where(Cluster.id == kept).values(updated_at=func.now(), hidden=hidden)
    )
    return kept


def finish(session: Session, collection: Collection, new: int, seconds: float) -> ClusterRun | None:
    """Write down that all faces of this version were looked at, `new` of them now.

    None where the collection is gone. Where other faces than the new ones came or went since the last look,
    clusters without any go.
    """
    if not _is_there(session, collection):
        return None
    last = session.scalar(select(ClusterRun.unknown_faces).where(ClusterRun.collection_id == collection.id))
    unknown = session.scalar(
        select(func.count()).where(Face.collection_id == collection.id, Face.person_id.is_(None))
    )
    if unknown != (last or 0) + new:
        _remove_empty(session, collection)
    row = {
        "version": collection.version,
        "unknown_faces": unknown,
        "clusters": session.scalar(
            select(func.count()).select_from(Cluster).where(Cluster.collection_id == collection.id)
        ),
        "seconds": seconds,
        "ended_at": func.now(),
    }
    statement = insert(ClusterRun).values(collection_id=collection.id, **row)
    return session.scalars(
        statement.on_conflict_do_update(index_elements=["collection_id"], set_=row).returning(ClusterRun)
    ).one()


def _remove_empty(session: Session, collection: Collection) -> None:
    """Remove the clusters that nobody unknown is in: the one question here that reads all faces."""
    left = (
        select(ClusterFace.face_id).join(Face, member()).where(ClusterFace.cluster_id == Cluster.id).exists()
    )
    session.execute(
        delete(Cluster)
        .where(Cluster.collection_id == collection.id, ~left)
        .execution_options(synchronize_session=False)
    )
