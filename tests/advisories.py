"""Whether a known hole is in what the locks install: `./check audit`, by pip-audit.

    python -m tests.advisories PIP_AUDIT LOCK...

Exit status 0: none. 1: there is one. 3: a package could not be looked up, because the database of advisories
is not reached or does not know it; that is not a pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

AUDIT = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")


def judged(lock: str, found: dict[str, Any]) -> tuple[int, list[str]]:
    """Exit status and lines for people, of what pip-audit found in `lock`."""
    packages = found["dependencies"]
    holes = [
        f"{lock}: {package['name']} {package['version']}: {hole['id']}, mended in "
        f"{', '.join(hole['fix_versions']) or 'no version yet'}"
        for package in packages
        for hole in package.get("vulns", [])
    ]
    skipped = [package for package in packages if "skip_reason" in package]
    if holes:
        return 1, holes
    if skipped:
        return 3, [
            f"{lock}: NOT RUN for {len(skipped)} of {len(packages)} packages: {skipped[0]['skip_reason']}. "
            "A mirror has packages without advisories: run this where the index itself can be reached"
        ]
    return 0, [f"{lock}: no known hole in {len(packages)} packages"]


def main(program: str, *locks: str) -> int:
    worst = 0
    for lock in locks:
        done = subprocess.run(
            [program, *AUDIT, "--requirement", lock], capture_output=True, text=True, check=False
        )
        if done.returncode in (0, 1) and done.stdout.startswith("{"):
            status, lines = judged(lock, json.loads(done.stdout))
        else:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            status, lines = 3, [f"{lock}: NOT RUN: {''.join(last)}"]
        print("\n".join(lines), flush=True)
        worst = 1 if 1 in (worst, status) else max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
