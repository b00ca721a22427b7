"""The order in which a worker asks Redis for work, in processes of different hash seeds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.installation import MAKE_PARTS, Installation

ORDER = f"""{MAKE_PARTS}with parts.celery.connection_for_read() as connection:
    channel = connection.default_channel
    for queue in parts.celery.conf.task_queues:
        queue(channel).declare()
        channel.basic_consume(queue.name, False, print, queue.name)
    print(*channel._queue_cycle.consume(len(channel.active_queues)))
"""


@pytest.mark.parametrize("seed", range(6))
def test_searches_come_before_photos_whatever_the_hash_seed(installation: Installation, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORDER],
        env={**installation.environment, "PYTHONHASHSEED": str(seed)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "search ingest", done.stderr
