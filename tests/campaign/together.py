"""python -m tests.campaign.together DIRECTORY... --report DIRECTORY: one report of a campaign in pieces.

Each directory is the report of a piece. Exit status 1: one of them was hurt.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.campaign import history
from tests.campaign.evidence import Alert, Happened
from tests.campaign.report import HEAD, Report


@dataclass
class Together(Report):
    """`minutes`: of all pieces, without what was between them. `lines`: what each piece said."""

    pieces: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def minutes(self) -> float:
        return sum(float(each["counts"]["minutes"]) for each in self.pieces)

    def said(self) -> list[str]:
        """Each piece has said how to do a fault again."""
        return self.lines

    def figures(self) -> dict[str, Any]:
        """What is worth keeping of it."""
        return {
            "machine": {"processors": os.cpu_count(), "kernel": platform.release()},
            "pieces": self.pieces,
            "counts": self.counts(),
            "table": [dict(zip(HEAD, row, strict=True)) for row in self.rows()],
            "targets": self.targets(),
            "findings": self.findings,
        }

    def targets(self) -> dict[str, dict[str, int]]:
        """Of each how often it was hit, and the longest that a client was not answered, in seconds."""
        hit: dict[str, list[Happened]] = {}
        for fault in sorted(self.faults, key=lambda one: (one.kind, one.target)):
            hit.setdefault(f"{fault.kind} of {fault.target}", []).append(fault)
        return {name: {"faults": len(faults), **self.away(faults)} for name, faults in hit.items()}


def read(directory: Path) -> tuple[dict[str, Any], Report]:
    """A piece as it wrote itself, and its report with what its clients did."""
    found = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    report = Report(found["seed"], found["kinds"], found["began"], found["short"], found["ended"])
    report.faults = [
        Happened(**{**each, "may": tuple(each["may"]), "must": tuple(each["must"])})
        for each in found["faults"]
    ]
    report.alerts = [Alert(**each) for each in found["alerts"]]
    report.findings = found["findings"]
    report.operations = [
        # Its clients are others than those of the next piece, which begins much later.
        replace(each, client=f"{each.client}, {found['began']:.0f}")
        for each in history.read(directory / "history.jsonl")
    ]
    return found, report


def together(directories: list[Path]) -> Together:
    made = Together(0, [], 0.0)
    for directory in directories:
        found, report = read(directory)
        numbers = [fault.number for fault in report.faults]
        made.pieces.append(
            {name: found[name] for name in ("seed", "kinds", "short", "began", "counts")}
            | {"first": min(numbers, default=0), "last": max(numbers, default=0)}
        )
        made.faults += report.faults
        made.alerts += report.alerts
        made.operations += report.operations
        made.findings += [f"seed {report.seed}: {finding}" for finding in report.findings]
        made.lines += [f"seed {report.seed}: {line}" for line in report.said()]
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.together", description=__doc__)
    parser.add_argument("pieces", nargs="+", type=Path)
    parser.add_argument("--report", type=Path, required=True, help="the file of figures that is written")
    options = parser.parse_args()
    made = together(options.pieces)
    options.report.write_text(json.dumps(made.figures(), indent=1) + "\n", encoding="utf-8")
    print(f"{made.table()}\n\n{json.dumps(made.counts())}")
    for line in made.said():
        print(line, file=sys.stderr)
    return 1 if made.findings else 0


if __name__ == "__main__":
    sys.exit(main())
