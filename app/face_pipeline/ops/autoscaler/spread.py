"""Which hosts run the workers; the Ansible filter worker_shares does it for a number given by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """A host that takes workers: its part of them against the others', and the most it has room for."""

    name: str
    weight: float
    capacity: int


def spread(workers: int, hosts: Sequence[Host]) -> dict[str, int]:
    """Workers of each host, in proportion to the weights; fewer in all where no host has room left.

    One worker is given at a time to the host that has the fewest for its weight, so that a larger number
    takes no worker from any host.
    """
    shares = {host.name: 0 for host in sorted(hosts, key=lambda host: host.name)}
    for _ in range(workers):
        free = [host for host in hosts if host.weight > 0 and shares[host.name] < host.capacity]
        if not free:
            break
        poorest = min(free, key=lambda host: ((shares[host.name] + 1) / host.weight, host.name))
        shares[poorest.name] += 1
    return shares
