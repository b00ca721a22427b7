"""A judge of hardening that is not ours, Lynis of Debian, on an installed host.

    FACE_HOST_SUMMARY=… python -m tests.hosts.benchmark [REPORT]

Prints its index and what it warns of and suggests, and keeps its report in REPORT. The host has Lynis only
meanwhile. Exit status 1: it warns of something.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# Ten minutes: a busy machine takes three.
AUDIT = """
set -e
export DEBIAN_FRONTEND=noninteractive
had=$(dpkg-query -W -f '${Status}' lynis 2>/dev/null || true)
[ "$had" = 'install ok installed' ] || apt-get install -y -qq --no-install-recommends lynis >/dev/null
report=$(mktemp)
how='--quick --no-colors --quiet --logfile /dev/null'
timeout 600 lynis audit system $how --report-file "$report" >/dev/null || true
cat "$report"
rm -f "$report"
[ "$had" = 'install ok installed' ] || apt-get purge -y -qq lynis >/dev/null
"""


def read(report: str) -> tuple[str, list[str], list[str]]:
    """The index (of 100), warnings and suggestions, each `TEST: what it says`."""
    found: dict[str, list[str]] = {"hardening_index": [], "warning[]": [], "suggestion[]": []}
    for line in report.splitlines():
        name, _, value = line.partition("=")
        if name in found:
            found[name].append(": ".join(value.split("|")[:2]))
    return (found["hardening_index"] or ["none"])[-1], found["warning[]"], found["suggestion[]"]


def main(kept: str | None = None) -> int:
    summary = os.environ.get("FACE_HOST_SUMMARY")
    if not summary:
        print(
            "FACE_HOST_SUMMARY names no host; ./quickstart writes .quickstart/summary.json", file=sys.stderr
        )
        return 2
    ssh = json.loads(Path(summary).read_text())["ssh"]
    done = subprocess.run([*ssh, "sh -s"], input=AUDIT, capture_output=True, text=True, check=False)
    index, warnings, suggestions = read(done.stdout)
    if index == "none":
        print(f"Lynis made no report: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return 2
    if kept:
        Path(kept).write_text(done.stdout)
    print(f"index {index} of 100, {len(warnings)} warnings, {len(suggestions)} suggestions")
    for line in [f"warning {one}" for one in warnings] + [f"suggestion {one}" for one in suggestions]:
        print(line)
    return 1 if warnings else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
