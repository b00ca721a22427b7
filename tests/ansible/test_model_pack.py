"""The model pack is chosen once, in a file of the inventory; a run that names none says what to type."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
LICENCE = "InsightFace model zoo: non-commercial research only"


class Host:
    """The preflight's look at the pack, for one host and an inventory with its group_vars."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.etc = directory / "etc"
        self.etc.mkdir()
        self.values = directory / "inventory/group_vars/all.yml"
        self.values.parent.mkdir(parents=True)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        children = {group: {"hosts": {"one": {}}} for group in GROUPS}
        inventory = {"all": {"vars": local, "children": children}}
        (directory / "inventory/hosts.yml").write_text(yaml.safe_dump(inventory))
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
        tasks = [{"ansible.builtin.import_role": {"name": "preflight", "tasks_from": "pack"}}]
        play = {"hosts": "web:workers", "gather_facts": False, "tasks": tasks}
        (directory / "play.yml").write_text(yaml.safe_dump([play]))

    def install(self, pack: str) -> None:
        (self.etc / "face-pipeline.env").write_text(f"FACE_LOG_LEVEL=INFO\nFACE_MODEL_PACK={pack}\n")

    def look(self, *options: str, **variables: Any) -> tuple[int, list[str]]:
        """Exit status, and each line it printed."""
        inventory = self.directory / "inventory/hosts.yml"
        command = [
            ROOT / ".venv/bin/ansible-playbook",
            "-i",
            inventory,
            self.directory / "play.yml",
            *options,
        ]
        done = subprocess.run(
            [*command, "-e", json.dumps({"face_config_dir": str(self.etc), **variables})],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, [line.strip() for line in (done.stdout + done.stderr).splitlines()]

    def type(self, said: list[str], only: str) -> None:
        """What a user does who pastes the lines that were printed under a heading with these words."""
        start = next(number for number, line in enumerate(said) if only in line)
        pasted = [found[0] for line in said[start + 1 :] if (found := re.search(r"echo '.*' >> \S+", line))]
        block = pasted[: 2 if "licence" in only else 1]
        assert block, said
        subprocess.run(["sh", "-c", "\n".join(block)], cwd=ROOT, check=True)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_first_run_without_a_pack_prints_the_lines_that_choose_one(host: Host) -> None:
    status, said = host.look()
    words = " ".join(said)
    assert status == 2
    assert "no model pack is chosen yet" in words
    assert LICENCE in words
    assert f"echo 'face_model_pack: buffalo_l' >> {host.values}" in words
    assert f"echo 'face_accept_model_licence: buffalo_l' >> {host.values}" in words
    assert f"echo 'face_model_pack: dlib' >> {host.values}" in words
    host.type(said, "a restricted licence")
    assert yaml.safe_load(host.values.read_text()) == {
        "face_model_pack": "buffalo_l",
        "face_accept_model_licence": "buffalo_l",
    }
    assert host.look()[0] == 0


def test_the_free_pack_is_one_line_and_later_runs_need_no_option(host: Host) -> None:
    status, said = host.look()
    assert status == 2
    host.type(said, "free for any use")
    assert yaml.safe_load(host.values.read_text()) == {"face_model_pack": "yunet_sface"}
    host.install("yunet_sface")
    status, said = host.look()
    assert status == 0, said
    assert "would change" not in " ".join(said)


@pytest.mark.parametrize("options", [(), ("--check", "--diff")])
def test_an_installed_pack_is_not_exchanged_by_a_run_that_names_none(
    host: Host, options: tuple[str, ...]
) -> None:
    host.install("dlib")
    # Also where the default's licence was accepted once.
    host.values.write_text("face_accept_model_licence: buffalo_l\n")
    status, said = host.look(*options)
    assert status == 2
    words = " ".join(said)
    assert "has the model pack dlib, and the inventory names none" in words
    host.type(said, "To keep dlib, type")
    assert yaml.safe_load(host.values.read_text())["face_model_pack"] == "dlib"
    assert host.look(*options)[0] == 0


def test_a_pack_of_ones_own_is_kept_by_naming_its_directory(host: Host) -> None:
    host.install("our-faces")
    status, said = host.look()
    assert status == 2
    line = f"echo 'face_model_pack_source: /the/directory/with/our-faces' >> {host.values}"
    assert line in " ".join(said)


def test_the_default_pack_that_is_installed_stays_without_a_word(host: Host) -> None:
    host.install("buffalo_l")
    host.values.write_text("face_accept_model_licence: buffalo_l\n")
    status, said = host.look()
    assert status == 0, said
    assert "model pack" not in " ".join(line for line in said if "msg" in line)


def test_a_change_that_the_inventory_names_is_made_and_its_price_is_said(host: Host) -> None:
    host.install("buffalo_l")
    host.values.write_text("face_model_pack: dlib\n")
    status, said = host.look()
    assert status == 0, said
    assert "the model pack buffalo_l is exchanged for dlib" in " ".join(said)
    assert "409" in " ".join(said)


def test_a_pack_that_is_named_on_the_command_line_alone_needs_its_licence_too(host: Host) -> None:
    status, said = host.look(face_model_pack="buffalo_l")
    assert status == 2
    assert f"pack buffalo_l has a restricted licence ({LICENCE})" in " ".join(said)
    assert host.look(face_model_pack="buffalo_l", face_accept_model_licence="buffalo_l")[0] == 0
    status, said = host.look(face_model_pack="nonesuch")
    assert status == 2
    known = "buffalo_l, dlib, yunet_sface"
    assert f"there is no model pack 'nonesuch'; set face_model_pack to one of {known}" in " ".join(said)


def test_the_lines_go_where_the_inventory_keeps_its_values(host: Host) -> None:
    (host.values.parent / "all").mkdir()
    words = " ".join(host.look()[1])
    assert f"echo 'face_model_pack: dlib' >> {host.values.parent}/all/pack.yml" in words
    (host.values.parent / "all").rmdir()
    host.values.parent.rmdir()
    words = " ".join(host.look()[1])
    assert f"mkdir -p {host.values.parent}" in words


def test_the_applications_part_alone_asks_for_the_pack_too() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/app.yml").read_text())
    (task,) = (task for play in plays for task in play.get("pre_tasks", []))
    asked = task["ansible.builtin.include_role"]
    assert (asked["name"], asked["tasks_from"]) == ("preflight", "pack")
