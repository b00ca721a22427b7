"""Who may ask Prometheus and Alertmanager: what the roles write, and whom the real ones then answer."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from face_pipeline.network import http_pool
from face_pipeline.observation.alertmanager import Alertmanager as Told
from face_pipeline.observation.asking import Unobserved
from face_pipeline.observation.prometheus import Prometheus as Asked

from tests.monitoring.passing import passed_on, passes_on_to
from tests.monitoring.rendering import ONE_HOST, ROOT, certificates, certified, play
from tests.services.process import ServicesMissing
from tests.services.prometheus import Alertmanager, Prometheus, bcrypt_hash

USERS = ("grafana", "nginx", "operator", "prometheus", "web")
# Method and path; None: of both.
PATHS = [
    ("prometheus", "GET", "/classic/alerts"),
    ("prometheus", "GET", "/federate?match[]=up"),
    ("prometheus", "GET", "/api/v1/query?query=up"),
    ("prometheus", "POST", "/api/v1/query_range"),
    ("prometheus", "GET", "/api/v1/status/config"),
    ("prometheus", "POST", "/api/v1/admin/tsdb/delete_series"),
    ("prometheus", "GET", "/debug/pprof/cmdline"),
    ("alertmanager", "GET", "/api/v2/alerts"),
    ("alertmanager", "POST", "/api/v2/alerts"),
    ("alertmanager", "GET", "/api/v2/status"),
    ("alertmanager", "POST", "/api/v2/silences"),
    ("alertmanager", "DELETE", "/api/v2/silence/00000000-0000-0000-0000-000000000000"),
    ("alertmanager", "GET", "/debug/pprof/cmdline"),
] + [
    (name, *each)
    for name in ("prometheus", "alertmanager")
    for each in (
        ("GET", "/"), ("GET", "/-/healthy"), ("GET", "/-/ready"), ("GET", "/metrics"), ("POST", "/-/reload"),
        ("OPTIONS", "/metrics"), ("HEAD", "/-/ready"),
    )
]  # fmt: skip
RULE = {"alert": "Own", "expr": "vector(1)", "labels": {"severity": "warning"}}


@dataclass
class Monitors:
    """Both, asked by TLS, with the files that the roles wrote, and what the roles were given."""

    directory: Path
    prometheus: Prometheus
    alertmanager: Alertmanager
    variables: dict[str, Any]

    def given(self, role: str) -> dict[str, Any]:
        """Its variables; what it reads lies in its own directory."""
        files = {
            name: str(getattr(self, role).directory / Path(path).name) for name, path in certified().items()
        }
        return self.variables | files

    def write(self, role: str) -> subprocess.CompletedProcess[str]:
        """Run the role's tasks on the files that the servers have."""
        done = play(role, self.directory / role, ONE_HOST, **self.given(role))
        assert done.returncode == 0, done.stdout + done.stderr
        for server in (self.prometheus, self.alertmanager):
            for path in server.directory.rglob("*"):
                if path.name != "operator.json":
                    server._own(path)
        return done

    def password(self, user: str) -> str:
        return (self.directory / f"secrets/monitoring_{user}_password").read_text().strip()

    def ask(
        self, name: str, method: str, path: str, known: tuple[str, str] | None = None
    ) -> requests.Response:
        server: Prometheus | Alertmanager = getattr(self, name)
        return requests.request(
            method,
            server.url + path,
            auth=known,
            timeout=10,
            allow_redirects=False,
            verify=str(server.authority),
        )


def wait(condition: Callable[[], Any], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


@pytest.fixture(scope="module")
def monitors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitors]:
    try:
        prometheus, alertmanager = Prometheus(), Alertmanager()
    except ServicesMissing as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("access")
    ports = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    ports |= {"prometheus": prometheus.port, "alertmanager": alertmanager.port}
    own = directory / "own.yml"
    own.write_text(yaml.safe_dump({"groups": [{"name": "own", "rules": [RULE]}]}))
    variables = {
        "face_ports": ports,
        "face_secrets_dir": str(directory / "secrets"),
        "face_tls_between_hosts": True,
        "face_scrape_interval": "1s",
        "face_alert_group_wait": "0s",
        "face_extra_rule_files": [str(own)],
        "face_metrics_dir": str(prometheus.directory / "data"),
        "prometheus_config_dir": str(prometheus.directory),
        "prometheus_unit_dir": str(prometheus.directory / "unit"),
        "prometheus_arguments": str(prometheus.directory / "arguments"),
        "alertmanager_config_dir": str(alertmanager.directory),
        "alertmanager_unit_dir": str(alertmanager.directory / "unit"),
        "alertmanager_arguments": str(alertmanager.directory / "arguments"),
        "alertmanager_data_dir": str(alertmanager.directory / "data"),
    }
    made = Monitors(directory, prometheus, alertmanager, variables)
    for role, server in (("alertmanager", alertmanager), ("prometheus", prometheus)):
        for file in certified().values():
            server.write(Path(file).name, Path(file).read_text())
        server.authority = server.directory / "ca.crt"
        made.write(role)
        arguments = (server.directory / "arguments").read_text()
        server.options = tuple(re.findall(r"--(?:web[.]config|cluster[.]listen)\S*=[^\s\"]*", arguments))
        server.known = ("operator", made.password("operator"))
        server.start()
    yield made
    prometheus.close()
    alertmanager.close()


def test_who_does_not_sign_in_is_refused_whatever_is_asked(monitors: Monitors) -> None:
    wrong = (None, ("operator", "wrong"), ("nobody", "wrong"), ("", ""), ("web", monitors.password("nginx")))
    answered = [
        (known, *each)
        for each in PATHS
        for known in wrong
        if monitors.ask(*each, known=known).status_code != 401
    ]
    assert answered == []


@pytest.mark.parametrize("user", USERS)
def test_each_of_its_users_signs_in_with_a_password_of_its_own(monitors: Monitors, user: str) -> None:
    known = (user, monitors.password(user))
    assert monitors.ask("prometheus", "GET", "/api/v1/query?query=up", known).status_code == 200
    assert monitors.ask("alertmanager", "GET", "/api/v2/alerts", known).status_code == 200
    assert len({monitors.password(each) for each in USERS}) == len(USERS)


@pytest.mark.campaign("the scenario `default` does it on a host")
def test_prometheus_reaches_alertmanager_and_asks_both_of_them(monitors: Monitors) -> None:
    def up() -> set[str]:
        found = monitors.prometheus.query("up == 1")
        return {each["metric"]["job"] for each in found}

    wait(lambda: {"prometheus", "alertmanager"} <= up(), 60, "Prometheus to have asked both")
    wait(lambda: "Own" in monitors.alertmanager.states(), 60, "the alert in Alertmanager")


@pytest.mark.parametrize("role", ["alertmanager", "prometheus"])
def test_a_second_run_changes_nothing_and_passwords_are_shown_to_nobody(
    monitors: Monitors, role: str
) -> None:
    done = monitors.write(role)
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0"], done.stdout
    place: Path = getattr(monitors, role).directory
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir() if path.is_file()}
    assert (modes["web.yml"], modes["operator.json"]) == (0o640, 0o600)
    assert role == "alertmanager" or modes["prometheus-password"] == 0o640
    hold = {
        (path.name, user)
        for user in USERS
        for path in place.rglob("*")
        if path.is_file() and monitors.password(user).encode() in path.read_bytes()
    }
    assert hold == {("operator.json", "operator")} | (
        {("prometheus-password", "prometheus")} if role == "prometheus" else set()
    )
    assert not [user for user in USERS if monitors.password(user) in done.stdout]


def test_equal_passwords_of_two_users_have_other_hashes_and_the_next_run_the_same() -> None:
    assert bcrypt_hash("equal", "web") != bcrypt_hash("equal", "nginx")
    assert bcrypt_hash("equal", "web") == bcrypt_hash("equal", "web")
    assert re.fullmatch(r"\$2b\$10\$[./A-Za-z0-9]{53}", bcrypt_hash("equal", "web"))


def test_a_new_password_counts_at_once_and_the_old_one_no_more(monitors: Monitors) -> None:
    old = monitors.password("grafana")
    (monitors.directory / "secrets/monitoring_grafana_password").write_text("n" * 40)
    monitors.write("prometheus")
    query = ("prometheus", "GET", "/api/v1/query?query=up")
    assert monitors.ask(*query, ("grafana", old)).status_code == 401
    assert monitors.ask(*query, ("grafana", "n" * 40)).status_code == 200


@pytest.mark.campaign("the scenario `default` does it on a host")
def test_the_roles_wait_until_each_answers_them(monitors: Monitors) -> None:
    """With the password: it is told to nobody, also where there is no answer."""
    for role in ("prometheus", "alertmanager"):
        tasks = yaml.safe_load((ROOT / f"roles/{role}/tasks/service.yml").read_text())
        (waits,) = ({**task, "retries": 1} for task in tasks if "ansible.builtin.uri" in task)
        done = play(role, monitors.directory / f"wait-{role}", ONE_HOST, [waits], **monitors.given(role))
        assert done.returncode == 0, done.stdout
        away = {**monitors.variables["face_ports"], role: 9}
        done = play(role, monitors.directory / f"wait-{role}", ONE_HOST, [waits],
                    **{**monitors.given(role), "face_ports": away})  # fmt: skip
        assert done.returncode == 2
        assert monitors.password("operator") not in done.stdout + done.stderr


def test_amtool_asks_as_the_operator_without_a_word_about_it(monitors: Monitors) -> None:
    alertmanager = monitors.alertmanager
    # It looks for its settings below the home of who runs it too.
    home = alertmanager.directory / "home/.config/prometheus"
    home.mkdir(parents=True, exist_ok=True)
    settings = (alertmanager.directory / "amtool.yml").read_text()
    access = alertmanager.write("access.json", (alertmanager.directory / "operator.json").read_text())
    (home / "amtool.yml").write_text(settings.replace("operator.json", access.name))

    def amtool(*arguments: str) -> str:
        return alertmanager.run(["env", f"HOME={alertmanager.directory}/home", "amtool", *arguments])

    amtool("silence", "add", "--author=me", "--comment=quiet at night", "--duration=1h", "alertname=Silent")
    assert "quiet at night" in amtool("silence", "query", "--output=json")
    trusting = json.dumps({"tls_config": {"ca_file": str(alertmanager.authority)}})
    access = alertmanager.write("access.json", trusting)
    (home / "amtool.yml").write_text(f"alertmanager.url: {alertmanager.url}\nhttp.config.file: {access}\n")
    with pytest.raises(RuntimeError, match="401"):
        amtool("alert", "query")


def test_verify_asks_prometheus_as_the_operator(monitors: Monitors) -> None:
    program = ROOT / "roles/verify/files/targets.py"
    every = {each["labels"]["job"] for each in monitors.prometheus.targets()}
    left_out = every - {"prometheus", "alertmanager"}

    def ask(access: Path, seconds: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, program, monitors.prometheus.url, access, seconds, *left_out]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)

    done = ask(monitors.prometheus.directory / "operator.json", 60)
    assert done.returncode == 0, done.stderr
    other = monitors.directory / "other.json"
    known = json.loads((monitors.prometheus.directory / "operator.json").read_text())
    other.write_text(json.dumps(known | {"basic_auth": {"username": "operator", "password": "wrong"}}))
    assert "401" in ask(other, 0).stderr
    other.write_text(json.dumps({"basic_auth": known["basic_auth"]}))
    assert "CERTIFICATE_VERIFY_FAILED" in ask(other, 0).stderr


def test_neither_answers_without_tls(monitors: Monitors) -> None:
    for server in (monitors.prometheus, monitors.alertmanager):
        plain = requests.get(f"http://{server.host}:{server.port}/-/ready", auth=server.known, timeout=10)
        assert (plain.status_code, plain.text) == (400, "Client sent an HTTP request to an HTTPS server.\n")


def test_nginx_passes_on_to_a_monitoring_host_alone(monitors: Monitors) -> None:
    assert passes_on_to().count("face_monitoring_name") == 2
    for name, status in (("monitoring.localhost", 401), ("grafana.localhost", 502)):
        assert (
            passed_on(f"{monitors.prometheus.url}/-/ready", name, Path(certified()["face_authority"]))
            == status
        )


def test_the_web_service_asks_who_can_prove_it_alone(monitors: Monitors, tmp_path: Path) -> None:
    certificates.make(tmp_path, certificates.Leaf(tmp_path, []), datetime.now(UTC))
    for server, client in ((monitors.prometheus, Asked), (monitors.alertmanager, Told)):
        good, other = (http_pool(str(file)) for file in (server.authority, tmp_path / "ca.crt"))
        assert isinstance(client(server.url, good, monitors.password("web")).firing(), list)
        with pytest.raises(Unobserved, match=r"cannot prove who it is; run \./face-ansible site\.yml"):
            client(server.url, other, monitors.password("web")).firing()
