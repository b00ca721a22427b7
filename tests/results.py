"""What became of the tests, over several runs of pytest, and where the time went.

A run that finds the directory FACE_RESULTS writes a file into it. `python -m tests.results DIRECTORY` tells
of all of them: what failed, what was skipped and why, and one line with the numbers. With `--causes` it says
in one line each why tests failed. With `--times` it tells of the time instead: of Ansible's runs and tasks
(`times-*.jsonl`, from plugins/callback/times.py) and of the files of tests.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# The end of what pytest says of a failed test.
LINES_OF_A_FAILURE = 25
LONGEST = 25
# Of a line that says why a test failed, and of tests that have one: they fit into the end of a long output.
CAUSE_CHARACTERS = 300
CAUSES = 6


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    directory = os.environ.get("FACE_RESULTS")
    # The processes of a run in parallel only help the one that tells.
    if not directory or hasattr(config, "workerinput"):
        return
    stats = terminalreporter.stats
    seconds: Counter[str] = Counter()
    for reports in stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    result = {
        "passed": sum(len(stats.get(outcome, [])) for outcome in ("passed", "xfailed", "xpassed")),
        "failed": [
            [report.nodeid, report.longreprtext]
            for outcome in ("failed", "error")
            for report in stats.get(outcome, [])
        ],
        "skipped": [[report.nodeid, _reason(report.longrepr)] for report in stats.get("skipped", [])],
        "seconds": {file: round(each, 1) for file, each in seconds.items()},
    }
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{os.getpid()}.json").write_text(json.dumps(result))


def _reason(longrepr: Any) -> str:
    """Of (file, line, "Skipped: reason")."""
    said = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(said).removeprefix("Skipped: ")


def read(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(directory.glob("*.json"))]


def summary(results: Iterable[dict[str, Any]]) -> list[str]:
    """What failed, with the end of its words; what was skipped, by its reason; and the line of numbers."""
    passed, lines = 0, []
    failed: list[list[str]] = []
    skipped: dict[str, list[str]] = {}
    for result in results:
        passed += result["passed"]
        failed += result["failed"]
        for test, reason in result["skipped"]:
            skipped.setdefault(reason, []).append(test)
    for test, text in failed:
        lines += [f"FAILED {test}", *text.splitlines()[-LINES_OF_A_FAILURE:], ""]
    for reason, tests in sorted(skipped.items()):
        names = sorted(set(tests))
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        lines.append(f"SKIPPED {names[0]}{more}: {reason}")
    number = sum(len(tests) for tests in skipped.values())
    return [*lines, f"{passed} passed, {len(failed)} failed, {number} skipped"]


def causes(results: Iterable[dict[str, Any]]) -> list[str]:
    """The first failed tests, each with the lines in which pytest says what was wrong, in short."""
    failed = [test for result in results for test in result["failed"]]
    lines = []
    for test, text in failed[:CAUSES]:
        said = " ".join(line[1:].strip() for line in text.splitlines() if line.startswith("E "))
        lines.append(f"{test}: {said[:CAUSE_CHARACTERS] or text[-CAUSE_CHARACTERS:]}")
    return lines + ([f"and {len(failed) - CAUSES} more"] if len(failed) > CAUSES else [])


def ansible_times(file: Path) -> Iterator[str]:
    """Ansible's runs in their order, then their longest tasks."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    runs: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        runs.setdefault(line["run"], []).append(line)
    yield file.stem.removeprefix("times-")
    for tasks in sorted(runs.values(), key=lambda tasks: float(tasks[0]["at"])):
        name = tasks[0]["playbook"] + (" --check" if tasks[0]["check"] else "")
        seconds = tasks[-1]["at"] + tasks[-1]["seconds"] - tasks[0]["at"]
        yield f"{seconds:7.0f} s  {len(tasks):4d} tasks  {name}"
    for line in sorted(lines, key=lambda line: -float(line["seconds"]))[:LONGEST]:
        yield f"{line['seconds']:7.1f} s  {line['playbook']}: {line['task']}"


def file_times(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Files of tests by the seconds of their tests, each in a process of its own."""
    seconds: Counter[str] = Counter()
    for result in results:
        seconds.update(result["seconds"])
    yield f"tests, {sum(seconds.values()):.0f} s in all processes together"
    for file, each in seconds.most_common(LONGEST):
        yield f"{each:7.1f} s  {file}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--causes", action="store_true")
    arguments.add_argument("--times", action="store_true")
    given = arguments.parse_args()
    results = read(given.directory)
    if given.causes:
        for line in causes(results):
            print(line)
        return
    if not given.times:
        print("\n".join(summary(results)))
        return
    for file in sorted(given.directory.glob("times-*.jsonl")):
        print("\n".join(ansible_times(file)), end="\n\n")
    print("\n".join(file_times(results)))


if __name__ == "__main__":
    main()
