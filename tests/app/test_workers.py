"""face-workers, as people, the playbooks and the autoscaler's unit call it: what it does, says and remembers.

No systemd runs where the tests run: a stand-in keeps which units run. tests/hosts has the real one.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.photos import ROOT

PROGRAM = ROOT / "app/face_pipeline/ops/workers.py"
MOST = 10
# Files in `run` are units with their state; `boot.wants` starts with the host, what is `broken` never does.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>{directory}/calls
verb=$1; shift
case $verb in
  list-units)
    for file in {directory}/run/*; do
      state=$(cat "$file" 2>/dev/null) || continue
      case " $* " in *[=,]$state[,\\ ]*) echo "${{file##*/}} loaded $state - a worker" ;; esac
    done ;;
  is-active) [ "$(cat "{directory}/run/$2" 2>/dev/null)" = active ] ;;
  enable) shift; for unit; do : >"{directory}/boot.wants/$unit"; done ;;
  disable) shift 2; for unit; do rm -f "{directory}/boot.wants/$unit" "{directory}/run/$unit"; done ;;
  start|restart)
    for unit; do
      [ ! -e "{directory}/broken/$unit" ] || {{ echo failed >"{directory}/run/$unit"; status=1; continue; }}
      echo active >"{directory}/run/$unit"
    done
    exit ${{status:-0}} ;;
  stop|reset-failed) for unit; do rm -f "{directory}/run/$unit"; done ;;
esac
"""


@dataclass
class Machine:
    directory: Path

    def __post_init__(self) -> None:
        for name in ("run", "boot.wants", "broken", "targets", "bin"):
            (self.directory / name).mkdir()
        self.program("systemctl", SYSTEMCTL.format(directory=self.directory))
        self.program("journalctl", '#!/bin/sh\necho "the journal of $1"\n')

    def program(self, name: str, text: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def command(self, *words: object) -> list[str]:
        options: dict[str, object] = {
            "memory": self.directory / "workers.json", "targets": self.directory / "targets/workers.json",
            "wanted": self.directory / "wanted", "lock": self.directory / "lock", "systemd": self.directory,
            "name": "compute", "address": "10.0.0.1", "port-base": 9810, "most": MOST,
        }  # fmt: skip
        given = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-I", str(PROGRAM), *given, "--", *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.directory}/bin:{os.environ['PATH']}"}

    def call(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, check=False
        )

    def do(self, *words: object) -> str:
        """What it says on standard output, which tells Ansible that something changed."""
        done = self.call(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def running(self) -> list[int]:
        files = [file for file in (self.directory / "run").iterdir() if file.read_text() == "active\n"]
        return sorted(int(file.name[len("celery@") : -len(".service")]) for file in files)

    @property
    def at_boot(self) -> int:
        return len(list((self.directory / "boot.wants").iterdir()))

    @property
    def memory(self) -> dict[str, object]:
        read: dict[str, object] = json.loads((self.directory / "workers.json").read_text())
        return read

    @property
    def asked(self) -> list[str]:
        listed = json.loads((self.directory / "targets/workers.json").read_text())
        return [target for group in listed for target in group["targets"]]

    def calls(self, verb: str) -> list[str]:
        lines = (self.directory / "calls").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.split()[0] == verb]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_second_run_of_the_installation_changes_nothing(machine: Machine) -> None:
    assert machine.do("converge", 2) == "workers: 2\nstarted: celery@1.service celery@2.service\n"
    assert (machine.running, machine.at_boot, machine.asked) == (
        [1, 2],
        2,
        ["10.0.0.1:9811", "10.0.0.1:9812"],
    )
    assert machine.do("converge", 2) == ""
    assert machine.memory == {"workers": 2, "installed": 2, "paused": False, "measured": None}
    assert (machine.directory / "workers.json").stat().st_mode & 0o777 == 0o644
    assert len(machine.calls("start")) == 1, "all side by side"


def test_what_was_scaled_stays_until_the_installation_asks_for_another_number(machine: Machine) -> None:
    machine.do("converge", 2)
    assert machine.do("scale", 4) == "workers: 4\nstarted: celery@3.service celery@4.service\n"
    assert machine.do("converge", 2) == ""
    assert machine.memory == {"workers": 4, "installed": 2, "paused": True, "measured": None}
    assert machine.do("converge", 3) == "workers: 3\ndrained: 1\n"
    assert machine.memory == {"workers": 3, "installed": 3, "paused": True, "measured": None}
    assert (machine.running, machine.at_boot) == ([1, 2, 3], 3)


def test_the_number_that_was_measured_is_taken_unless_a_person_gave_one(machine: Machine) -> None:
    machine.do("converge", 2)
    assert machine.do("converge", 2, 4) == "workers: 4\nstarted: celery@3.service celery@4.service\n"
    assert machine.do("converge", 2, 4) == ""
    # Measured no more.
    assert machine.do("converge", 2) == "workers: 2\ndrained: 2\n"
    machine.do("scale", 6)
    assert machine.do("converge", 2, 4) == ""
    assert machine.do("converge", 2) == ""
    assert machine.memory["workers"] == 6
    # The inventory is a person's word too, and the later one.
    assert machine.do("converge", 3, 4).startswith("workers: 4\n")
    machine.do("scale", 6)
    machine.do("resume")
    assert machine.do("converge", 3, 5).startswith("workers: 5\n")


def test_a_new_host_begins_with_the_number_that_was_measured(machine: Machine) -> None:
    assert machine.do("converge", 2, 1) == "workers: 1\nstarted: celery@1.service\n"
    # As an earlier release wrote the file.
    (machine.directory / "workers.json").write_text('{"workers": 2, "installed": 2, "paused": false}')
    assert machine.do("converge", 2).startswith("started: ")
    assert machine.do("converge", 2) == ""


def test_scaling_down_drains_the_highest_and_prometheus_asks_them_no_more(machine: Machine) -> None:
    machine.do("converge", 10)
    assert machine.do("scale", 1) == "workers: 1\ndrained: 9\n"
    assert (machine.running, machine.at_boot, machine.asked) == ([1], 1, ["10.0.0.1:9811"])
    assert machine.do("scale", 0) == "workers: 0\ndrained: 1\n"
    assert (machine.running, machine.asked) == ([], [])


def test_a_worker_somebody_started_by_hand_is_drained_and_one_that_ended_is_started(machine: Machine) -> None:
    machine.do("converge", 2)
    (machine.directory / "run/celery@2.service").unlink()
    (machine.directory / "run/celery@7.service").write_text("activating\n")
    (machine.directory / "run/celery@8.service").write_text("failed\n")
    assert machine.do("apply") == "started: celery@2.service\ndrained: 1\n"
    assert (machine.running, machine.calls("reset-failed")) == ([1, 2], ["celery@8.service"])


def test_a_worker_that_does_not_start_is_told_with_its_last_lines(machine: Machine) -> None:
    (machine.directory / "broken/celery@2.service").touch()
    done = machine.call("converge", 3)
    assert (done.returncode, done.stderr) == (1, "the journal of _SYSTEMD_UNIT=celery@2.service\n")
    assert machine.running == [1, 3]
    # The next run tries again.
    (machine.directory / "broken/celery@2.service").unlink()
    assert machine.do("apply") == "started: celery@2.service\n"


def test_a_restart_takes_half_at_a_time_and_leaves_the_named(machine: Machine) -> None:
    machine.do("converge", 10)
    assert machine.do("restart", "celery@1.service") == "restarted: " + " ".join(
        f"celery@{number}.service" for number in range(2, 11)
    ) + "\n"  # fmt: skip
    assert [len(call.split()) for call in machine.calls("restart")] == [5, 4]
    machine.do("scale", 1)
    assert machine.do("restart", "celery@1.service") == ""


def test_a_restart_starts_those_that_were_given_up_but_none_that_was_drained(machine: Machine) -> None:
    machine.do("converge", 3)
    for number in (2, 9):
        (machine.directory / f"run/celery@{number}.service").write_text("failed\n")
    workers = [f"celery@{number}.service" for number in (1, 2, 3)]
    assert machine.do("restart") == f"restarted: {' '.join(workers)}\n"
    assert machine.running == [1, 2, 3]
    assert machine.calls("reset-failed") == ["celery@2.service"]
    # Also one that ended, and that systemd starts again in some seconds: perhaps for the last time.
    (machine.directory / "run/celery@3.service").write_text("activating\n")
    assert machine.do("restart") == f"restarted: {' '.join(workers)}\n"
    assert machine.calls("reset-failed")[1:] == ["celery@3.service"]
    # Also where it is the only one.
    machine.do("scale", 1)
    (machine.directory / "run/celery@1.service").write_text("failed\n")
    assert machine.do("restart") == "restarted: celery@1.service\n"


def test_all_are_stopped_and_start_again(machine: Machine) -> None:
    machine.do("converge", 2)
    assert machine.do("stop") == "stopped\n"
    assert (machine.running, machine.at_boot, machine.asked) == ([], 2, [])
    assert machine.memory["paused"] is True, "the autoscaler leaves it"
    assert machine.do("stop") == ""
    assert machine.do("start") == "started: celery@1.service celery@2.service\n"


def test_the_autoscaler_is_obeyed_until_a_person_gives_a_number(machine: Machine) -> None:
    machine.do("converge", 1)
    (machine.directory / "wanted").write_text("3\n")
    assert machine.do("autoscale").startswith("workers: 3\nstarted: ")
    assert machine.memory == {"workers": 3, "installed": 1, "paused": False, "measured": None}
    machine.do("scale", 2)
    assert machine.do("autoscale") == ""
    assert machine.running == [1, 2]
    assert machine.do("resume") == "resumed\n"
    assert machine.do("resume") == ""
    machine.do("autoscale")
    assert machine.running == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scale", "many"), "face-workers: 'many' is not a number of workers\n"),
        (("scale", "-1"), "face-workers: '-1' is not a number of workers\n"),
        (("converge",), "face-workers: '' is not a number of workers\n"),
        (("converge", "2", "many"), "face-workers: 'many' is not a number of workers\n"),
        (("scale", "11"), "face-workers: 11 is more than 10 (face_workers_max)\n"),
    ],
)
def test_a_wrong_number_changes_nothing(machine: Machine, words: tuple[str, ...], said: str) -> None:
    machine.do("converge", 2)
    done = machine.call(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert (machine.running, machine.memory["workers"]) == ([1, 2], 2)


def test_without_a_command_it_shows_what_there_is(machine: Machine) -> None:
    for words in ((), ("help",)):
        done = machine.call(*words)
        assert (done.returncode, done.stdout) == (2, "")
        for word in ("converge", "scale", "autoscale", "resume", "apply", "restart", "stop | start"):
            assert f"\nface-workers {word}" in "\n" + done.stderr


def test_a_number_that_was_lost_drains_nobody(machine: Machine) -> None:
    machine.do("converge", 2)
    (machine.directory / "workers.json").write_text("")
    done = machine.call("apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert "workers.json does not say how many workers are to run: run ./face-ansible site.yml" in done.stderr
    assert machine.running == [1, 2]
    assert machine.do("converge", 2) == "workers: 2\n"


def test_a_change_waits_for_the_one_before_it(machine: Machine) -> None:
    machine.do("converge", 1)
    done: list[str] = []
    with (machine.directory / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: done.append(machine.do("scale", 2)))
        second.start()
        second.join(1)
        assert (done, machine.running) == ([], [1])
    second.join()
    assert machine.running == [1, 2]


def test_a_host_that_no_prometheus_asks_has_no_list(machine: Machine) -> None:
    (machine.directory / "targets").rmdir()
    assert machine.do("converge", 1).startswith("workers: 1\n")
    assert not (machine.directory / "targets").exists()
