"""Several hosts know each other by IPv4: another address is refused before anything is written with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TASK = "Check the addresses of several hosts"
WORDS = "give ansible_host or face_private_address an IPv4 address"


def checked(directory: Path, addresses: dict[str, str]) -> tuple[int, str]:
    """Of a site whose first host holds the pipeline, and whose second only observes."""
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: {**local, "face_private_address": address} for name, address in addresses.items()}
    first, last = ({name: hosts[name]} for name in (next(iter(hosts)), list(hosts)[-1]))
    groups = {name: {"hosts": first} for name in ("proxy", "web", "workers", "postgres", "redis")}
    inventory = {"all": {"children": {**groups, "monitoring": {"hosts": last}}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    (task,) = (each for each in tasks if each["name"] == TASK)
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}])
    )
    done = subprocess.run(
        [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml"],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("address", ["fd00::2", "observer.example"])
def test_a_host_that_has_no_ipv4_address_is_named(address: str, tmp_path: Path) -> None:
    status, said = checked(tmp_path, {"front": "10.0.0.1", "observer": address})
    assert status == 2, said
    assert f"observer: the other hosts would reach it as '{address}'; {WORDS}" in said


@pytest.mark.parametrize(
    "addresses", [{"front": "10.0.0.1", "observer": "10.0.0.2"}, {"alone": "fd00::2"}, {"alone": "localhost"}]
)
def test_ipv4_passes_and_one_host_alone_may_have_any_address(
    addresses: dict[str, str], tmp_path: Path
) -> None:
    status, said = checked(tmp_path, addresses)
    assert status == 0, said
