"""`face-pipeline …`: for people at their own machines, and for operators and systemd's units on a host.

Little is imported before it is known which command runs: `face-pipeline --help` and the completion of a shell
answer at once.
"""

from __future__ import annotations


def main(arguments: list[str] | None = None) -> int:
    """Run a command line, that of this process unless one is given; returns the exit status."""
    from face_pipeline.cli.front import run

    return run(arguments)
