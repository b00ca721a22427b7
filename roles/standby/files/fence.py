"""Keeps a PostgreSQL whose place another has taken from being written to: as the user postgres, on its host.

    fence.py CONFIG start    before it starts: where another has taken its place, it starts as a standby
    fence.py CONFIG watch    while it runs: where another has taken its place, it is stopped

CONFIG is a file of JSON: cluster, bin, peers (name -> how the other hosts of the database are asked). Whoever
was promoted goes on in a later timeline, and is named as the database's host in its own settings, which a
promotion by mistake does not change. A peer that does not answer, or does not let this host in, says nothing:
of two hosts none has a majority. Exit status 0: it may start.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# The other host may boot at the same moment.
PATIENCE_SECONDS = 10.0
EVERY_SECONDS = 10.0
ASK_SECONDS = 8
SIGNAL, NOTE = "standby.signal", "face-fenced"
HISTORY = re.compile(r"([0-9A-F]{8})\.history")


class Cluster:
    """This host's: its directory, who it is, and who else there is."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.main = Path(config["cluster"])
        self.bin = Path(config["bin"])
        self.peers: dict[str, str] = config["peers"]

    def follows(self) -> bool:
        return (self.main / SIGNAL).exists()

    def known(self) -> tuple[str, int]:
        """The system's number, and the timeline that it is in."""
        told = subprocess.run(
            [str(self.bin / "pg_controldata"), str(self.main)],
            env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        facts = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        # After a promotion the checkpoint that says so comes later.
        logs = [HISTORY.fullmatch(each.name) for each in (self.main / "pg_wal").iterdir()]
        timelines = [int(each[1], 16) for each in logs if each]
        timelines.append(int(facts["Latest checkpoint's TimeLineID"]))
        return facts["Database system identifier"].strip(), max(timelines)

    def asked(self, peer: str) -> tuple[str, str]:
        """`newer`, `same` or `silent`, and what it said."""
        system, timeline = self.known()
        try:
            done = subprocess.run(
                ["psql", "-XAtw", "-c", "IDENTIFY_SYSTEM", "-c", "SHOW face.primary", self.peers[peer]],
                capture_output=True, text=True, check=False, timeout=ASK_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "silent", "it takes too long"
        if done.returncode != 0:
            return "silent", (done.stderr.strip().splitlines() or [""])[-1]
        told, _, primary = done.stdout.strip().partition("\n")
        fields = told.split("|")
        if len(fields) < 2 or fields[0] != system:
            return "silent", "it has another database"
        newer = int(fields[1]) > timeline and primary.strip() == peer
        return ("newer" if newer else "same"), f"its timeline is {fields[1]}"

    def fence(self, reason: str) -> None:
        """From now on it starts as a standby alone, until it is made anew."""
        note = {"at": time.time(), "reason": reason}
        for name, text in ((NOTE, json.dumps(note) + "\n"), (SIGNAL, "")):
            made = os.open(self.main / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(made, "w") as file:
                file.write(text)
                os.fsync(file.fileno())
        directory = os.open(self.main, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        print(f"<3>{reason}: this PostgreSQL is not to be written to any more (docs/standby.md)", flush=True)

    def verdict(self, until: float) -> str:
        """Why another has taken its place; empty where none is known to have."""
        waiting = list(self.peers)
        while waiting:
            for peer in list(waiting):
                state, said = self.asked(peer)
                if state == "newer":
                    return f"{peer} was promoted, {said}"
                if state == "same":
                    waiting.remove(peer)
            if time.monotonic() >= until:
                break
            time.sleep(1)
        return ""


def start(cluster: Cluster) -> None:
    if (cluster.main / "PG_VERSION").exists() and not cluster.follows():
        reason = cluster.verdict(time.monotonic() + PATIENCE_SECONDS)
        if reason:
            cluster.fence(reason)


def watch(cluster: Cluster) -> None:
    while True:
        try:
            pid = int((cluster.main / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            pid = 0
        if pid and not cluster.follows():
            reason = cluster.verdict(0.0)
            if reason:
                cluster.fence(reason)
                # Who writes is ended, and what they wrote stays.
                os.kill(pid, signal.SIGINT)
        time.sleep(EVERY_SECONDS)


def main() -> int:
    steps = {"start": start, "watch": watch}
    if len(sys.argv) != 3 or sys.argv[2] not in steps:
        sys.exit(__doc__)
    steps[sys.argv[2]](Cluster(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
