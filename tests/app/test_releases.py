"""face-release, as people and the playbooks call it: what runs, what worked, and the way back.

No systemd runs where the tests run: a stand-in notes what it was asked. tests/hosts has the real one.
"""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.photos import ROOT

PROGRAM = ROOT / "app/face_pipeline/ops/releases.py"
UNIT = Path("etc/systemd/system/face-web.service")
SETTINGS = Path("etc/face-pipeline/face-pipeline.env")
EDITED = Path("etc/systemd/system/celery@2.service.d/override.conf")
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>{directory}/calls
case "$1 $2" in
  restart*not-here*) echo "Unit $2 not found." >&2; exit 5 ;;
  is-active*)
    case "$2" in *not-here*) echo inactive; exit 4 ;; esac
    state=$(cat {directory}/states/"$2" 2>/dev/null || echo active)
    echo "$state"; [ "$state" = active ] || exit 3 ;;
  reset-failed*not-here*) echo "Failed to reset failed state of unit $2: Unit $2 not loaded." >&2; exit 1 ;;
esac
"""


@dataclass
class Machine:
    directory: Path
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.directory / "bin").mkdir()
        (self.directory / "releases").mkdir()
        self.program("bin/systemctl", SYSTEMCTL.format(directory=self.directory))
        self.program("face-workers", f'#!/bin/sh\necho "face-workers $*" >>{self.directory}/calls\n')

    def program(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o755)

    def install(self, name: str, schema: str, lock: str = "") -> None:
        """What the role does: the release beside the others, and what is written for it."""
        release = self.directory / "releases" / name
        revisions = release / "app/face_pipeline/store/migrations/versions"
        revisions.mkdir(parents=True)
        (revisions / "0001_first.py").touch()
        (revisions / f"{schema}_newest.py").touch()
        (release / "venv").mkdir()
        (release / "venv/.lock").write_text(lock)
        (release / ".complete").write_text(name)
        # Of two that were installed within a moment, the later is the newer.
        number = len(list(release.parent.iterdir()))
        os.utime(release / ".complete", (number * 1000.0, number * 1000.0))

    def switch(self, name: str) -> None:
        link = self.directory / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(self.directory / "releases" / name)
        for path in (UNIT, SETTINGS):
            self.write(path, f"of {name}")

    def write(self, path: Path, text: str, mode: int = 0o640) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def read(self, path: Path) -> str:
        return (self.directory / path).read_text()

    @property
    def runs(self) -> str:
        return (self.directory / "current").readlink().name

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        options = [
            f"--releases={self.directory / 'releases'}", f"--current={self.directory / 'current'}",
            f"--root={self.directory}", f"--web={self.directory / 'web.sock'}",
            f"--workers={self.directory / 'face-workers'}", f"--lock={self.directory / 'lock'}",
            "--files=/etc/face-pipeline/face-pipeline.env", "--files=/etc/systemd/system/face-web.*",
            "--files=/etc/systemd/system/celery@*.service.d/[12]0-*.conf",
            "--files=/etc/systemd/system/face-hooks.service",
            "--services=face-hooks.service", "--services=not-here.service",
        ]  # fmt: skip
        return subprocess.run(
            [sys.executable, "-I", str(PROGRAM), *options, "--", *words],
            env={**os.environ, "PATH": f"{self.directory}/bin:{os.environ['PATH']}"},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def asked(self) -> list[str]:
        path = self.directory / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in found if "is-active" not in line]

    def set_state(self, state: str, *units: str) -> None:
        (self.directory / "states").mkdir(exist_ok=True)
        for unit in units:
            (self.directory / "states" / unit).write_text(f"{state}\n")


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    made = Machine(tmp_path)
    with Server(str(tmp_path / "web.sock"), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture
def updated(machine: Machine) -> Machine:
    """One release that was good, and another one installed over it."""
    machine.install("old", "0017")
    machine.switch("old")
    assert machine.call("good").returncode == 0
    machine.install("new", "0019")
    machine.switch("new")
    return machine


def test_the_way_back_brings_link_settings_and_units_and_restarts(updated: Machine) -> None:
    done = updated.call("back", "old")
    assert (done.returncode, done.stdout, done.stderr) == (0, "back: new -> old\n", "")
    assert updated.runs == "old"
    assert (updated.read(UNIT), updated.read(SETTINGS)) == ("of old", "of old")
    assert (updated.directory / SETTINGS).stat().st_mode & 0o7777 == 0o640
    assert updated.asked() == [
        "systemctl daemon-reload", "systemctl restart face-web.service", "face-workers restart",
        "systemctl restart face-hooks.service",
    ]  # fmt: skip
    assert updated.call("back", "old").stdout == ""
    assert updated.asked() == []


def test_the_way_back_starts_what_was_given_up(updated: Machine) -> None:
    updated.set_state("failed", "face-web.socket", "face-web.service", "face-hooks.service")
    assert updated.call("back", "old").returncode == 0
    assert updated.asked() == [
        "systemctl daemon-reload",
        "systemctl reset-failed face-web.socket", "systemctl restart face-web.socket",
        "systemctl reset-failed face-web.service", "systemctl restart face-web.service",
        "face-workers restart",
        "systemctl reset-failed face-hooks.service", "systemctl restart face-hooks.service",
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["activating", "deactivating"])
def test_the_way_back_starts_what_ends_again_and_again(updated: Machine, state: str) -> None:
    """Between two tries a unit is neither active nor failed, and the next one may be the last."""
    updated.set_state(state, "face-web.service", "face-hooks.service")
    assert updated.call("back", "old").returncode == 0
    assert updated.asked() == [
        "systemctl daemon-reload",
        "systemctl reset-failed face-web.service", "systemctl restart face-web.service",
        "face-workers restart",
        "systemctl reset-failed face-hooks.service", "systemctl restart face-hooks.service",
    ]  # fmt: skip


def test_the_way_back_leaves_what_somebody_stopped(updated: Machine) -> None:
    updated.set_state("inactive", "face-hooks.service")
    assert updated.call("back", "old").returncode == 0
    assert "systemctl restart face-hooks.service" not in updated.asked()


def test_a_unit_that_the_earlier_release_did_not_have_ends(updated: Machine) -> None:
    added = UNIT.with_name("face-hooks.service")
    updated.write(added, "came with new")
    assert updated.call("back", "old").returncode == 0
    assert not (updated.directory / added).exists()
    assert "systemctl stop face-hooks.service" in updated.asked()[:1]


def test_settings_that_do_not_work_are_taken_back_without_another_release(machine: Machine) -> None:
    machine.install("old", "0017")
    machine.switch("old")
    machine.call("good")
    machine.write(SETTINGS, "a broken one")
    added = Path("etc/systemd/system/celery@.service.d/20-gpu.conf")
    machine.write(added, "a new one")
    done = machine.call("back", machine.call("before").stdout.strip())
    assert done.stdout == "back: old -> old\n"
    assert machine.read(SETTINGS) == "of old"
    assert not (machine.directory / added).exists()


def test_what_an_operator_edited_stays(updated: Machine) -> None:
    updated.write(EDITED, "mine")
    updated.call("back", "old")
    assert updated.read(EDITED) == "mine"


def test_without_a_name_it_goes_to_the_one_that_was_good_last(updated: Machine) -> None:
    updated.call("good")
    updated.install("newest", "0019")
    updated.switch("newest")
    assert updated.call("back").stdout == "back: newest -> new\n"
    # The one that was left is not what "the last good one" means from now on.
    assert updated.call("back").stdout == "back: new -> old\n"
    refused = updated.call("back")
    assert (refused.returncode, updated.runs) == (1, "old")
    assert "no other release was ever found good" in refused.stderr


def test_a_release_that_was_left_can_be_gone_forward_to_by_its_name(updated: Machine) -> None:
    updated.call("good")
    updated.call("back", "old")
    assert updated.call("back", "new").stdout == "back: old -> new\n"
    assert updated.read(UNIT) == "of new"


def test_there_is_a_way_back_only_to_what_was_checked(machine: Machine) -> None:
    assert machine.call("before").stdout == ""
    machine.install("old", "0017")
    machine.switch("old")
    assert machine.call("before").stdout == ""
    machine.call("good")
    assert machine.call("before").stdout == "old\n"


def test_a_release_of_a_host_with_a_card_has_the_same_name(updated: Machine) -> None:
    updated.install("third-cuda12", "0019")
    refused = updated.call("back", "third")
    assert refused.returncode == 1
    assert "third-cuda12 never passed a check on this host" in refused.stderr
    assert updated.runs == "new"
    updated.switch("third-cuda12")
    updated.call("good")
    updated.switch("new")
    assert updated.call("back", "third").stdout == "back: new -> third-cuda12\n"


def test_a_release_that_is_not_there_changes_nothing(updated: Machine) -> None:
    refused = updated.call("back", "other")
    assert refused.returncode == 2
    assert refused.stderr == ("face-release: there is no release other on this host; there are: new, old\n")
    assert (updated.runs, updated.asked()) == ("new", [])


def test_it_is_told_when_the_web_service_does_not_start(updated: Machine) -> None:
    broken = (
        '#!/bin/sh\ncase $1 in restart) echo "Job failed" >&2; exit 1 ;; is-active) echo active ;; esac\n'
    )
    updated.program("bin/systemctl", broken)
    done = updated.call("back", "old")
    assert done.returncode == 1
    assert done.stderr == "Job failed\nface-release: systemctl restart face-web.service failed\n"


def test_old_releases_are_removed_but_never_the_way_back(updated: Machine) -> None:
    for number in range(4):
        updated.install(f"unchecked{number}", "0019")
    unfinished = updated.directory / "releases/unfinished"
    unfinished.mkdir()
    done = updated.call("prune", "3")
    assert done.stdout.splitlines() == [f"removed: unchecked{number}" for number in range(3)]
    there = {path.name for path in (updated.directory / "releases").iterdir()}
    assert there == {"old", "new", "unchecked3", "unfinished"}
    os.utime(unfinished, (0, 0))
    assert updated.call("prune", "3").stdout == "removed: unfinished\n"
    for wrong in ((), ("0",), ("-1",), ("many",)):
        assert updated.call("prune", *wrong).returncode == 2


def test_the_list_says_what_runs_what_was_good_and_which_schema_it_knows(updated: Machine) -> None:
    new, old = json.loads(updated.call("list", "--json").stdout)
    assert (new["id"], new["running"], new["good_at"], new["schema"], new["kept"]) == (
        "new", True, None, "0019", False,
    )  # fmt: skip
    assert (old["id"], old["running"], old["schema"], old["kept"]) == ("old", False, "0017", True)
    assert old["good_at"]
    lines = updated.call("list").stdout.splitlines()
    assert lines[0].startswith("new ")
    assert lines[0].endswith("not known to work          runs")
    assert " good 2" in lines[1]


def test_it_compares_the_packages(machine: Machine) -> None:
    hashed = " \\\n    --hash=sha256:00\n"
    machine.install("old", "0017", f"flask==3.0.0{hashed}numpy==2.1.0{hashed}gone==1{hashed}")
    machine.install("new", "0017", f"flask==3.1.0{hashed}numpy==2.1.0{hashed}psycopg[binary]==3.2{hashed}")
    assert machine.call("compare", "old").stdout == "release: old, the first\n"
    machine.switch("old")
    assert machine.call("compare", "new").stdout.splitlines() == [
        "release: old -> new", "package: flask 3.0.0 -> 3.1.0", "package: gone 1 -> none",
        "package: psycopg none -> 3.2",
    ]  # fmt: skip
    assert machine.call("compare", "old").stdout == "release: old runs\n"


def test_it_says_how_it_is_called() -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), "--releases=/r", "--current=/c", "--web=/w", "--workers=/f"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("face-release list")
