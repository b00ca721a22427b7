"""The role `logstash` without a host: its keystore and its trial of the configuration, against the stand-in.

Logstash itself is not here. The stand-in's keystore tool, its Java machine's heap and its locks answer as the
real program's sources say; the tasks run as they are, as root, with all paths below one directory.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from tests.logs.test_filebeat_role import ROOT, STANDIN, render

pytest.importorskip("lark")
sys.path.insert(0, str(STANDIN))
packages = pytest.importorskip("logstash_filebeat_packages")

ROLE = ROOT / "roles/logstash"
KEY = "FACE_ELASTICSEARCH_PASSWORD"
PASSWORD = "password-of-the-writer-in-tests"
HEAP = {"LS_JAVA_OPTS": "-Xms256m -Xmx512m"}
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("runuser") is None, reason="the role's tasks run as root"
)


@dataclass
class Host:
    """A directory that stands for a host's root, with the stand-in installed."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "etc/logstash"

    @property
    def store(self) -> Path:
        return self.settings / "logstash.keystore"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "STANDIN_ROOT": str(self.root), "STANDIN_ALLOW_SUPERUSER": "1", **HEAP}

    def secrets(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(base64.b64decode(self.store.read_bytes()))
        return found

    def tool(self, *words: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return self.call("logstash-keystore", *words, given=given, **more)

    def call(self, name: str, *words: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.root / "usr/share/logstash/bin" / name), "--path.settings", str(self.settings)]
        return subprocess.run(
            [*command, *words],
            input=given,
            env={**self.environment, **self.named(), **more},
            capture_output=True,
            text=True,
            check=False,
        )

    def named(self) -> dict[str, str]:
        lines = (self.settings / "face.env").read_text().replace('"', "").splitlines()
        found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return {**found, **HEAP}

    def start(self) -> subprocess.Popen[str]:
        """Logstash as the service runs it, until its pipelines run."""
        command = [str(self.root / "usr/share/logstash/bin/logstash"), "--path.settings", str(self.settings)]
        process = subprocess.Popen(
            command, env={**self.environment, **self.named()}, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            if "Pipelines running" in line:
                return process
        raise AssertionError(f"it ended with {process.wait()}")

    def run(
        self, *tasks: str, password: str = PASSWORD, **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        """Task files of the role, as they are."""
        directory = self.root / "play"
        directory.mkdir(exist_ok=True)
        if not (directory / "group_vars").exists():
            (directory / "group_vars").symlink_to(ROOT / "group_vars")
        named = ("Restart Logstash", "Reload Logstash")
        playbook = {
            "hosts": "clu1",
            "gather_facts": False,
            "vars": {"role_path": str(ROLE)},
            "vars_files": [f"{ROLE}/defaults/main.yml", f"{ROLE}/vars/main.yml"],
            "tasks": [{"ansible.builtin.include_tasks": f"{ROLE}/tasks/{name}.yml"} for name in tasks],
            "handlers": [{"name": name, "ansible.builtin.debug": {"msg": name}} for name in named],
        }
        (directory / "play.yml").write_text(yaml.safe_dump([playbook]))
        given = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "face_single_host": True,
            "face_secrets_dir": str(directory / "secrets"),
            "face_secrets": {"logstash_writer_password": password},
            "logstash_user": "root",
            "logstash_config_dir": str(self.settings),
            "logstash_home": str(self.root / "usr/share/logstash"),
            "logstash_unit_dir": str(self.root / "etc/systemd/system/logstash.service.d"),
            "logstash_trial_dir": str(self.root / "var/lib/face-logstash-trial"),
            **variables,
        }
        inventory = str(ROOT / "molecule/cluster/inventory/hosts.yml")
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", inventory, str(directory / "play.yml")]
        return subprocess.run(
            [*command, "-e", json.dumps(given)], cwd=ROOT, capture_output=True, text=True, check=False
        )


def script(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package and the other tasks of the role put there."""
    tmp_path = tmp_path_factory.mktemp("installed")
    made = Host(tmp_path)
    for name in ("conf.d", "dead-letters.d"):
        (made.settings / name).mkdir(parents=True)
    written = {name: made.settings / name for name in ("logstash.yml", "pipelines.yml", "face.env")}
    render("logstash", written, tmp_path / "render", logstash_queue_mb=4)
    # Each test has ports of its own: the system's choice.
    for name in ("logstash.yml", "face.env"):
        file = made.settings / name
        file.write_text(
            file.read_text()
            .replace("api.http.port: 9600", "api.http.port: 0")
            .replace('PORT="5044"', 'PORT="0"')
        )
    (made.settings / "jvm.options").write_text(packages.LOGSTASH_JVM_OPTIONS)
    (made.settings / "log4j2.properties").write_text(packages.LOGSTASH_LOG4J)
    for source in (ROOT / "files/logstash").rglob("*.conf"):
        place = "dead-letters.d" if source.parent.name == "dead-letters" else "conf.d"
        (made.settings / place / source.name).write_text(source.read_text())
    tool = ROOT / "roles/certificates/files/make_certificate.py"
    subprocess.run(
        [sys.executable, str(tool), str(tmp_path / "secrets"), "localhost"], check=True, capture_output=True
    )
    for source, target in (("server.crt", "face-beats.crt"), ("server.key", "face-beats.key")):
        shutil.copy(tmp_path / "secrets" / source, made.settings / target)
    shutil.copy(certifi.where(), made.settings / "face-ca.crt")
    (tmp_path / "var/lib/logstash/dead_letter_queue/main").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def host(installed: Path, tmp_path: Path) -> Host:
    shutil.copytree(installed / "etc", tmp_path / "etc")
    shutil.copytree(installed / "var", tmp_path / "var")
    for name in ("logstash", "logstash-keystore"):
        program = tmp_path / "usr/share/logstash/lib" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.symlink_to(STANDIN / "logstash")
        script(
            tmp_path / "usr/share/logstash/bin" / name,
            f'STANDIN_ROOT={tmp_path} STANDIN_ALLOW_SUPERUSER=1 exec {sys.executable} {program} "$@"',
        )
    return Host(tmp_path)


@pytest.fixture
def running(host: Host) -> Iterator[Host]:
    host.tool("create", given="y")
    host.tool("add", KEY, "--stdin", given=PASSWORD)
    process = host.start()
    yield host
    process.kill()
    process.wait()


# --- the stand-in is no kinder than the program ---


def test_an_option_that_the_keystore_tool_does_not_know_stores_nothing_and_looks_like_success(
    host: Host,
) -> None:
    host.tool("create", given="y")
    done = host.tool("add", KEY, "--stdin", "--force", given=PASSWORD)
    assert done.returncode == 0
    assert "ERROR: Unrecognized option '--force' for command 'add'" in done.stdout
    assert host.secrets() == {}


def test_the_keystore_tool_asks_before_it_replaces_anything(host: Host) -> None:
    assert host.tool("add", KEY, given="one").stdout.strip().startswith("ERROR: Logstash keystore not found")
    assert host.tool("create", given="n").returncode == 0
    assert not host.store.exists()
    assert "Created Logstash keystore" in host.tool("create", given="y\n").stdout
    assert f"Added '{KEY.lower()}' to" in host.tool("add", KEY, "--stdin", given="one\n").stdout
    # The value is taken for an answer, and it is no yes.
    kept = host.tool("add", KEY, "--stdin", given="two\n")
    assert kept.returncode == 0
    assert f"{KEY} already exists. Overwrite ? [y/N]" in kept.stdout
    assert host.secrets() == {KEY.lower(): "one"}
    assert "Added" in host.tool("add", KEY, "--stdin", given="y\ntwo\n").stdout
    assert host.secrets() == {KEY.lower(): "two"}
    assert "already exists. Overwrite" in host.tool("create", given="n\n").stdout
    assert host.secrets() == {KEY.lower(): "two"}
    assert "Created" in host.tool("create", given="y\ny\n").stdout
    assert host.secrets() == {}


def test_the_keystore_tool_makes_a_file_for_all_eyes_and_a_log_of_whoever_runs_it(host: Host) -> None:
    host.tool("create", given="y")
    assert host.store.stat().st_mode & 0o777 == 0o644
    assert (host.root / "var/log/logstash/logstash-plain.log").exists()
    assert host.tool("add", KEY, given="").returncode == 1, "no value comes"
    host.store.write_text("no keystore")
    assert host.tool("list").returncode == 1


@pytest.mark.parametrize(
    ("name", "options", "starts"),
    [
        ("logstash", "-Xmx512m", False),
        ("logstash", "-Xms256m -Xmx512m", True),
        ("logstash-keystore", "-Xmx512m", False),
        ("logstash-keystore", "-Xms2g", False),
        ("logstash-keystore", "-Xms4g -Xmx4g", True),
        # It is there already, so it keeps its place before the smaller one.
        ("logstash-keystore", "-Xms600m -Xmx512m -Xmx1g", False),
        ("logstash-keystore", "", True),
    ],
)
def test_a_heap_is_what_the_package_says_until_both_sizes_are_said_anew(
    host: Host, name: str, options: str, starts: bool
) -> None:
    done = host.call(name, "--help", LS_JAVA_OPTS=options)
    assert done.returncode == (0 if starts else 1)
    words = "Initial heap size set to a larger value than the maximum heap size"
    assert (f"Error occurred during initialization of VM\n{words}" in done.stdout) is not starts


def test_a_second_logstash_finds_the_queue_of_the_first_locked(running: Host) -> None:
    tried = running.call("logstash", "--config.test_and_exit")
    assert tried.returncode == 1
    assert "unable to create dead letter queue writer" in tried.stdout
    assert "The queue failed to obtain exclusive access, cause: Lock held by another program" in tried.stdout
    again = running.call("logstash")
    assert again.returncode == 1
    assert "already another instance using the configured data directory" in again.stdout
    place = running.root / "elsewhere"
    elsewhere = running.call(
        "logstash", "--config.test_and_exit", "--path.data", str(place), "--path.logs", str(place)
    )
    assert (elsewhere.returncode, "Configuration OK" in elsewhere.stdout) == (0, True), elsewhere.stdout


def test_a_queue_that_the_disk_has_no_room_for_is_refused(host: Host) -> None:
    host.tool("create", given="y")
    host.tool("add", KEY, "--stdin", given=PASSWORD)
    file = host.settings / "pipelines.yml"
    file.write_text(file.read_text().replace("queue.max_bytes: 4mb", "queue.max_bytes: 999999999mb"))
    tried = host.call("logstash", "--config.test_and_exit")
    assert tried.returncode == 1
    assert "more bytes for persisted queue on top of its current usage of 0 bytes" in tried.stdout


def test_a_log_that_cannot_be_written_is_complained_of(host: Host) -> None:
    (host.root / "var/log").mkdir(parents=True)
    (host.root / "var/log/logstash").write_text("no directory")
    assert "main ERROR Unable to create file" in host.tool("list").stdout


# --- the role's tasks ---


def recap(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.splitlines()[-2] if done.stdout else done.stderr


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
@as_root
def test_the_password_gets_into_the_keystore_once_and_a_new_one_takes_its_place(host: Host) -> None:
    done = host.run("keystore")
    assert done.returncode == 0, done.stdout
    assert host.secrets() == {KEY.lower(): PASSWORD}
    assert host.store.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in done.stdout
    assert not (host.settings / "face-keystore.new").exists()
    assert not (host.root / "var/log/logstash").exists(), "a log file of root's"
    assert "changed=0" in host.run("keystore").stdout
    assert host.run("keystore", password="another").returncode == 0
    assert host.secrets() == {KEY.lower(): "another"}


@pytest.mark.campaign("it is what a crash in a moment leaves")
@as_root
def test_a_keystore_that_was_left_half_done_is_made_anew(host: Host) -> None:
    """Of an earlier version, which took the tool's 0 for success; and of a run that broke off."""
    host.tool("create", given="y")
    host.run("keystore", logstash_keystore_mark=str(host.settings / "face-keystore.sha256"))
    host.tool("create", given="y\ny\n")
    left = host.settings / "face-keystore.new"
    left.mkdir()
    (left / "logstash.keystore").write_text("half")
    done = host.run("keystore")
    assert done.returncode == 0, done.stdout
    assert host.secrets() == {KEY.lower(): PASSWORD}
    assert not left.exists()
    assert not (host.settings / "face-keystore.sha256").exists()


@as_root
def test_a_tool_that_stores_nothing_is_quoted_and_leaves_all_as_it_was(host: Host) -> None:
    host.run("keystore")
    before = host.store.read_bytes()
    tool = host.root / "usr/share/logstash/bin/logstash-keystore"
    text = tool.read_text().removeprefix("#!/bin/sh\n")
    script(tool, f'case "$*" in *add*) echo "ERROR: Value must be of gold"; exit 0 ;; esac\n{text}')
    done = host.run("keystore", password="another-password")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "did not store the password of logstash_writer. It says: ERROR: Value must be of gold" in said
    assert "another-password" not in done.stdout
    assert host.store.read_bytes() == before
    assert not (host.settings / "face-keystore.new").exists()


@as_root
def test_a_changed_pipeline_is_tried_beside_the_logstash_that_runs(running: Host) -> None:
    done = running.run("keystore", "check")
    assert done.returncode == 0, done.stdout
    assert "Restart Logstash" in done.stdout
    assert "changed=0" in running.run("keystore", "check").stdout
    with (running.settings / "conf.d/31-nginx.conf").open("a") as file:
        file.write("# changed\n")
    again = running.run("keystore", "check")
    assert again.returncode == 0, again.stdout
    assert "Reload Logstash" in again.stdout
    assert not (running.root / "var/lib/face-logstash-trial").exists()
    logs = running.root / "var/log/logstash/logstash-plain.log"
    assert "Configuration OK" not in logs.read_text()


@as_root
def test_what_it_refuses_is_said_and_what_it_accepted_last_stays(host: Host) -> None:
    assert host.run("keystore", "check").returncode == 0
    accepted = (host.settings / "face-accepted-pipelines").read_text()
    # jvm.options is the package's: the role does not look at it, so another file changes beside it.
    with (host.settings / "conf.d/60-time.conf").open("a") as opened:
        opened.write("# changed\n")
    for name, old, new, words in (
        (
            "conf.d/31-nginx.conf",
            "gsub =>",
            "gsbu =>",
            "31-nginx.conf: line 8: filter mutate: unknown setting",
        ),
        ("logstash.yml", "path.data:", "path.dta:", "Your settings are invalid. Reason: "),
        ("jvm.options", "-Xms1g", "-Xms1x", "VM; Invalid initial heap size: -Xms1x"),
    ):
        file = host.settings / name
        before = file.read_text()
        file.write_text(before.replace(old, new))
        done = host.run("check")
        file.write_text(before)
        assert done.returncode != 0
        assert words in " ".join(done.stdout.split())
        assert "it says nothing" not in done.stdout
    assert (host.settings / "face-accepted-pipelines").read_text() == accepted
    assert not (host.root / "var/lib/face-logstash-trial").exists()
