"""The programs of the role `machine`, as far as they run without a guest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles/machine/files"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which nothing reaches this machine's own bridge, NAT table and control groups."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ip", "nft", "find"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def test_the_last_guest_that_goes_leaves_the_root_to_those_that_come(tmp_path: Path, path: str) -> None:
    machines, state = tmp_path / "machines", tmp_path / "state"
    base = machines / "face-base-trixie"
    base.mkdir(parents=True)
    state.mkdir()

    def run(program: str, *arguments: str | Path) -> None:
        subprocess.run([FILES / program, *arguments], env={**os.environ, "PATH": path}, check=True)

    down = ("down", "br-test", "192.0.2.1", "192.0.2.0/24", state, machines)
    # Guests of another inventory have asked for the root and are not there yet.
    run("image", "trixie", "systemd", tmp_path / "cache", base, "one", "two")
    run("network", *down)
    assert base.exists()
    for guest in ("one", "two"):
        (machines / f"face-{guest}").rmdir()
    run("network", *down)
    assert not base.exists()


def test_a_host_without_loop_devices_says_so_and_has_its_guests(tmp_path: Path) -> None:
    (tmp_path / "losetup").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "losetup").chmod(0o755)
    done = subprocess.run(
        [FILES / "mount-disk", tmp_path, "/var/lib/redis", "64"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == ""
    assert "no loop devices: /var/lib/redis stays on the root" in done.stderr
    assert not list(tmp_path.glob("disk-*"))
