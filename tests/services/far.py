"""A host of its own for a server, behind a cable that can be pulled: a network namespace behind a bridge.

What a killed process leaves undone, a host without power leaves undone, too: nobody closes its connections.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


class Far:
    """One far host. Needs root; `close` removes all of it."""

    def __init__(self) -> None:
        number = os.getpid() % 60000
        self.name = f"face-far-{number}"
        self._bridge, self._port, self._inner = (f"fb{number}", f"fp{number}", f"fi{number}")
        network = f"10.{253 - number // 30000}.{number // 128 % 250}"
        self._own = f"{network}.1"
        self.address = f"{network}.2"

    @property
    def prefix(self) -> Sequence[str]:
        """What a command that runs there begins with."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--"]

    def open(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self._own}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        self._boot()
        self.plug()

    def close(self) -> None:
        self.power_off()
        _ip("link", "del", self._bridge, check=False)

    def pull(self) -> None:
        """Pull the cable: nothing comes in or goes out, and nobody is told."""
        _ip("link", "set", self._port, "down")

    def plug(self) -> None:
        _ip("link", "set", self._port, "up")

    def power_off(self) -> None:
        """With all its connections, of which its kernel says nothing. Its processes have ended before."""
        _ip("link", "del", self._port, check=False)
        _ip("netns", "del", self.name, check=False)

    def power_on(self) -> None:
        """The same address, a kernel that knows of no connection."""
        self._boot()
        self.plug()

    def _boot(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self._port, "type", "veth", "peer", "name", self._inner, "netns", self.name)
        _ip("link", "set", self._port, "master", self._bridge)
        for arguments in (
            ("address", "add", f"{self.address}/24", "dev", self._inner),
            ("link", "set", self._inner, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", self.name, *arguments)
