"""A line's way without the vendor: the Filebeat stand-in, TLS, the Logstash stand-in, a small Elasticsearch.

Our own files are what both read: the rendered filebeat.yml, logstash.yml, pipelines.yml and files/logstash.
What is shown is that nothing on the way they describe is lost or stored twice; the real programs are not.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.installation import wait_until
from tests.logs.test_filebeat_role import ROOT, STANDIN, render
from tests.services.process import free_port

pytest.importorskip("lark")
sys.path.insert(0, str(STANDIN))
packages = pytest.importorskip("logstash_filebeat_packages")

PASSWORD = "password-of-the-writer-in-tests"
TOOL = ROOT / "roles/certificates/files/make_certificate.py"


class Store:
    """Of Elasticsearch only _bulk into data streams, with the answers Logstash acts on."""

    def __init__(self, port: int, certificate: Path, key: Path) -> None:
        self.documents: dict[str, list[dict[str, Any]]] = {}
        self.ids: set[tuple[str, str]] = set()
        self.calls = 0
        self.closed_to = b"nobody"
        self.has: Callable[[tuple[str, str]], bool] = self.ids.__contains__
        self.refuse: Callable[[dict[str, Any]], bool] = lambda _document: False
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.port = port
        self.server: ThreadingHTTPServer | None = None

    def open(self) -> None:
        store = self

        class Bulk(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                known = base64.b64encode(f"logstash_writer:{PASSWORD}".encode()).decode()
                right = self.headers["Authorization"] == f"Basic {known}" and self.path == "/_bulk"
                status = 401 if not right else 503 if store.closed_to in body else 200
                answer = json.dumps(store.bulk(body)).encode() if status == 200 else b"{}"
                self.send_response(status)
                self.end_headers()
                self.wfile.write(answer)

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Bulk)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
        self.server = None

    def bulk(self, body: bytes) -> dict[str, Any]:
        self.calls += 1
        items = []
        lines = [json.loads(line) for line in body.splitlines()]
        for about, document in zip(lines[::2], lines[1::2], strict=True):
            ((action, where),) = about.items()
            key = (where["_index"], where.get("_id", os.urandom(8).hex()))
            status = 400 if action != "create" or self.refuse(document) else 409 if self.has(key) else 201
            if status == 201:
                self.ids.add(key)
                self.documents.setdefault(where["_index"], []).append(document)
            types = {400: "document_parsing_exception", 409: "version_conflict_engine_exception"}
            reason = {"error": {"type": types[status]}} if status in types else {}
            items.append({action: {"_index": where["_index"], "status": status, **reason}})
        return {"errors": False, "items": items}

    def messages(self, index: str) -> list[str]:
        return [document["message"] for document in self.documents.get(index, [])]


@dataclass
class LogPath:
    """Both stand-ins on one directory that stands for a host's root."""

    root: Path
    store: Store
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        environment = {
            **standin(self.root),
            **dict(
                line.split("=", 1)
                for line in (self.root / "etc/logstash/face.env").read_text().replace('"', "").splitlines()
                if not line.startswith("#")
            ),
            "STANDIN_RETRY_MAX": "0.5",
            "STANDIN_POLL": "0.1",
            # A journal of nobody: the files are what these tests write.
            "STANDIN_JOURNAL": f"--directory={self.root}/journal",
        }
        command = {
            "logstash": [str(STANDIN / "logstash"), "--path.settings", str(self.root / "etc/logstash")],
            "filebeat": [
                str(STANDIN / "filebeat"), "-c", str(self.root / "etc/filebeat/filebeat.yml"),
                "--path.data", str(self.root / "var/lib/filebeat"),
            ],
        }[name]  # fmt: skip
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        if name == "logstash":
            wait_until(self.answers, 20, "Logstash")

    def answers(self) -> bool:
        assert self.processes["logstash"].poll() is None, (self.root / "logstash.log").read_text()[-1500:]
        try:
            return bool(self.stats())
        except requests.ConnectionError:
            return False

    def stop(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(timeout=20)

    def write(self, name: str, *lines: str) -> None:
        file = self.root / "var/log" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as opened:
            opened.writelines(f"{line}\n" for line in lines)

    def wait(self, index: str, count: int, seconds: float = 30) -> list[str]:
        try:
            wait_until(lambda: len(self.store.messages(index)) >= count, seconds, f"{count} lines in {index}")
        except AssertionError as error:
            logs = "\n".join(file.read_text()[-1500:] for file in self.root.glob("*.log"))
            raise AssertionError(f"{error}, {len(self.store.messages(index))} came\n{logs}") from None
        return self.store.messages(index)

    def stats(self) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.ports['logstash_api']}/_node/stats/pipelines"
        found: dict[str, Any] = requests.get(address, timeout=5).json()["pipelines"]
        return found


def standin(root: Path) -> dict[str, str]:
    """What the stand-ins are told of this machine, which is no host."""
    return {**os.environ, "STANDIN_ROOT": str(root), "STANDIN_ALLOW_SUPERUSER": "1"}


def access(number: int) -> str:
    return json.dumps(
        {
            "timestamp": "2026-11-23T16:10:00+00:00", "service_name": "nginx", "log_level": "INFO",
            "message": f"GET /{number} 200", "request_id": f"r{number}", "operation": "request",
            "status": 200, "duration_seconds": 0.001,
            "client_address": "127.0.0.1", "upstream_seconds": "0.001",
        }
    )  # fmt: skip


def certificate(directory: Path, *names: str) -> None:
    """As the role makes it: in a directory of its own, beside the authority and the proxy's."""
    for words in (["localhost"], ["--into", str(directory), *names]):
        subprocess.run(
            [sys.executable, str(TOOL), str(directory.parent), *words], check=True, capture_output=True
        )


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    root = tmp_path_factory.mktemp("path")
    for made in ("etc/logstash/conf.d", "etc/logstash/dead-letters.d", "etc/filebeat", "journal", "var/lib"):
        (root / made).mkdir(parents=True)
    ports = dict(yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"])
    ports |= {name: free_port() for name in ("logstash", "logstash_api", "elasticsearch")}
    common: dict[str, Any] = {"face_ports": ports, "logstash_queue_mb": 4}
    written = {name: root / "etc/logstash" / name for name in ("logstash.yml", "pipelines.yml", "face.env")}
    render("logstash", written, root / "play-logstash", **common)
    variables = {
        **common,
        "filebeat_config_dir": str(root / "etc/filebeat"),
        "filebeat_api_port": free_port(),
    }
    render(
        "filebeat", {"filebeat.yml": root / "etc/filebeat/filebeat.yml"}, root / "play-filebeat", **variables
    )
    file = root / "etc/filebeat/filebeat.yml"
    file.write_text(file.read_text().replace("/var/log/", f"{root}/var/log/"))
    file.chmod(0o600)
    for source in (ROOT / "files/logstash").rglob("*.conf"):
        place = "dead-letters.d" if source.parent.name == "dead-letters" else "conf.d"
        (root / "etc/logstash" / place / source.name).write_text(source.read_text())
    (root / "etc/logstash/jvm.options").write_text(packages.LOGSTASH_JVM_OPTIONS)
    (root / "etc/logstash/log4j2.properties").write_text(packages.LOGSTASH_LOG4J)
    secrets = root / "secrets"
    certificate(secrets / "logstash-clu1", "localhost", "127.0.0.1")
    made = secrets / "logstash-clu1"
    for source, target in (
        (made / "server.crt", "etc/logstash/face-beats.crt"),
        (made / "server.key", "etc/logstash/face-beats.key"),
        (secrets / "ca.crt", "etc/logstash/face-ca.crt"),
        (secrets / "ca.crt", "etc/filebeat/face-ca.crt"),
    ):
        (root / target).write_bytes(source.read_bytes())
    keystore = root / "logstash-keystore"
    keystore.symlink_to(STANDIN / "logstash")
    where = ("--path.settings", str(root / "etc/logstash"))
    for given, words in (("y", ("create",)), (PASSWORD, ("add", "FACE_ELASTICSEARCH_PASSWORD", "--stdin"))):
        command = [sys.executable, str(keystore), *where, *words]
        done = subprocess.run(
            command, input=given, text=True, check=True, capture_output=True, env=standin(root)
        )
        assert "ERROR" not in done.stdout
    return root, ports


@pytest.fixture
def path(rendered: tuple[Path, dict[str, int]]) -> Iterator[LogPath]:
    root, ports = rendered
    for left in ("var/lib/logstash", "var/lib/filebeat", "var/log"):
        subprocess.run(["rm", "-rf", str(root / left)], check=True)
    # As the role makes it.
    (root / "var/lib/logstash/dead_letter_queue/main").mkdir(parents=True)
    (root / "logstash.log").unlink(missing_ok=True)
    secrets = root / "secrets"
    store = Store(ports["elasticsearch"], secrets / "server.crt", secrets / "server.key")
    made = LogPath(root, store, ports)
    store.open()
    yield made
    for name in list(made.processes):
        made.stop(name)
    store.close()


NGINX = "face-recognition-logs-nginx"


def test_a_line_arrives_with_its_fields(path: LogPath) -> None:
    path.start("logstash")
    path.start("filebeat")
    path.write("nginx/face-pipeline.log", access(1))
    path.wait(NGINX, 1)
    (document,) = path.store.documents[NGINX]
    assert document["@timestamp"] == "2026-11-23T16:10:00.000Z"
    assert document["request_id"] == "r1"
    assert document["host"] == {"name": "clu1"}
    assert document["environment"] == "production"
    assert document["upstream_seconds"] == 0.001
    assert "@metadata" not in document


def test_lines_of_an_outage_of_elasticsearch_all_arrive_once(path: LogPath) -> None:
    path.start("logstash")
    path.start("filebeat")
    path.write("nginx/face-pipeline.log", access(0))
    path.wait(NGINX, 1)
    path.store.close()
    for first in range(1, 501, 100):
        path.write("nginx/face-pipeline.log", *map(access, range(first, first + 100)))
    wait_until(lambda: path.stats()["main"]["events"]["in"] == 501, 20, "all lines in Logstash's queue")
    assert path.stats()["main"]["queue"]["queue_size_in_bytes"] > 0
    path.store.open()
    path.wait(NGINX, 501)
    wait_until(lambda: path.stats()["main"]["queue"]["events_count"] == 0, 20, "an empty queue")
    assert sorted(path.store.messages(NGINX)) == sorted(f"GET /{number} 200" for number in range(501))


def test_what_is_in_the_queue_survives_a_killed_logstash_and_what_is_not_is_sent_again(path: LogPath) -> None:
    path.store.close()
    path.start("logstash")
    path.start("filebeat")
    path.write("nginx/face-pipeline.log", *map(access, range(300)))
    wait_until(lambda: path.stats()["main"]["events"]["in"] == 300, 20, "300 lines in the queue")
    path.stop("logstash")
    path.write("nginx/face-pipeline.log", *map(access, range(300, 500)))
    path.store.open()
    path.start("logstash")
    path.wait(NGINX, 500)
    assert sorted(path.store.messages(NGINX)) == sorted(f"GET /{number} 200" for number in range(500))


def test_filebeat_goes_on_where_it_was_also_over_a_rotation(path: LogPath) -> None:
    path.start("logstash")
    path.start("filebeat")
    path.write("nginx/face-pipeline.log", *map(access, range(10)))
    path.wait(NGINX, 10)
    path.stop("filebeat", signal.SIGTERM)
    path.write("nginx/face-pipeline.log", access(10))
    log = path.root / "var/log/nginx/face-pipeline.log"
    log.rename(log.with_name("face-pipeline.log.1"))
    later = access(11).replace("16:10:00", "16:10:07")
    path.write("nginx/face-pipeline.log", later)
    path.start("filebeat")
    path.wait(NGINX, 12)
    assert sorted(path.store.messages(NGINX)) == sorted(f"GET /{number} 200" for number in range(12))


def test_a_full_queue_holds_filebeat_back_and_loses_nothing(path: LogPath) -> None:
    path.store.close()
    path.start("logstash")
    path.start("filebeat")
    long = "x" * 20_000
    lines = [access(number).replace("GET", long) for number in range(600)]
    path.write("nginx/face-pipeline.log", *lines)
    full = 3 * 1024 * 1024
    wait_until(lambda: path.stats()["main"]["queue"]["queue_size_in_bytes"] > full, 30, "a queue that fills")
    path.store.open()
    came = path.wait(NGINX, 600, 60)
    assert sorted(came) == sorted(f"{long} /{number} 200" for number in range(600))


def test_a_refused_line_comes_back_as_text_with_the_reason(path: LogPath) -> None:
    path.store.refuse = lambda document: document.get("duration_seconds") == "slow"
    path.start("logstash")
    path.start("filebeat")
    bad = access(1).replace("0.001,", '"slow",', 1)
    path.write("nginx/face-pipeline.log", bad, access(2))
    assert path.wait("filebeat-dead-letters", 1) == [bad]
    (document,) = path.store.documents["filebeat-dead-letters"]
    assert document["tags"] == ["_dead_letter"]
    assert "document_parsing_exception" in document["dead_letter_reason"]
    assert path.wait(NGINX, 1) == ["GET /2 200"]


def test_filebeat_talks_to_no_logstash_that_another_authority_signed(path: LogPath, tmp_path: Path) -> None:
    path.start("logstash")
    command = [sys.executable, str(STANDIN / "filebeat"), "test", "output", "-c"]
    file = path.root / "etc/filebeat/filebeat.yml"

    def ask(config: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, str(config)], capture_output=True, text=True, check=False)

    assert ask(file).returncode == 0
    foreign = tmp_path / "foreign"
    certificate(foreign / "one", "localhost")
    other = tmp_path / "filebeat.yml"
    other.write_text(
        file.read_text().replace(str(path.root / "etc/filebeat/face-ca.crt"), str(foreign / "ca.crt"))
    )
    other.chmod(0o600)
    answer = ask(other)
    assert answer.returncode == 1
    assert "certificate verify failed" in answer.stderr


def test_a_line_that_elasticsearch_has_already_is_not_written_into_logstashs_log(path: LogPath) -> None:
    path.store.has = lambda _key: True
    path.start("logstash")
    path.start("filebeat")
    path.write("nginx/face-pipeline.log", access(1))
    wait_until(lambda: path.stats()["main"]["events"]["out"] == 1, 20, "the answer to the line")
    assert path.store.messages(NGINX) == []
    assert "GET /1 200" not in (path.root / "logstash.log").read_text()


def test_dead_letters_on_their_way_survive_a_killed_logstash(path: LogPath) -> None:
    path.store.refuse = lambda document: document.get("duration_seconds") == "slow"
    path.store.closed_to = b"filebeat-dead-letters"
    path.start("logstash")
    path.start("filebeat")
    slow = [access(number).replace("0.001,", '"slow",', 1) for number in range(20)]
    path.write("nginx/face-pipeline.log", *slow)
    wait_until(lambda: path.stats()["dead-letters"]["events"]["in"] == 20, 20, "all dead letters read back")
    assert path.store.messages("filebeat-dead-letters") == []
    path.stop("logstash")
    path.store.closed_to = b"nobody"
    path.start("logstash")
    assert sorted(path.wait("filebeat-dead-letters", 20)) == sorted(slow)


@pytest.mark.parametrize("status", [[500], {"x": 500}], ids=str)
def test_a_line_that_no_condition_can_judge_comes_back_as_text(path: LogPath, status: Any) -> None:
    path.start("logstash")
    path.start("filebeat")
    line = json.dumps({**json.loads(access(1)), "status": status})
    path.write("nginx/face-pipeline.log", line, access(2))
    assert path.wait("filebeat-dead-letters", 1) == [line]
    (document,) = path.store.documents["filebeat-dead-letters"]
    assert "condition evaluation error" in document["dead_letter_reason"]
    assert path.wait(NGINX, 1) == ["GET /2 200"]


def test_a_dead_letter_whose_service_is_no_text_is_not_refused_again(path: LogPath) -> None:
    path.store.refuse = lambda document: isinstance(document.get("service_name"), dict)
    path.start("logstash")
    path.start("filebeat")
    line = json.dumps({**json.loads(access(1)), "service_name": {"name": "x"}})
    path.write("nginx/face-pipeline.log", line)
    assert path.wait("filebeat-dead-letters", 1) == [line]
