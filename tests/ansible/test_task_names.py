"""Names of tasks, as an operator reads them in a log: one line, without the file around it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
# What such a word points to stands on another line of the log, or on none.
POINTING = re.compile(r"\b(it|them|they|that so|so)\b(?!s)|^(\w+) (its|their)\b", re.IGNORECASE)


def named(tasks: list[dict[str, Any]]) -> Iterator[str]:
    for task in tasks:
        if "name" in task:
            yield task["name"]
        for part in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
            yield from named(task.get(part) or [])


def test_a_tasks_name_says_what_is_done_to_what() -> None:
    files = [
        *ROOT.glob("roles/*/tasks/*.yml"),
        *ROOT.glob("roles/*/handlers/*.yml"),
        *ROOT.glob("playbooks/**/*.yml"),
        ROOT / "site.yml",
    ]
    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in named(yaml.safe_load(file.read_text()) or [])
        if " " not in name or POINTING.search(name)
    ]
    assert not wrong, "\n".join(["a name that says too little in a log:", *wrong])
