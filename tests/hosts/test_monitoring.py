"""What observes an installed host: real exporters, Prometheus and Alertmanager, with parts stopped for real.

Grafana is not asked here (molecule/cluster does): its panels' queries are, of the Prometheus it would ask.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.hosts.test_host import PHOTOS, SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY, scale
from tests.monitoring.dashboards import MAY_BE_EMPTY, panel_queries
from tests.photos import astronaut_again, astronaut_jpeg

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]

JOBS = {
    "web",
    "celery",
    "node",
    "redis",
    "redis_scratch",
    "postgres",
    "nginx",
    "probe",
    "blackbox",
    "prometheus",
    "alertmanager",
}
# The names users' queries depend on; those of cards need a card.
METRICS = (
    "face_recognition_files_uploaded_total",
    "face_recognition_files_processed_total",
    "face_recognition_file_processing_duration_seconds_bucket",
    "face_recognition_faces_detected_total",
    "face_recognition_face_quality_score_bucket",
    "face_recognition_face_detection_duration_seconds_bucket",
    "face_recognition_searches_total",
    "face_recognition_search_duration_seconds_bucket",
    "face_recognition_cache_hit_ratio",
    "face_recognition_memory_usage_bytes",
    "face_recognition_http_requests_total",
    "celery_workers_active",
    "celery_tasks_pending",
    "celery_tasks_active",
    "celery_tasks_processed_total",
    "celery_task_duration_seconds_bucket",
    "face_recognition_ledger_photos",
    "face_recognition_oldest_waiting_photo_seconds",
    "face_recognition_engine_info",
)
SINK = Path(__file__).with_name("alert_sink.py")
SINK_FILE, HOOK_PORT, MAIL_PORT = "/run/alert-sink.jsonl", 9095, 2525
# Until an alert's own `for` is over, and Alertmanager has sent it.
TOLD_SECONDS = 420


def query(host: Host, expression: str) -> list[dict[str, Any]]:
    answer = host.call("POST", "/prometheus/api/v1/query", data={"query": expression})
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def number(host: Host, expression: str) -> float:
    found = query(host, expression)
    return float(found[0]["value"][1]) if found else 0.0


def all_up(host: Host) -> bool:
    found = query(host, "up")
    return bool(found) and all(each["value"][1] == "1" for each in found)


def test_every_target_is_up(host: Host) -> None:
    scale(2)
    settled(host)
    wait(lambda: all_up(host), 60, "every target to be up")
    found = query(host, "up")
    assert {each["metric"]["job"] for each in found} >= JOBS
    assert all(each["metric"]["host"] for each in found)
    workers = {each["metric"]["worker"] for each in found if each["metric"]["job"] == "celery"}
    assert workers == {"1", "2"}


def test_prometheus_and_alertmanager_are_for_admins_and_nobody_else_reads_metrics(host: Host) -> None:
    for path in ("/prometheus/api/v1/query?query=up", "/alertmanager/api/v2/alerts"):
        assert requests.get(host.url + path, verify=host.ca, timeout=60).status_code == 401
        assert host.call("GET", path).status_code == 200
    assert host.call("GET", "/metrics").status_code == 403
    open_ports = host.run("ss -Hltn | awk '{print $4}'").split()
    public = [
        each for each in open_ports if not each.startswith(("127.0.0.1", "[::1]", "127.0.0.53", "127.0.0.54"))
    ]
    assert {each.rsplit(":", 1)[1] for each in public} <= {"22", "80", "443"}


def test_the_metrics_count_what_was_sent(host: Host) -> None:
    counts = {
        "face_recognition_files_uploaded_total": PHOTOS,
        'face_recognition_files_processed_total{status="success"}': PHOTOS,
        "face_recognition_file_processing_duration_seconds_count": PHOTOS,
        "face_recognition_faces_detected_total": PHOTOS,
        "face_recognition_face_quality_score_count": PHOTOS,
        "face_recognition_face_detection_duration_seconds_count": PHOTOS + 1,
        'face_recognition_searches_total{cache_status="miss"}': 1,
        'face_recognition_searches_total{cache_status="hit"}': 2,
        "face_recognition_search_duration_seconds_count": 3,
        'face_recognition_http_requests_total{endpoint="api.search.search",status="200"}': 3,
        'celery_tasks_processed_total{task="face_pipeline.ingest",status="success"}': PHOTOS,
        'celery_task_duration_seconds_count{task="face_pipeline.search"}': 1,
    }
    # Every series has a value of this life of the host, should it have begun a moment ago.
    warm = host.upload_many("metrics-before")
    wait(lambda: (host.batch(warm) or {}).get("finished"), 120, "the first photos")
    photo, where = {"photo": astronaut_again()}, {"collection": "metrics-before"}
    assert host.call("POST", "/api/v1/search", files=photo, data=where).status_code == 200
    settled(host)
    before = {name: counted(host, name) for name in counts}
    collection = f"metrics-{uuid.uuid4().hex[:8]}"
    batch = host.upload_many(collection)
    wait(lambda: (host.batch(batch) or {}).get("finished"), 120, "the photos")
    # No worker has looked at it yet: what it finds on a photo is kept for a few seconds.
    unseen = astronaut_jpeg(uuid.uuid4().int % 10**6)
    for _ in range(3):
        answer = host.call("POST", "/api/v1/search", files={"photo": unseen}, data={"collection": collection})
        assert answer.status_code == 200
    settled(host)
    grown = {name: counted(host, name) - before[name] for name in counts}
    # On a busy host the reconciler may send a photo's message twice: the second run finds it taken, and
    # counts no file.
    tasks = 'celery_tasks_processed_total{task="face_pipeline.ingest",status="success"}'
    assert grown.pop(tasks) >= counts.pop(tasks)
    assert grown == counts
    assert number(host, "sum(celery_tasks_pending)") == 0
    assert number(host, "celery_workers_active") == 2
    # A target that answers too late is without values until it is asked again.
    wait(lambda: all(query(host, name) for name in METRICS), 60, f"values of all of {METRICS}")


def counted(host: Host, series: str) -> float:
    """Its sum as of now: a Prometheus that was restarted shows for minutes what was before."""
    return number(host, f"sum({series} and timestamp({series}) > time() - 30)")


def settled(host: Host) -> None:
    """Until every target was asked once more than now."""
    began = time.time()
    wait(lambda: number(host, "min(timestamp(up))") > began, 60, "the next scrape of every target")


def shows_data(host: Host, expression: str) -> bool:
    """Whether a panel shows anything: those of the last minutes only while somebody uploads and searches."""
    for attempt in range(6):
        if query(host, expression):
            return True
        photo = astronaut_jpeg(uuid.uuid4().int % 10**6)
        host.call("POST", "/api/v1/photos", files={"photos": ("a.jpg", photo)}, data={"collection": "panels"})
        host.call("POST", "/api/v1/search", files={"photo": astronaut_again()})
        # Two scrapes make a rate.
        time.sleep(5 + attempt)
    return False


def test_every_panel_of_every_dashboard_has_data(host: Host) -> None:
    empty = []
    for dashboard, panel, expression in panel_queries():
        excused = MAY_BE_EMPTY.get(panel) or MAY_BE_EMPTY.get((dashboard, panel))  # type: ignore[call-overload]
        if not excused and not shows_data(host, expression):
            empty.append(f"{dashboard} / {panel}: {expression}")
    assert empty == []


def test_every_rule_is_evaluated_without_an_error(host: Host) -> None:
    groups = host.call("GET", "/prometheus/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len([rule for rule in rules if rule["type"] == "alerting"]) > 30
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    links = {rule["annotations"]["runbook_url"] for rule in rules if rule["type"] == "alerting"}
    for link in sorted(links):
        page = requests.get(link, verify=host.ca, timeout=60)
        assert page.status_code == 200, link
        assert page.url.endswith(".html"), link
        assert page.text.startswith("<!doctype html>"), link


@pytest.fixture(scope="module")
def sink(host: Host) -> Iterator[None]:
    """The receivers this host's inventory names: a web hook and a mail server, on its loopback."""
    settings = host.call("GET", "/alertmanager/api/v2/status").json()["config"]["original"]
    if str(HOOK_PORT) not in settings and "<secret>" not in settings:
        pytest.skip("this host's Alertmanager tells nobody on its loopback (see molecule/default/inventory)")
    host.run(
        "dpkg -s python3-aiosmtpd >/dev/null 2>&1 || DEBIAN_FRONTEND=noninteractive"
        " apt-get install -y -qq --no-install-recommends python3-aiosmtpd >/dev/null 2>&1"
    )
    host.run(f"rm -f {SINK_FILE}; systemctl reset-failed alert-sink 2>/dev/null || true")
    command = f"python3 -B /run/alert_sink.py {SINK_FILE} {HOOK_PORT} {MAIL_PORT}"
    host.run(
        f"cat >/run/alert_sink.py <<'END'\n{SINK.read_text()}\nEND\n"
        f"systemd-run --quiet --unit alert-sink {command}"
    )
    yield
    host.run("systemctl stop alert-sink")


def told(host: Host, by: str, alert: str, status: str) -> bool:
    for line in host.run(f"cat {SINK_FILE} 2>/dev/null", check=False).splitlines():
        entry = json.loads(line)
        if by == "webhook" and entry["by"] == by and (entry["alert"], entry["status"]) == (alert, status):
            return True
        text = f"{entry.get('subject')} {entry.get('body')}"
        if by == "email" and entry["by"] == by and alert in text and status.upper() in text.upper():
            return True
    return False


def expect(host: Host, status: str, *alerts: str) -> None:
    for alert in alerts:
        for by in ("webhook", "email"):
            wait(
                lambda alert=alert, by=by: told(host, by, alert, status),
                TOLD_SECONDS,
                f"{alert} {status} by {by}",
            )


@pytest.mark.usefixtures("sink")
def test_alerts_of_a_stopped_worker_a_full_disk_and_a_failed_photo_are_told_and_resolved(host: Host) -> None:
    scale(2)
    host.run("systemctl stop celery@2")
    host.run("mkdir -p /srv/quota && mount -t tmpfs -o size=64m quota /srv/quota")
    host.run("dd if=/dev/zero of=/srv/quota/full bs=1M count=62 status=none")
    try:
        fail_a_photo(host)
        expect(host, "firing", "CeleryWorkerDown", "HighDiskUsage", "PhotosFailed")
    finally:
        host.run("umount /srv/quota; systemctl start celery@2", check=False)
    expect(host, "resolved", "CeleryWorkerDown", "HighDiskUsage")


def fail_a_photo(host: Host) -> None:
    """One whose original is gone before a worker reads it."""
    host.run("systemctl stop 'celery@1'")
    marker = int(time.time())
    photos = [("photos", ("lost.jpg", astronaut_jpeg(marker)))]
    answer = host.call("POST", "/api/v1/photos", files=photos, data={"collection": "lost"}).json()
    digest = answer["photos"][0]["sha256"]
    host.run(
        f"rm /var/lib/face-pipeline/originals/{digest[:2]}/{digest[2:4]}/{digest}; systemctl start celery@1"
    )
    path = f"/api/v1/photos/{answer['photos'][0]['id']}"
    wait(lambda: host.call("GET", path).json()["state"] == "failed", 120, "the photo to fail")


@pytest.mark.usefixtures("sink")
def test_alerts_of_stopped_redis_and_postgresql_are_told_and_resolved(host: Host) -> None:
    host.run("systemctl stop redis-server postgresql@17-main")
    try:
        # The key is in PostgreSQL: what is behind it cannot be asked now, what is told can.
        expect(host, "firing", "RedisDown", "PostgreSQLDown")
    finally:
        host.run("systemctl start redis-server postgresql@17-main")
    expect(host, "resolved", "RedisDown", "PostgreSQLDown")


@pytest.mark.campaign("tests/hosts/test_scaling.py sees Prometheus forget it")
def test_a_worker_scaled_away_alerts_nobody(host: Host) -> None:
    scale(1)
    try:
        wait(lambda: number(host, "celery_workers_active") == 1, 60, "one worker to be counted")
        # Prometheus takes up changed targets every five seconds: it may miss the worker once before.
        wait(lambda: query(host, 'up{job="celery",worker="2"}') == [], 60, "the worker to be forgotten")
        firing = 'ALERTS{alertname=~"CeleryWorkerDown|TargetDown",worker="2",alertstate="firing"}'
        assert query(host, firing) == []
    finally:
        scale(2)
    wait(lambda: number(host, "celery_workers_active") == 2, 60, "two workers to be counted")


def test_the_target_stops_and_starts_all_that_observes_and_nothing_else(host: Host) -> None:
    units = host.run("systemctl show --property=Wants --value face-monitoring.target").split()
    assert len(units) >= 8
    host.run("systemctl stop face-monitoring.target")
    states = host.run(f"systemctl is-active {' '.join(units)} celery@1 face-web nginx", check=False).split()
    assert states == ["inactive"] * len(units) + ["active"] * 3
    host.run("systemctl start face-monitoring.target")
    states = host.run(f"systemctl is-active {' '.join(units)}", check=False).split()
    assert set(states) == {"active"}
    wait(lambda: host.call("GET", "/prometheus/-/ready").status_code == 200, 60, "Prometheus")
    wait(lambda: all_up(host), 60, "every target to be up")
