#!/usr/bin/env python3
"""progress.py LOG [--failures]: Ansible's output goes into LOG; a line a part, and what failed, are shown.

A part is a playbook of playbooks/, known by the names of its plays. With --failures only those are shown.
Standard library only.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

PLAYBOOKS = Path(__file__).resolve().parents[2]
# Their plays only prepare what the next part needs.
NO_PART = {"facts", "vendors_end"}
BEGINS = re.compile(r"PLAY \[(.*)\] \**$")
FAILED = re.compile(r"fatal: |failed: |.*\b(unreachable|failed)=[1-9]")
# Where Ansible's own words on an error go over to the file it came from.
ERROR_ENDS = re.compile(r"$|Origin: |Task failed\.$")


def parts(directory: Path = PLAYBOOKS) -> dict[str, str]:
    """Name of a play -> the part it belongs to."""
    found: dict[str, str] = {}
    for file in sorted(directory.glob("*.yml")):
        for block in re.split(r"(?m)^(?=- )", file.read_text(encoding="utf-8")):
            named = re.match(r"- name: (.*)", block)
            if named and re.search(r"(?m)^  hosts:", block) and file.stem not in NO_PART:
                found[named[1]] = file.stem
    return found


class Shown:
    """What stands on the screen: the part that runs has its name there, and gets its time when it ends."""

    def __init__(self, screen: TextIO, only_failures: bool) -> None:
        self._screen, self._quiet = screen, only_failures
        self._part = ""
        self._open = False
        self._began = time.monotonic()

    def part(self, name: str) -> None:
        if name == self._part or self._quiet:
            return
        self.end()
        self._part, self._open = name, True
        self._write(f"    {name:<14}")

    def end(self) -> None:
        if self._part:
            name = "" if self._open else f"    {self._part:<14}"
            self._write(f"{name}{time.monotonic() - self._began:4.0f} s\n")
            self._began = time.monotonic()
        self._part, self._open = "", False

    def line(self, text: str) -> None:
        if self._open:
            self._write("\n")
            self._open = False
        self._write(f"    {text}\n")

    def _write(self, text: str) -> None:
        self._screen.write(text)
        self._screen.flush()


def failures(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it says what failed: an [ERROR] to its end, or a line that stands alone."""
    inside = told = False
    for line in lines:
        if line.startswith("[ERROR]"):
            inside = told = True
        elif inside and ERROR_ENDS.match(line):
            inside = False
        elif line.startswith(("TASK [", "PLAY [")):
            told = False
        # Ansible repeats an error behind `fatal:`.
        yield line, inside or (bool(FAILED.match(line)) and not (told and line.startswith("fatal: ")))


def main(log: Path, only_failures: bool) -> None:
    known, shown = parts(), Shown(sys.stdout, only_failures)
    with log.open("a", encoding="utf-8") as file:
        for line, failed in failures(raw.rstrip("\n") for raw in sys.stdin):
            file.write(line + "\n")
            file.flush()
            begins = BEGINS.match(line)
            if begins and begins[1] in known:
                shown.part(known[begins[1]])
            elif failed:
                shown.line(line)
    shown.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--failures" in sys.argv[2:])
