"""Metrics and log lines, as Prometheus and the log path see them."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import sqlalchemy
from face_pipeline.parts import Parts
from face_pipeline.telemetry.logging import EXTRA_FIELDS, LineFormatter
from face_pipeline.telemetry.redact import clean as clean_text
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import DBAPIError

from tests.installation import ADMIN_KEY, App, Installation, start_web, wait_until
from tests.photos import ROOT, astronaut_again, astronaut_jpeg
from tests.services.process import free_port
from tests.services.redis import passwords

WRONG_KEY = "fp_" + "z9Y8" * 10
EMBEDDING = re.compile(r"(-?\d+\.\d+,\s*){3}")
KNOWN = {
    "timestamp", "service_name", "log_level", "logger", "message", "exception", "request_id", "task_id",
    *EXTRA_FIELDS,
}  # fmt: skip
RESERVED = {"host", "error", "event", "log", "service", "process", "agent"}


# Of each log, how long it was when the first test of this file looked: a worker of another may have been
# killed, and what C libraries printed then is plain text.
BEGUN: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _begun(request: pytest.FixtureRequest) -> None:
    if "live_app" in request.fixturenames:
        app: App = request.getfixturevalue("live_app")
        for log in ("web.log", "worker1.log"):
            BEGUN.setdefault(log, len(app.installation.log(log)))


def _told(app: App, log: str) -> list[dict[str, Any]]:
    return _entries(app.installation.log(log)[BEGUN[log] :])


def _entries(text: str) -> list[dict[str, Any]]:
    """The lines of a log: each is JSON, also what C libraries and Celery print past every logger."""
    return [json.loads(line) for line in text.splitlines()]


def values(text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}"] = sample.value
    return values


def test_metrics_count_what_was_sent(live_app: App) -> None:
    before = values(live_app.get("/metrics").text)
    body = live_app.upload(("a.jpg", astronaut_jpeg()), ("b.jpg", astronaut_jpeg(1))).json()
    live_app.wait_finished(body["batch_id"])
    for _ in range(3):
        live_app.search(astronaut_again())
    after = values(live_app.get("/metrics").text)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("face_recognition_files_uploaded_total{}") == 2
    assert grown("face_recognition_searches_total{cache_status=miss}") == 1
    assert grown("face_recognition_searches_total{cache_status=hit}") == 2
    assert grown("face_recognition_search_duration_seconds_count{}") == 3
    assert (
        grown("face_recognition_http_requests_total{endpoint=api.search.search,method=POST,status=200}") == 3
    )
    assert after["face_recognition_cache_hit_ratio{}"] == 2 / 3
    assert grown("face_recognition_http_request_duration_seconds_count{endpoint=api.search.search}") == 3
    assert after["celery_tasks_pending{queue=ingest}"] == 0
    assert after["face_recognition_ledger_photos{state=queued}"] == 0
    assert after["face_recognition_ledger_photos{state=failed}"] == 0
    assert after["face_recognition_build_info{release=development,version=0.1.0}"] == 1
    assert after["face_recognition_memory_usage_bytes{type=resident}"] > 1e6

    # What others know is theirs to tell.
    assert not any(
        name.startswith(("celery_tasks_active", "face_recognition_files_processed")) for name in after
    )

    url = live_app.workers[1].metrics_url  # type: ignore[attr-defined]
    worker = values(requests.get(url, timeout=5).text)
    assert worker["face_recognition_files_processed_total{status=success}"] == 2
    assert worker["face_recognition_files_processed_total{status=failed}"] == 0
    assert worker["face_recognition_file_processing_duration_seconds_count{}"] == 2
    assert worker["face_recognition_faces_detected_total{}"] == 2
    assert worker["face_recognition_face_quality_score_count{}"] == 2
    assert worker["face_recognition_face_detection_duration_seconds_count{}"] == 3
    assert worker["celery_tasks_processed_total{status=success,task=face_pipeline.ingest}"] == 2
    # There from the start, so that Prometheus sees the step to a first failure.
    assert worker["celery_tasks_processed_total{status=failure,task=face_pipeline.search}"] == 0
    assert worker["celery_worker_concurrency{}"] == 2
    assert not any(name.endswith("_created") or "gpu" in name or "searches" in name for name in worker)
    (engine,) = (name for name in worker if name.startswith("face_recognition_engine_info{"))
    assert "pack=dlib" in engine
    assert "profile=exact" in engine


def test_each_request_is_counted_once_with_the_status_it_got(web_app: App) -> None:
    def counted() -> dict[str, float]:
        scraped = values(web_app.get("/metrics").text)
        return {
            name.partition("{")[2]: count
            for name, count in scraped.items()
            if name.startswith("face_recognition_http_requests_total") and "prometheus_metrics" not in name
        }

    before = counted()
    for _ in range(8):  # More than one of gunicorn's processes answers, whichever is asked for the numbers.
        web_app.get("/api/v1/photos")
    web_app.get("/unknown/1")
    web_app.get("/unknown/2")
    web_app.request("BREW", "/unknown/3")
    web_app.request("HEAD", "/health/live")
    web_app.request("PUT", "/api/v1/photos")
    web_app.get(f"/api/v1/photos/{uuid.uuid4()}")
    web_app.get("/api/v1/photos?limit=no")
    web_app.get("/api/v1/photos", headers={"Authorization": "Bearer fp_wrong"})
    after = counted()
    assert {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name)} == {
        "endpoint=api.photos.list_photos,method=GET,status=200}": 8,
        "endpoint=none,method=GET,status=404}": 2,
        "endpoint=none,method=other,status=404}": 1,
        "endpoint=health.live,method=HEAD,status=200}": 1,
        "endpoint=none,method=PUT,status=405}": 1,
        "endpoint=api.photos.show,method=GET,status=404}": 1,
        "endpoint=api.photos.list_photos,method=GET,status=400}": 1,
        "endpoint=api.photos.list_photos,method=GET,status=401}": 1,
    }


def test_metrics_come_in_the_format_and_the_part_that_was_asked_for(web_app: App) -> None:
    plain = web_app.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    assert "flask_" not in plain.text, "the library's own metrics beside ours"
    wanted = {"name[]": ["celery_tasks_pending", "face_recognition_files_uploaded_total"]}
    names = {name.partition("{")[0] for name in values(web_app.get("/metrics", params=wanted).text)}
    assert names == {"celery_tasks_pending", "face_recognition_files_uploaded_total"}
    prometheus = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    open_metrics = web_app.get("/metrics", headers=prometheus)
    assert open_metrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")
    samples = {
        sample.name
        for family in parser.text_string_to_metric_families(open_metrics.text)
        for sample in family.samples
    }
    assert {"face_recognition_http_requests_total", "celery_tasks_pending"} <= samples


def test_no_metric_names_a_photo_or_person(live_app: App) -> None:
    body = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(body["batch_id"])
    live_app.get(f"/api/v1/photos/{body['photos'][0]['id']}")
    live_app.get("/some/path/nobody/knows")
    text = (
        live_app.get("/metrics").text
        + requests.get(
            live_app.workers[1].metrics_url,  # type: ignore[attr-defined]
            timeout=5,
        ).text
    )
    assert "Eileen" not in text
    assert body["photos"][0]["id"] not in text
    assert "nobody" not in text


def test_one_request_id_leads_from_the_request_to_the_task(live_app: App) -> None:
    headers = {"X-Request-ID": "follow-me-12345"}
    body = live_app.request(
        "POST", "/api/v1/photos", files={"photos": ("a.jpg", astronaut_jpeg())}, headers=headers
    ).json()
    live_app.wait_finished(body["batch_id"])

    def lines(log: str) -> list[dict[str, object]]:
        found = _told(live_app, log)
        return [line for line in found if line.get("request_id") == "follow-me-12345"]

    accepted, web_line = lines("web.log")
    assert accepted["operation"] == "upload"
    assert accepted["batch_id"] == body["batch_id"]
    assert accepted["photo_id"] == [body["photos"][0]["id"]]
    assert web_line["operation"] == "api.photos.upload"
    assert (web_line["method"], web_line["path"]) == ("POST", "/api/v1/photos")
    assert web_line["status"] == 202
    wait_until(lambda: lines("worker1.log"), 60, "the worker's line")
    worker_line = lines("worker1.log")[-1]
    assert worker_line["operation"] == "ingest"
    assert worker_line["photo_id"] == body["photos"][0]["id"]
    assert worker_line["task_id"]
    assert worker_line["outcome"] == "success"
    assert worker_line["count"] == 1
    _assert_stages(worker_line, "read", "decode", "detect", "align", "embed", "store")


def _assert_stages(line: dict[str, Any], *stages: str) -> None:
    """They are numbers, and together no longer than the task."""
    took = [line[f"{stage}_seconds"] for stage in stages]
    assert all(isinstance(seconds, float) and seconds >= 0 for seconds in took)
    assert 0 < sum(took) <= line["duration_seconds"] + 0.001


def _of(app: App, log: str, request_id: str) -> list[dict[str, Any]]:
    return [line for line in _told(app, log) if line.get("request_id") == request_id]


def test_one_request_id_and_one_task_id_lead_through_a_search(live_app: App) -> None:
    for number in (1, 2):
        live_app.request(
            "POST", "/api/v1/search", files={"photo": ("q.jpg", astronaut_again())},
            headers={"X-Request-ID": f"search-for-me-{number}"},
        )  # fmt: skip
    answered, request = _of(live_app, "web.log", "search-for-me-1")
    wait_until(lambda: _of(live_app, "worker1.log", "search-for-me-1"), 60, "the worker's line")
    (analysed,) = _of(live_app, "worker1.log", "search-for-me-1")
    assert answered["operation"] == analysed["operation"] == "search"
    assert answered["outcome"] == "miss"
    assert analysed["outcome"] == "success"
    assert answered["task_id"] == request["task_id"] == analysed["task_id"]
    assert 0 < answered["wait_seconds"] + answered["match_seconds"] <= answered["duration_seconds"] + 0.001
    _assert_stages(analysed, "decode", "detect", "align", "embed")

    answered, request = _of(live_app, "web.log", "search-for-me-2")
    assert answered["outcome"] == "hit"
    assert not {"task_id", "wait_seconds"} & set(answered)
    assert not _of(live_app, "worker1.log", "search-for-me-2")


def test_a_refused_request_says_why(live_app: App) -> None:
    live_app.get(f"/api/v1/photos/{uuid.uuid4()}", headers={"X-Request-ID": "refuse-me-12345"})
    (line,) = _of(live_app, "web.log", "refuse-me-12345")
    assert line["status"] == 404
    assert line["reason_code"] == "photo_not_found"


def test_a_photo_whose_message_was_lost_keeps_its_request_id(web_app: App, parts: Parts) -> None:
    installation = web_app.installation
    body = web_app.request(
        "POST", "/api/v1/photos", files={"photos": ("a.jpg", astronaut_jpeg(7))},
        headers={"X-Request-ID": "lose-me-123456"},
    ).json()  # fmt: skip
    photo_id = body["photos"][0]["id"]
    parts.queue.delete("ingest")

    def came_back() -> list[dict[str, Any]]:
        return _entries(installation.run("reconcile").stdout)

    (line,) = wait_until(came_back, 20, "the reconciler to queue it again", every=1)
    assert line["operation"] == "reconcile"
    assert line["photo_id"] == [photo_id]
    web_app.start_worker()
    web_app.wait_finished(body["batch_id"])
    wait_until(lambda: _of(web_app, "worker1.log", "lose-me-123456"), 60, "the worker's line")


def _assert_harmless(installation: Installation, text: str) -> None:
    """Fields as agreed, and nothing secret, personal or biometric."""
    never = [
        ADMIN_KEY, WRONG_KEY, installation.postgres.password, *passwords().values(),
        "a secret of the tests", "Eileen", "private", base64.b64encode(astronaut_jpeg())[30:90].decode(),
    ]  # fmt: skip
    assert text
    assert not [secret for secret in never if secret in text]
    assert not EMBEDDING.search(text), "an embedding in a log"
    assert "\\xff\\xd8" not in text, "bytes of a photo in a log"
    for entry in _entries(text):
        assert {"timestamp", "service_name", "log_level", "message", "logger"} <= set(entry), entry
        assert set(entry) <= KNOWN, entry
        assert not RESERVED & set(entry), entry
        assert isinstance(entry.get("status", 0), int), entry


@contextmanager
def environment(installation: Installation, **settings: str) -> Iterator[None]:
    before = dict(installation.environment)
    installation.environment.update(settings)
    yield
    installation.environment.clear()
    installation.environment.update(before)


def test_every_line_has_the_agreed_fields_and_nothing_secret_at_the_lowest_level(clean: Installation) -> None:
    with environment(clean, FACE_LOG_LEVEL="DEBUG"):
        app = App(clean, *start_web(clean, "debug.log"))
        app.start_worker(7)
        broken = astronaut_jpeg()[:3000] + b"\xff\xd9"
        files = (("private.jpg", astronaut_jpeg()), ("broken.jpg", broken), ("text.jpg", b"no photo"))
        body = app.upload(*files, person="Eileen Collins").json()
        app.wait_finished(body["batch_id"])
        app.search(astronaut_jpeg())
        app.search(broken)
        app.get("/api/v1/photos/none?person=Eileen")
        app.get("/api/v1/photos", headers={"Authorization": f"Bearer {WRONG_KEY}"})
        app.get(f"/api/v1/{WRONG_KEY}")
        requests.post(f"{app.url}/session", json={"api_key": WRONG_KEY}, timeout=5)
        requests.post(f"{app.url}/session", json={"api_key": ADMIN_KEY}, timeout=5)
        clean.end(app.workers[7])
        clean.end(app.web)
    for log in ("debug.log", "worker7.log"):
        _assert_harmless(clean, clean.log(log))


def test_processes_that_reach_nothing_tell_no_secret(clean: Installation) -> None:
    with environment(clean, FACE_DATABASE_PORT=str(free_port()), FACE_REDIS_PORT=str(free_port())):
        app = App(clean, *start_web(clean, "lost.log"))
        worker = app.start_worker(8, wait=False)
        assert app.get("/api/v1/photos").status_code == 503
        assert app.search(astronaut_jpeg()).status_code == 503
        wait_until(lambda: "Cannot connect" in clean.log("worker8.log"), 60, "the worker to miss Redis")
        clean.end(worker, signal.SIGKILL)
        clean.end(app.web)
    for log in ("lost.log", "worker8.log"):
        assert '"ERROR"' in clean.log(log)
        _assert_harmless(clean, clean.log(log))


def _logged(error: Exception) -> str:
    """The line of an exception that was caught."""
    record = logging.LogRecord("tests", logging.ERROR, __file__, 1, "%s", (error,), None)
    record.exc_info = (type(error), error, error.__traceback__)
    return LineFormatter("tests").format(record)


def test_what_a_database_quotes_of_a_row_stays_out_of_the_log(clean: Installation, parts: Parts) -> None:
    embedding = [0.01 * number - 0.5 for number in range(128)]
    statements = (
        ("SELECT cast(:vector AS halfvec) <#> '[1,2]'::halfvec", str(embedding)),
        ("SELECT cast(:vector AS integer)", str(embedding)),
        ("SELECT no_such_function(cast(:vector AS text))", astronaut_jpeg()[:500]),
        ("SELECT cast(:vector AS integer)", base64.b64encode(astronaut_jpeg()[:600]).decode()),
        ("SELECT cast(:vector AS integer)", ADMIN_KEY),
    )
    for statement, value in statements:
        with pytest.raises(DBAPIError) as caught, parts.database.transaction() as session:
            session.execute(sqlalchemy.text(statement), {"vector": value})
        line = _logged(caught.value)
        assert "hidden" in line
        _assert_harmless(clean, line)


def test_a_password_stays_out_of_the_log_however_an_exception_quotes_it(
    clean: Installation, parts: Parts
) -> None:
    settings = parts.settings
    for text in (
        f"cannot connect to {settings.redis_url}",
        f"invalid dsn: postgresql://face:{settings.credential('database_password')}@127.0.0.1/face",
        f"missing = after {settings.credential('database_password')!r}",
        "https://user:hunter2@mirror.example/",
    ):
        line = _logged(RuntimeError(text))
        _assert_harmless(clean, line)
        assert "hunter2" not in line


def test_a_long_exception_keeps_its_ends_and_fits_a_line_of_the_journal() -> None:
    entry = json.loads(line := _logged(RuntimeError("first " + "\n" * 100_000 + " last")))
    assert entry["exception"].startswith("RuntimeError: first")
    assert entry["exception"].endswith(" last")
    assert len(line) < 48 * 1024


def test_ordinary_words_are_not_taken_for_secrets() -> None:
    for text in (
        f"the original {'ab' * 32} is not in /var/lib/face-pipeline/originals",
        "1, 2, 3, 4, 5, 6, 7 workers on 10.0.0.1, 10.0.0.2, 10.0.0.3", "https://photos.example/originals/ab/cd",
        "Redis does not answer at 127.0.0.1:6379: Error 111 connecting",
        "follow-me-12345 11111111-1111-4111-8111-111111111111",
    ):  # fmt: skip
        assert clean_text(text) == text


def _memory(code: str) -> dict[str, int]:
    """What a process of its own says of its memory after `code`."""
    told = """
import json, os, sys
from face_pipeline.telemetry.metrics import MemoryCollector
def memory():
    (family,) = MemoryCollector().collect()
    return {sample.labels["type"]: sample.value for sample in family.samples}
"""
    done = subprocess.run(
        [sys.executable, "-c", told + code, told],
        env={**os.environ, "PYTHONPATH": str(ROOT / "app")},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_the_most_memory_a_process_had_is_never_less_than_it_has() -> None:
    worst = _memory("""
held, worst = [], None
for _ in range(400):
    held.append(bytearray(b"x") * 300_000)
    now = memory()
    worst = min(worst or now, now, key=lambda each: each["peak"] - each["resident"])
print(json.dumps(worst))
""")  # fmt: skip
    assert worst["peak"] >= worst["resident"] > 0


def test_the_most_memory_stays_when_it_is_given_back() -> None:
    found = _memory("held = bytearray(300_000_000); del held\nprint(json.dumps(memory()))")
    assert found["peak"] > 300e6 > found["resident"]


def test_the_most_memory_is_not_that_of_what_started_the_process() -> None:
    found = _memory("""
held = bytearray(b"x") * 300_000_000
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1] + "print(json.dumps(memory()))"])
""")
    assert found["peak"] < 200e6


def test_the_installations_own_smoke_test_is_not_counted_among_the_users(live_app: App) -> None:
    before = values(live_app.get("/metrics").text)
    for agent in ("face-pipeline-verify", "curl/8"):
        live_app.request("GET", f"/api/v1/batches/{uuid.uuid4()}", headers={"User-Agent": agent})
    after = values(live_app.get("/metrics").text)

    def grown(endpoint: str) -> float:
        return sum(
            value - before.get(name, 0)
            for name, value in after.items()
            if name.startswith("face_recognition_http_requests_total{") and f"endpoint={endpoint}" in name
        )

    assert grown("verify") == 1
    assert grown("api.") == 1
