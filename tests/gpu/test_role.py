"""What the preflight tells of the cards of a host; Ansible itself runs the role's check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gpu.test_plan import HOPPER, ROOT, host
from tests.order import in_campaign


def check(directory: Path, root: Path, gpu_group: bool = False, **variables: Any) -> tuple[int, str]:
    """Exit status and output of the preflight's check for a host whose files lie under `root`."""
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    groups = ["proxy", "web", "workers", "postgres", "redis", *(["gpu"] if gpu_group else [])]
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    children = {group: {"hosts": {"one": {}}} for group in groups}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": local, "children": children}}))
    tasks = [{"ansible.builtin.import_role": {"name": "nvidia", "tasks_from": "check"}}]
    play = {"hosts": "one", "gather_facts": False, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    facts = {
        "python": {"executable": sys.executable},
        "distribution": "Debian",
        "distribution_major_version": "13",
    }
    given = {"nvidia_root": str(root), "face_model_pack": "buffalo_l", "ansible_facts": facts, **variables}
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*map(str, command), "-e", json.dumps(given)],
        cwd=directory,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("cards", "group", "variables", "status", "words"),
    [
        ((), False, {}, 0, ""),
        ((), True, {}, 2, "one: it is in the group gpu and has no NVIDIA card on its PCI bus"),
        (
            (HOPPER,), False, {"face_model_pack": "dlib"}, 0,
            "one: its 1 NVIDIA card(s) are not used: its model pack computes on the CPU alone",
        ),
        *in_campaign(
            "other reasons take the same way",
            ((HOPPER,), False, {}, 0, ""),
            ((HOPPER,), True, {}, 0, ""),
            ((HOPPER,), True, {"face_model_pack": "dlib"}, 2, "one: its model pack computes on the CPU"),
            ((HOPPER,), False, {"face_gpu": "off", "face_model_pack": "dlib"}, 0, ""),
        ),
    ],
)  # fmt: skip
def test_the_preflight_fails_or_says_why_a_card_is_not_used(
    cards: tuple[str, ...], group: bool, variables: dict[str, Any], status: int, words: str, tmp_path: Path
) -> None:
    root = host(tmp_path / "host", *cards)
    (tmp_path / "play").mkdir()
    found, said = check(tmp_path / "play", root, group, **variables)
    assert found == status, said
    assert words in said
    assert words or "NVIDIA card(s)" not in said
