"""Programs of roles and playbooks: importable, content with the hosts' own Python, and as they say."""

from __future__ import annotations

import ast
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.programs import ROOT, load, programs

# Ubuntu 22.04's.
OLDEST_PYTHON = (3, 10)
# They run in Ansible's Python, beside the project.
NOT_ON_THE_HOSTS_PYTHON = {"make_certificate", "check_pack", "bill_of_materials"}
NAMES = [str(file.relative_to(ROOT)) for file in programs()]
ON_THE_HOSTS_PYTHON = [
    *(name for name in NAMES if Path(name).stem not in NOT_ON_THE_HOSTS_PYTHON and "plugins/" not in name),
    "app/face_pipeline/ops/workers.py",
    "app/face_pipeline/ops/releases.py",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_program_can_be_imported_and_does_nothing_by_that(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"from tests.ansible.programs import load; load({name!r})"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'app'}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ON_THE_HOSTS_PYTHON)
def test_a_program_of_the_hosts_needs_nothing_but_their_python(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(), feature_version=OLDEST_PYTHON)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= sys.stdlib_module_names


def test_no_program_is_left_out_of_the_type_check() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    checked = {file for pattern in settings["files"] for file in ROOT.glob(pattern)}
    assert set(programs()) <= checked
    assert settings["strict"] is True


def test_no_role_reads_or_writes_the_applications_tables() -> None:
    for file in programs():
        assert "face_pipeline.store" not in file.read_text(), file
        assert "sqlalchemy" not in file.read_text(), file


def test_every_file_of_tasks_is_imported_by_another() -> None:
    texts = {
        file: file.read_text()
        for place in ("roles", "playbooks", "molecule")
        for file in (ROOT / place).rglob("*.yml")
    }
    for file in texts:
        if file.parent.name != "tasks" or file.stem == "main" or ROOT / "roles" not in file.parents:
            continue
        words = (
            f"_tasks: {file.name}",
            f"tasks_from: {file.stem}",
            f'tasks_from: "{file.stem}',
            f"steps: {file.name}",
            # As a handler has to say it.
            f"}}}}/tasks/{file.name}",
        )
        assert any(word in text for other, text in texts.items() if other != file for word in words), file


# worker_status


@contextlib.contextmanager
def answering(answers: Callable[[str], tuple[int, bytes]]) -> Iterator[int]:
    """A server on this machine; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def a_unit(**changed: str) -> dict[str, str]:
    return {
        "Id": "celery@2.service", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled",
        "ActiveEnterTimestamp": "Thu 2026-11-26 08:00:00 UTC", "MainPID": str(os.getpid()),
        "MemoryCurrent": "[not set]", "NRestarts": "3", **changed,
    }  # fmt: skip


def test_a_workers_tasks_are_those_of_all_its_series() -> None:
    page = (
        b"# TYPE celery_tasks_active gauge\ncelery_tasks_active 2.0\ncelery_worker_concurrency 3.0\n"
        b'celery_tasks_processed_total{status="done"} 40.0\n'
        b'celery_tasks_processed_total{status="failed"} 2.0\n'
    )
    status = load("roles/worker/files/worker_status.py")
    with answering(lambda _: (200, page)) as port:
        told = status.describe(a_unit(), "127.0.0.1", port - 2, "")
    assert (told["concurrency"], told["active"], told["processed"]) == (3, 2, 42)
    assert (told["restarts"], told["enabled"]) == (3, True)
    # systemd counts no memory here: the process says what it takes.
    assert told["memory_bytes"] > 1024**2


def test_a_worker_that_does_not_answer_is_told_without_numbers() -> None:
    status = load("roles/worker/files/worker_status.py")
    told = status.describe(a_unit(MemoryCurrent="77"), "127.0.0.1", -1, "")
    assert (told["state"], told["active"], told["processed"], told["memory_bytes"]) == (
        "active",
        None,
        None,
        77,
    )
    stopped = status.describe(a_unit(ActiveState="inactive", NRestarts=""), "127.0.0.1", -1, "")
    assert (stopped["since"], stopped["memory_bytes"], stopped["restarts"]) == (None, None, 0)


# targets


def a_target(health: str, job: str = "web", error: str = "") -> dict[str, Any]:
    return {
        "labels": {"job": job},
        "health": health,
        "lastError": error,
        "scrapeUrl": "http://10.0.0.1/metrics",
    }


def test_targets_that_are_down_are_told_but_for_those_left_out(tmp_path: Path) -> None:
    access = tmp_path / "operator.json"
    access.write_text('{"basic_auth": {"username": "operator", "password": "secret"}}')
    active = [
        a_target("up"),
        a_target("down", "kibana", "refused"),
        a_target("unknown"),
        a_target("down", "redis", "refused"),
    ]
    targets = load("roles/verify/files/targets.py")
    with answering(lambda _: (200, json.dumps({"data": {"activeTargets": active}}).encode())) as port:
        found = targets.troubles(f"http://127.0.0.1:{port}", access, ["kibana"])
    assert found == [
        "Prometheus cannot ask web at http://10.0.0.1/metrics: not asked yet",
        "Prometheus cannot ask redis at http://10.0.0.1/metrics: refused",
    ]
    (silent,) = targets.troubles("http://127.0.0.1:1", access, [])
    assert silent.startswith("Prometheus at http://127.0.0.1:1 does not answer: ")


# unpack, probe


def test_files_are_taken_out_of_an_archive_wherever_they_lie(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("deep/er/model.onnx", b"weights")
        archive.writestr("other.onnx", b"not asked for")
    unpack = load("roles/models/files/unpack.py")
    unpack.main(tmp_path / "pack.zip", tmp_path / "out", ["model.onnx"])
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {
        "model.onnx": b"weights"
    }
    with pytest.raises(SystemExit, match=r"pack.zip holds no lacking.onnx"):
        unpack.main(tmp_path / "pack.zip", tmp_path / "out", ["lacking.onnx"])


def test_a_host_that_lacks_memory_or_room_is_told_so() -> None:
    probe = load("roles/preflight/files/probe.py")
    assert [*probe.memory(1), *probe.disk(1)] == []
    (memory,) = probe.memory(10**9)
    assert memory.endswith("MB, 1000000000 MB are needed")
    assert [line.rpartition(" under ")[2] for line in probe.disk(10**9)] == [
        "/, 1000000000 MB are needed", "/var/lib, 1000000000 MB are needed",
    ]  # fmt: skip


def test_a_port_is_free_for_the_program_that_is_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = load("roles/preflight/files/probe.py")

    def listening(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        held = f'LISTEN 0 511 0.0.0.0:443 0.0.0.0:* users:(("apache2",pid={os.getpid()},fd=6))\n'
        return subprocess.CompletedProcess([], 0, held, "")

    # `ss` is not on every machine that runs the tests.
    monkeypatch.setattr(probe.subprocess, "run", listening)
    assert list(probe.ports([{"port": 443, "process": "apache2"}])) == []
    (line,) = probe.ports([{"port": 443, "process": "nginx"}])
    assert line == "port 443 is held by apache2; end it or give nginx another one in face_ports"
