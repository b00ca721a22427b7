"""The drop-ins that roles write by the role `hardening`, as tasks for a test's own play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles/hardening"
# What `systemd-analyze security` may give a unit of the product (docs/security.md).
LIMIT = 2.0
TEMPLATE = ROLE / "templates/hardening.conf.j2"
SHARED: dict[str, Any] = {
    name: value
    for part in ("defaults", "vars")
    for name, value in yaml.safe_load((ROLE / part / "main.yml").read_text()).items()
}


def _tasks(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from _tasks(task.get(part, []))


def calls(role: str) -> list[dict[str, Any]]:
    """Variables of each call in the role's tasks, in the order of files and tasks."""
    return [task["vars"] for task in tasks_that_call(role)]


def tasks_that_call(role: str) -> list[dict[str, Any]]:
    return [
        task
        for file in sorted((ROOT / "roles" / role / "tasks").glob("*.yml"))
        for task in _tasks(yaml.safe_load(file.read_text()))
        if task.get("ansible.builtin.import_role", {}).get("name") == "hardening"
    ]


def drop_in(role: str, target: Path | str, number: int = 0, **variables: Any) -> dict[str, Any]:
    """The task that writes a call's drop-in to `target`; the play has the variables of `role`."""
    return {
        "ansible.builtin.template": {"src": str(TEMPLATE), "dest": str(target), "mode": "0644"},
        "vars": {**SHARED, **calls(role)[number], **variables},
    }
