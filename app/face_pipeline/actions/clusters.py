"""Groups of unknown faces: look at them, give all faces of one to a person, or keep one out of sight."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

from face_pipeline.parts import Parts
from face_pipeline.store import audit, clusters, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.clusters import Named, Shown
from face_pipeline.store.models import Face

log = logging.getLogger(__name__)


def listing(
    parts: Parts, wanted: clusters.Wanted, *, limit: int, after: clusters.Place | None, by: Actor
) -> tuple[list[Shown], clusters.Place | None]:
    """A page of the groups, and where the next one begins. Raises Forbidden for the collection."""
    if wanted.collection is not None:
        by.check_reaches(wanted.collection)
    with parts.database.reading() as session:
        page, following = clusters.page(session, wanted, limit=limit, after=after)
        audit.note(session, by, "cluster.list", collection=wanted.collection, details={"clusters": len(page)})
    return page, following


def describe(
    parts: Parts, cluster_id: uuid.UUID, *, limit: int, after: clusters.FacePlace | None, by: Actor
) -> tuple[Shown, Sequence[Face], clusters.FacePlace | None]:
    """The group, a page of its faces, and where the next one begins; NotFound where `by` reaches none."""
    with parts.database.reading() as session:
        found = clusters.find(session, cluster_id, by.collections)
        faces, following = clusters.faces(session, cluster_id, limit=limit, after=after)
        audit.note(
            session, by, "cluster.look", collection=found.cluster.collection.name, subject=cluster_id,
            details={"faces": len(faces)},
        )  # fmt: skip
    return found, faces, following


def name(parts: Parts, cluster_id: uuid.UUID, who: str | uuid.UUID, *, by: Actor) -> Named:
    """Make all faces of the cluster those of one person: of that id, or of that name, who is made if new.

    Raises BadRequest for a name that cannot be kept, NotFound for the cluster or the person, Conflict where
    others gave all of its faces other names meanwhile.
    """
    whose = persons.check_name(who) if isinstance(who, str) else who
    named = parts.database.in_transaction(lambda session: clusters.name(session, cluster_id, whose, by))
    log.info("a group of faces got a name", extra={"operation": "cluster", "count": named.given})
    return named


def hide(parts: Parts, cluster_id: uuid.UUID, hidden: bool, *, by: Actor) -> Shown:
    """Keep the cluster out of the list of those that wait for a name, or show it again; NotFound."""
    return parts.database.in_transaction(lambda session: clusters.hide(session, cluster_id, hidden, by))
