"""./check audit: a hole is told with what mends it, and what could not be looked up is no pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.advisories import main

WELL = {"name": "flask", "version": "3.1.3", "vulns": []}
HOLE = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "redis", "skip_reason": "Dependency not found"}


def tool(directory: Path, status: int, packages: list[dict[str, Any]] | None) -> str:
    """A pip-audit that answers so: the database is not on this machine."""
    program = directory / "pip-audit"
    answer = json.dumps({"dependencies": packages, "fixes": []}) if packages is not None else ""
    program.write_text(f"#!/bin/sh\necho 'no route to host' >&2\ncat <<'END'\n{answer}\nEND\nexit {status}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("answered", "packages", "status", "words"),
    [
        (0, [WELL], 0, "no known hole in 1 packages"),
        (1, [WELL, HOLE, UNKNOWN], 1, "pillow 1.0: PYSEC-1, mended in 1.1"),
        (0, [WELL, UNKNOWN], 3, "NOT RUN for 1 of 2 packages: Dependency not found"),
        (1, None, 3, "NOT RUN: no route to host"),
    ],
)
def test_what_is_found_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    answered: int, packages: list[dict[str, Any]] | None, status: int, words: str,
) -> None:  # fmt: skip
    assert main(tool(tmp_path, answered, packages), "requirements/app.lock") == status
    assert words in capsys.readouterr().out
