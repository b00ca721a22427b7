"""Real servers for the tests: PostgreSQL and Redis once a run, gunicorn and workers where asked for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from face_pipeline.parts import Parts
from sqlalchemy import text

from tests import packs
from tests.installation import App, Installation, start_web
from tests.photos import ROOT
from tests.services import Postgres, Redis

pytest_plugins = ["tests.services.fixtures", "tests.results", "tests.order"]
# Roles that are run on this machine do without a copy of each module.
os.environ.setdefault("ANSIBLE_PIPELINING", "1")


@pytest.fixture(scope="session")
def installation(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis_server: Redis
) -> Iterator[Installation]:
    made = Installation.make(
        tmp_path_factory.mktemp("installation"), postgres, redis_server, packs.dlib_pack(),
        FACE_WORKER_CONCURRENCY="2",
        FACE_UPLOAD_MAX_BYTES=str(4 * 1024**2),
        FACE_UPLOAD_MAX_PHOTOS="60",
    )  # fmt: skip
    yield made
    for process in list(made.processes):
        made.end(process, signal.SIGKILL)


@pytest.fixture
def parts(installation: Installation) -> Parts:
    """What a process of the installation works with, as one of its doors makes it."""
    return installation.parts


@pytest.fixture
def clean(installation: Installation, parts: Parts) -> Installation:
    """An installation without photos, messages or cached answers."""
    with parts.database.transaction() as session:
        session.execute(text("TRUNCATE collections, batches, photos, faces, persons, events, hooks CASCADE"))
    for connection in (parts.queue, parts.scratch):
        connection.flushdb()
    return installation


@pytest.fixture(scope="session")
def web_url(installation: Installation) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    url, web = start_web(installation)
    yield url, web
    installation.end(web)


@pytest.fixture
def web_app(clean: Installation, web_url: tuple[str, subprocess.Popen[bytes]]) -> Iterator[App]:
    """The web half alone; a test starts the workers it wants."""
    app = App(clean, *web_url)
    yield app
    for worker in app.workers.values():
        clean.end(worker, signal.SIGKILL)


@pytest.fixture
def live_app(web_app: App) -> App:
    """Web and one worker."""
    web_app.start_worker()
    return web_app


@pytest.fixture
def slow_code(installation: Installation) -> str:
    """A PYTHONPATH with which a worker takes `slow:SECONDS` for a photo that ends so."""
    return f"{ROOT / 'tests' / 'standins' / 'slow'}{os.pathsep}{installation.environment['PYTHONPATH']}"
