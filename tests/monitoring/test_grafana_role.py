"""The role `grafana` without a host: what it writes, its key and repository, its stand-in of molecule/vendor.

Grafana itself is not here: the stand-in takes the same files, strictly. What the real one draws nothing says.
"""

from __future__ import annotations

import json
import os
import shutil
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

from tests.services.process import ROOT as CONTAINED
from tests.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "grafana"
STANDIN = ROOT / "molecule" / "vendor" / "standin"
DASHBOARDS = sorted((ROOT / "files" / "grafana" / "dashboards").glob("*.json"))
PASSWORD = "first-password-of-the-tests"

needs_apt = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "dpkg-deb", "apt-get"))), reason="needs gpg, dpkg-deb and apt-get"
)


def play(
    directory: Path, tasks: list[dict[str, Any]], *options: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run tasks on this machine with the variables of the product, the role and molecule/vendor."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "group_vars").exists():
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
    files = [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")]
    playbook = [{"hosts": "ven1", "gather_facts": False, "vars_files": files, "tasks": tasks}]
    (directory / "play.yml").write_text(yaml.safe_dump(playbook))
    # Here, and as if there were but one host.
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "face_single_host": True,
    }
    inventory = str(ROOT / "molecule/vendor/inventory/hosts.yml")
    command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", inventory, *options]
    return subprocess.run(
        [*command, str(directory / "play.yml"), "-e", json.dumps({**local, **variables})],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Grafana:
    """The stand-in over what the role's templates make, with every path below `directory`."""

    directory: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Path:
        return self.directory / "etc/grafana.ini"

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, str(STANDIN / "grafana"), *map(str, arguments)]

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(
                "server", f"--config={self.settings}", "--packaging=deb", "cfg:default.paths.data=/none"
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None:
            try:
                requests.get(f"{self.url}/api/health", timeout=1)
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
        return requests.get(self.url + path, auth=known, timeout=5, allow_redirects=False)

    def change(self, file: str, old: str, new: str) -> None:
        path = self.directory / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Grafana:
    directory = tmp_path_factory.mktemp("grafana")
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
    (etc / "face-elasticsearch-password").write_text("e" * 40)
    (etc / "face-ca.crt").write_text("the authority")
    ports = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    written = {
        "grafana.ini": "grafana.ini",
        "datasources.yaml": "provisioning/datasources/face-pipeline.yaml",
        "dashboards.yaml": "provisioning/dashboards/face-pipeline.yaml",
        "face-hardening.conf": "face-hardening.conf",
    }
    tasks = [
        {"ansible.builtin.template": {"src": str(ROLE / f"templates/{source}.j2"), "dest": str(etc / target)}}
        for source, target in written.items()
    ]
    source = str(ROOT / "roles/base/templates/vendor.sources.j2")
    tasks.append({"ansible.builtin.template": {"src": source, "dest": str(etc / "grafana.sources")}})
    done = play(
        directory / "play",
        tasks,
        base_vendor="grafana",
        base_vendor_suite="stable",
        base_vendor_repository="https://apt.grafana.com",
        base_vendor_keyring="/etc/apt/keyrings/face-grafana.gpg",
        grafana_config_dir=str(etc),
        grafana_data_dir=str(directory / "data"),
        grafana_dashboard_files=[str(sample) for sample in samples],
        face_ports={**ports, "grafana": port},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Grafana(directory, port)


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
        task = next(task for task in tasks if task["name"] == "Give it to the admin")
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


def keyring(url: str, fingerprint: str, target: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "roles/base/files/keyring.py"),
        "grafana",
        url,
        fingerprint,
        str(target),
        "3",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Two repositories with the same stand-in, each signed with a key of its own."""
    made = []
    for name in ("one", "two"):
        directory = tmp_path_factory.mktemp("repositories") / name
        command = [sys.executable, str(STANDIN / "build_repository.py"), str(directory), "12.2.1+standin1"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        made.append((directory, done.stdout.strip()))
    return made


@needs_apt
def test_one_key_of_several_becomes_the_keyring(repositories: list[tuple[Path, str]], tmp_path: Path) -> None:
    (one, first), (two, second) = repositories
    both = tmp_path / "both.key"
    both.write_text((one / "gpg-full.key").read_text() + (two / "gpg-full.key").read_text())
    target = tmp_path / "keyrings" / "face-grafana.gpg"
    assert keyring(f"file://{both}", second.lower(), target).stdout == "changed\n"
    assert keyring(f"file://{both}", second, target).stdout == ""
    assert target.stat().st_mode & 0o777 == 0o644
    command = ["gpg", "--homedir", str(tmp_path), "--with-colons", "--show-keys", str(target)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split(":")[9] for line in shown if line.startswith("fpr:")] == [second]
    assert first != second


@needs_apt
def test_a_wrong_or_absent_key_is_one_line_that_says_what_to_do(
    repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    (one, first), (_, second) = repositories
    text = tmp_path / "page.html"
    text.write_text("<html>Sign in to the network</html>")
    for url, words in (
        (f"file://{one}/gpg-full.key", f"holds the key {first}, not {second}"),
        (f"file://{one}/none.key", "cannot be fetched"),
        (f"http://user:secret@127.0.0.1:{free_port()}/key", "set face_grafana_key_url"),
        (f"file://{text}", "holds no OpenPGP key"),
    ):
        answer = keyring(url, second, tmp_path / "keyring.gpg")
        assert answer.returncode == 1
        assert words in answer.stderr
        assert answer.stderr.count("\n") == 1
        assert "secret" not in answer.stderr
    assert not (tmp_path / "keyring.gpg").exists()


@needs_apt
def test_apt_takes_the_pinned_version_with_that_key_and_no_other(
    rendered: Grafana, repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    (one, first), (two, _) = repositories
    target = tmp_path / "one.gpg"
    assert keyring(f"file://{one}/gpg-full.key", first, target).returncode == 0
    parts = tmp_path / "sources"
    for directory in (parts, tmp_path / "state/lists/partial", tmp_path / "cache/archives/partial"):
        directory.mkdir(parents=True)
    template = (rendered.directory / "etc/grafana.sources").read_text()
    assert "Signed-By: /etc/apt/keyrings/face-grafana.gpg\n" in template
    named = template.replace("/etc/apt/keyrings/face-grafana.gpg", str(target))
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": parts,
        "Dir::State": tmp_path / "state",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": tmp_path / "cache",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }

    def apt(*words: str) -> subprocess.CompletedProcess[str]:
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return subprocess.run(
            ["apt-get", *given, *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    def use(repository: Path) -> subprocess.CompletedProcess[str]:
        text = "".join(
            f"URIs: file://{repository}\n" if line.startswith("URIs:") else f"{line}\n"
            for line in named.splitlines()
        )
        (parts / "face-grafana.sources").write_text(text)
        return apt("update")

    refused = use(two)
    assert refused.returncode != 0
    # gpgv says the one, sqv the other.
    assert any(words in refused.stderr for words in ("NO_PUBKEY", "Missing key"))
    assert use(one).returncode == 0
    assert apt("download", "grafana=12.2.2").returncode != 0
    done = apt("download", "grafana=12.2.1+standin1")
    assert done.returncode == 0, done.stderr
    deb = next(tmp_path.glob("grafana_*.deb"))
    told = subprocess.run(["dpkg-deb", "--info", deb], capture_output=True, text=True, check=True).stdout
    assert "Description: STAND-IN" in told


def check(tmp_path: Path, repository: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    tasks = [{"ansible.builtin.import_role": {"name": "grafana", "tasks_from": "check"}}]
    return play(tmp_path, tasks, face_grafana_repository=repository, base_vendor_timeout=2, **variables)


@needs_apt
def test_the_preflight_names_repository_and_variables_where_it_is_away(
    repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    there = check(tmp_path, f"file://{repositories[0][0]}")
    assert there.returncode == 0, there.stdout
    away = f"127.0.0.1:{free_port()}"
    assert check(tmp_path, f"http://{away}", face_grafana_enabled=False).returncode == 0
    refused = check(tmp_path, f"http://user:secret@{away}")
    assert refused.returncode == 2
    told = " ".join(refused.stdout.split())
    assert (
        f"ven1: the package repository of Grafana, http://{away}, does not answer (Could not connect to"
        in told
    )
    assert "set face_grafana_repository to a mirror, or face_grafana_enabled to false to leave" in told
    assert "secret" not in told


@needs_apt
@pytest.mark.skipif(
    os.geteuid() != 0 or not (CONTAINED / ".complete").exists(),
    reason="needs root and tests/services/prepare's Debian 13",
)
def test_debian_13_takes_key_repository_and_package_and_purges_it_whole(
    repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    """By its own apt, which checks signatures with sqv and has neither gpg nor gpgv."""
    repository, fingerprint = repositories[0]
    assert keyring(f"file://{repository}/gpg-full.key", fingerprint, tmp_path / "key.gpg").returncode == 0
    shutil.copytree(repository, tmp_path / "repository")
    lines = ("Types: deb", f"URIs: file:{tmp_path}/repository", "Suites: stable", "Components: main")
    named = "\n".join([*lines, f"Signed-By: {tmp_path}/key.gpg\n"])
    (tmp_path / "face-grafana.sources").write_text(named)
    # That root has no Python, and a chroot no systemd: the package is unpacked and configured, not started.
    script = """
        set -e
        apt-get update -qq -o APT::Update::Error-Mode=any -o APT::Sandbox::User=root \\
          -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$1
        apt-get download -qq -o APT::Sandbox::User=root \\
          -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$1 grafana=12.2.1+standin1
        dpkg --force-depends --install grafana_*.deb >/dev/null
        echo grafana hold | dpkg --set-selections
        stat -c '%n %U:%G %a' /etc/grafana/grafana.ini /etc/grafana/provisioning/datasources /var/lib/grafana
        dpkg-query --show --showformat '${db:Status-Want} ${db:Status-Status} ${Version}\\n' grafana
        dpkg --force-hold --purge grafana >/dev/null
        dpkg-query --show grafana || true
    """
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private", "--"]
    inside = ["sh", "-c", f"cd /tmp && {script.strip()}", "sh", str(tmp_path)]
    enter = [str(ROOT / "tests/services/enter"), str(CONTAINED), "root", str(tmp_path)]
    done = subprocess.run([*command, *enter, *inside], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "/etc/grafana/grafana.ini root:grafana 640",
        "/etc/grafana/provisioning/datasources root:grafana 755",
        "/var/lib/grafana grafana:grafana 755",
        "hold installed 12.2.1+standin1",
    ]
    assert "no packages found matching grafana" in done.stderr


@pytest.mark.parametrize("enabled", [True, False])
def test_check_mode_on_a_new_host_neither_fails_nor_asks_anybody(enabled: bool, tmp_path: Path) -> None:
    if shutil.which("grafana") or Path("/etc/grafana").exists():
        pytest.skip("this machine has a Grafana")
    tasks = [{"ansible.builtin.import_role": {"name": "grafana"}}]
    done = play(tmp_path, tasks, "--check", face_grafana_enabled=enabled)
    assert done.returncode == 0, done.stdout
    assert "changed=1" in done.stdout if enabled else "changed=0" in done.stdout
    assert not Path("/etc/apt/sources.list.d/face-grafana.sources").exists()
