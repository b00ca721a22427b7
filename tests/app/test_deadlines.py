"""A photo that takes too long ends as failed, and costs nobody else anything."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from face_pipeline.engine import Analysis
from face_pipeline.engine.types import go_on
from face_pipeline.parts import Parts
from face_pipeline.store.models import Photo
from face_pipeline.worker import tasks
from face_pipeline.worker.runtime import HUNG_EXIT_STATUS, Leases, runtime

from tests.app.test_ledger import add_photo
from tests.installation import MAKE_PARTS, App, Installation, wait_until
from tests.photos import astronaut_jpeg


def _photo(parts: Parts, photo_id: Any) -> Photo:
    with parts.database.transaction() as session:
        return session.get_one(Photo, uuid.UUID(str(photo_id)))


class Endless:
    """An engine whose stages end, and have no end."""

    def __init__(self, contract_id: str) -> None:
        self.contract_id = contract_id

    def analyse(self, *_: Any, check: Callable[[], None] = go_on, **__: Any) -> Analysis:
        while True:
            time.sleep(0.02)
            check()


@pytest.fixture
def endless_worker(clean: Installation, parts: Parts) -> Iterator[None]:
    from face_pipeline.engine import contract_id

    runtime.name = "worker1@tests"
    runtime.parts = parts
    runtime.leases = Leases(parts.database, 9, 0.2)
    runtime.engine = Endless(contract_id(parts.pack))  # type: ignore[assignment]
    yield
    del runtime.parts, runtime.leases, runtime.engine


@pytest.mark.usefixtures("endless_worker")
def test_a_photo_over_its_time_fails_between_two_stages(parts: Parts) -> None:

    photo_id = add_photo(parts, sha256=hashlib.sha256(b"a photo").hexdigest())
    parts.originals.write({_photo(parts, photo_id).sha256: b"a photo"})
    tasks.ingest(None, str(photo_id))  # type: ignore[arg-type]
    photo = _photo(parts, photo_id)
    assert (photo.state, photo.reason_code, photo.attempts) == ("failed", "deadline_exceeded", 1)
    assert "0.2 seconds" in str(photo.reason_message)


def test_a_worker_that_hangs_on_a_photo_ends_and_its_next_life_does_the_others(
    web_app: App, slow_code: str, parts: Parts
) -> None:
    settings = {"PYTHONPATH": slow_code, "FACE_TASK_DEADLINE_SECONDS": "2"}
    worker = web_app.start_worker(1, concurrency=1, **settings)
    hangs = web_app.upload(("hangs.jpg", astronaut_jpeg() + b"slow:600")).json()
    wait_until(lambda: "STANDIN slow 600" in web_app.installation.log("worker1.log"), 20, "the photo")
    others = web_app.upload(*((f"{number}.jpg", astronaut_jpeg(number)) for number in range(3))).json()
    wait_until(lambda: worker.poll() is not None, 60, "the worker to end")
    assert worker.returncode == HUNG_EXIT_STATUS
    photo = _photo(parts, hangs["photos"][0]["id"])
    assert (photo.state, photo.reason_code, photo.attempts) == ("failed", "deadline_exceeded", 1)
    assert "hang beyond their time" in web_app.installation.log("worker1.log")

    # What systemd and the reconciler do. These photos may take long on a busy machine.
    web_app.start_worker(1, concurrency=1)

    def done() -> bool:
        web_app.installation.run("reconcile")
        return bool(web_app.get(f"/api/v1/batches/{others['batch_id']}").json()["states"].get("done") == 3)

    wait_until(done, 60, "the other photos", every=1)


def test_photos_beside_one_that_hangs_are_given_back_without_an_attempt(
    clean: Installation, parts: Parts
) -> None:
    hung, other = add_photo(parts), add_photo(parts)
    code = f"""{MAKE_PARTS}
import time, uuid
from face_pipeline.store import ledger
from face_pipeline.worker.runtime import Leases
with parts.database.single_statements() as connection:
    claims = [
        ledger.claim(connection, uuid.UUID(each), worker="worker1@tests", lease_seconds=60)
        for each in ("{hung}", "{other}")
    ]
leases = Leases(parts.database, 9, 30)
with leases.hold(claims[0]) as first, leases.hold(claims[1]), leases.hold(None):
    first.deadline = time.monotonic() - 60
    leases.start()
    time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", code], env=clean.environment, check=False, timeout=60)
    assert ended.returncode == HUNG_EXIT_STATUS
    assert (_photo(parts, hung).state, _photo(parts, hung).reason_code) == ("failed", "deadline_exceeded")
    assert (_photo(parts, other).state, _photo(parts, other).attempts) == ("received", 0)
