"""The role `filebeat` without a host: what it writes, each key with its source, the numbers of the log path.

Filebeat itself is not here: the stand-in of molecule/cluster/elastic takes the same files, strictly.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.process import ROOT as CONTAINED
from tests.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
STANDIN = ROOT / "molecule" / "cluster" / "elastic"
FILEBEAT = "https://www.elastic.co/docs/reference/beats/filebeat/"
# Every key of our filebeat.yml, and the page of the vendor's documentation that has it; of 8.19 and 9.x.
SOURCES = {
    "name": FILEBEAT + "configuration-general-options",
    "fields": FILEBEAT + "configuration-general-options",
    "filebeat.inputs": FILEBEAT + "configuration-filebeat-options",
    "processors": FILEBEAT + "filtering-enhancing-data",
    "processors.add_id": FILEBEAT + "add-id",
    "processors.add_locale.format": FILEBEAT + "add-locale",
    "output.logstash.hosts": FILEBEAT + "logstash-output",
    "output.logstash.ssl.certificate_authorities": FILEBEAT + "configuration-ssl",
    "output.logstash.ssl.verification_mode": FILEBEAT + "configuration-ssl",
    "http.enabled": FILEBEAT + "http-endpoint",
    "http.host": FILEBEAT + "http-endpoint",
    "http.port": FILEBEAT + "http-endpoint",
    "logging.level": FILEBEAT + "configuration-logging",
    "journald.type": FILEBEAT + "filebeat-input-journald",
    "journald.id": FILEBEAT + "filebeat-input-journald",
    "journald.seek": FILEBEAT + "filebeat-input-journald",
    "journald.since": FILEBEAT + "filebeat-input-journald",
    "journald.fields": FILEBEAT + "filebeat-input-journald",
    "filestream.type": FILEBEAT + "filebeat-input-filestream",
    "filestream.id": FILEBEAT + "filebeat-input-filestream",
    "filestream.paths": FILEBEAT + "filebeat-input-filestream",
    "filestream.fields": FILEBEAT + "filebeat-input-filestream",
    "filestream.parsers": FILEBEAT + "filebeat-input-filestream",
    "filestream.parsers.multiline.type": FILEBEAT + "multiline-examples",
    "filestream.parsers.multiline.pattern": FILEBEAT + "multiline-examples",
    "filestream.parsers.multiline.negate": FILEBEAT + "multiline-examples",
    "filestream.parsers.multiline.match": FILEBEAT + "multiline-examples",
    "filestream.file_identity.fingerprint": FILEBEAT + "filebeat-input-filestream",
    "filestream.prospector.scanner.fingerprint.enabled": FILEBEAT + "filebeat-input-filestream",
    "filestream.prospector.scanner.fingerprint.offset": FILEBEAT + "filebeat-input-filestream",
    "filestream.prospector.scanner.fingerprint.length": FILEBEAT + "filebeat-input-filestream",
}


def render(
    role: str, written: dict[str, Path], directory: Path, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """The role's templates, as ansible writes them for one host with everything."""
    base = ROOT / "roles" / role
    tasks = [
        {"ansible.builtin.template": {"src": f"{base}/templates/{source}.j2", "dest": str(target)}}
        for source, target in written.items()
    ]
    done = run(tasks, role, directory, **variables)
    assert done.returncode == 0, done.stdout
    return done


def run(
    tasks: list[dict[str, Any]], role: str, directory: Path, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Tasks on this machine, with the variables of the product and of that role."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "group_vars").exists():
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
    base = ROOT / "roles" / role
    # role_path is there only inside a role; templates need no more of it than where the roles are.
    playbook = [
        {
            "hosts": "clu1",
            "gather_facts": False,
            "vars": {"role_path": str(base)},
            "vars_files": [f"{base}/defaults/main.yml", f"{base}/vars/main.yml"],
            "tasks": tasks,
        }
    ]
    (directory / "play.yml").write_text(yaml.safe_dump(playbook))
    given = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_facts": {"memtotal_mb": 8000},
        "face_logging_enabled": True,
        "face_single_host": True,
        "face_secrets_dir": str(directory / "secrets"),
        **variables,
    }
    command = [
        str(ROOT / ".venv/bin/ansible-playbook"),
        "-i",
        str(ROOT / "molecule/cluster/inventory/hosts.yml"),
        str(directory / "play.yml"),
        "-e",
        json.dumps(given),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value and key != "fields":
            found.update(flat(value, f"{before}{key}."))
        else:
            found[f"{before}{key}"] = value
    return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("filebeat")
    render("filebeat", {"filebeat.yml": directory / "filebeat.yml"}, directory / "play")
    read: dict[str, Any] = yaml.safe_load((directory / "filebeat.yml").read_text())
    return read


def test_every_key_has_a_source_and_no_source_is_left_over(settings: dict[str, Any]) -> None:
    used = set(flat(settings))
    for given in settings["filebeat.inputs"]:
        for key, value in flat(given).items():
            used.add(f"{given['type']}.{key}")
            if key == "parsers":
                used |= {f"{given['type']}.parsers.{name}" for parser in value for name in flat(parser)}
    for processor in settings["processors"]:
        used |= {f"processors.{name}" for name in flat(processor)}
    assert used == set(SOURCES)


def test_each_input_is_one_of_its_own_and_reads_small_files(settings: dict[str, Any]) -> None:
    inputs = settings["filebeat.inputs"]
    ids = [given["id"] for given in inputs]
    assert len(set(ids)) == len(ids)
    assert {given["fields"]["kind"] for given in inputs} == {
        "journal", "nginx", "nginx_error", "postgresql", "redis"
    }  # fmt: skip
    (journal,) = (given for given in inputs if given["type"] == "journald")
    assert (journal["seek"], journal["since"]) == ("since", "-1h")
    paths: list[str] = []
    for given in inputs:
        assert given["type"] in {"journald", "filestream"}, "log inputs are gone since 9.0"
        if given["type"] == "filestream":
            assert given["file_identity.fingerprint"] is None
            assert given["prospector.scanner.fingerprint"] == {"enabled": True, "offset": 0, "length": 64}
            paths += given["paths"]
    assert len(set(paths)) == len(paths)
    assert "/var/log/nginx/face-pipeline.log" in paths


def test_it_goes_to_logstash_over_checked_tls_and_tells_numbers_on_loopback(settings: dict[str, Any]) -> None:
    found = flat(settings)
    assert found["output.logstash.hosts"] == ["localhost:5044"]
    assert found["output.logstash.ssl.verification_mode"] == "full"
    assert found["output.logstash.ssl.certificate_authorities"] == ["/etc/filebeat/face-ca.crt"]
    assert found["http.host"] == "127.0.0.1"
    assert settings["fields"] == {"environment": "production"}


def standin(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(STANDIN / "filebeat"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", ""),
        ("filebeat.inputs:", "filebeat.modules:", "unknown setting filebeat.modules"),
        ("output.logstash:", "output.logstsh:", "unknown setting output.logstsh"),
        ("mode 666", "", "can only be writable by the owner"),
    ],
)
def test_the_standin_takes_our_file_and_refuses_a_wrong_one(
    settings: dict[str, Any], old: str, new: str, words: str, tmp_path: Path
) -> None:
    file = changed(settings, tmp_path, *(("", "") if old.startswith("mode") else (old, new)))
    file.chmod(0o666 if old.startswith("mode") else 0o600)
    answer = standin("test", "config", "-c", str(file))
    assert (answer.returncode == 0) == (not words), answer.stderr
    assert words in answer.stderr
    assert "Config OK" in answer.stdout or words


WRONG_INPUTS = [
    ("type: filestream", "type: log", "input type log is not supported"),
    ("id: face-redis", "id: face-nginx", "every input needs an id of its own"),
    ("length: 64", "length: 32", "cannot be smaller than 64"),
    ("seek: since", "seek: head", "seek: since and since need each other"),
]


@pytest.mark.parametrize(("old", "new", "words"), WRONG_INPUTS)
def test_a_wrong_input_passes_the_test_of_the_settings_and_ends_the_start(
    settings: dict[str, Any], old: str, new: str, words: str, tmp_path: Path
) -> None:
    """As the real one does: `test config` makes no inputs."""
    file = changed(settings, tmp_path, old, new)
    assert "Config OK" in standin("test", "config", "-c", str(file)).stdout
    answer = standin("-c", str(file), "--path.data", str(tmp_path / "data"))
    assert answer.returncode == 1
    assert "Exiting: starting input failed: error while initializing input" in answer.stderr
    assert words in answer.stderr


def wait_task(port: int, directory: Path) -> subprocess.CompletedProcess[str]:
    """The part of the role that decides whether Filebeat runs."""
    service = yaml.safe_load((ROOT / "roles/filebeat/tasks/service.yml").read_text())
    first = next(at for at, task in enumerate(service) if "ansible.builtin.uri" in task)
    return run(service[first:], "filebeat", directory, filebeat_api_port=port, filebeat_stays_tries=8)


def test_a_filebeat_that_is_started_over_and_over_is_not_taken_for_one_that_runs(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """/stats answers for a moment at each start, before the inputs are made."""
    port = free_port()
    file = changed({**settings, "http.port": port}, tmp_path, "length: 64", "length: 32")
    command = [sys.executable, str(STANDIN / "filebeat"), "-c", str(file), f"--path.data={tmp_path}/data"]
    over = threading.Event()

    def systemd() -> None:
        while not over.is_set():
            subprocess.run(command, capture_output=True, check=False)

    thread = threading.Thread(target=systemd)
    thread.start()
    try:
        done = wait_task(port, tmp_path / "play")
    finally:
        over.set()
        thread.join()
    assert done.returncode == 2, done.stdout
    told = " ".join(done.stdout.split())
    assert "clu1: Filebeat does not stay" in told
    assert "journalctl -u filebeat" in told


def test_a_filebeat_that_stays_is_taken_for_one_that_runs(settings: dict[str, Any], tmp_path: Path) -> None:
    port = free_port()
    given = [one for one in settings["filebeat.inputs"] if one["type"] == "filestream"]
    file = changed({**settings, "http.port": port, "filebeat.inputs": given}, tmp_path, "", "")
    command = [sys.executable, str(STANDIN / "filebeat"), "-c", str(file), f"--path.data={tmp_path}/data"]
    process = subprocess.Popen(command)
    try:
        done = wait_task(port, tmp_path / "play")
        assert done.returncode == 0, done.stdout
        assert "changed=0" in done.stdout
    finally:
        process.terminate()
        process.wait(timeout=10)


def changed(settings: dict[str, Any], directory: Path, old: str, new: str) -> Path:
    """Our settings with one thing replaced, and an authority that is here."""
    authority = directory / "ca.crt"
    shutil.copy(CERTIFICATE, authority)
    text = yaml.safe_dump(settings, sort_keys=False).replace("/etc/filebeat/face-ca.crt", str(authority))
    assert old in text
    file = directory / "filebeat.yml"
    file.write_text(text.replace(old, new) if old else text)
    file.chmod(0o600)
    return file


CERTIFICATE = Path("/etc/ssl/certs/ca-certificates.crt")


class Canned(BaseHTTPRequestHandler):
    answers: dict[str, Any] = {}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = json.dumps(self.answers[self.path]).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def canned() -> Iterator[str]:
    """What the two programs answer: shapes of their documentation."""
    Canned.answers = {
        "/stats": {
            "filebeat": {"harvester": {"running": 3, "open_files": 3}},
            "libbeat": {
                "output": {"events": {"acked": 120, "dropped": 0, "failed": 5}, "write": {"errors": 1}},
                "pipeline": {
                    "events": {"active": 7, "published": 127},
                    "queue": {"max_events": 3200, "filled": {"events": 7, "pct": 0.002}},
                },
            },
            "registrar": {"writes": {"fail": 0}},
        },
        "/_node/stats/pipelines": {
            "pipelines": {
                "main": {
                    "events": {"in": 130, "out": 120},
                    "queue": {
                        "events_count": 10,
                        "queue_size_in_bytes": 4096,
                        "max_queue_size_in_bytes": 1024,
                    },
                    "dead_letter_queue": {"queue_size_in_bytes": 1, "dropped_events": 0},
                    "reloads": {"successes": 1, "failures": 0, "last_error": None},
                },
                "dead-letters": {"events": {"in": 2, "out": 2}, "queue": {"events_count": 0}},
            }
        },
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Canned)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def numbers(file: Path, *arguments: str) -> str:
    script = ROOT / "roles/filebeat/files/log_metrics.py"
    subprocess.run([sys.executable, str(script), str(file), *arguments], check=True)
    return file.read_text()


def test_the_numbers_of_the_path_are_those_both_programs_tell(canned: str, tmp_path: Path) -> None:
    told = numbers(tmp_path / "face_logs.prom", "--filebeat", canned, "--logstash", canned)
    for line in (
        "face_filebeat_up 1",
        "face_filebeat_events_acked_total 120",
        "face_filebeat_queue_events 7",
        "face_logstash_up 1",
        'face_logstash_queue_bytes{pipeline="main"} 4096',
        'face_logstash_events_in_total{pipeline="dead-letters"} 2',
    ):
        assert line in told.splitlines()
    assert (tmp_path / "face_logs.prom").stat().st_mode & 0o777 == 0o644
    assert [file.name for file in tmp_path.iterdir()] == ["face_logs.prom"]
    promtool = CONTAINED / "usr/bin/promtool"
    if not promtool.exists() or os.geteuid() != 0:
        pytest.skip("no promtool: run tests/services/prepare as root")
    done = subprocess.run(
        ["chroot", str(CONTAINED), "/usr/bin/promtool", "check", "metrics"],
        input=told,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_program_that_is_away_is_down_and_has_no_other_number(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    told = numbers(tmp_path / "face_logs.prom", "--filebeat", away, "--logstash", away)
    samples = [line for line in told.splitlines() if not line.startswith("#")]
    assert samples == ["face_filebeat_up 0", "face_logstash_up 0"]
