"""Seconds of a scaling on an installed host, as an operator waits for it: workers ready, status shown.

    python -m bench.scale -i inventory/quickstart/hosts.yml [--rounds 5] [--json FILE]

Each step once a round, of which the medians are given. Ends with the two workers of a new installation.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.common import ROOT, report

STEPS = (2, 8, 1, 2, 10, 10, 2)


def scale(inventory: Path, workers: int) -> float:
    ansible = Path(sys.executable).parent / "ansible-playbook"
    began = time.monotonic()
    done = subprocess.run(
        [str(ansible), "-i", str(inventory.resolve()), "playbooks/scale.yml", "-e", f"workers={workers}"],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"bench: {done.stdout}{done.stderr}")
    return time.monotonic() - began


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("-i", "--inventory", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--json", type=Path, help="write the figures here")
    arguments = options.parse_args()
    scale(arguments.inventory, STEPS[0])
    steps = list(itertools.pairwise(STEPS))
    took: dict[tuple[int, int], list[float]] = {step: [] for step in steps}
    for _, (before, after) in itertools.product(range(arguments.rounds), steps):
        took[before, after].append(scale(arguments.inventory, after))
    figures: dict[str, float] = {"rounds": arguments.rounds}
    for (before, after), seconds in took.items():
        figures[f"{before} -> {after} workers, s"] = statistics.median(seconds)
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
