"""A release reaches the workers of half of the hosts first, and no more where these do not start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.order import in_campaign

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/worker"
# Says when it begins and ends, as `face-workers restart` of that host.
PROGRAM = """#!/bin/sh
echo "begins $1" >> {directory}/said
sleep 1
echo "ends $1" >> {directory}/said
[ "$1" != "{broken}" ]
"""


def restart(directory: Path, hosts: list[str], broken: str = "") -> tuple[list[str], str]:
    """The role's handler for workers, told by each host, in a play as playbooks/app.yml has it."""
    program = directory / "face-workers"
    program.write_text(PROGRAM.format(directory=directory, broken=broken))
    program.chmod(0o755)
    tasks = (ROLE / "tasks/restart.yml").read_text()
    assert "'/usr/local/sbin/face-workers', 'restart'" in tasks
    named = f"'{program}', inventory_hostname, 'restart'"
    (directory / "tasks").mkdir()
    (directory / "tasks/restart.yml").write_text(
        tasks.replace("'/usr/local/sbin/face-workers', 'restart'", named)
    )
    handlers = [
        each
        for each in yaml.safe_load((ROLE / "handlers/main.yml").read_text())
        if "ansible.builtin.include_tasks" in each
    ]
    assert len(handlers) == 1
    play = {
        "hosts": "workers",
        "gather_facts": False,
        "vars": {"role_path": str(directory), "face_services": {"worker": {"hosts": hosts}}},
        "handlers": handlers,
        "tasks": [
            {
                "name": "Install",
                "block": [
                    {
                        "name": "Change",
                        "ansible.builtin.command": "true",
                        "changed_when": True,
                        "notify": "Application changed",
                    },
                    {"name": "Restart what changed", "ansible.builtin.meta": "flush_handlers"},
                ],
                "rescue": [
                    {"name": "Note", "ansible.builtin.debug": {"msg": "{{ ansible_failed_task.name }}"}}
                ],
            }
        ],
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"workers": {"hosts": dict.fromkeys(hosts, local)}}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": inventory}}))
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (directory / "said").read_text().splitlines(), done.stdout


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        (["a", "b", "c"], {"a", "b"}),
        *in_campaign("three hosts are tested", (["a"], {"a"}), (["a", "b"], {"a"})),
    ],
)
def test_workers_of_the_other_half_of_the_hosts_run_meanwhile(
    tmp_path: Path, hosts: list[str], first: set[str]
) -> None:
    said, _ = restart(tmp_path, hosts)
    assert sorted(said) == sorted([f"{what} {host}" for host in hosts for what in ("begins", "ends")])
    assert {line.split()[1] for line in said[: 2 * len(first)]} == first


def test_a_release_that_no_worker_starts_stays_with_half_of_the_hosts(tmp_path: Path) -> None:
    said, told = restart(tmp_path, ["a", "b", "c", "d"], broken="b")
    assert {line.split()[1] for line in said} == {"a", "b"}
    assert "Restart the workers" in told
