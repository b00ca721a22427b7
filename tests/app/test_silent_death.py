"""A host of the data dies without a word and comes back: nobody waits for it for ever.

A killed server's kernel closes its connections, and the others know at once. A host without power or behind a
pulled cable says nothing, and after its return it knows of no connection.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import packs
from tests.installation import MAKE_PARTS, App, Installation, start_web, wait_until
from tests.photos import astronaut_again, astronaut_jpeg
from tests.services import Postgres, Redis
from tests.services.far import Far

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2, for a host of its own"
)

AWAY_SECONDS = 10
# The kernel gives a silent connection up after 6 s; all else is room for a busy machine.
NOTICED_SECONDS = 40


@pytest.fixture
def far() -> Iterator[Far]:
    host = Far()
    host.open()
    yield host
    host.close()


@pytest.fixture
def elsewhere(tmp_path: Path, far: Far) -> Iterator[Installation]:
    """An installation whose PostgreSQL and Redis are on a host of their own."""
    before = dict(os.environ)
    postgres, redis, scratch = Postgres(far=far), Redis(far=far), Redis(scratch=True, far=far)
    for server in (postgres, redis):
        server.start()
    made = Installation.make(
        tmp_path, postgres, redis, packs.dlib_pack(), scratch, FACE_WORKER_CONCURRENCY="2"
    )
    yield made
    for process in list(made.processes):
        made.end(process, signal.SIGKILL)
    for server in made.servers:
        server.close()
    os.environ.clear()
    os.environ.update(before)


def lose(installation: Installation, seconds: float = AWAY_SECONDS) -> None:
    """The host of the data loses its power for a while."""
    far = installation.postgres.far
    assert far is not None
    far.pull()
    time.sleep(0.5)
    servers = installation.servers
    for server in servers:
        server.kill()
    far.power_off()
    time.sleep(seconds)
    far.power_on()
    for server in servers:
        server.start()


def waiting(installation: Installation, work: str) -> subprocess.Popen[bytes]:
    """A process of the product that waits for an answer."""
    process = installation.spawn("waiting.log", sys.executable, "-c", MAKE_PARTS + work)
    wait_until(lambda: "asks" in installation.log("waiting.log"), 30, "it to ask")
    time.sleep(1)
    return process


WAITS = {
    "a statement": """
from sqlalchemy import text
with parts.database.single_statements() as connection:
    connection.execute(text("SELECT 1"))
    print("asks", flush=True)
    connection.execute(text("SELECT pg_sleep(3600)"))
""",
    "a reply to a search": """
from face_pipeline.broker import exchange
client = parts.scratch
client.ping()
print("asks", flush=True)
exchange.ask(
    client, "nobody", b"", send=lambda _: None, timeout=300, gone=lambda: False, told=lambda _: None
)
""",
    "the queue": """
with parts.celery.connection() as connection:
    client = connection.default_channel.client
    client.ping()
    print("asks", flush=True)
    client.brpop("nothing", timeout=0)
""",
}


@pytest.mark.campaign("the pipeline goes on after it, as the next test shows")
@pytest.mark.parametrize("what", WAITS)
def test_who_waits_for_a_host_that_died_silently_is_told(elsewhere: Installation, what: str) -> None:
    process = waiting(elsewhere, WAITS[what])
    lose(elsewhere)
    wait_until(lambda: process.poll() is not None, NOTICED_SECONDS, f"an end of the wait for {what}")
    assert process.returncode == 1, "an error, which the caller mends by trying again"
    last = str(elsewhere.log("waiting.log")).strip()[-2000:]
    assert re.search("(ConnectionError|TimeoutError|OperationalError)", last), last


def test_the_pipeline_goes_on_after_its_data_host_lost_power(elsewhere: Installation) -> None:
    app = App(elsewhere, *start_web(elsewhere))
    worker = app.start_worker(FACE_WEB_THREADS="8")
    first = app.upload(("a.jpg", astronaut_jpeg(1))).json()["batch_id"]
    app.wait_finished(first)
    assert app.search(astronaut_again()).status_code == 200
    lose(elsewhere)

    def answered(ask: Any) -> Any:
        answer = ask()
        return answer if answer.status_code < 300 else None

    number = iter(range(10, 1000))
    uploaded = wait_until(
        lambda: answered(lambda: app.upload(("b.jpg", astronaut_jpeg(next(number))))),
        NOTICED_SECONDS, "an upload to be taken", every=1,
    )  # fmt: skip

    def done() -> Any:
        elsewhere.run("reconcile")
        return app.get(f"/api/v1/batches/{uploaded.json()['batch_id']}").json().get("finished")

    wait_until(done, 2 * NOTICED_SECONDS, "a photo to be processed", every=1)
    wait_until(
        lambda: answered(lambda: app.search(astronaut_jpeg(next(number)))),
        NOTICED_SECONDS, "a search to be answered", every=1,
    )  # fmt: skip
    assert worker.poll() is None, "the worker was there all the time"
