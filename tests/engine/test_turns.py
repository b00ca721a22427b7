"""Photos computed at once by the processes of a host: the cores are shared, and nobody waits for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from face_pipeline.engine import Turns
from face_pipeline.errors import ConfigurationError

from tests.installation import wait_until
from tests.photos import ROOT

CORES = 4
# Threads without end take turns, and mark themselves in a directory for as long as they have one.
WORKER = """
import os, sys, threading, time
from pathlib import Path
from face_pipeline.engine import Turns
turns, marks = Turns(Path(sys.argv[1]), sys.argv[3], int(sys.argv[4])), Path(sys.argv[2])
def work(number):
    while True:
        with turns():
            mark = marks / f"{sys.argv[3]}-{number}"
            mark.touch()
            time.sleep(0.03)
            mark.unlink()
for number in range(8): threading.Thread(target=work, args=(number,)).start()
"""


class Host:
    """Processes that share the cores of a made-up host."""

    def __init__(self, directory: Path) -> None:
        self.turns, self.marks = directory / "turns", directory / "marks"
        self.turns.mkdir()
        self.marks.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(self.turns), str(self.marks), name, str(CORES)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "app")},
        )
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for mark in self.marks.glob(f"{process.args[5]}-*"):  # type: ignore[index]
            mark.unlink()

    def most_at_once(self, name: str, seconds: float = 0.5) -> int:
        end = time.monotonic() + seconds
        most = 0
        while time.monotonic() < end:
            most = max(most, len(list(self.marks.glob(f"{name}-*"))))
            time.sleep(0.002)
        return most

    def computes(self, **expected: int) -> Callable[[], bool]:
        return lambda: {name: self.most_at_once(name) for name in expected} == expected


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def test_workers_share_the_cores_as_they_come_and_are_killed(host: Host) -> None:
    one = host.start("one")
    wait_until(host.computes(one=4), 20, "one worker alone to take all cores")
    host.start("two")
    wait_until(host.computes(one=2, two=2), 20, "two workers to take half each")
    three = host.start("three")
    wait_until(host.computes(one=2, two=2, three=2), 20, "three to take a third each, rounded up")
    host.end(one)
    host.end(three)
    wait_until(host.computes(two=4), 20, "the last one to take all again")


def test_more_workers_than_cores_compute_one_photo_each(host: Host) -> None:
    names = [f"w{number}" for number in range(CORES + 1)]
    for name in names:
        host.start(name)
    wait_until(host.computes(**dict.fromkeys(names, 1)), 30, "each worker to compute one photo")


def test_a_worker_that_hangs_stops_no_other(host: Host) -> None:
    hung = host.start("hung")
    wait_until(host.computes(hung=4), 20, "the worker to compute")
    os.kill(hung.pid, signal.SIGSTOP)
    host.start("other")
    wait_until(host.computes(other=2), 20, "the other to take its part")


def test_workers_go_on_when_the_directory_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "turns"
    directory.mkdir()
    turns = Turns(directory, "worker1", CORES)
    (directory / "worker1").unlink()
    directory.rmdir()
    for _ in range(2 * CORES):
        with turns():
            assert turns.part() == CORES


def test_a_turn_is_given_back_when_a_photo_fails(tmp_path: Path) -> None:
    turns = Turns(tmp_path, "worker1", 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"), turns():
            raise ValueError("broken")


def test_a_directory_that_cannot_be_used_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"FACE_TURNS_DIR: .*/none cannot be used \(No such file"):
        Turns(tmp_path / "none", "worker1")
