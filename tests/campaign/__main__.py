"""python -m tests.campaign --seed N --count N: faults on an installed site, under clients.

Exit status 1: it was hurt. It kills, cuts and spoils: give it a test site. `--from I`: begin with
fault I of the seed's schedule. `--short`: what is over in moments, and no alert is judged.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from random import Random

import requests

from tests.campaign import hosts, indexes, schedule
from tests.campaign.breaks import Place
from tests.campaign.clients import Clients
from tests.campaign.evidence import Evidence, Happened
from tests.campaign.faults import ANY, FAULTS, MACHINE
from tests.campaign.history import History
from tests.campaign.hosts import CommandFailed, Site
from tests.campaign.judge import judge
from tests.campaign.report import Report
from tests.campaign.schedule import Planned
from tests.patience import PATIENCE
from tests.photos import ROOT

# How long a quiet machine may need until all is whole; not to come back at all is what this finds.
WHOLE_SECONDS = 120.0 * PATIENCE
PAUSE = 1.0


@dataclass(frozen=True)
class Pace:
    """`pause`: of a client between two calls, in seconds. `longest`: of a fault. `minutes`: no fault later.

    `hurried`: the next fault comes as soon as users are served again, whether or not the monitoring is
    back; no alerts are judged, for which their rules need minutes without the work of others; and of indexes
    the B-trees alone, for a vector index takes a minute to be built.
    """

    kinds: tuple[str, ...]
    pause: float
    longest: float = inf
    minutes: float = inf
    hurried: bool = False


LONG = Pace(tuple(FAULTS), 1.0)
# On a machine that does other work meanwhile, and may be several times as slow.
SHORT = Pace(
    ("kill", "freeze", "restart", "empty", "spoil", "network"), 3.0, longest=3.0, minutes=6.0, hurried=True
)


def main() -> int:
    options = _options()
    site = hosts.read(options.summary, options.inventory)
    pace: Pace = options.pace
    if not site.chooses:
        pace = replace(pace, kinds=tuple(kind for kind in pace.kinds if kind != "site"))
    report = Report(options.seed, list(pace.kinds), time.time(), short=options.short)
    directory: Path = options.report
    directory.mkdir(parents=True, exist_ok=True)
    last = options.first + options.count - 1
    planned = schedule.plan(options.seed, last, pace.kinds, longest=pace.longest)[options.first - 1 :]
    schedule.write(planned, directory / "schedule.jsonl")
    print(f"seed {options.seed}, faults {options.first} to {last}, {directory}", flush=True)
    campaign = Campaign(site, report, directory, pace)
    try:
        campaign.run(planned)
    except CommandFailed as error:
        report.findings.append(f"ended: {error}")
    report.ended = time.time()
    report.write(directory)
    print(f"\n{report.table()}\n")
    print(json.dumps(report.counts()))
    for line in report.said():
        print(line, file=sys.stderr)
    return 1 if report.findings else 0


class Campaign:
    def __init__(self, site: Site, report: Report, directory: Path, pace: Pace) -> None:
        self.site = site
        self.report = report
        self.directory = directory
        self.pace = pace
        # The faults so far are judged, as if there had been no more.
        self.enough = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: self.enough.set())
        self.collection = f"campaign-{report.seed}-{int(report.began)}"
        # Copies that were of no photo before.
        self.stale: dict[str, set[str]] = {}
        self.history = History(directory / "history.jsonl")

    def run(self, planned: list[Planned]) -> None:
        for guest in self.site.guests:
            if guest.is_here:
                guest.mend()
        self.site.remember_units()
        if wrong := self.site.wait_whole(WHOLE_SECONDS):
            raise CommandFailed(f"the site is not well before any fault: {'; '.join(wrong)}")
        before = self.site.originals()
        self.stale = {host: names.keys() - before.keys() for host, names in self.site.copies().items()}
        first = int(self.report.began) % 10**8 * 1000
        with Clients(self.site.api, self.history, self.collection, first, pause=self.pace.pause):
            reference = self._reference()
            if not self.pace.hurried:
                indexes.fill(self.site, self.collection, self.report.seed)
            until = time.monotonic() + 60 * self.pace.minutes
            for each in planned:
                if self.enough.is_set():
                    break
                if time.monotonic() > until:
                    print(f"{self.pace.minutes:.0f} minutes are over: the faults so far are judged")
                    break
                self._happen(each)
        self.report.operations = list(self.history)
        # Each photo has to end.
        wrong = self.site.wait_whole(WHOLE_SECONDS)
        self.report.findings += [f"at the end: {each}" for each in wrong]
        evidence = self._evidence(before)
        self.report.findings += judge(
            self.report.operations, evidence, self.report.faults, reference,
            patience=PATIENCE * (2 if self.pace.hurried else 1), alerts=not self.pace.hurried,
        )  # fmt: skip

    def _reference(self) -> tuple[tuple[int, ...], ...]:
        """The faces of a photo before any fault."""
        until = time.monotonic() + WHOLE_SECONDS
        while time.monotonic() < until:
            done = [row for row in self.site.rows(self.collection) if row.state == "done"]
            if len(done) >= 3:
                return done[0].faces
            time.sleep(1)
        raise CommandFailed("no photo was done before any fault: look at the workers")

    def _happen(self, planned: Planned) -> None:
        fault = FAULTS[planned.kind][planned.target]
        chance = Random(f"{self.report.seed} {planned.number}")
        where = [
            guest
            for guest in self.site.of(fault.group)
            if (guest.is_here or not fault.machine) and guest.has(fault.needs)
        ]
        began, hit, error = time.time(), "", ""
        if not where:
            print(f"{planned.number:4} {planned.kind} of {planned.target}: left out, no such host here")
            return
        place = Place(self.site, chance.choice(where), chance, planned.seconds)
        try:
            with fault.do(place) as hit:
                time.sleep(planned.seconds)
        except (CommandFailed, OSError) as failed:
            error = f"the fault itself: {failed}"
        healed = time.time()
        # A busy machine may be long at a photo: each has to end after the last fault, none waits for ever.
        wrong = self.site.wait_whole(WHOLE_SECONDS, healed - WHOLE_SECONDS, self.pace.hurried)
        healthy = time.time()
        if wrong:
            error = "; ".join([*([error] if error else []), *wrong])
        happened = Happened(
            planned.number, planned.kind, planned.target, began, healed, healthy,
            may=(*fault.may, *ANY), must=fault.must, error=error, hit=hit,
            last="; ".join(self.site.waited_for),
        )  # fmt: skip
        self.report.faults.append(happened)
        with (self.directory / "faults.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(happened)) + "\n")
        print(
            f"{planned.number:4} {planned.kind} of {planned.target}: {hit}, lasted {healed - began:.1f} s,"
            f" whole after {healthy - healed:.1f} s ({happened.last or 'at once'}) {error}",
            flush=True,
        )
        if not self.pace.hurried:
            time.sleep(PAUSE)

    def _evidence(self, before: dict[str, str]) -> Evidence:
        for guest in self.site.of("web"):
            # What an erasure could not let go at once, it does.
            guest.run("systemctl start face-indexer.service", check=False)
        try:
            copies = {
                host: {name: sha256 for name, sha256 in files.items() if name not in self.stale[host]}
                for host, files in self.site.copies().items()
            }
        except CommandFailed as error:
            copies = {}
            self.report.findings.append(f"copies cannot be compared: {error}")
        try:
            self.report.alerts = self.site.alerts(self.report.began, time.time())
        except requests.RequestException as error:
            self.report.findings.append(f"alerts cannot be read: {error}")
        heard = [alert for alert in self.report.alerts if alert.name not in MACHINE]
        # What was damaged before is no fault of these faults.
        files = {
            name: sha256
            for name, sha256 in self.site.originals().items()
            if sha256 == name or before.get(name) != sha256
        }
        return Evidence(
            self.site.rows(self.collection), files, self.site.chain_fault(), heard, frozenset(before), copies,
            indexes.faults(self.site, self.collection, self.report.seed),
        )  # fmt: skip


def _options() -> argparse.Namespace:
    environment = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    seed = int(environment("FACE_SEED") or random.randrange(10**6))
    parser.add_argument("--seed", type=int, default=seed, help="of the schedule (FACE_SEED, or by chance)")
    count = int(environment("FACE_FAULTS") or 80)
    parser.add_argument("--count", type=int, default=count, help="of faults (FACE_FAULTS, or 80)")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the number of the first fault")
    parser.add_argument("--kinds", help=f"of {', '.join(FAULTS)} (all; site: where hosts choose who leads)")
    parser.add_argument("--short", action="store_true", help="what is over in moments, in 6 minutes at most")
    parser.add_argument("--minutes", type=float, help="no fault begins later (short: 6)")
    parser.add_argument(
        "--summary", type=Path, default=environment("FACE_HOST_SUMMARY"), help="as ./quickstart writes it"
    )
    parser.add_argument(
        "--inventory", type=Path, default=environment("FACE_HOST_INVENTORY"), help="hosts of the site"
    )
    parser.add_argument("--pause", type=float, help="of a client between two calls, in seconds (1; short: 3)")
    parser.add_argument("--report", type=Path, help="a directory (.cache/campaign/SEED-TIME)")
    options = parser.parse_args()
    pace = SHORT if options.short else LONG
    if options.kinds is not None:
        pace = replace(pace, kinds=tuple(options.kinds.split(",")))
    if options.minutes is not None:
        pace = replace(pace, minutes=options.minutes)
    if options.pause is not None:
        pace = replace(pace, pause=options.pause)
    options.pace = pace
    if unknown := set(pace.kinds) - set(FAULTS):
        parser.error(f"no such kinds: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    if not (options.summary and options.inventory):
        parser.error(
            "which site? Add --summary FILE and --inventory FILE, or set FACE_HOST_SUMMARY and"
            " FACE_HOST_INVENTORY"
        )
    if options.report is None:
        options.report = ROOT / ".cache/campaign" / f"{options.seed}-{int(time.time())}"
    return options


if __name__ == "__main__":
    sys.exit(main())
