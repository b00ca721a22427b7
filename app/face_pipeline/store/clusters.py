"""Groups of unknown faces as people see them, hide them and give them a name; ops/clusterer.py makes them.

Their faces are counted when they are asked for: those that nobody named, moved or erased since.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import REAL, ColumnElement, Select, and_, cast, func, literal, or_, select, tuple_, update
from sqlalchemy.orm import Session, contains_eager

from face_pipeline.errors import Conflict, NotFound
from face_pipeline.store import audit, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.grouping import member
from face_pipeline.store.models import Cluster, ClusterFace, ClusterRun, Collection, Face, Person

# Enough for a picture of a group.
BEST_FACES = 6

# Names of the collections somebody reaches, None: all.
Reach = frozenset[str] | None


@dataclass(frozen=True)
class Wanted:
    """Which clusters are asked for; None: any."""

    collection: str | None = None
    hidden: bool | None = False
    min_faces: int = 2
    reach: Reach = None


@dataclass(frozen=True)
class Place:
    """Where a cluster stands in the list, largest first."""

    face_count: int
    cluster_id: uuid.UUID


@dataclass(frozen=True)
class FacePlace:
    """Where a face stands in its cluster, best first; `quality` as the column has it."""

    quality: float
    face_id: uuid.UUID


@dataclass(frozen=True)
class Shown:
    """A cluster with its collection, how many faces it has now, and the ids of the best of them."""

    cluster: Cluster
    face_count: int
    best: Sequence[uuid.UUID]


@dataclass(frozen=True)
class Named:
    """Whose the faces of a cluster are now, how many they are, and how many of them this call gave."""

    person: Person
    face_count: int
    given: int


@dataclass(frozen=True)
class Totals:
    """What the last looks found, and the seconds that they took."""

    unknown_faces: int
    clusters: int
    seconds: float


def _counted(reach: Reach, *of_faces: ColumnElement[bool]) -> tuple[Select[Cluster, int], ColumnElement[int]]:
    """Clusters with how many of these faces they have, and that number; without any they are gone."""
    sizes = (
        select(ClusterFace.cluster_id, func.count().label("face_count"))
        .join(Face, member())
        .where(ClusterFace.cluster_id.is_not(None), *of_faces)
        .group_by(ClusterFace.cluster_id)
        .subquery("sizes")
    )
    query = (
        select(Cluster, sizes.c.face_count)
        .join(sizes, sizes.c.cluster_id == Cluster.id)
        .join(Cluster.collection)
        .options(contains_eager(Cluster.collection))
    )
    return (query if reach is None else query.where(Collection.name.in_(reach))), sizes.c.face_count


def page(
    session: Session, wanted: Wanted, *, limit: int, after: Place | None
) -> tuple[list[Shown], Place | None]:
    """At most `limit` clusters behind `after`, and where the next page is."""
    of_faces: list[ColumnElement[bool]] = []
    if wanted.collection is not None:
        named = select(Collection.id).where(Collection.name == wanted.collection).scalar_subquery()
        of_faces.append(Face.collection_id == named)
    query, face_count = _counted(wanted.reach, *of_faces)
    query = query.where(face_count >= wanted.min_faces)
    if wanted.hidden is not None:
        query = query.where(Cluster.hidden == wanted.hidden)
    if after is not None:
        query = query.where(
            or_(
                face_count < after.face_count,
                and_(face_count == after.face_count, Cluster.id > after.cluster_id),
            )
        )
    rows = session.execute(query.order_by(face_count.desc(), Cluster.id).limit(limit + 1)).all()
    best = _best(session, [row.Cluster.id for row in rows[:limit]])
    shown = [Shown(row.Cluster, row.face_count, best.get(row.Cluster.id, ())) for row in rows[:limit]]
    if len(rows) <= limit:
        return shown, None
    return shown, Place(shown[-1].face_count, shown[-1].cluster.id)


def _best(session: Session, cluster_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[uuid.UUID]]:
    """The ids of the best faces of each cluster."""
    order = func.row_number().over(
        partition_by=ClusterFace.cluster_id, order_by=(Face.quality.desc(), Face.id.desc())
    )
    ranked = (
        select(ClusterFace.cluster_id, Face.id, order.label("place"))
        .join(Face, member())
        .where(ClusterFace.cluster_id.in_(cluster_ids))
        .subquery("ranked")
    )
    best: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in session.execute(
        select(ranked).where(ranked.c.place <= BEST_FACES).order_by(ranked.c.cluster_id, ranked.c.place)
    ):
        best.setdefault(row.cluster_id, []).append(row.id)
    return best


def find(session: Session, cluster_id: uuid.UUID, reach: Reach) -> Shown:
    """The cluster; NotFound when there is none, when nobody unknown is left in it, or it is out of reach."""
    query, _ = _counted(reach, ClusterFace.cluster_id == cluster_id)
    row = session.execute(query).one_or_none()
    if row is None:
        raise _not_found(cluster_id)
    return Shown(row.Cluster, row.face_count, _best(session, [cluster_id]).get(cluster_id, ()))


def _not_found(cluster_id: uuid.UUID) -> NotFound:
    return NotFound(
        f"there is no cluster {cluster_id} with unknown faces; it may have become part of another one, or "
        "its faces have a name: read the list again",
        code="cluster_not_found",
    )


def faces(
    session: Session, cluster_id: uuid.UUID, *, limit: int, after: FacePlace | None
) -> tuple[Sequence[Face], FacePlace | None]:
    """At most `limit` faces of the cluster behind `after`, best first, and where the next page is."""
    query = select(Face).join(ClusterFace, member()).where(ClusterFace.cluster_id == cluster_id)
    if after is not None:
        query = query.where(
            tuple_(Face.quality, Face.id) < tuple_(cast(after.quality, REAL), literal(after.face_id))
        )
    rows = session.scalars(query.order_by(Face.quality.desc(), Face.id.desc()).limit(limit + 1)).all()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], FacePlace(rows[limit - 1].quality, rows[limit - 1].id)


def hide(session: Session, cluster_id: uuid.UUID, hidden: bool, by: Actor) -> Shown:
    """Keep the cluster out of the list, or show it again; raises as `find`."""
    cluster = _lock(session, cluster_id, by.collections)
    if cluster.hidden != hidden:
        session.execute(
            update(Cluster).where(Cluster.id == cluster_id).values(hidden=hidden, updated_at=func.now())
        )
        session.refresh(cluster, ["hidden", "updated_at"])
        audit.write(
            session, by, "cluster.hide",
            collection=cluster.collection.name, subject=cluster.id, details={"hidden": hidden},
        )  # fmt: skip
    return find(session, cluster_id, by.collections)


def name(session: Session, cluster_id: uuid.UUID, who: str | uuid.UUID, by: Actor) -> Named:
    """Give all faces of the cluster to a person: the one of that id, or of that checked name, made if new.

    Raises NotFound for the cluster or the person, Conflict where others have names for all of its faces.
    """
    cluster = _lock(session, cluster_id, by.collections)
    if isinstance(who, str):
        person = persons.open_person(session, cluster.collection, who)
    else:
        person = _person(session, cluster, who)
    named = _give(session, cluster, person)
    if named.given:
        audit.write(
            session, by, "cluster.name",
            collection=cluster.collection.name, subject=cluster.id,
            details={"person_id": str(person.id), "faces": named.given},
        )  # fmt: skip
    return named


def _lock(session: Session, cluster_id: uuid.UUID, reach: Reach) -> Cluster:
    """The cluster, with its collection, which nobody else changes until this transaction ends."""
    query = (
        select(Cluster)
        .join(Cluster.collection)
        .where(Cluster.id == cluster_id)
        .options(contains_eager(Cluster.collection))
        .with_for_update(of=Cluster)
    )
    cluster = session.scalar(query if reach is None else query.where(Collection.name.in_(reach)))
    if cluster is None:
        raise _not_found(cluster_id)
    return cluster


def _person(session: Session, cluster: Cluster, person_id: uuid.UUID) -> Person:
    """The person, of the cluster's collection; they cannot be removed until this transaction ends."""
    person = session.scalar(
        select(Person)
        .where(Person.id == person_id, Person.collection_id == cluster.collection_id)
        .with_for_update(read=True, key_share=True)
    )
    if person is None:
        raise NotFound(
            f"there is no person {person_id} in the collection {cluster.collection.name!r}, of which this "
            "cluster is",
            code="person_not_found",
        )
    return person


def _give(session: Session, cluster: Cluster, person: Person) -> Named:
    """Give the faces of the cluster, which is locked, to the person.

    Conflict where others have names for all of them; where that is the same person, nothing is left to do.
    """
    rows = session.execute(
        select(Face.id, Face.person_id)
        .join(ClusterFace, ClusterFace.face_id == Face.id)
        .where(ClusterFace.cluster_id == cluster.id, Face.collection_id == cluster.collection_id)
        .order_by(Face.id)
        .with_for_update(of=Face, key_share=True)
    ).all()
    unknown = [row.id for row in rows if row.person_id is None]
    theirs = [row.id for row in rows if row.person_id == person.id]
    if not unknown and not theirs:
        raise Conflict(
            "the faces of this cluster got other names meanwhile; read the list of clusters again",
            code="cluster_changed",
        )
    if unknown:
        session.execute(update(Face).where(Face.id.in_(unknown)).values(person_id=person.id))
        # Answers that were cached name nobody on these faces.
        session.execute(
            update(Collection)
            .where(Collection.id == cluster.collection_id)
            .values(version=Collection.version + 1)
        )
    return Named(person, len(unknown) + len(theirs), len(unknown))


def totals(session: Session) -> Totals:
    """Of all collections."""
    row = session.execute(
        select(
            func.coalesce(func.sum(ClusterRun.unknown_faces), 0),
            func.coalesce(func.sum(ClusterRun.clusters), 0),
            func.coalesce(func.sum(ClusterRun.seconds), 0.0),
        )
    ).one()
    return Totals(int(row[0]), int(row[1]), float(row[2]))
