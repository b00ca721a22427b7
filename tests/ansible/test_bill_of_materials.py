"""The bill of materials of a release names what its lock installs, all of it and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.ansible.programs import ROOT, load

PROGRAM = "roles/app/files/bill_of_materials.py"
LOCKS = ("app", "app-cuda12", "app-cuda13")
# Debian 12's and 13's, and Ubuntu's between them.
PYTHONS = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module", params=LOCKS)
def lock(request: pytest.FixtureRequest) -> Path:
    return ROOT / f"requirements/{request.param}.lock"


@pytest.fixture(scope="module")
def bill(lock: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(load(PROGRAM).text(ROOT, lock))
    return made


def installed(lock: Path, python: str) -> set[str]:
    """`name==version` of what pip takes from the lock on a host with that Python."""
    text = lock.read_text().replace("\\\n", " ")
    lines = [line.split(" --hash")[0].strip() for line in text.splitlines() if line[:1].isalnum()]
    host = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    versions = {"python_version": python, "python_full_version": f"{python}.9"}
    return {
        f"{one.name}{one.specifier}"
        for one in map(Requirement, lines)
        if one.marker is None or one.marker.evaluate({**host, **versions})
    }


def test_each_package_of_each_host_is_named_and_no_other(lock: Path, bill: dict[str, Any]) -> None:
    named = {f"{one['name']}=={one['version']}" for one in bill["components"]}
    wanted = set().union(*(installed(lock, python) for python in PYTHONS))
    assert len(wanted) > 70
    assert wanted <= named
    # Of other processors, whose Python packages a lock for all of them holds too.
    assert len(named - wanted) < 5, named - wanted


def test_each_package_has_its_hashes_and_is_needed_by_another(lock: Path, bill: dict[str, Any]) -> None:
    hashes = [one["content"] for package in bill["components"] for one in package["hashes"]]
    assert all(package["hashes"] for package in bill["components"])
    assert all(f"--hash=sha256:{digest}" in lock.read_text() for digest in hashes)
    needed = {ref for one in bill["dependencies"] for ref in one["dependsOn"]}
    assert needed == {package["bom-ref"] for package in bill["components"]}
    assert [one["ref"] for one in bill["dependencies"]] == [
        bill["metadata"]["component"]["bom-ref"], *(package["bom-ref"] for package in bill["components"]),
    ]  # fmt: skip


def test_the_same_lock_gives_the_same_text(lock: Path) -> None:
    command = [sys.executable, ROOT / PROGRAM, ROOT, lock]
    once, again = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert once == again
    assert once
