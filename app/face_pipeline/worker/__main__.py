"""`python -m face_pipeline.worker --hostname NAME`: a worker, as `celery worker` runs one.

Celery's command line loads the commands of every installed package, Flower's and an interactive prompt's
among them. Without it a worker takes a tenth less of a core to start, and 11 MB less as long as it runs.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from face_pipeline.broker.names import QUEUES
from face_pipeline.telemetry import streams


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m face_pipeline.worker", description="A worker.")
    parser.add_argument("--hostname", required=True, help="its name among all workers: worker1@host")
    options = parser.parse_args()
    # Top and the journal call a process by this name, which else would be Python's.
    Path("/proc/self/comm").write_text("celery")
    # Before anything else can print.
    streams.capture("face-worker")
    from face_pipeline.worker.celery import app

    worker = app.Worker(
        hostname=options.hostname,
        queues=",".join(QUEUES),
        loglevel=logging.INFO,
        quiet=True,
        without_mingle=True,
        without_gossip=True,
    )
    worker.start()
    return worker.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
