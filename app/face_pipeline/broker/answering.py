"""Which workers are there: those that answer."""

from __future__ import annotations

from celery import Celery

from face_pipeline.broker.redis import reached

# An idle worker answers within milliseconds, and one whose threads all compute soon after.
WAIT_SECONDS = 0.5


@reached()
def count(app: Celery) -> int:
    """Workers that answer within half a second; it lasts as long."""
    return len(app.control.ping(timeout=WAIT_SECONDS))
