"""What happens to accepted photos when parts die. Every photo must end in `done`, and be written once."""

from __future__ import annotations

import collections
import json
import signal
import sys
import time
import uuid
from typing import Any

import pytest
from face_pipeline.errors import DatabaseUnavailable
from face_pipeline.ops import outlasting
from face_pipeline.parts import Parts
from face_pipeline.store.models import Face, Photo
from sqlalchemy import func, select

from tests.installation import App, Installation, wait_until
from tests.patience import PATIENCE
from tests.photos import astronaut_jpeg

PHOTOS = 50
COMMAND = (sys.executable, "-m", "face_pipeline.cli")
# Lease (15 s) + timer (10 s) + start, with room for a busy machine.
RECOVERY_SECONDS = 180


def _upload_many(app: App, count: int = PHOTOS) -> str:
    answer = app.upload(*((f"{n}.jpg", astronaut_jpeg(n)) for n in range(count)))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["batch_id"])


def _states(parts: Parts) -> dict[str, int]:
    with parts.database.transaction() as session:
        return {
            row[0]: row[1] for row in session.execute(select(Photo.state, func.count()).group_by(Photo.state))
        }


def _all_done(parts: Parts, count: int) -> bool:
    return _states(parts) == {"done": count}


def _reconcile_until_done(parts: Parts, installation: Installation, count: int, seconds: float) -> None:
    """What face-reconciler.timer does on a host, until every photo is done."""

    def step() -> bool:
        installation.run("reconcile")
        return _all_done(parts, count)

    try:
        wait_until(step, seconds, f"{count} photos to be done", every=2)
    except AssertionError as error:
        raise AssertionError(f"{error}; now {_states(parts)}") from None


def _each_face_once(parts: Parts, count: int) -> None:
    with parts.database.transaction() as session:
        faces = session.execute(select(Face.photo_id, func.count()).group_by(Face.photo_id)).all()
    assert collections.Counter(number for _, number in faces) == {1: count}


@pytest.mark.campaign("tests/hosts/test_host.py kills one on a host")
def test_photos_survive_a_killed_worker(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    _upload_many(web_app)
    wait_until(lambda: _states(parts).get("done", 0) >= 3, 120, "the first photos")
    web_app.installation.end(worker, signal.SIGKILL)
    assert not _all_done(parts, PHOTOS)
    web_app.start_worker(2)
    _reconcile_until_done(parts, web_app.installation, PHOTOS, 240)
    _each_face_once(parts, PHOTOS)


def test_a_killed_worker_takes_its_photos_up_again_when_it_returns(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker(FACE_LEASE_SECONDS="600")
    _upload_many(web_app, 20)
    wait_until(lambda: _states(parts).get("processing"), 120, "a photo under way")
    web_app.installation.end(worker, signal.SIGKILL)
    # Far sooner than the lease lapses by itself.
    web_app.start_worker(FACE_LEASE_SECONDS="600")
    wait_until(
        lambda: not _states(parts).get("processing") or _all_done(parts, 20),
        120,
        "the lease to be given back at start",
    )
    _reconcile_until_done(parts, web_app.installation, 20, 240)
    _each_face_once(parts, 20)


@pytest.mark.campaign("tests/hosts/test_host.py stops Redis on a host")
def test_a_busy_worker_survives_a_restart_of_redis(web_app: App, parts: Parts) -> None:
    """The reason for the pinned pair of celery and kombu: 5.7 exits here, 5.6 runs tasks twice."""
    worker = web_app.start_worker()
    _upload_many(web_app)
    wait_until(lambda: _states(parts).get("processing"), 120, "a photo under way")
    web_app.installation.redis.restart()
    _reconcile_until_done(parts, web_app.installation, PHOTOS, 240)
    _each_face_once(parts, PHOTOS)
    assert worker.poll() is None, "the worker ended"


def test_photos_survive_a_redis_that_forgets_everything(web_app: App, parts: Parts) -> None:
    _upload_many(web_app)
    parts.queue.flushall()
    web_app.start_worker()
    time.sleep(5.5)  # rows younger than the grace period may have a message on its way
    _reconcile_until_done(parts, web_app.installation, PHOTOS, RECOVERY_SECONDS)
    _each_face_once(parts, PHOTOS)


@pytest.mark.campaign("tests/hosts/test_host.py stops Redis on a host")
def test_uploads_are_kept_while_redis_is_down_and_go_on_when_it_is_back(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    web_app.installation.redis.stop()
    try:
        began = time.monotonic()
        _upload_many(web_app, 5)
        assert time.monotonic() - began < 20, "an upload must not wait for Redis"
        assert _states(parts) == {"received": 5}
        search = web_app.search(astronaut_jpeg())
        assert search.status_code == 503
        assert search.json()["error"]["code"] == "search_unavailable"
        assert "Retry-After" in search.headers
        ready = web_app.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "ok")
    finally:
        web_app.installation.redis.start()
    _reconcile_until_done(parts, web_app.installation, 5, RECOVERY_SECONDS)
    assert web_app.search(astronaut_jpeg()).status_code == 200
    assert worker.poll() is None


def test_uploads_answer_503_while_the_database_is_down_and_nothing_is_half_written(
    live_app: App, parts: Parts
) -> None:
    live_app.installation.postgres.stop()
    try:
        answer = live_app.upload(("a.jpg", astronaut_jpeg()))
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "database_unavailable"
        assert int(answer.headers["Retry-After"]) > 0
        assert live_app.get("/health/live").status_code == 200
    finally:
        live_app.installation.postgres.start()
    wait_until(lambda: live_app.get("/health/ready").ok, 120, "the service to be ready again")
    assert _states(parts) == {}
    batch = _upload_many(live_app, 2)
    assert live_app.wait_finished(batch)["states"]["done"] == 2


@pytest.mark.campaign("tests/hosts/test_killed.py kills PostgreSQL on a host")
def test_work_under_way_waits_for_a_database_that_restarts(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    _upload_many(web_app, 20)
    wait_until(lambda: _states(parts).get("processing"), 120, "a photo under way")
    web_app.installation.postgres.stop()
    time.sleep(3)
    web_app.installation.postgres.start()
    _reconcile_until_done(parts, web_app.installation, 20, 240)
    _each_face_once(parts, 20)
    assert worker.poll() is None


def test_a_stopped_worker_ends_its_tasks_first(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    _upload_many(web_app, 10)
    wait_until(lambda: _states(parts).get("processing"), 120, "a photo under way")
    assert web_app.installation.end(worker) == 0
    states = _states(parts)
    assert "processing" not in states
    assert states["queued"] + states["done"] == 10


def test_a_photo_that_ends_every_worker_is_given_up_with_its_reason(
    clean: Installation, parts: Parts
) -> None:
    from tests.app.test_ledger import add_photo

    photo_id = add_photo(parts)
    for _ in range(parts.settings.task_max_attempts):
        _claim_and_lapse(parts, photo_id)
        clean.run("reconcile")
    with parts.database.transaction() as session:
        photo = session.get_one(Photo, photo_id)
        assert (photo.state, photo.reason_code) == ("failed", "worker_lost")


def _claim_and_lapse(parts: Parts, photo_id: uuid.UUID) -> Any:
    from face_pipeline.store import ledger

    with parts.database.single_statements() as connection:
        held = ledger.claim(connection, photo_id, worker="gone@tests", lease_seconds=-1)
    assert held is not None
    return held


def _said(installation: Installation) -> list[str]:
    lines = installation.log("reconciler.log").splitlines()
    return [json.loads(line)["message"] for line in lines]


def test_a_reconciler_that_stays_brings_back_what_is_lost_and_outlives_the_database(
    web_app: App, parts: Parts
) -> None:
    installation = web_app.installation
    process = installation.spawn("reconciler.log", *COMMAND, "reconcile", "--every", "1s")
    try:
        _upload_many(web_app, 5)
        parts.queue.flushall()
        web_app.start_worker()
        wait_until(lambda: _all_done(parts, 5), RECOVERY_SECONDS, "the photos to be done")

        installation.postgres.stop()
        away = "lost work stays lost for now"
        wait_until(lambda: any(away in line for line in _said(installation)), 60, "a word of the database")
        time.sleep(3)
        installation.postgres.start()
        back = "lost work is looked for again"
        wait_until(lambda: back in _said(installation), 120, "the database to be back")
        # Said once, however often it was tried.
        assert sum(away in line for line in _said(installation)) == 1

        _upload_many(web_app, 10)
        parts.queue.flushall()
        wait_until(lambda: _all_done(parts, 10), RECOVERY_SECONDS, "the photos of after it to be done")
    finally:
        assert installation.end(process, signal.SIGTERM) == 0


def test_a_reconciler_that_stays_ends_after_its_time(clean: Installation) -> None:
    assert clean.run("reconcile", "--every", "1s", "--for", "2s").returncode == 0


@pytest.mark.parametrize("command", ["cluster", "index"])
def test_a_run_of_a_timer_outlasts_a_restart_of_the_database(clean: Installation, command: str) -> None:
    log = f"{command}.log"
    clean.postgres.stop()
    try:
        process = clean.spawn(log, *COMMAND, command)
        wait_until(lambda: "the run begins again" in clean.log(log), 60, "a word of the database")
        assert process.poll() is None
    finally:
        clean.postgres.start()
    assert process.wait(timeout=60 * PATIENCE) == 0, clean.log(log)


def test_a_run_of_a_timer_ends_where_the_database_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlasting, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(outlasting, "LASTS_SECONDS", 0.1)
    tries = []

    def work() -> None:
        tries.append(time.monotonic())
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable):
        outlasting.outlast(work)
    assert len(tries) > 1
