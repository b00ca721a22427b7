"""What a campaign says at its end: a row for each kind of fault, and all that was wrong."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.evidence import Alert, Happened
from tests.campaign.history import Operation
from tests.campaign.judge import outages

# Of a client what it asks for, as columns name it.
CLIENTS = {"lister": "pages s", "searcher": "searches s", "sender": "uploads s"}
COLUMNS = ("number", "kind", "target", "hit", "lasted s", "whole after s", *CLIENTS.values(), "error")
HEAD = ("kind", "faults", "requests", "failed", "median s", "longest s", "longest outage s", "alerts")


@dataclass
class Report:
    seed: int
    kinds: list[str]
    began: float
    short: bool = False
    ended: float = 0.0
    faults: list[Happened] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)

    def command(self, number: int) -> str:
        chosen = "--short" if self.short else f"--kinds {','.join(self.kinds)}"
        return f"python -m tests.campaign --seed {self.seed} --from {number} --count 1 {chosen}"

    def blamed(self, finding: str) -> Happened | None:
        """The fault in whose time a finding began, where it names one, or a photo of one."""
        for fault in self.faults:
            if f"fault {fault.number}," in finding:
                return fault
        words = set(finding.replace(",", " ").replace(":", " ").split())
        for each in self.operations:
            if each.what == "upload" and words & {each.photo or "-", each.key[:12]}:
                return next((one for one in reversed(self.faults) if one.began <= each.called), None)
        return None

    def said(self) -> list[str]:
        """Each finding, and how to do it again."""
        lines = []
        for finding in self.findings:
            lines.append(finding)
            if fault := self.blamed(finding):
                lines.append(f"    again: {self.command(fault.number)}   ({fault.kind} of {fault.target})")
        return lines

    def rows(self) -> list[list[str]]:
        """Of each kind, and of all."""
        kinds = list(dict.fromkeys(fault.kind for fault in self.faults))
        made = [self._row(kind, [fault for fault in self.faults if fault.kind == kind]) for kind in kinds]
        return [*made, self._row("all", self.faults)]

    def _row(self, name: str, faults: Sequence[Happened]) -> list[str]:
        whole = [fault.healthy - fault.healed for fault in faults]
        sent = [each for fault in faults for each in during(self.operations, fault)]
        away = [seconds for fault in faults for seconds in outages(self.operations, fault).values()]
        heard = {each.name for fault in faults for each in self.alerts if _raised(each, fault)}
        return [
            name,
            str(len(faults)),
            str(len(sent)),
            str(sum(each.outcome != "ok" for each in sent)),
            f"{statistics.median(whole):.0f}" if whole else "-",
            f"{max(whole):.0f}" if whole else "-",
            f"{max(away, default=0):.0f}",
            ", ".join(sorted(heard)) or "-",
        ]

    def away(self, faults: Sequence[Happened]) -> dict[str, int]:
        """Of each client the longest, in seconds, that it was not answered because of one of these faults."""
        longest = dict.fromkeys(CLIENTS.values(), 0.0)
        for fault in faults:
            for client, seconds in outages(self.operations, fault).items():
                # Of a piece of a campaign its name has the time as well.
                column = CLIENTS.get(client.partition(",")[0])
                if column:
                    longest[column] = max(longest[column], seconds)
        return {column: round(seconds) for column, seconds in longest.items()}

    @property
    def minutes(self) -> float:
        return (self.ended - self.began) / 60

    def counts(self) -> dict[str, Any]:
        uploads = [each for each in self.operations if each.what == "upload"]
        return {
            "faults": len(self.faults),
            "minutes": round(self.minutes, 1),
            "operations": len(self.operations),
            "answered": sum(each.outcome == "ok" for each in self.operations),
            "unknown": sum(each.outcome == "unknown" for each in self.operations),
            "refused": sum(each.outcome == "fail" for each in self.operations),
            "photos acknowledged": len({each.photo for each in uploads if each.outcome == "ok"}),
            "findings": len(self.findings),
        }

    def markdown(self) -> str:
        table = [HEAD, ["---"] * len(HEAD), *self.rows()]
        counted = ", ".join(f"{name} {value}" for name, value in self.counts().items())
        lines = [
            f"# Campaign, seed {self.seed}",
            "",
            f"Kinds: {', '.join(self.kinds)}. {counted}.",
            "",
            *("| " + " | ".join(row) + " |" for row in table),
            "",
            "Seconds are from the end of a fault until the site was whole again; of pages, searches and"
            " uploads, how long none was answered.",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|" + "---|" * len(COLUMNS),
            *map(self._line, self.faults),
            "",
            "Nothing was wrong." if not self.findings else "Wrong:",
            "",
            *(f"    {line}" for line in self.said()),
        ]
        return "\n".join(lines).rstrip() + "\n"

    def _line(self, fault: Happened) -> str:
        lasted, whole = fault.healed - fault.began, fault.healthy - fault.healed
        cells = (
            fault.number, fault.kind, fault.target, fault.hit, f"{lasted:.0f}", f"{whole:.0f}",
            *self.away([fault]).values(), fault.error,
        )  # fmt: skip
        return "| " + " | ".join(map(str, cells)) + " |"

    def write(self, directory: Path) -> None:
        words = {name: value for name, value in asdict(self).items() if name != "operations"}
        rows = [dict(zip(HEAD, row, strict=True)) for row in self.rows()]
        found = {**words, "counts": self.counts(), "table": rows}
        (directory / "report.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (directory / "report.md").write_text(self.markdown(), encoding="utf-8")

    def table(self) -> str:
        lines = [list(HEAD), *self.rows()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def during(history: Iterable[Operation], fault: Happened) -> list[Operation]:
    """The calls that were open at some moment from the begin of a fault until all was whole."""
    return [each for each in history if each.called <= fault.healthy and each.returned >= fault.began]


def _raised(alert: Alert, fault: Happened) -> bool:
    return fault.began <= alert.began <= fault.healthy
