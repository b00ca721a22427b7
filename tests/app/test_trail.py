"""`face-pipeline trail`: one request's lines out of a journal that the real journalctl reads.

systemd-journal-remote writes the journal. A stand-in for journalctl, for machines that have neither, answers
with the same records; it knows nothing of units, times and patterns, by which the real one filters.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.photos import ROOT

WRITER = Path("/lib/systemd/systemd-journal-remote")
STAND_IN = f"""#!{sys.executable}
import pathlib, sys
directory = next(word for word in sys.argv if word.startswith("--directory=")).partition("=")[2]
print(pathlib.Path(directory, "records").read_text(), end="")
"""
NOW = time.time()
REQUEST, OTHER_REQUEST = "follow-me-12345", "someone.else_999"
PHOTO, SECOND_PHOTO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
TASK, SECOND_TASK = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
TRACEBACK = "Traceback (most recent call last):\n  ...\nValueError: no"


def _line(seconds: float, service: str, message: str, **fields: Any) -> dict[str, Any]:
    when = datetime.fromtimestamp(NOW - 100 + seconds, UTC).isoformat(timespec="milliseconds")
    return {
        "timestamp": when, "service_name": service, "log_level": fields.pop("level", "INFO"),
        "logger": "face_pipeline", "message": message, **fields,
    }  # fmt: skip


# One upload of two photos and what came of it, among lines that are none of its business.
JOURNAL: list[tuple[str, dict[str, Any] | str]] = [
    ("face-web.service", _line(0.2, "face-web", "2 photos accepted, 0 refused", request_id=REQUEST,
                               operation="upload", photo_id=[PHOTO, SECOND_PHOTO])),
    ("face-web.service", _line(0.3, "face-web", "POST /api/v1/photos", request_id=REQUEST, status=202,
                               duration_seconds=0.25)),
    ("face-web.service", _line(0.4, "face-web", "GET /api/v1/collections", request_id=OTHER_REQUEST)),
    ("celery@1.service", _line(2.0, "face-worker", "engine failed", request_id=REQUEST, task_id=TASK,
                               photo_id=PHOTO, level="ERROR", exception=TRACEBACK)),
    ("celery@1.service", _line(2.5, "face-worker", "photo processed", request_id=REQUEST, task_id=TASK,
                               photo_id=PHOTO, outcome="success", detect_seconds=0.4, duration_seconds=0.6)),
    ("face-reconciler.service", _line(3.0, "face-reconciler", "lost work came back",
                                      photo_id=[SECOND_PHOTO])),
    ("celery@2.service", _line(4.0, "face-worker", "photo processed", request_id=REQUEST,
                               task_id=SECOND_TASK, photo_id=SECOND_PHOTO, outcome="success")),
    ("face-web.service", _line(9.0, "face-web", f"GET /api/v1/photos/{PHOTO}", request_id=OTHER_REQUEST)),
    ("celery@1.service", f"plain text that names {REQUEST}"),
    ("ssh.service", _line(2.1, "sshd", "not ours", request_id=REQUEST)),
]  # fmt: skip
# To the second, as nginx writes them.
NGINX = [
    _line(0, "nginx", "POST /api/v1/photos 202", request_id=REQUEST, status=202, client_address="192.0.2.1",
          user_agent="evil \x1b[2J"),
    _line(9, "nginx", f"GET /api/v1/photos/{PHOTO} 200", request_id=OTHER_REQUEST, status=200),
]  # fmt: skip


@dataclass
class Logs:
    """The logs of a host, in a directory."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def access_log(self) -> Path:
        return self.directory / "nginx" / "face-pipeline.log"

    def trail(self, *arguments: str, code: int = 0, journal: bool = True) -> list[str]:
        read = ["--journal", str(self.directory / "journal")] if journal else []
        done = subprocess.run(
            [sys.executable, "-m", "face_pipeline.cli", "trail", *arguments, *read,
             "--access-log", str(self.access_log)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "app"), **self.environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        if code:
            assert done.stdout == ""
            assert "Traceback" not in done.stderr
        return (done.stderr if code else done.stdout).splitlines()

    def messages(self, *arguments: str) -> list[str]:
        return [json.loads(line)["message"] for line in self.trail(*arguments, "--json")]


def _records(lines: Iterable[tuple[str, dict[str, Any] | str]]) -> list[dict[str, str]]:
    return [
        {
            "__REALTIME_TIMESTAMP": str(int((NOW - 2000 + 100 * number) * 1e6)),
            "_SYSTEMD_UNIT": unit,
            "MESSAGE": line if isinstance(line, str) else json.dumps(line),
        }
        for number, (unit, line) in enumerate(lines)
    ]


def _write_journal(directory: Path, records: list[dict[str, str]]) -> None:
    directory.mkdir()
    exported = "\n".join(
        "".join(f"{name}={value}\n" for name, value in {
            "__MONOTONIC_TIMESTAMP": str(number), "_BOOT_ID": "0" * 31 + "1", **record
        }.items())
        for number, record in enumerate(records)
    )  # fmt: skip
    subprocess.run(
        [str(WRITER), f"--output={directory / 'fixture.journal'}", "-"],
        # An empty line ends the last record too.
        input=exported + "\n", text=True, check=True, capture_output=True,
    )  # fmt: skip


def _make(directory: Path, kind: str) -> Logs:
    logs = Logs(directory)
    logs.access_log.parent.mkdir()
    logs.access_log.write_text(json.dumps(NGINX[1]) + "\nno JSON, and names " + REQUEST + "\n")
    with gzip.open(f"{logs.access_log}.2.gz", "wt") as old:
        old.write(json.dumps(NGINX[0]) + "\n")
    if kind == "journalctl":
        if not WRITER.exists() or not shutil.which("journalctl"):
            pytest.skip("needs journalctl and systemd-journal-remote, which writes a journal for it")
        _write_journal(directory / "journal", _records(JOURNAL))
    else:
        (directory / "journal").mkdir()
        ours = [each for each in _records(JOURNAL) if each["_SYSTEMD_UNIT"] != "ssh.service"]
        (directory / "journal" / "records").write_text("".join(json.dumps(each) + "\n" for each in ours))
        tool = directory / "bin" / "journalctl"
        tool.parent.mkdir()
        tool.write_text(STAND_IN)
        tool.chmod(0o755)
        logs.environment["PATH"] = f"{tool.parent}:{os.environ['PATH']}"
    return logs


@pytest.fixture(scope="module", params=["journalctl", "a stand-in for journalctl"])
def logs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Logs:
    return _make(tmp_path_factory.mktemp("logs"), request.param)


def test_a_request_leads_to_its_tasks_and_photos_in_the_order_of_time(logs: Logs) -> None:
    assert logs.messages(REQUEST) == [
        "2 photos accepted, 0 refused", "POST /api/v1/photos", "POST /api/v1/photos 202", "engine failed",
        "photo processed", "lost work came back", "photo processed",
    ]  # fmt: skip


def test_a_photo_leads_to_its_request_and_not_to_the_other_photos_tasks(logs: Logs) -> None:
    assert logs.messages(PHOTO) == [
        "2 photos accepted, 0 refused", "POST /api/v1/photos", "POST /api/v1/photos 202", "engine failed",
        "photo processed",
    ]  # fmt: skip
    assert "lost work came back" in logs.messages(SECOND_PHOTO)


def test_a_task_leads_to_its_request(logs: Logs) -> None:
    found = [json.loads(line) for line in logs.trail(SECOND_TASK, "--json")]
    assert [line["unit"] for line in found] == ["face-web", "face-web", "nginx", "celery@2"]
    assert {line["request_id"] for line in found} == {REQUEST}


def test_the_table_can_be_read_and_nobody_writes_to_the_terminal(logs: Logs) -> None:
    table = logs.trail(REQUEST)
    assert table[0].split() == ["TIME", "(UTC)", "UNIT", "LEVEL", "SECONDS", "WHAT"]
    text = "\n".join(table)
    assert "\x1b" not in text
    assert "  | ValueError: no" in text
    row = next(line for line in table if "detect_seconds=0.4" in line)
    assert row.split()[2:5] == ["celery@1", "INFO", "0.600"]
    assert REQUEST not in row, "the same in every line"


def test_an_unknown_id_says_so_in_one_line(logs: Logs) -> None:
    (line,) = logs.trail("nobody-knows-this", code=1)
    assert "nobody-knows-this" in line
    assert "--since" in line


@pytest.mark.parametrize("wanted", ["short", "a|b.*c()xyz", "x" * 65])
def test_what_can_be_no_id_is_refused(logs: Logs, wanted: str) -> None:
    (line,) = logs.trail(wanted, code=1)
    assert "is no id" in line


def test_a_dot_in_an_id_is_a_dot(logs: Logs) -> None:
    assert len(logs.messages(OTHER_REQUEST)) == 3
    logs.trail(OTHER_REQUEST.replace(".", "-"), code=1)


def test_old_lines_are_left_out(tmp_path: Path) -> None:
    logs = _make(tmp_path, "journalctl")
    os.utime(f"{logs.access_log}.2.gz", (NOW - 3000, NOW - 3000))
    # After the third record, and long before the fourth: a busy machine may start the command late.
    seconds = int(time.time() - NOW + 1790)
    assert len(logs.messages(REQUEST, "--since", f"{seconds}s")) == 4


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("No journal files were opened due to insufficient permissions.", "run as root"),
        ("Failed to open directory: No such file or directory", "No such file or directory"),
    ],
)
def test_a_journal_that_cannot_be_read_says_so(tmp_path: Path, message: str, words: str) -> None:
    logs = _make(tmp_path, "a stand-in for journalctl")
    (tmp_path / "bin" / "journalctl").write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
    (line,) = logs.trail(REQUEST, code=1)
    assert words in line


def test_a_host_without_journalctl_says_so(tmp_path: Path) -> None:
    logs = _make(tmp_path, "a stand-in for journalctl")
    logs.environment["PATH"] = str(tmp_path / "nothing")
    (line,) = logs.trail(REQUEST, code=1)
    assert "journalctl does not run here" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_may_not_read_the_access_log_is_told() -> None:
    from face_pipeline.ops import trail

    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    sources = trail.Sources(1000, access_log=directory / "face-pipeline.log")
    sources.access_log.touch(mode=0o600)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            list(trail._access_log([REQUEST], sources))
        except trail.JournalUnreadable as error:
            os._exit(0 if "group adm" in error.message else 1)
        os._exit(2)
    ended = os.waitpid(child, 0)[1]
    shutil.rmtree(directory)
    assert os.waitstatus_to_exitcode(ended) == 0
