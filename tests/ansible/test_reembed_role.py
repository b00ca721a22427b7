"""The unit that moves to another model pack, and what playbooks/reembed.yml refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODELS = "/var/lib/face-pipeline/models"
UNIT = ROOT / "roles/reembed/templates/face-reembed.service.j2"


def moving(**told: Any) -> dict[str, Any]:
    """What `face-pipeline reembed status --format json` says of a move from yunet_sface to dlib."""
    way = {"source": {"pack": f"{MODELS}/yunet_sface"}, "target": {"pack": f"{MODELS}/dlib"}}
    progress = {"collections": ["default"], "moved": [], "waiting": 0, "left": {"all": 0}}
    return {
        "way": {**way, "through": told.pop("through", True)},
        "progress": {**progress, **told},
    }


ASKED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a word that is no verb": (
        {}, {"do": "go"}, "do is 'go': take -e do=status, start, shadow, switch, back or end",
    ),
    "no pack": ({}, {"do": "start"}, "which pack? take -e pack=NAME"),
    "half a path": ({}, {"do": "start", "pack": "./dlib"}, "pack is './dlib': give a name"),
    "a pack at the wrong time": ({}, {"do": "end", "pack": "dlib"}, "pack is for do=start"),
    "no share": (moving(), {"do": "shadow"}, "of how many searches? take -e percent=0 to 100"),
    "too large a share": (moving(), {"do": "shadow", "percent": 101}, "take -e percent=0 to 100"),
    "a share at the wrong time": (moving(), {"do": "end", "percent": 5}, "percent is for do=shadow"),
    "that all fits, for a share": (moving(), {"do": "shadow", "percent": 5}, ""),
    "no number": (moving(), {"do": "switch", "leave_behind": "all"}, "leave_behind is 'all'"),
    "a number at the wrong time": (moving(), {"do": "end", "leave_behind": 3}, "leave_behind is for"),
    "for good at the wrong time": (moving(), {"do": "back", "for_good": "yes"}, "for_good is for do=end"),
    "nothing to end": ({}, {"do": "end"}, "no collection is being moved: begin with"),
    "the pack there is": ({}, {"do": "start", "pack": "yunet_sface"}, "is the pack that is installed"),
    "a pack nobody knows": ({}, {"do": "start", "pack": "nobody"}, "nobody"),
    "no directory": ({}, {"do": "start", "pack": "/nowhere"}, "there is no model pack in /nowhere"),
    "a licence": (
        {}, {"do": "start", "pack": "buffalo_l"},
        "where you accept it, add -e face_accept_model_licence=buffalo_l",
    ),
    "another one": (
        moving(), {"do": "start", "pack": "buffalo_l", "face_accept_model_licence": "buffalo_l"},
        f"collections are being moved to {MODELS}/dlib already",
    ),
    "photos that wait": (moving(through=False, waiting=7), {"do": "switch"}, "7 photos have to be looked at"),
    "faces": (moving(left={"all": 4}), {"do": "switch", "leave_behind": 3}, "add -e leave_behind=4"),
    "an inventory that names the former": (moving(), {"do": "switch"}, "(face_model_pack: dlib, or its"),
    "no way back": (moving(), {"do": "back"}, "no collection was switched"),
    "a way back to the pack there is": (
        moving(moved=["default"], collections=[]), {"do": "switch"}, "nothing is left to be switched",
    ),
    "that all fits": (moving(), {"do": "switch", "face_installed_pack": "dlib"}, ""),
    "that all fits, back": (moving(moved=["default"], collections=[]), {"do": "back"}, ""),
    "that all fits, at first": ({}, {"do": "start", "pack": "dlib"}, ""),
    "that all goes on": (moving(), {"do": "start", "pack": "dlib"}, ""),
    "how far it is": ({}, {}, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each is refused with, "" where it is not: all of them by one call of Ansible."""
    there = tmp_path_factory.mktemp("reembed")
    (there / "group_vars").symlink_to(ROOT / "group_vars")
    (there / "face-pipeline.env").write_text("FACE_MODEL_PACK=yunet_sface\n")
    tasks: list[dict[str, Any]] = []
    for number, (told, given, _) in enumerate(ASKED.values()):
        program = there / str(number) / "venv/bin/face-pipeline"
        program.parent.mkdir(parents=True)
        answer = f"echo '{json.dumps(told)}'" if told else "echo no collection is being moved >&2; exit 1"
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
        role = {
            "ansible.builtin.include_role": {"name": "reembed", "tasks_from": "asked"},
            "vars": {
                "face_current": str(there / str(number)),
                "face_accept_model_licence": given.get("face_accept_model_licence", ""),
                "face_installed_pack": given.get("face_installed_pack", "yunet_sface"),
                "reembed_verb": given.get("do", "status"),
                "reembed_pack": given.get("pack", ""),
                "reembed_percent": str(given.get("percent", "")),
                "reembed_leave_behind": str(given.get("leave_behind", "0")),
                "reembed_for_good": bool(given.get("for_good")),
            },
        }
        note = {
            "ansible.builtin.copy": {
                "content": "{{ ansible_failed_result.msg }}",
                "dest": f"{there}/{number}.txt",
            },
            "check_mode": False,
        }
        tasks.append({"block": [role], "rescue": [note]})
    (there / "play.yml").write_text(yaml.safe_dump([{"hosts": "web", "gather_facts": False, "tasks": tasks}]))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"vars": local, "children": {"web": {"hosts": {"one": {}}}}}}
    (there / "hosts.yml").write_text(yaml.safe_dump(inventory))
    given = {"face_config_dir": str(there), "face_models_dir": MODELS}
    done = subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "--check", "-i", there / "hosts.yml", there / "play.yml",
         "-e", json.dumps(given)],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    written = {name: there / f"{number}.txt" for number, name in enumerate(ASKED)}
    return {name: path.read_text() if path.exists() else "" for name, path in written.items()}


@pytest.mark.parametrize("name", ASKED)
def test_what_cannot_be_done_is_said_before_anything_changes(said: dict[str, str], name: str) -> None:
    wanted = ASKED[name][2]
    assert wanted in said[name], said[name]
    assert bool(wanted) == bool(said[name]), said[name]
    assert not wanted or said[name].rstrip().endswith("nothing was changed")


def test_the_unit_goes_behind_all_others_and_owns_nothing() -> None:
    unit = RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    # With a store of the photos it has the store's key as well, beside other web hosts the token of theirs.
    on_disk = re.sub(r"{% if .*?{% endif %}\n", "", UNIT.read_text(), flags=re.DOTALL)
    unit.read_string(on_disk.partition("\n")[2])
    service = unit["Service"]
    assert (service["Slice"], service["CPUWeight"], service["IOWeight"], service["Nice"]) == (
        "-.slice",
        "1",
        "1",
        "19",
    )
    assert service["Environment"] == "FACE_DATABASE_USER=face_reembed"
    assert service["LoadCredential"].endswith("/database_password_reembed"), "and no other secret"
    assert unit["Install"]["WantedBy"] == unit["Unit"]["PartOf"] == "face-pipeline.target"
