"""Prometheus and Alertmanager behind a real nginx: it signs in there for admins, and for nobody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import yaml

from tests.app.test_flower import NOT_A_WEB_SOCKET, PASSWORD, ROLES, render
from tests.installation import Installation
from tests.photos import ROOT
from tests.services import Nginx
from tests.services.process import ServicesMissing, free_port
from tests.services.prometheus import Alertmanager, Prometheus

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
QUERY, ALERTS = "/prometheus/api/v1/query?query=up", "/alertmanager/api/v2/alerts"


@dataclass
class Front:
    url: str
    key: str
    nginx: Nginx
    monitors: tuple[Prometheus | Alertmanager, ...]

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, self.url + path, verify=False, allow_redirects=False, timeout=30, **options
        )

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="module")
def front(
    installation: Installation,
    web_url: tuple[str, subprocess.Popen[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    users = {"nginx": PASSWORD, "operator": "another password"}
    try:
        prometheus = Prometheus(users=users)
        alertmanager = Alertmanager("--cluster.listen-address=", users=users)
    except ServicesMissing as error:
        pytest.skip(str(error))
    prometheus.configuration.write_text("global: {scrape_interval: 15s}\n")
    route = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    alertmanager.configuration.write_text(yaml.safe_dump(route))
    ports = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    ports |= {
        "http": free_port(), "https": "{port}",
        "prometheus": prometheus.port, "alertmanager": alertmanager.port,
    }  # fmt: skip
    directory = tmp_path_factory.mktemp("front")
    # nginx sees one directory of this host alone, whose name `{directory}` stands for.
    files = render(
        directory, face_ports=ports, face_current="{directory}", face_data_dir="{directory}",
        face_config_dir="{directory}", face_tls_dir="{directory}", face_web_socket=NOT_A_WEB_SOCKET,
        face_flower_enabled=False, face_monitoring_enabled=True, nginx_grafana=False,
        nginx_monitoring="{directory}/nginx-monitoring.conf",
    )  # fmt: skip
    site = files["face-pipeline.conf"].replace(f"unix:{NOT_A_WEB_SOCKET}", web_url[0].removeprefix("http://"))
    nginx = Nginx(f"events {{}} http {{ {site.replace('/var/log/nginx', '{directory}')} }}")
    nginx.write("nginx-monitoring.conf", files["nginx-monitoring.conf"])
    tls = directory / "tls"
    subprocess.run(
        [sys.executable, ROLES / "certificates/files/make_certificate.py", tls, "localhost"], check=True
    )
    nginx.write("server.pem", (tls / "server.key").read_text() + (tls / "server.crt").read_text())
    with prometheus, alertmanager, nginx:
        yield Front(
            f"https://localhost:{nginx.port}", installation.api_key, nginx, (prometheus, alertmanager)
        )


def test_an_admin_reads_and_silences_without_a_password_of_their_own(front: Front) -> None:
    assert front.ask("GET", QUERY, headers=front.admin).json()["status"] == "success"
    assert front.ask("GET", QUERY, headers={"X-API-Key": front.key}).status_code == 200
    assert front.ask("GET", ALERTS, headers=front.admin).json() == []
    now = datetime.now(UTC)
    silence = {
        "matchers": [{"name": "alertname", "value": "Any", "isRegex": False}],
        "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "me", "comment": "quiet",
    }  # fmt: skip
    made = front.ask("POST", "/alertmanager/api/v2/silences", json=silence, headers=front.admin)
    assert made.status_code == 200, made.text


@pytest.mark.parametrize("path", [QUERY, ALERTS])
def test_nobody_else_gets_through_nor_who_knows_a_password_of_theirs(front: Front, path: str) -> None:
    for known in (None, ("operator", "another password"), ("nginx", PASSWORD)):
        answer = front.ask("GET", path, auth=known)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert "WWW-Authenticate" not in answer.headers


def test_a_browser_is_not_asked_for_the_password_that_nginx_has_wrong(front: Front) -> None:
    for each in front.monitors:
        each.write("web.yml", "basic_auth_users: {nobody: $2b$10$" + "." * 53 + "}\n")
    for path in (QUERY, ALERTS):
        answer = front.ask("GET", path, headers=front.admin)
        assert answer.status_code == 401
        assert "WWW-Authenticate" not in answer.headers
