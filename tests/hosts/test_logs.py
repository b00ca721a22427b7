"""One request's lines on an installed host: in the journal, and in Elasticsearch where the host has it.

What needs the Elastic stack skips without it. With stand-ins of its packages (molecule/cluster) these tests
show that a line goes the whole way, also after an outage; not that the vendor's programs take it.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.test_host import SUMMARY, Host, wait
from tests.photos import astronaut_jpeg

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(not SUMMARY, reason="needs an installed host (FACE_HOST_SUMMARY, see ./quickstart)"),
]

ARRIVE_SECONDS = 90
# The stages of one photo, each with a line of its own.
SERVICES = {"nginx", "face-web", "face-worker"}
STAGES = {"decode_seconds", "detect_seconds", "embed_seconds", "store_seconds"}


def kibana() -> dict[str, Any]:
    if not SUMMARY:
        return {}
    found: dict[str, Any] = json.loads(Path(SUMMARY).read_text()).get("components", {}).get("kibana", {})
    return found


needs_elastic = pytest.mark.skipif(
    kibana().get("state") != "running",
    reason=f"needs a host with the Elastic stack (here: {kibana().get('reason') or 'not said'})",
)


def secret(host: Host, name: str) -> str:
    return (Path(host.ca).parent / name).read_text().strip()


def put_in(host: Host) -> str:
    """A photo; its request id."""
    request = f"logs-{uuid.uuid4().hex}"
    answer = host.call(
        "POST", "/api/v1/photos",
        files=[("photos", ("log.jpg", astronaut_jpeg(uuid.uuid4().int % 10**8)))],
        data={"collection": "logs"}, headers={"X-Request-ID": request},
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    path = f"/api/v1/photos/{answer.json()['photos'][0]['id']}"
    wait(lambda: host.call("GET", path).json()["state"] == "done", 60, "the photo")
    return request


def log_keeper(host: Host) -> Host:
    """The host that keeps the logs, by the same means as `host` where it is another one."""
    ssh = json.loads(Path(str(SUMMARY)).read_text()).get("log_ssh", host.ssh)
    return Host(host.url, ssh, host.ca, host.key)


def everywhere(host: Host, command: str, stdin: str = "") -> str:
    """What it prints on each host; nothing found is no fault."""
    others = json.loads(Path(str(SUMMARY)).read_text()).get("other_ssh", [])
    hosts = [host, *(Host(host.url, ssh, host.ca, host.key) for ssh in others)]
    return "".join(one.run(command, check=False, stdin=stdin) for one in hosts)


def elasticsearch(host: Host, path: str, body: Any = None) -> Any:
    """The answer, as the administrator, or None. Password and body go by standard input."""
    # On the host that Filebeat sends to, which may be another one.
    where = host.run(r"sed -nE 's/^ +hosts: \[\"(.*):[0-9]+\"\]$/\1/p' /etc/filebeat/filebeat.yml").strip()
    lines = [
        f'url = "https://{where}:9200{path}"',
        f'user = "elastic:{secret(host, "elastic_password")}"',
        'cacert = "/etc/filebeat/face-ca.crt"',
    ]
    if body is not None:
        quoted = json.dumps(json.dumps(body))
        lines += ['header = "Content-Type: application/json"', f"data = {quoted}"]
    said = host.run("curl --silent --max-time 20 --config -", check=False, stdin="\n".join(lines))
    return json.loads(said) if said else None


def lines_of(host: Host, request: str) -> list[dict[str, Any]]:
    found = elasticsearch(
        host,
        "/face-recognition-logs-*/_search",
        {"size": 100, "query": {"term": {"request_id": request}}},
    )
    return [hit["_source"] for hit in found["hits"]["hits"]] if found and "hits" in found else []


def arrived(host: Host, request: str) -> list[dict[str, Any]]:
    def complete() -> list[dict[str, Any]] | None:
        lines = lines_of(host, request)
        return lines if {line["service_name"] for line in lines} >= SERVICES else None

    found: list[dict[str, Any]] = wait(complete, ARRIVE_SECONDS, f"the lines of {request} in Elasticsearch")
    return found


def test_one_photo_is_followed_from_nginx_to_the_worker(host: Host) -> None:
    request = put_in(host)
    shown = everywhere(host, f"face-pipeline trail {request} --json").splitlines()
    lines = [json.loads(line) for line in shown]
    assert {line["service_name"] for line in lines} >= SERVICES
    task = next(line for line in lines if line["service_name"] == "face-worker")
    assert task["operation"] == "ingest"
    assert set(task) >= STAGES
    # The id of the photo leads to the same lines.
    again = everywhere(host, f"face-pipeline trail {task['photo_id']} --json").splitlines()
    assert {json.loads(line)["request_id"] for line in again} >= {request}
    table = host.run(f"face-pipeline trail {request}")
    assert table.startswith("TIME (UTC)")
    assert "POST /api/v1/photos" in table


def test_the_workers_journal_is_json_line_by_line(host: Host) -> None:
    put_in(host)
    lines = everywhere(
        host, "journalctl -u 'celery@*' -o cat --since -2min _COMM=celery _TRANSPORT=stdout"
    ).splitlines()
    assert lines
    for line in lines:
        assert {"timestamp", "service_name", "log_level", "message"} <= set(json.loads(line)), line


def test_the_level_changes_at_run_time_and_back(host: Host) -> None:
    def debug(since: str) -> bool:
        lines = everywhere(host, f"journalctl -u 'celery@*' -o cat --since '{since}'")
        return '"log_level": "DEBUG"' in lines

    host.run("face-pipeline log-level DEBUG --for 2m --service face-worker")
    try:
        since = host.run("date '+%F %T'").strip()
        time.sleep(6)
        put_in(host)
        wait(lambda: debug(since), 120, "a line of the level DEBUG")
    finally:
        host.run("face-pipeline log-level default --service face-worker")
    time.sleep(7)
    since = host.run("date '+%F %T'").strip()
    put_in(host)
    assert not debug(since)


def test_no_log_holds_a_secret_a_file_name_or_a_face(host: Host) -> None:
    """Every secret of the installation, and what users sent, against every log of the host."""
    name, person = f"holiday-{uuid.uuid4().hex[:8]}.jpg", f"Nobody {uuid.uuid4().hex[:8]}"
    answer = host.call(
        "POST", "/api/v1/photos",
        files=[("photos", (name, astronaut_jpeg(uuid.uuid4().int % 10**8)))],
        data={"collection": "logs", "person": person},
    )  # fmt: skip
    path = f"/api/v1/photos/{answer.json()['photos'][0]['id']}"
    wait(lambda: host.call("GET", path).json()["state"] == "done", 60, "the photo")
    host.call(
        "POST", "/api/v1/search", files={"photo": (name, astronaut_jpeg())}, data={"collection": "logs"}
    )
    # A key in a wrong place, too: nobody's log keeps what a caller put into an address.
    host.call("GET", f"/api/v1/photos?person={person}", headers={"X-API-Key": host.key})
    secrets = [
        file.read_text().strip()
        for file in Path(host.ca).parent.iterdir()
        if file.is_file() and not file.suffix and file.stat().st_size < 200
    ]
    assert host.key in secrets
    assert len(secrets) >= 15
    searched = (
        "{ journalctl --no-pager --output=cat; find /var/log -name journal -prune -o -type f -print0"
        " | xargs -0 zcat -f 2>/dev/null; } | grep -aFf /dev/fd/3"
    )
    wanted = "\n".join([*secrets, name, person])
    found = everywhere(host, f"bash -c {json.dumps(f'exec 3<&0; {searched}')}", stdin=wanted)
    assert found == ""


@needs_elastic
def test_kibana_finds_the_request_its_task_and_its_timing(host: Host) -> None:
    lines = arrived(host, put_in(host))
    for line in lines:
        assert {"@timestamp", "environment", "host", "log_level", "message"} <= set(line), line
    task = next(line for line in lines if line["service_name"] == "face-worker")
    assert set(task) >= STAGES | {"task_id", "photo_id", "duration_seconds"}
    http = next(line for line in lines if line["service_name"] == "nginx")
    assert http["status"] == 202
    assert http["method"] == "POST"
    assert http["path"] == "/api/v1/photos"


@needs_elastic
def test_the_servers_own_logs_arrive_too(host: Host) -> None:
    for kind in ("postgresql", "redis", "system"):
        found = elasticsearch(host, f"/filebeat-{kind}/_count")
        assert found, kind
        assert found["count"] > 0, kind


@needs_elastic
@pytest.mark.parametrize("away", ["elasticsearch", "logstash"])
def test_what_is_logged_while_a_part_is_away_arrives_afterwards(host: Host, away: str) -> None:
    keeper = log_keeper(host)
    keeper.run(f"systemctl stop {away}")
    try:
        requests = [put_in(host) for _ in range(3)]
        time.sleep(15)
    finally:
        keeper.run(f"systemctl start {away}")
    for request in requests:
        lines = arrived(host, request)
        one_of_each = [(line["service_name"], line.get("operation"), line["message"]) for line in lines]
        assert len(one_of_each) == len(set(one_of_each)), "each line once"


@needs_elastic
def test_kibana_is_behind_the_proxy_with_its_own_sign_in(host: Host) -> None:
    page = "/kibana/api/data_views/data_view/face-recognition-logs"

    def ask(password: str) -> Any:
        return host.call("GET", page, headers={"Authorization": ""}, auth=("operator", password))

    answer = ask(secret(host, "logs_reader_password"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["data_view"]["title"] == "face-recognition-logs-*"
    assert ask("wrong").status_code == 401
    # The key of our own API opens nothing there.
    assert host.call("GET", page).status_code in (400, 401)


@needs_elastic
def test_prometheus_sees_the_log_path(host: Host) -> None:
    def values() -> dict[str, str]:
        expression = '{__name__=~"face_logstash_up|face_filebeat_up"} or up{job="elasticsearch"}'
        answer = host.call("POST", "/prometheus/api/v1/query", data={"query": expression}).json()
        return {each["metric"]["__name__"]: each["value"][1] for each in answer["data"]["result"]}

    wanted = {"up": "1", "face_logstash_up": "1", "face_filebeat_up": "1"}
    wait(lambda: values() == wanted, 60, "each part of the log path to be up")
