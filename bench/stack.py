"""A pipeline on loopback for a benchmark: durable PostgreSQL, Redis, gunicorn, workers, nothing simulated."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.postgres import settings as as_installed
from tests.installation import App, Installation, start_web
from tests.services import Postgres, Redis


@contextmanager
def pipeline(pack: Path, **settings: str) -> Iterator[App]:
    """Start PostgreSQL, Redis and gunicorn; the caller starts the workers it wants."""
    if not pack.is_dir():
        sys.exit(f"bench: no model pack in {pack}; name one with --pack")
    postgres, redis = Postgres(fsync=True, settings=as_installed()), Redis()
    with tempfile.TemporaryDirectory(prefix="face-bench-", dir="/var/tmp") as directory:
        postgres.start()
        redis.start()
        try:
            installation = Installation.make(Path(directory), postgres, redis, pack, **settings)
            url, web = start_web(installation)
            app = App(installation, url, web)
            try:
                yield app
            finally:
                for process in list(installation.processes):
                    installation.end(process, signal.SIGTERM)
        finally:
            redis.close()
            postgres.close()
