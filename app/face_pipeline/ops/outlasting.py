"""A run of a timer outlasts what a failover or a restart of the database takes: its unit fails later.

A unit that fails is told to people, and stays failed until its next run, which may be minutes away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from face_pipeline.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

# Twice what another host takes to lead (docs/site.md).
LASTS_SECONDS = 60.0
PAUSE_SECONDS = 2.0

Result = TypeVar("Result")


def outlast(work: Callable[[], Result]) -> Result:
    """Do `work`, and do it again while the database is away; it must be fit to run several times.

    Raises DatabaseUnavailable where the database has been away for `LASTS_SECONDS`.
    """
    give_up = None
    while True:
        try:
            return work()
        except DatabaseUnavailable as error:
            now = time.monotonic()
            give_up = now + LASTS_SECONDS if give_up is None else give_up
            if now + PAUSE_SECONDS > give_up:
                raise
            log.info("the run begins again, for the database is away: %s", error)
            time.sleep(PAUSE_SECONDS)
