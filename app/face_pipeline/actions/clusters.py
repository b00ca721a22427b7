"""Groups of unknown faces: give all faces of one to a person, or keep one out of sight."""

from __future__ import annotations

import logging
import uuid

from face_pipeline.parts import Parts
from face_pipeline.store import clusters, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.clusters import Named, Shown

log = logging.getLogger(__name__)


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
