"""Rules of nftables on trial: trial.py try|keep|back DIRECTORY KEPT SECONDS.

try   loads DIRECTORY/new.nft. systemd takes it back after SECONDS, whatever becomes of this connection.
keep  ends the trial: KEPT, which the host loads when it boots, is now what new.nft says.
back  takes it back at once.

What was loaded before is in DIRECTORY/before.nft as long as the trial lasts. Exit status 1, and a sentence on
standard error, where a step fails; then the rules are those from before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TABLE = "inet face"
# Whether there was a table or not.
REMOVE = f"table {TABLE}\ndelete table {TABLE}\n"
# No name of ours: what is called face-… has the drop-in for the pipeline's units, and may change no rules.
UNIT = "undo-firewall"


class Failed(Exception):
    """What went wrong, in a sentence."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def load(rules: Path) -> None:
    done = run("nft", "-f", rules)
    if done.returncode:
        raise Failed(f"nft does not take {rules}: {' '.join(done.stderr.split())}")


def start(directory: Path, seconds: str) -> None:
    if run("systemctl", "is-active", f"{UNIT}.timer", f"{UNIT}.service").returncode == 0:
        raise Failed("another run has rules on trial here; wait until they are kept or taken back")
    before = directory / "before.nft"
    before.write_text(REMOVE + run("nft", "list", "table", *TABLE.split()).stdout)
    # Where not even that can be loaded, the host is left open rather than out of reach.
    back = f"[ ! -e {before} ] || nft -f {before} || nft delete table {TABLE}; rm -f {before}"
    timer = run(
        "systemd-run", "--collect", f"--unit={UNIT}", f"--on-active={seconds}",
        "--timer-property=AccuracySec=100ms", "/bin/sh", "-c", back,
    )  # fmt: skip
    if timer.returncode:
        before.unlink()
        raise Failed(f"systemd makes no timer: {' '.join(timer.stderr.split())}")
    try:
        load(directory / "new.nft")
    except Failed:
        end(directory)
        before.unlink()
        raise


def end(directory: Path) -> None:
    """Of the timer. Raises Failed where it was quicker."""
    run("systemctl", "stop", f"{UNIT}.timer")
    if run("systemctl", "is-active", f"{UNIT}.service").returncode == 0:
        run("systemctl", "stop", f"{UNIT}.service")
        load(directory / "before.nft")
    elif (directory / "before.nft").exists():
        return
    raise Failed(
        "it took longer than firewall_trial_seconds to look at the new rules, so they were taken back"
    )


def keep(directory: Path, kept: Path) -> None:
    end(directory)
    written = kept.with_name(f".{kept.name}.new")
    with written.open("w", encoding="utf-8") as file:
        file.write((directory / "new.nft").read_text(encoding="utf-8"))
        file.flush()
        os.fsync(file.fileno())
    written.chmod(0o644)
    written.replace(kept)
    (directory / "before.nft").unlink()


def back(directory: Path) -> None:
    end(directory)
    load(directory / "before.nft")
    (directory / "before.nft").unlink()


def main(verb: str, directory: Path, kept: Path, seconds: str) -> None:
    try:
        if verb == "try":
            start(directory, seconds)
        elif verb == "keep":
            keep(directory, kept)
        else:
            back(directory)
    except Failed as failed:
        sys.exit(str(failed))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
