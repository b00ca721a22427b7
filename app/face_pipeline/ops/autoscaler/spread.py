"""Which hosts run the workers: one rule, for the autoscaler and for a number given by hand.

The Ansible filter `worker_shares` loads this file from the checkout, where the application need not be
installed: it imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class NoRoom(ValueError):
    """More workers were asked for than the hosts may run."""


@dataclass(frozen=True)
class Host:
    """A host that takes workers: its part of them against the others', and the most it has room for."""

    name: str
    weight: float
    capacity: int


def places(hosts: Sequence[Host]) -> int:
    """The most workers that `hosts` may run together."""
    return sum(max(0, host.capacity) for host in hosts if host.weight > 0)


def spread(workers: int, hosts: Sequence[Host]) -> dict[str, int]:
    """Workers of each host, in proportion to the weights; raises NoRoom where they have no place.

    One worker is given at a time to the host that has the fewest for its weight, of equal ones to the first
    by name: the order of `hosts` does not count, and a larger number takes no worker from any host.
    """
    if workers > places(hosts):
        raise NoRoom(f"{workers} workers are more than the {places(hosts)} that these hosts may run")
    shares = {host.name: 0 for host in sorted(hosts, key=lambda host: host.name)}
    for _ in range(workers):
        free = [host for host in hosts if host.weight > 0 and shares[host.name] < host.capacity]
        poorest = min(free, key=lambda host: ((shares[host.name] + 1) / host.weight, host.name))
        shares[poorest.name] += 1
    return shares
