"""What waits, who works on it, and how fast it goes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.broker import names, presence
from face_pipeline.parts import Parts
from face_pipeline.worker.presence import Counts
from sqlalchemy import text

from tests.app import stock
from tests.app.test_keys_api import by, make
from tests.installation import App, wait_until
from tests.photos import astronaut_jpeg

JOBS = "/api/v1/jobs"


def saying(name: str = "worker1@one", **values: Any) -> presence.Saying:
    plain = presence.Saying(
        name=name, host="one", instance=1, release="r1", threads=4, busy=1, tasks=7,
        done={"60": 30, "300": 60, "900": 90}, failed={"60": 6, "300": 6, "900": 6},
        provider="CPUExecutionProvider", pack="dlib", contract="dlib-1", started_at=1.7e9,
        host_workers=2, by_hand=False,
    )  # fmt: skip
    return replace(plain, **values)


@pytest.fixture(autouse=True)
def _nobody_spoke(parts: Parts) -> None:
    for name in [*parts.queue.scan_iter("face:worker:*"), names.WORKERS]:
        parts.queue.delete(name)


def test_the_jobs_of_an_installation_without_workers(web_app: App, parts: Parts) -> None:
    stock.photo(parts, state="received")
    stock.photo(parts, state="failed")
    stock.photo(parts, None)
    told = web_app.get(JOBS).json()
    assert told["workers"] == []
    photos = told["photos"]
    assert photos.pop("oldest_waiting_seconds") >= 0
    assert photos == {"waiting": 1, "processing": 0, "done_today": 1, "failed": 1}
    assert {each["name"] for each in told["queues"]} == {"search", "ingest"}
    assert (told["scaling"]["wanted"], told["scaling"]["running"]) == (None, 0)
    assert "playbooks/scale.yml -e workers=N" in told["scaling"]["words"]
    assert [each["done"] for each in told["rates"]] == [0, 0, 0]


def test_what_was_done_yesterday_is_not_of_today_and_is_not_looked_at(web_app: App, parts: Parts) -> None:
    for _ in range(2):
        stock.photo(parts)
    with parts.database.transaction() as session:
        session.execute(
            text(
                "UPDATE photos SET finished_at = now() - interval '25 hours' "
                "WHERE id = (SELECT id FROM photos LIMIT 1)"
            )
        )
    assert web_app.get(JOBS).json()["photos"]["done_today"] == 1
    with parts.database.transaction() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        query = "SELECT count(*) FROM photos WHERE finished_at >= now() - interval '1 day' AND state = 'done'"
        plan = session.scalars(text(f"EXPLAIN {query}")).all()
    assert any("photos_finished" in line for line in plan), plan


def test_a_worker_tells_of_itself_until_it_ends(web_app: App, parts: Parts) -> None:
    process = web_app.start_worker()

    def workers() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = web_app.get(JOBS).json()["workers"]
        return found

    wait_until(workers, 60, "the worker to tell of itself")
    batch = web_app.upload(("a.jpg", astronaut_jpeg())).json()["batch_id"]
    web_app.wait_finished(batch)
    wait_until(lambda: workers()[0]["tasks_done"] >= 1, 60, "the worker to tell of its task")
    (worker,) = workers()
    assert (worker["alive"], worker["pack"]) == (True, parts.pack.name)
    assert worker["provider"]
    assert worker["threads"] >= 1
    told = web_app.get(JOBS).json()
    assert told["scaling"]["running"] == 1
    assert told["rates"][-1]["done"] >= 1
    process.terminate()
    wait_until(lambda: not workers(), 60, "the worker that ended to be gone")


def test_rates_and_wanted_workers_are_those_of_all_hosts(web_app: App, parts: Parts) -> None:
    for said in (
        saying(), saying("worker2@one", instance=2),
        saying("worker1@two", host="two", host_workers=3, by_hand=True),
    ):  # fmt: skip
        presence.say(parts.queue, said)
    told = web_app.get(JOBS).json()
    assert [each["unit"] for each in told["workers"]] == [
        "celery@1.service", "celery@2.service", "celery@1.service",
    ]  # fmt: skip
    assert [each["photos_last_minute"] for each in told["workers"]] == [36, 36, 36]
    first = told["rates"][0]
    assert (first["seconds"], first["done"], first["done_per_second"]) == (60, 90, 1.5)
    assert (first["failed"], first["failed_per_second"]) == (18, 0.3)
    scaling = told["scaling"]
    assert (scaling["wanted"], scaling["running"], scaling["by_hand"]) == (5, 3, True)


def test_a_worker_that_is_silent_is_told_as_dead_and_counts_no_more(web_app: App, parts: Parts) -> None:
    presence.say(parts.queue, saying())
    # As if it had spoken a minute ago.
    left = round(1000 * (presence.FORGET_SECONDS - 60))
    parts.queue.pexpire(names.WORKER.format(name="worker1@one"), left)
    told = web_app.get(JOBS).json()
    (worker,) = told["workers"]
    assert (worker["alive"], told["scaling"]["running"], told["rates"][0]["done"]) == (False, 0, 0)
    assert worker["last_heard_seconds"] >= 60
    assert told["scaling"]["wanted"] == 2
    parts.queue.delete(names.WORKER.format(name="worker1@one"))
    assert web_app.get(JOBS).json()["workers"] == []
    assert parts.queue.smembers(names.WORKERS) == set()


def test_what_another_release_says_breaks_nothing(web_app: App, parts: Parts) -> None:
    parts.queue.sadd(names.WORKERS, "worker9@old")
    parts.queue.set(names.WORKER.format(name="worker9@old"), json.dumps({"name": "worker9@old"}), ex=60)
    assert web_app.get(JOBS).json()["workers"] == []


def test_jobs_are_for_readers(web_app: App) -> None:
    reader, writer = (by(make(web_app, scopes=[scope])) for scope in ("read", "write"))
    assert web_app.get(JOBS, headers=reader).status_code == 200
    assert web_app.get(JOBS, headers=writer).json()["error"]["code"] == "scope_missing"


def test_photos_of_the_last_seconds_are_counted_and_older_ones_are_not() -> None:
    counts = Counts()
    for second in range(100):
        counts.photo(done=True, now=1000 + second)
        counts.photo(done=False, now=1000 + second)
    assert counts.within(10, now=1099) == (10, 10)
    assert counts.within(900, now=1099) == (100, 100)
    assert counts.within(60, now=1300) == (0, 0)


def test_a_host_without_a_number_of_workers_says_none(tmp_path: Path) -> None:
    assert presence.remembered(tmp_path / "none.json") == presence.Remembered()
