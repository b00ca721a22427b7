"""The audit: who did what, on whom, when, from where, and how it ended.

An entry is written in the transaction of its action: there is no action without its entry, and no entry of an
action that was undone. It names nobody by name: ids, counts and names of fields are enough.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert
from sqlalchemy.orm import Session

from face_pipeline.errors import Forbidden
from face_pipeline.store.models import ActorKind, AuditEntry, Outcome
from face_pipeline.telemetry import context


@dataclass(frozen=True)
class Actor:
    """Who asks for an action. `collections`: the names of those they reach, None: all."""

    kind: ActorKind
    name: str
    id: uuid.UUID | None = None
    address: str | None = None
    collections: frozenset[str] | None = None

    def reaches(self, collection: str) -> bool:
        return self.collections is None or collection in self.collections

    def check_reaches(self, collection: str) -> None:
        """Raises Forbidden where the collection is not one of theirs, whether it exists or not."""
        if not self.reaches(collection):
            raise Forbidden(
                f"this key does not reach the collection {collection!r}", code="collection_forbidden"
            )


# What the service does by itself: lapsed merges, clusters, events.
SERVICE = Actor(ActorKind.SERVICE, "face-pipeline")


def write(
    session: Session | Connection,
    by: Actor,
    action: str,
    *,
    collection: str | None = None,
    subject: uuid.UUID | str | None = None,
    outcome: Outcome = Outcome.DONE,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry. `action` is `<what>.<verb>`, as `person.rename`; `subject` the id of what it is on."""
    session.execute(
        insert(AuditEntry).values(
            actor_kind=by.kind, actor_id=by.id, actor_name=by.name, address=by.address,
            request_id=context.request_id.get(), action=action, collection=collection,
            subject=None if subject is None else str(subject), outcome=outcome, details=dict(details or {}),
        )
    )  # fmt: skip
