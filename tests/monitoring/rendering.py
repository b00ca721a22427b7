"""A role's own tasks run on this machine, below a directory, for hosts of an inventory.

Everything but owners and handlers is the role's: templates, filters, variables, and what checks each file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.ansible.programs import load
from tests.services.process import ROOT as SERVICES

certificates = load("roles/certificates/files/make_certificate.py")
MADE = TemporaryDirectory(prefix="observed-certificate-")
ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring")

ONE_HOST = {group: ["one"] for group in GROUPS}
THREE_HOSTS = {
    **{group: ["front"] for group in ("proxy", "web")},
    **{group: ["data"] for group in ("postgres", "redis", "monitoring")},
    "workers": ["compute", "data"],
}


# Below play()'s directory, each host's own.
PLACE = "{{ playbook_dir }}/{{ inventory_hostname }}"


def inventory(groups: dict[str, list[str]]) -> dict[str, Any]:
    names = sorted({name for members in groups.values() for name in members})
    hosts = {
        name: {
            "ansible_host": f"10.0.0.{number}",
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
        for number, name in enumerate(names, start=1)
    }
    children = {group: {"hosts": dict.fromkeys(members)} for group, members in groups.items()}
    return {"all": {"hosts": hosts, "children": children}}


@cache
def certified() -> dict[str, str]:
    """Variables of a certificate of what observes, which promtool wants to be there, and its authority."""
    directory = Path(MADE.name)
    names = [certificates.general_name(name) for name in ("127.0.0.1", "monitoring.localhost")]
    leaf = certificates.Leaf(directory, names, client=True)
    certificates.make(directory, leaf, datetime.now(UTC))
    return {
        "face_authority": str(directory / "ca.crt"),
        "face_observed_certificate": str(directory / "server.crt"),
        "face_observed_key": str(directory / "server.key"),
    }


def _without_owners(task: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in task.items() if key not in ("notify", "no_log")}
    for key, value in kept.items():
        if key.startswith("ansible.builtin.") and isinstance(value, dict):
            kept[key] = {name: each for name, each in value.items() if name not in ("owner", "group")}
    return kept


def _shadow(role: str, tasks: str | list[dict[str, Any]], directory: Path) -> None:
    real, shadow = ROOT / "roles" / role, directory / "roles" / role
    shadow.mkdir(parents=True)
    for part in real.iterdir():
        if part.name not in ("tasks", "handlers"):
            (shadow / part.name).symlink_to(part)
    file = real / "tasks" / f"{tasks}.yml"
    written = yaml.safe_load(file.read_text()) if isinstance(tasks, str) else tasks
    (shadow / "tasks").mkdir()
    (shadow / "tasks/main.yml").write_text(yaml.safe_dump([_without_owners(task) for task in written]))


def play(
    role: str,
    directory: Path,
    groups: dict[str, list[str]],
    tasks: str | list[dict[str, Any]] = "configure",
    on: str = "monitoring",
    **variables: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a file of the role's tasks, or tasks, on the group `on`; the same directory again: a second run."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "roles").exists():
        _shadow(role, tasks, directory)
        for called in ("hardening", "monitoring_access"):
            _shadow(called, "main", directory)
        # It makes the secrets.
        (directory / "roles/base").symlink_to(ROOT / "roles/base")
        for shared in ("group_vars", "files"):
            (directory / shared).symlink_to(ROOT / shared)
        (directory / "secrets").mkdir(exist_ok=True)
        made = [{"hosts": on, "gather_facts": False, "roles": [role]}]
        (directory / "play.yml").write_text(yaml.safe_dump(made))
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory(groups)))
    return subprocess.run(
        [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(directory / "hosts.yml"), "--diff",
         str(directory / "play.yml"), "-e", json.dumps(certified() | variables)],
        cwd=directory,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:{SERVICES / 'usr/bin'}", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed, in one line."""
    return " ".join((done.stdout + done.stderr).split())
