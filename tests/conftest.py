"""Real servers for the tests: PostgreSQL and Redis once a run, gunicorn and workers where asked for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from face_pipeline.broker import names
from face_pipeline.errors import Unavailable
from face_pipeline.parts import Parts
from kombu import Connection
from sqlalchemy import text

from tests import packs
from tests.installation import App, Installation, Lasting, start_web
from tests.photos import ROOT
from tests.services import Postgres, Redis

pytest_plugins = ["tests.services.fixtures", "tests.results", "tests.order", "tests.sharing"]
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
    # Much of the product goes on where Redis refuses something: no test would notice.
    assert [refusal for server in (made.redis, made.scratch) for refusal in server.refusals()] == []


@pytest.fixture
def parts(installation: Installation) -> Parts:
    """What a process of the installation works with, as one of its doors makes it."""
    return installation.parts


@pytest.fixture
def to_workers(parts: Parts) -> Iterator[Connection]:
    """For what asks the workers themselves: those in Celery's pool broke where a test restarted Redis."""
    with parts.celery.connection_for_write() as connection:
        yield connection


def empty(parts: Parts) -> None:
    with parts.database.transaction() as session:
        session.execute(text("TRUNCATE collections, batches, photos, faces, persons, events, hooks CASCADE"))


@pytest.fixture
def clean(installation: Installation, parts: Parts, request: pytest.FixtureRequest) -> Installation:
    """An installation without photos, messages or cached answers."""
    lasting = installation.lasting
    if lasting and (lasting.file != request.path or "live_app" not in request.fixturenames):
        lasting.end(installation)
    try:
        empty(parts)
    except Unavailable:
        # The test before cut the connections, this one a moment ago: nobody asked whether it still works.
        empty(parts)
    parts.scratch.flushdb()
    if installation.lasting is None:
        parts.queue.flushdb()
    else:
        # What a worker wrote there as it began, and reads again.
        own = ("_kombu.binding.", names.WORKERS, names.WORKER.partition("{")[0])
        for key in parts.queue.scan_iter():
            if not key.decode().startswith(own):
                parts.queue.delete(key)
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
        if clean.lasting is None or worker is not clean.lasting.worker:
            clean.end(worker, signal.SIGKILL)


@pytest.fixture
def hasty_app(web_app: App) -> Iterator[App]:
    """A web service that waits a second for a worker; a test starts those it wants."""
    url, web = start_web(web_app.installation, "web-hasty.log", FACE_SEARCH_TIMEOUT_SECONDS="1")
    yield App(web_app.installation, url, web, web_app.workers)
    web_app.installation.end(web)


@pytest.fixture
def live_app(web_app: App, request: pytest.FixtureRequest) -> App:
    """Web and one worker: a new one, or the only one of a file that is marked `one_worker`."""
    installation = web_app.installation
    if installation.lasting and installation.lasting.worker.poll() is None:
        web_app.workers[1] = installation.lasting.worker
        return web_app
    installation.lasting = None
    worker = web_app.start_worker()
    if request.node.get_closest_marker("one_worker"):
        lasting = installation.lasting = Lasting(request.path, worker)
        module = request.node.getparent(pytest.Module)
        module.addfinalizer(lambda: lasting.end(installation))
    return web_app


@pytest.fixture
def slow_code(installation: Installation) -> str:
    """A PYTHONPATH with which a worker takes `slow:SECONDS` for a photo that ends so."""
    return f"{ROOT / 'tests' / 'standins' / 'slow'}{os.pathsep}{installation.environment['PYTHONPATH']}"
