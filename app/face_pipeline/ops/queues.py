"""How much work waits: messages in Redis, photos in the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from face_pipeline.broker.queues import lengths
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.models import WAITING, State


def look(parts: Parts) -> dict[str, Any]:
    """Messages in queues; photos waiting, under way and failed; how long the oldest waits (None: none)."""
    queues = lengths(parts.queue)
    with parts.database.reading() as session:
        states = ledger.states(session)
        oldest = ledger.oldest_waiting(session)
        failed = ledger.failed(session)
    return {
        **queues,
        "waiting": sum(states.get(state, 0) for state in WAITING),
        "processing": states.get(State.PROCESSING, 0),
        "failed": failed,
        "oldest_waiting_seconds": (
            round((datetime.now(UTC) - oldest).total_seconds(), 1) if oldest else None
        ),
    }
