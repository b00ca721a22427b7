#!/usr/bin/python3
"""Restarts what runs code that an update replaced, as needrestart(1) finds it.

Units of the pipeline come last, one after another in the order in which they start (`face-units list`),
each once the one before it runs again: what a unit asks for is there, and of several workers all but one go
on. Where one does not come back, those after it stay as they are.

Raises subprocess.CalledProcessError where a program that is asked fails.
"""

from __future__ import annotations

import subprocess
import sys


def said(*command: str) -> list[str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def outdated() -> set[str]:
    """Names of units, of the pipeline or not."""
    prefix = "NEEDRESTART-SVC: "
    lines = said("needrestart", "-b", "-l", "-r", "l")
    return {line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix)}


def ours() -> list[str]:
    """The pipeline's units in the order in which they start."""
    units = (line.strip() for line in said("face-units", "list"))
    return [unit for unit in units if unit.endswith(".service")]


def main() -> int:
    found = outdated()
    pipeline = [unit for unit in ours() if unit in found]
    if found - set(pipeline):
        # It leaves the pipeline's alone: /etc/needrestart/conf.d/face-pipeline.conf.
        subprocess.run(["needrestart", "-l", "-r", "a"], check=True)
    for unit in pipeline:
        # At once: what systemctl says comes after it.
        print(f"restarting {unit}", flush=True)
        if subprocess.run(["systemctl", "try-restart", unit], check=False).returncode:
            print(f"{unit} does not start; journalctl -u {unit} says why. Nothing after it was restarted: "
                  "systemctl start face-updates goes on", file=sys.stderr)  # fmt: skip
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
