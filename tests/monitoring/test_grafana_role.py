"""The role `grafana` without a host: what it writes, its key, repository and stand-in of molecule/cluster.

Grafana itself is not here: the stand-in takes the same files, strictly. What the real one draws nothing says.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.hardening import drop_in
from tests.monitoring.passing import passed_on
from tests.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "grafana"
STANDIN = ROOT / "molecule" / "cluster" / "standin"
DASHBOARDS = sorted((ROOT / "files" / "grafana" / "dashboards").glob("*.json"))
PASSWORD = "first-password-of-the-tests"
# Of the user `grafana` at Prometheus and Alertmanager.
MONITORING_PASSWORD = "m" * 40

needs_apt = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "dpkg-deb", "apt-get"))), reason="needs gpg, dpkg-deb and apt-get"
)


def play(
    directory: Path, tasks: list[dict[str, Any]], *options: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run tasks on this machine with the variables of the product, the role and molecule/cluster."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "group_vars").exists():
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
    files = [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")]
    playbook = [{"hosts": "clu1", "gather_facts": False, "vars_files": files, "tasks": tasks}]
    (directory / "play.yml").write_text(yaml.safe_dump(playbook))
    # Here, and as if there were but one host.
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "face_single_host": True,
    }
    inventory = str(ROOT / "molecule/cluster/inventory/hosts.yml")
    command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", inventory, *options]
    return subprocess.run(
        [*command, str(directory / "play.yml"), "-e", json.dumps({**local, **variables})],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_FILTER_PLUGINS": str(ROLE / "filter_plugins")},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Grafana:
    """The stand-in over what the role's templates make, with every path below `directory`."""

    directory: Path
    port: int
    # Of the authority by which it is asked, where that is by TLS.
    authority: Path | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    @property
    def verified(self) -> str | bool:
        return str(self.authority or True)

    @property
    def settings(self) -> Path:
        return self.directory / "etc/grafana.ini"

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, str(STANDIN / "grafana"), *map(str, arguments)]

    def start(self, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(
                "server", f"--config={self.settings}", "--packaging=deb", "cfg:default.paths.data=/none"
            ),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        while process.poll() is None:
            try:
                requests.get(f"{self.url}/api/health", timeout=1, verify=self.verified)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        return process

    def refusal(self) -> str:
        """Its last words, of a start that must fail."""
        process = self.start()
        process.terminate()
        said, _ = process.communicate(timeout=10)
        assert process.returncode == 1, said
        message: str = json.loads(said.splitlines()[-1])["msg"]
        return message

    def get(self, path: str, password: str | None = PASSWORD) -> requests.Response:
        known = ("admin", password) if password else None
        return requests.get(
            self.url + path, auth=known, timeout=5, allow_redirects=False, verify=self.verified
        )

    def change(self, file: str, old: str, new: str) -> None:
        path = self.directory / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def install(directory: Path, authority: str = "the authority", tls: bool = False, **ports: int) -> Grafana:
    """What the role's templates and secrets make, below `directory`, with these ports of the product.

    With `tls` as between hosts, with a certificate of an authority that is made.
    """
    etc, port = directory / "etc", free_port()
    shown = etc / "dashboards/face-pipeline"
    for made in (shown, etc / "provisioning/datasources", etc / "provisioning/dashboards"):
        made.mkdir(parents=True)
    samples: list[Path] = []
    for uid in ("face-overview", "face-workers"):
        sample: dict[str, Any] = {"uid": uid, "title": uid.title(), "id": None, "panels": [], "tags": []}
        samples.append(shown / f"{uid}.json")
        samples[-1].write_text(json.dumps(sample))
    (etc / "face-admin-password").write_text(f"{PASSWORD}\n")
    (etc / "face-secret-key").write_text("k" * 40)
    (etc / "face-monitoring-password").write_text(MONITORING_PASSWORD)
    (etc / "face-elasticsearch-password").write_text("e" * 40)
    (etc / "face-ca.crt").write_text(authority)
    known = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    written = {
        "grafana.ini": "grafana.ini",
        "datasources.yaml": "provisioning/datasources/face-pipeline.yaml",
        "dashboards.yaml": "provisioning/dashboards/face-pipeline.yaml",
    }
    tasks = [
        {"ansible.builtin.template": {"src": str(ROLE / f"templates/{source}.j2"), "dest": str(etc / target)}}
        for source, target in written.items()
    ]
    tasks.append(drop_in("grafana", etc / "face-hardening.conf"))
    if tls:
        configure = yaml.safe_load((ROLE / "tasks/configure.yml").read_text())
        tasks += [task for task in configure if "certificates_name" in task.get("vars", {})]
        del tasks[-1]["notify"]
    done = play(
        directory / "play",
        tasks,
        grafana_config_dir=str(etc),
        grafana_data_dir=str(directory / "data"),
        grafana_dashboard_files=[str(sample) for sample in samples],
        face_ports={**known, **ports, "grafana": port},
        face_tls_between_hosts=tls,
        face_secrets_dir=str(directory / "secrets"),
        certificates_owner=os.getuid(),
        certificates_group=os.getgid(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Grafana(directory, port, directory / "secrets/ca.crt" if tls else None)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Grafana:
    return install(tmp_path_factory.mktemp("grafana"))


@pytest.fixture
def grafana(rendered: Grafana, tmp_path: Path) -> Grafana:
    """A copy that a test may change."""
    shutil.copytree(rendered.directory / "etc", tmp_path / "etc")
    copy = Grafana(tmp_path, rendered.port)
    for file in ("grafana.ini", "provisioning/dashboards/face-pipeline.yaml"):
        copy.change(f"etc/{file}", str(rendered.directory), str(tmp_path))
    return copy


@pytest.fixture
def running(grafana: Grafana) -> Iterator[Grafana]:
    process = grafana.start()
    yield grafana
    process.terminate()
    process.wait(timeout=10)


def test_the_admin_signs_in_with_the_generated_password_alone(running: Grafana) -> None:
    assert running.get("/api/health", None).json()["database"] == "ok"
    assert running.get("/api/user").json()["login"] == "admin"
    assert running.get("/api/user", "admin").status_code == 401
    assert running.get("/api/user", None).status_code == 401
    assert running.get("/", None).headers["Location"] == "/grafana/login"
    # nginx takes the prefix away: whoever leaves it finds nothing.
    assert running.get("/grafana/api/health").status_code == 404


def test_the_sign_in_page_sets_a_strict_cookie_for_its_path(running: Grafana) -> None:
    given = {"user": "admin", "password": PASSWORD}
    answer = requests.post(f"{running.url}/login", json=given, timeout=5)
    cookie = answer.headers["Set-Cookie"]
    assert all(part in cookie for part in ("Path=/grafana;", "Secure", "SameSite=Strict", "HttpOnly"))
    away = {"Origin": "https://elsewhere.example"}
    assert requests.post(f"{running.url}/login", json=given, headers=away, timeout=5).status_code == 403


def test_sources_dashboards_and_the_first_page_are_there(running: Grafana) -> None:
    sources = {entry["uid"]: entry for entry in running.get("/api/datasources").json()}
    assert set(sources) == {"prometheus", "alertmanager", "elasticsearch"}
    assert sources["elasticsearch"]["url"] == "https://localhost:9200"
    assert sources["prometheus"]["url"] == "http://127.0.0.1:9090"
    assert sources["prometheus"]["isDefault"]
    assert sources["alertmanager"]["jsonData"]["implementation"] == "prometheus"
    found = running.get("/api/search?type=dash-db").json()
    assert {(entry["uid"], entry["folderTitle"]) for entry in found} == {
        ("face-overview", "Face Pipeline"),
        ("face-workers", "Face Pipeline"),
    }
    assert running.get("/api/dashboards/home").json()["dashboard"]["uid"] == "face-overview"
    (running.directory / "etc/dashboards/face-pipeline/face-workers.json").unlink()
    assert running.get("/api/dashboards/uid/face-workers").status_code == 404


def test_nothing_leaves_the_host(running: Grafana) -> None:
    settings = running.get("/api/admin/settings").json()
    off = {
        "analytics": (
            "reporting_enabled",
            "check_for_updates",
            "check_for_plugin_updates",
            "feedback_links_enabled",
        ),
        "news": ("news_feed_enabled",),
        "snapshots": ("external_enabled",),
        "plugins": ("plugin_admin_enabled",),
        "users": ("allow_sign_up",),
        "auth.anonymous": ("enabled",),
    }
    assert [key for section, keys in off.items() for key in keys if settings[section][key] != "false"] == []
    assert settings["plugins"]["preinstall_disabled"] == "true"
    assert settings["plugins"]["public_key_retrieval_disabled"] == "true"
    assert settings["security"]["disable_gravatar"] == "true"


def test_a_new_password_is_set_by_the_roles_own_command(grafana: Grafana) -> None:
    """The password's file is read once: another content changes nothing until the role sets it."""
    first = grafana.start()
    first.terminate()
    first.wait(timeout=10)
    grafana.change("etc/face-admin-password", PASSWORD, "another-password")
    process = grafana.start()
    try:
        assert grafana.get("/api/user", "another-password").status_code == 401
        tasks = yaml.safe_load((ROLE / "tasks/service.yml").read_text())
        task = next(task for task in tasks if task.get("register") == "grafana_reset")
        given = task["ansible.builtin.command"]
        words = given["argv"][given["argv"].index("cli") :]
        filled = [word.replace("{{ grafana_config_dir }}", str(grafana.directory / "etc")) for word in words]
        assert not [word for word in given["argv"] if "password }}" in word]
        subprocess.run(grafana.command(*filled), input="another-password\n", text=True, check=True)
        assert grafana.get("/api/user", "another-password").status_code == 200
        assert grafana.get("/api/user").status_code == 401
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("etc/grafana.ini", "allow_sign_up", "allow_signup", "unknown key 'allow_signup' in [users]"),
        ("etc/grafana.ini", "[news]", "[newz]", "unknown section [newz]"),
        ("etc/grafana.ini", "cookie_secure = true", "cookie_secure = yes", "one of true, false"),
        ("etc/provisioning/datasources/face-pipeline.yaml", "isDefault", "default", "unknown key 'default'"),
        ("etc/provisioning/datasources/face-pipeline.yaml", "httpMethod", "method", "unknown key 'method'"),
        ("etc/provisioning/dashboards/face-pipeline.yaml", "disableDeletion", "noDeletion", "unknown key"),
        (
            "etc/dashboards/face-pipeline/face-workers.json",
            "face-workers",
            "face-overview",
            "another dashboard",
        ),
        ("etc/dashboards/face-pipeline/face-workers.json", "{", "", "Extra data"),
    ],
)
def test_the_stand_in_starts_with_nothing_it_does_not_know(
    grafana: Grafana, file: str, old: str, new: str, words: str
) -> None:
    grafana.change(file, old, new)
    assert words in grafana.refusal()


def test_between_hosts_it_speaks_tls_alone_and_nginx_knows_it_by_its_name(tmp_path: Path) -> None:
    grafana = install(tmp_path / "grafana", tls=True)
    assert grafana.authority
    process = grafana.start()
    try:
        assert grafana.get("/api/user").json()["login"] == "admin"
        for url, verified in ((grafana.url.replace("https", "http"), True), (grafana.url, True)):
            with pytest.raises(requests.ConnectionError):
                requests.get(f"{url}/api/health", timeout=5, verify=verified)
        old = ssl.create_default_context(cafile=grafana.authority)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", grafana.port)) as plain,
            pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"),
        ):
            old.wrap_socket(plain, server_hostname="127.0.0.1")
        for name, status in (("grafana.localhost", 200), ("monitoring.localhost", 502)):
            assert passed_on(f"{grafana.url}/api/health", name, grafana.authority) == status
    finally:
        process.terminate()
        process.wait(timeout=10)
    modes = {
        name: (tmp_path / "grafana/etc" / name).stat().st_mode & 0o777 for name in ("face.key", "face.crt")
    }
    assert set(modes.values()) == {0o640}
    for old_words, new, words in (
        ("TLS1.3", "TLS1.1", "allowed values are TLS1.2 and TLS1.3"),
        ("TLS1.1", "TLS1.4", 'unknown tls version: "TLS1.4"'),
        ("/face.key", "/no.key", "cannot find SSL key_file at"),
        ("/no.key", "/face.crt", "could not load SSL certificate"),
    ):
        grafana.change("etc/grafana.ini", old_words, new)
        assert words in grafana.refusal()
        if new == "TLS1.4":
            grafana.change("etc/grafana.ini", new, "TLS1.3")


@pytest.mark.skipif(not DASHBOARDS, reason="no dashboards")
def test_the_products_dashboards_are_taken(grafana: Grafana) -> None:
    shown = grafana.directory / "etc/dashboards/face-pipeline"
    shutil.rmtree(shown)
    shutil.copytree(DASHBOARDS[0].parent, shown)
    home = [file.name for file in DASHBOARDS if json.loads(file.read_text())["uid"] == "face-overview"]
    assert len(home) == 1
    grafana.change("etc/grafana.ini", "face-overview.json", home[0])
    process = grafana.start()
    try:
        assert len(grafana.get("/api/search").json()) == len(DASHBOARDS)
        there = {entry["uid"] for entry in grafana.get("/api/datasources").json()} | {"-- Grafana --"}
        for file in DASHBOARDS:
            used = {uid for uid in sources(json.loads(file.read_text())) if not uid.startswith("$")}
            assert used <= there, file.name
    finally:
        process.terminate()
        process.wait(timeout=10)


def sources(model: Any) -> Iterator[str]:
    """Uids of the data sources a dashboard names, wherever it does."""
    if isinstance(model, dict):
        named = model.get("datasource")
        if isinstance(named, dict) and "uid" in named:
            yield named["uid"]
        model = list(model.values())
    if isinstance(model, list):
        for part in model:
            yield from sources(part)


@pytest.mark.campaign("the scenarios do it on hosts")
@pytest.mark.parametrize("enabled", [True, False])
def test_check_mode_on_a_new_host_neither_fails_nor_asks_anybody(enabled: bool, tmp_path: Path) -> None:
    if shutil.which("grafana") or Path("/etc/grafana").exists():
        pytest.skip("this machine has a Grafana")
    tasks = [{"ansible.builtin.import_role": {"name": "grafana"}}]
    done = play(tmp_path, tasks, "--check", face_grafana_enabled=enabled)
    assert done.returncode == 0, done.stdout
    assert "changed=1" in done.stdout if enabled else "changed=0" in done.stdout
    assert not Path("/etc/apt/sources.list.d/face-grafana.sources").exists()
