"""Spread a number of workers over hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError


def worker_shares(total: int, weights: Mapping[str, float], maximum: int) -> dict[str, int]:
    """Workers of each host: in proportion to the weights, none above `maximum`, equal hosts in their order.

    One worker is given at a time to the host that has the fewest for its weight, so that a larger total
    takes no worker from any host.
    """
    shares = dict.fromkeys(weights, 0)
    for _ in range(int(total)):
        free = [host for host, weight in weights.items() if float(weight) > 0 and shares[host] < maximum]
        if not free:
            raise AnsibleFilterError(f"{total} workers are more than these hosts may run ({maximum} each)")
        shares[min(free, key=lambda host: (shares[host] + 1) / float(weights[host]))] += 1
    return shares


class FilterModule:
    def filters(self) -> dict[str, Callable[..., dict[str, int]]]:
        return {"worker_shares": worker_shares}
