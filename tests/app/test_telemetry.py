"""Metrics and log lines, as Prometheus and the log path see them."""

from __future__ import annotations

import json
import re
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.installation import ADMIN_KEY, App, wait_until
from tests.photos import astronaut_again, astronaut_jpeg

# Written by C libraries and by Celery's own shutdown, past every logger.
FOREIGN = re.compile(r"libpng (error|warning)|Restoring \d+ unacknowledged|worker: Warm shutdown|$")
RESERVED = {"host", "error", "event", "log", "service", "process", "agent"}


def _entries(text: str) -> list[dict[str, Any]]:
    """The JSON lines of a log; any other line must be one of those we cannot help."""
    lines = text.splitlines()
    strange = [line for line in lines if not line.startswith("{") and not FOREIGN.match(line)]
    assert strange == []
    return [json.loads(line) for line in lines if line.startswith("{")]


def _values(text: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}"] = sample.value
    return values


def test_metrics_count_what_was_sent(live_app: App) -> None:
    before = _values(live_app.get("/metrics").text)
    body = live_app.upload(("a.jpg", astronaut_jpeg()), ("b.jpg", astronaut_jpeg(1))).json()
    live_app.wait_finished(body["batch_id"])
    for _ in range(3):
        live_app.search(astronaut_again())
    after = _values(live_app.get("/metrics").text)

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
    worker = _values(requests.get(url, timeout=5).text)
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
    assert any(name.startswith("face_recognition_engine_info{") and "pack=dlib" in name for name in worker)


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
        found = _entries(live_app.installation.log(log))
        return [line for line in found if line.get("request_id") == "follow-me-12345"]

    (web_line,) = lines("web.log")
    assert web_line["operation"] == "api.photos.upload"
    assert web_line["status"] == 202
    wait_until(lambda: lines("worker1.log"), 5, "the worker's line")
    worker_line = lines("worker1.log")[-1]
    assert worker_line["operation"] == "ingest"
    assert worker_line["photo_id"] == body["photos"][0]["id"]
    assert worker_line["task_id"]
    assert isinstance(worker_line["duration_seconds"], float)


def test_every_line_is_json_with_the_agreed_fields_and_no_secret(live_app: App) -> None:
    live_app.search(astronaut_jpeg())
    live_app.get("/api/v1/photos/none")
    secrets = [ADMIN_KEY, live_app.installation.postgres.password, live_app.installation.redis.password]
    for log in ("web.log", "worker1.log"):
        text = live_app.installation.log(log)
        assert text
        assert not [secret for secret in secrets if secret in text]
        assert not re.search(r"\[-?0\.\d+, -?0\.\d+, -?0\.\d+", text), "an embedding in a log"
        for entry in _entries(text):
            assert {"timestamp", "service_name", "log_level", "message", "logger"} <= set(entry), entry
            assert not RESERVED & set(entry), entry
