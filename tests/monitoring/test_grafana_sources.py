"""Grafana's plugins and data sources as the role asks for them, through the stand-in of molecule/cluster.

Prometheus and Alertmanager are Debian's own. Of Elasticsearch there is what Grafana asks of it, with the
rights of a role.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.test_grafana_role import MONITORING_PASSWORD, PASSWORD, ROOT, Grafana, install, play
from tests.services.process import ServicesMissing
from tests.services.prometheus import Alertmanager, Prometheus

READER = json.loads((ROOT / "files/elasticsearch/role-logs_reader.json").read_text())
KNOWN_BY = f"Basic {b64encode(b'grafana_reader:' + b'e' * 40).decode()}"


class Elastic(BaseHTTPRequestHandler):
    """GET / and /_cluster/health need the cluster privilege `monitor`; who is not known gets 401."""

    role: dict[str, Any] = READER
    state = "green"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        status, answer = 404, {"error": self.path}
        if self.headers.get("Authorization") != KNOWN_BY:
            status, answer = 401, {"error": "security_exception"}
        elif not {"monitor", "manage", "all"} & set(self.role.get("cluster", [])):
            status, answer = 403, {"error": "security_exception"}
        elif self.path == "/":
            status, answer = 200, {"version": {"build_flavor": "default"}}  # type: ignore[dict-item]
        elif self.path == "/_cluster/health?wait_for_status=yellow":
            status, answer = (408 if self.state == "red" else 200), {"status": self.state}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    key, made = directory / "key.pem", directory / "ca.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


@pytest.fixture(autouse=True)
def well() -> None:
    Elastic.role, Elastic.state = {**READER, "cluster": ["monitor"]}, "green"


@pytest.fixture(scope="module")
def elastic(certificate: tuple[Path, Path]) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elastic)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def monitors() -> Iterator[dict[str, int]]:
    try:
        users = {"grafana": MONITORING_PASSWORD}
        services = {"prometheus": Prometheus(users=users), "alertmanager": Alertmanager(users=users)}
    except ServicesMissing as error:
        pytest.skip(str(error))
    services["prometheus"].configuration.write_text("global: {scrape_interval: 15s}\n")
    route = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    services["alertmanager"].configuration.write_text(yaml.safe_dump(route))
    for service in services.values():
        service.start()
    yield {name: service.port for name, service in services.items()}
    for service in services.values():
        service.close()


@pytest.fixture(scope="module")
def ports(monitors: dict[str, int], elastic: int) -> dict[str, int]:
    return {**monitors, "elasticsearch": elastic}


class Asked:
    """The role's last tasks, run against the stand-in."""

    def __init__(self, grafana: Grafana, ports: dict[str, int]) -> None:
        known = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
        self.grafana = grafana
        self.given = {
            "face_ports": {**known, **ports, "grafana": grafana.port},
            "face_secrets": {"grafana_password": PASSWORD},
            "grafana_source_seconds": 2,
        }

    def by(self, part: str) -> subprocess.CompletedProcess[str]:
        tasks = [{"ansible.builtin.import_role": {"name": "grafana", "tasks_from": part}}]
        return play(self.grafana.directory / "asked", tasks, **self.given)

    def told(self, part: str) -> str:
        """The one line of a failure."""
        done = self.by(part)
        assert done.returncode == 2, done.stdout
        assert PASSWORD not in done.stdout
        return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int], certificate: tuple[Path, Path]
) -> Iterator[Asked]:
    grafana = install(tmp_path_factory.mktemp("grafana"), certificate[0].read_text(), **ports)
    process = grafana.start()
    yield Asked(grafana, ports)
    process.terminate()
    said, _ = process.communicate(timeout=10)
    assert "STAND-IN was asked what it does not know" not in said


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_all_that_the_dashboards_need_is_there(asked: Asked) -> None:
    for part in ("sources", "health"):
        done = asked.by(part)
        assert done.returncode == 0, done.stdout
        assert "changed=0" in done.stdout


def test_the_rights_of_the_readers_role_are_enough_for_grafana(asked: Asked) -> None:
    """Without `monitor` Grafana calls its source not healthy, and draws nothing of it."""
    Elastic.role = READER
    assert asked.by("health").returncode == 0


def test_a_reader_without_the_right_to_ask_is_told_with_the_command_that_tries_again(asked: Asked) -> None:
    Elastic.role = {"cluster": []}
    told = asked.told("health")
    assert (
        "clu1: Grafana is installed and shows all but the logs: its source Elasticsearch, https://localhost:"
        in told
    )
    assert "(Health check failed: Failed to get data source info)" in told
    assert "then: ./face-ansible playbooks/grafana.yml -i " in told


def test_an_elasticsearch_that_is_not_ready_is_told_in_its_own_words(asked: Asked) -> None:
    Elastic.state = "red"
    assert "(Health check failed: Elasticsearch data source is not healthy. Request timed out)" in asked.told(
        "health"
    )


def test_a_source_that_is_away_is_named_and_the_others_are_not(
    tmp_path: Path, ports: dict[str, int], certificate: tuple[Path, Path]
) -> None:
    grafana = install(tmp_path, certificate[0].read_text(), **{**ports, "prometheus": 9, "elasticsearch": 9})
    process = grafana.start()
    try:
        there = Asked(grafana, {**ports, "prometheus": 9, "elasticsearch": 9})
        told = there.told("sources")
        assert (
            'Grafana cannot use its source Prometheus, http://127.0.0.1:9 (Post "http://127.0.0.1:9/api/v1/query":'
            in told
        )
        assert "There was an error returned querying the Prometheus API." in told
        assert "mend it (./face-ansible playbooks/monitoring.yml --tags prometheus -i " in told
        assert "source Alertmanager" not in told.split("Say which of Grafana's plugins and sources")[1]
        assert "(Health check failed: Failed to get data source info)" in there.told("health")
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_an_alertmanager_that_is_away_is_named(
    tmp_path: Path, ports: dict[str, int], certificate: tuple[Path, Path]
) -> None:
    """Grafana itself knows no health of it: that is asked as its page does, through Grafana."""
    grafana = install(tmp_path, certificate[0].read_text(), **{**ports, "alertmanager": 9})
    process = grafana.start()
    try:
        assert (
            grafana.get("/api/datasources/uid/alertmanager/health").json()["messageId"]
            == "plugin.unavailable"
        )
        told = Asked(grafana, {**ports, "alertmanager": 9}).told("sources")
        assert "Grafana cannot use its source Alertmanager, http://127.0.0.1:9 (Status code was 502" in told
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.mark.campaign("a source that is away is told in the same way")
@pytest.mark.parametrize(("uid", "name"), [("prometheus", "Prometheus"), ("alertmanager", "Alertmanager")])
def test_a_source_that_does_not_take_its_password_is_named(
    uid: str, name: str, tmp_path: Path, ports: dict[str, int], certificate: tuple[Path, Path]
) -> None:
    grafana = install(tmp_path, certificate[0].read_text(), **ports)
    (grafana.directory / "etc/face-monitoring-password").write_text("another one")
    process = grafana.start()
    try:
        told = Asked(grafana, ports).told("sources")
        assert f"Grafana cannot use its source {name}, http://127.0.0.1:{ports[uid]}" in told
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.mark.campaign("it is what a vendor's new package lacks")
def test_a_package_without_a_plugin_is_told_with_the_variable_of_its_version(
    tmp_path: Path, ports: dict[str, int], certificate: tuple[Path, Path]
) -> None:
    grafana = install(tmp_path, certificate[0].read_text(), **ports)
    process = grafana.start(STANDIN_WITHOUT="elasticsearch")
    try:
        told = Asked(grafana, ports).told("sources")
        assert "has no plugin elasticsearch (Plugin not found, no installed plugin with that id)" in told
        assert "set face_grafana_version to a release whose package brings it" in told
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_a_call_that_the_stand_in_does_not_know_is_loud(asked: Asked) -> None:
    copy = install(asked.grafana.directory / "other")
    process = copy.start()
    assert copy.get("/api/no-such-thing").status_code == 501
    assert copy.get("/api/dashboards/uid/none").status_code == 404
    process.terminate()
    said, _ = process.communicate(timeout=10)
    assert '"msg": "STAND-IN was asked what it does not know"' in said
    assert "/api/no-such-thing" in said
