"""The examples of pages of docs/, read as they stand there and run as a reader runs them.

A block of code is indented by four spaces, up to a blank line, or stands between fences. Of its lines, those
count that call `api`, `curl` or `face-pipeline`; the answer of the last one is the block that follows, if
that is JSON. What cannot run here has a comment right before it: `<!-- not run: why -->`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.app.cli import Person
from tests.photos import ROOT

# What an example's "…" stands for: any text, or anything more in a list or an object.
MORE = "…"
COMMAND = re.compile(r"(?:^|[|;&(]\s*)(?:api|curl|face-pipeline) ")
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
FENCE = re.compile(r"```(\w*)$")
INDENT = "    "


@dataclass(frozen=True)
class Block:
    """Code of a page. kind: the word behind its fence, "" of an indented one; why_not: it cannot run here."""

    line: int
    kind: str
    lines: tuple[str, ...]
    why_not: str | None

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


@dataclass(frozen=True)
class Example:
    """A command of the page, and what it says that comes back; None: it says nothing."""

    line: int
    command: str
    answer: Any = None
    why_not: str | None = None


def blocks(page: Path) -> Iterator[Block]:
    lines, number, why_not = page.read_text().splitlines(), 0, None
    while number < len(lines):
        line, began = lines[number], number
        if marked := NOT_RUN.fullmatch(line):
            why_not = marked[1]
        elif fence := FENCE.match(line):
            number += 1
            while not lines[number].startswith("```"):
                number += 1
            yield Block(began + 2, fence[1], tuple(lines[began + 1 : number]), why_not)
            why_not = None
        elif line.startswith(INDENT) and not lines[number - 1].strip():
            while number + 1 < len(lines) and lines[number + 1].startswith(INDENT):
                number += 1
            found = [each.removeprefix(INDENT) for each in lines[began : number + 1]]
            yield Block(began + 1, "", tuple(found), why_not)
            why_not = None
        elif line.strip():
            why_not = None
        number += 1


def examples(page: Path) -> Iterator[Example]:
    found = list(blocks(page))
    for number, block in enumerate(found):
        if block.kind not in ("", "sh"):
            continue
        commands = [each for each in _commands(block) if COMMAND.search(each[1])]
        follows = found[number + 1] if commands and number + 1 < len(found) else None
        told = follows is not None and follows.text.lstrip().startswith("{") and follows.why_not is None
        answer = elided(follows.text) if told and follows is not None else None
        for line, command in commands[:-1]:
            yield Example(line, command, None, block.why_not)
        for line, command in commands[-1:]:
            yield Example(line, command, answer, block.why_not)


def _commands(block: Block) -> Iterator[tuple[int, str]]:
    """Each command with its line: a quote that is open, or a backslash at the end, joins the next line."""
    command, began = "", 0
    for number, line in enumerate(block.lines):
        began = began if command else number
        command += line
        if command.endswith("\\"):
            command = command[:-1]
        elif _without_comment(command).count("'") % 2:
            command += "\n"
        else:
            yield block.line + began, command
            command = ""


def _without_comment(command: str) -> str:
    return re.sub(r"(^|\s)# .*$", "", command, flags=re.MULTILINE)


def programs(page: Path) -> list[Block]:
    """Those in Python."""
    return [each for each in blocks(page) if each.kind == "python" and each.why_not is None]


def elided(text: str) -> Any:
    """The answer of an example; "…" without quotes is an element, or a key, of its own."""
    whole = re.sub(r"\[…\]", f'["{MORE}"]', text)
    whole = re.sub(r", …\]", f', "{MORE}"]', whole)
    whole = re.sub(r", …\}", f', "{MORE}": null}}', whole)
    return json.loads(re.sub(r"\{…\}", f'{{"{MORE}": null}}', whole))


def differences(told: Any, given: Any, where: str = "answer") -> list[str]:
    """Where an answer is not of the shape that the page tells: other keys, another kind of value."""
    if isinstance(told, dict) and isinstance(given, dict):
        named = [each for each in told if each != MORE]
        keys = [each for each in given if each in told] if MORE in told else list(given)
        if named != keys:
            return [f"{where}: the page has {named}, the service {keys}"]
        return [each for name in named for each in differences(told[name], given[name], f"{where}.{name}")]
    if isinstance(told, list) and isinstance(given, list):
        if told == [MORE]:
            return []
        if not told or not given:
            return [] if told == given else [f"{where}: the page has {told}, the service {given}"]
        return [each for item in given for each in differences(told[0], item, where)]
    kinds = [float if isinstance(each, int | float) and not isinstance(each, bool) else type(each)
             for each in (told, given)]  # fmt: skip
    if kinds[0] is not kinds[1]:
        return [f"{where}: the page has {told!r}, the service {given!r}"]
    return []


@dataclass(frozen=True)
class Reader:
    """Somebody who tries the examples of a page, at a shell in a directory of their own."""

    person: Person
    key: str

    def does(self, command: str) -> tuple[int, Any]:
        """Exit status of a command; of `api`, the HTTP status and the answer."""
        done = subprocess.run(
            ["bash", "-c", f"{self._functions()}\n{command}"],
            cwd=self.person.home, env={**self.person.environment, "KEY": self.key},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if not re.match(r"api\b", command) or done.returncode:
            return done.returncode, done.stdout + done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body) if body.startswith("{") else body

    def _functions(self) -> str:
        """`api` as the page says it is; `face-pipeline` of this tree."""
        (api,) = re.findall(r"^api\(\) .*$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
        api = api.replace('--cacert "$CA" ', "--write-out '\\n%{http_code}' ")
        return f'{api}\nface-pipeline() {{ "{sys.executable}" -m face_pipeline.cli "$@"; }}'

    def runs(self, program: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=self.person.home, env=self.person.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr
