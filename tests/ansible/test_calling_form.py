"""Ansible is called one way in everything a user reads: ./face-ansible PLAYBOOK [OPTION...]."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What says what ./face-ansible is, or is it.
EXPLAINS = {ROOT / "face-ansible", ROOT / "bootstrap", ROOT / "quickstart"}
READ = (
    "README.md", "site.yml", "bootstrap", "quickstart", "docs/**/*.md", "app/face_pipeline/**/*.py",
    "app/face_pipeline/**/*.html", "roles/**/*", "playbooks/**/*", "group_vars/**/*.yml",
    "inventory/**/*.yml", "files/**/*",
)  # fmt: skip
BARE = re.compile(
    r"""(?<![\w/-])(?<!face-ansible\ )ansible-(?:playbook|galaxy|inventory|vault)\ (?=[-\w./{<])
    | \.venv(?:-deploy)?/bin/ansible
    | (?<![\w/.-])(?<!face-ansible\ )(?:site|playbooks/[\w/-]+)\.yml\ (?:-e|-i|-K|--[a-z])
    | \b[Rr]un\ `?site\.yml
    | (?:\bthen\ |\|\ )`site\.yml`""",
    re.VERBOSE,
)
CALLED = re.compile(r"\./face-ansible ((?:site|playbooks/[\w/-]+)\.yml)")
FILES = sorted(
    {
        file
        for pattern in READ
        for file in ROOT.glob(pattern)
        if file.is_file() and "__pycache__" not in file.parts and "secrets" not in file.parts
    }
)


def text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="ignore")


def test_no_command_is_printed_that_bootstrap_does_not_bring() -> None:
    bare = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in FILES
        if file not in EXPLAINS
        for number, line in enumerate(text(file).splitlines(), start=1)
        if BARE.search(line)
    ]
    assert bare == []


def test_every_playbook_that_is_called_is_there() -> None:
    called = {name for file in FILES for name in CALLED.findall(text(file))}
    assert {"site.yml", "playbooks/scale.yml", "playbooks/verify.yml"} <= called
    assert [name for name in sorted(called) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "docs/installing.md"])
def test_the_first_screen_names_the_commands_of_a_newcomer(page: str) -> None:
    first = "\n".join(text(ROOT / page).splitlines()[:40])
    wanted = ["./quickstart", "./bootstrap", "./face-ansible site.yml -i inventory/local.yml"]
    if page == "README.md":
        wanted.append("\n    ./check\n")
    assert [command for command in wanted if command not in first] == []
    assert "echo 'face_model_pack: yunet_sface' >> inventory/group_vars/all.yml" in first
