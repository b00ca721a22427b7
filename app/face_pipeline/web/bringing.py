"""What waits on this host for the database's leader: entries of the audit, which a thread brings there."""

from __future__ import annotations

import logging
import threading
import time

from face_pipeline.actions import audit
from face_pipeline.errors import FacePipelineError, root_cause
from face_pipeline.parts import Parts

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


def begin(parts: Parts) -> None:
    """In each web process: what one that has ended left, another brings."""
    if parts.goes_on:
        threading.Thread(target=_run, args=(parts,), name="audit", daemon=True).start()


def _run(parts: Parts) -> None:
    losses = 0
    while True:
        try:
            losses = audit.bring(parts, losses)
        except FacePipelineError as error:
            # Nobody leads, which others tell.
            log.debug("entries of the audit wait: %s", root_cause(error), extra={"operation": "audit"})
        except Exception as error:
            log.exception("entries of the audit wait: %s", root_cause(error), extra={"operation": "audit"})
        time.sleep(LOOK_SECONDS)
