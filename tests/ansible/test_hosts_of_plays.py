"""Which hosts are ours stands in face_groups alone: playbooks name the group face, which facts.yml fills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted([ROOT / "site.yml", *(ROOT / "playbooks").glob("*.yml")])
# The end of those that have parts of other vendors; it is never called alone.
PARTS = {"vendors_end.yml"}


def plays(playbook: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The plays of a playbook and of those it imports, in their order."""
    for play in yaml.safe_load(playbook.read_text()):
        imported = play.get("ansible.builtin.import_playbook")
        if imported:
            yield from plays(playbook.parent / imported)
        else:
            yield playbook, play


@pytest.mark.parametrize(
    "playbook", [path for path in PLAYBOOKS if path.name not in PARTS], ids=lambda path: path.name
)
def test_a_playbook_knows_our_hosts_before_it_names_them(playbook: Path) -> None:
    known = False
    for path, play in plays(playbook):
        assert known or "face" not in play["hosts"].replace("&", "").split(":"), (
            f"{path.name}: import facts.yml before '{play['name']}'"
        )
        known = known or path.name == "facts.yml"


def test_no_playbook_lists_the_groups_by_itself() -> None:
    for playbook in PLAYBOOKS:
        for play in yaml.safe_load(playbook.read_text()):
            hosts = play.get("hosts", "").removesuffix(":&face")
            assert hosts.count(":") < 2, f"{playbook.name}: say face, or one service's group"


INVENTORY = {
    "all": {
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        "hosts": {"stray": {}},
        "children": {
            **{
                group: {"hosts": {"front": {}}}
                for group in ("proxy", "web", "postgres", "redis", "monitoring")
            },
            "workers": {"hosts": {"front": {}, "worker1": {}}},
        },
    }
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"front", "worker1"}),
        (["--limit", "worker1"], {"worker1"}),
        (["--tags", "summary"], {"front", "worker1"}),
    ],
    ids=["all", "limit", "tags"],
)
def test_the_group_face_holds_the_hosts_of_our_groups_that_are_in_the_run(
    tmp_path: Path, options: list[str], expected: set[str]
) -> None:
    (tmp_path / "group_vars").symlink_to(ROOT / "group_vars")
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(INVENTORY))
    written = {
        "src": str(ROOT / "roles/summary/templates/deployment.json.j2"),
        "dest": f"{tmp_path}/ran-{{{{ inventory_hostname }}}}",
        "mode": "0600",
    }
    task = {
        "ansible.builtin.template": written,
        "vars": {"summary_found": {"stdout_lines": ["none"]}},
        "tags": ["always"],
    }
    made = [
        {"ansible.builtin.import_playbook": str(ROOT / "playbooks/facts.yml")},
        {"hosts": "face", "gather_facts": False, "tasks": [task]},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(made))
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", tmp_path / "hosts.yml", tmp_path / "play.yml"]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name.removeprefix("ran-") for path in tmp_path.glob("ran-*")} == expected
    # What a host keeps of it names the inventory's groups alone.
    assert json.loads((tmp_path / "ran-worker1").read_text())["groups"] == ["workers"]
    facts, _, _ = done.stdout.partition("ran-")
    assert "group face" not in facts, "the group is made in each run, and is no change"


def test_the_hosts_stand_in_the_order_of_the_inventory_also_where_the_first_one_answers_last(
    tmp_path: Path,
) -> None:
    (tmp_path / "group_vars").symlink_to(ROOT / "group_vars")
    late = "{{ ['front', 'worker1'] if lookup('ansible.builtin.pipe', 'sleep 2; echo late') else [] }}"
    inventory = json.loads(json.dumps(INVENTORY))
    inventory["all"]["hosts"] = {"front": {"face_all_hosts": late}, "worker1": {}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    shown = {"ansible.builtin.debug": {"msg": "in order: {{ groups.face }}"}, "run_once": True}
    made = [
        {"ansible.builtin.import_playbook": str(ROOT / "playbooks/facts.yml")},
        {"hosts": "face", "gather_facts": False, "tasks": [shown]},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(made))
    done = subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "-i", tmp_path / "hosts.yml", tmp_path / "play.yml"],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STRATEGY": "linear"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in order: ['front', 'worker1']" in " ".join(done.stdout.split())
