"""playbooks/add_host.yml and remove_host.yml as an operator types them, and who knows a host that leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.order import in_campaign

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ("proxy", "web", "postgres", "redis", "monitoring")
# The same addresses, whichever of them the groups name.
NAMES = ("front", "w1", "w2")


def inventory(directory: Path, front: str, workers: tuple[str, ...]) -> Path:
    hosts = {
        name: {"ansible_connection": "local", "ansible_host": f"10.0.0.{number}"}
        for number, name in enumerate(NAMES, start=1)
    }
    groups = {group: {"hosts": {front: None}} for group in PIPELINE}
    groups["workers"] = {"hosts": dict.fromkeys(workers)}
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups}}, sort_keys=False))
    return path


def play(hosts: Path, playbook: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "-i", hosts, playbook, *options],
        cwd=ROOT, env={**environment, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


REMOVING, ADDING = ROOT / "playbooks/remove_host.yml", ROOT / "playbooks/add_host.yml"


@pytest.mark.parametrize(
    ("playbook", "workers", "options", "words"),
    [
        (REMOVING, ("w1", "w2"), ("host=w3",), "the inventory names no host 'w3': take -e host=NAME, one"),
        (ADDING, ("w1",), ("host=w2",), "the inventory's group workers has no host 'w2': name it there"),
        *in_campaign(
            "other reasons take the same way",
            (REMOVING, ("front", "w1"), ("host=front",), "front is in the group proxy, web, postgres, "),
            (REMOVING, ("w1",), ("host=w1",), "w1 is the last host with workers"),
            (REMOVING, ("front", "w1"), ("host=w1",), "workers.yml -e do=stop --limit w1)"),
            (REMOVING, ("w1", "w2"), ("host=w1", "uninstall=true"), "from w1: add -e yes=true"),
            (ADDING, ("front", "w1"), ("host=w1",), "every address changes"),
        ),
    ],
)  # fmt: skip
def test_a_host_that_cannot_join_or_leave_is_refused_in_a_sentence(
    tmp_path: Path, playbook: Path, workers: tuple[str, ...], options: tuple[str, ...], words: str
) -> None:
    given = [part for option in options for part in ("-e", option)]
    done = play(inventory(tmp_path, "front", workers), playbook, *given)
    assert done.returncode == 2, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert words in said
    assert "nothing was changed" in said


def test_what_a_removal_would_do_is_shown_by_hosts_that_are_known_without_it() -> None:
    """A plan leaves out what makes the groups of facts.yml; a play for one of them would show nothing."""
    shows = yaml.safe_load(REMOVING.read_text())[-1]
    made = re.findall(r"key: (\w+)", (ROOT / "playbooks/facts.yml").read_text())
    assert "face" in made
    assert not set(re.split(r"[:&!]+", shows["hosts"])) & set(made)


WHAT_HOSTS_KNOW = (
    "face_services", "face_hosts", "face_all_hosts", "face_observed_hosts", "face_single_host",
    "face_application_hosts", "face_client_addresses", "face_own_addresses", "face_originals_readers",
)  # fmt: skip


def known(directory: Path, workers: tuple[str, ...], leaving: list[str]) -> dict[str, Any]:
    """What each host of the pipeline is told of the others."""
    directory.mkdir()
    values = ", ".join(f"{name}={name}" for name in WHAT_HOSTS_KNOW)
    tasks = [
        {"ansible.builtin.set_fact": {"face_leaving_hosts": leaving}},
        {
            "ansible.builtin.copy": {
                "content": f"{{{{ dict({values}) | to_json }}}}",
                "dest": f"{directory}/{{{{ inventory_hostname }}}}.json",
                "mode": "0600",
            },
            "when": "inventory_hostname != 'w2'",
        },
    ]  # fmt: skip
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}])
    )
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    done = play(inventory(directory, "front", workers), directory / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((directory / f"{name}.json").read_text()) for name in ("front", "w1")}


@pytest.mark.campaign("it runs a playbook for each of two inventories")
def test_the_others_know_as_little_of_a_host_that_leaves_as_of_one_that_is_not_named(tmp_path: Path) -> None:
    named = known(tmp_path / "named", ("w1", "w2"), [])
    leaving = known(tmp_path / "leaving", ("w1", "w2"), ["w2"])
    assert leaving == known(tmp_path / "not-named", ("w1",), [])
    assert named["front"]["face_own_addresses"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert leaving["front"]["face_own_addresses"] == ["10.0.0.1", "10.0.0.2"]
