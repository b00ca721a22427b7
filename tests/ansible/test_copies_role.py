"""Hosts that keep copies of photos: what they get, whom they answer, and which inventories are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.hardening import ROOT, drop_in
from tests.order import in_campaign

HOSTS = {"front": "10.0.0.1", "both": "10.0.0.2", "keeper": "10.0.0.3"}
# `both` has workers, too; `keeper` keeps copies and does nothing else.
GROUPS = {
    **{group: ["front"] for group in ("proxy", "web", "postgres", "redis")},
    "workers": ["front", "both"],
    "copies": ["both", "keeper"],
}
CREDENTIALS = "{{ app_credentials | sort | join(' ') }}"
TASKS: list[dict[str, Any]] = [
    {"ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{{{{ made }}}}-{name}"}}
    for name, source in (
        ("env", "app/templates/face-pipeline.env.j2"),
        ("unit", "copies/templates/face-copies.service.j2"),
        ("web", "web/templates/face-web.service.j2"),
    )
] + [{"ansible.builtin.copy": {"content": CREDENTIALS, "dest": "{{ made }}-credentials"}}]


def played(
    directory: Path, tasks: list[dict[str, Any]], groups: dict[str, list[str]], **given: Any
) -> tuple[int, str]:
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    (directory / "roles").symlink_to(ROOT / "roles")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: {**local, "face_private_address": address} for name, address in HOSTS.items()}
    children = {group: {"hosts": dict.fromkeys(members)} for group, members in groups.items()}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": children}}))
    files = [
        str(path)
        for role in ("app", "web", "copies")
        for part in ("defaults", "vars")
        if (path := ROOT / "roles" / role / part / "main.yml").exists()
    ]
    facts = {"memtotal_mb": 8000, "processor_nproc": 2}
    known = {"ansible_facts": facts, "nvidia_plan": {"use": False, "cuda": ""}, "face_public_host": "front"}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": files,
        "vars": {**known, **given},
        "tasks": tasks,
    }
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml"],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@cache
def written() -> dict[str, str]:
    """HOST-FILE -> its text."""
    with TemporaryDirectory(prefix="copies-") as name:
        directory = Path(name)
        made = f"{directory}/{{{{ inventory_hostname }}}}"
        status, said = played(
            directory,
            [*TASKS, drop_in("copies", f"{made}-filter")],
            GROUPS,
            made=made,
            ansible_managed="made",
        )
        assert status == 0, said
        return {path.name: path.read_text() for path in directory.iterdir() if "-" in path.name}


def test_the_web_host_alone_knows_where_copies_go() -> None:
    front, both = written()["front-env"], written()["both-env"]
    assert "FACE_COPIES_URLS=https://10.0.0.2:9803 https://10.0.0.3:9803\n" in front
    assert "FACE_COPIES_REQUIRED=2\n" in front
    assert "FACE_COPIES" not in both
    token = "LoadCredential=copies_token:/etc/face-pipeline/credentials/copies_token\n"
    assert token in written()["front-web"]
    assert token in written()["keeper-unit"]


def test_a_host_that_keeps_copies_alone_gets_the_token_and_no_other_secret() -> None:
    assert written()["keeper-credentials"] == "copies_token"
    assert {"copies_token", "database_password_worker"} <= set(written()["both-credentials"].split())
    assert {"copies_token", "database_password_web"} <= set(written()["front-credentials"].split())


def test_it_answers_the_web_host_alone_and_proves_who_it_is() -> None:
    allowed = [line for line in written()["keeper-filter"].splitlines() if line.startswith("IPAddressAllow=")]
    assert allowed == ["IPAddressAllow=", "IPAddressAllow=localhost", "IPAddressAllow=10.0.0.1"]
    assert "FACE_COPIES_LISTEN=10.0.0.3:9803\n" in written()["keeper-unit"]
    assert "FACE_COPIES_CERTIFICATE=/etc/face-pipeline/workers.crt" in written()["keeper-unit"]


@pytest.mark.parametrize(
    ("copies", "required", "words"),
    [
        (["both"], 3, "a whole number from 1 to 2 is needed"),
        *in_campaign(
            "other inventories take the same way",
            (["front", "both"], 1, "front: the web host has the photos"),
            ([], 2, "a whole number from 1 to 1 is needed"),
            (["both"], "two", "face_originals_copies_required is two"),
            (["both", "keeper"], 3, ""),
        ),
    ],
)
def test_an_inventory_with_which_no_upload_would_be_answered_is_refused(
    tmp_path: Path, copies: list[str], required: object, words: str
) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    wanted = ("Check the hosts that keep copies of the photos", "Check how many hosts are to hold a photo")
    checks = [task for task in tasks if task["name"] in wanted]
    assert len(checks) == len(wanted)
    given = {} if required is None else {"face_originals_copies_required": required}
    status, said = played(tmp_path, checks, {**GROUPS, "copies": copies}, **given)
    assert (status == 0) == (not words), said
    assert words in said
