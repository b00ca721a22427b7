"""What keeps an address from moving between hosts, as the preflight tells it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

SIZES = (2, 3)


def keepalived_faults(hosts: dict[str, dict[str, Any]], site: dict[str, Any]) -> list[str]:
    """`hosts`: of each host of the group its `look` (files/look.py), `had` (the address that its keepalived
    has now), `own` address, `hostname` and `system`. `site`: the `address`, the hosts of `redis`, and the
    `addresses` of all hosts, by name.
    """
    return list(_faults(hosts, site))


def _faults(hosts: dict[str, dict[str, Any]], site: dict[str, Any]) -> Iterator[str]:
    address = site["address"]
    if not address:
        yield (
            f"the group keepalived names {', '.join(hosts)}, and no address is to move between them: "
            "name it in face_virtual_address, or leave the group empty"
        )
        return
    if not hosts:
        yield (
            f"face_virtual_address is {address}, and the group keepalived names no host that may have it: "
            "name two or three, or leave face_virtual_address empty"
        )
        return
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        yield f"face_virtual_address is '{address}': an IPv4 address is needed"
        return
    yield from _wrong_hosts(hosts, site)
    yield from _wrong_network(hosts, address)
    if not any(host.get("had") == address for host in hosts.values()):
        yield from _taken(hosts, address)


def _wrong_hosts(hosts: dict[str, dict[str, Any]], site: dict[str, Any]) -> Iterator[str]:
    if len(hosts) not in SIZES:
        yield f"the group keepalived names {len(hosts)} hosts: two or three are needed"
    if set(hosts) != set(site["redis"]):
        both = [", ".join(sorted(names)) for names in (hosts, site["redis"])]
        yield (
            f"the groups keepalived ({both[0]}) and redis ({both[1]}) must hold the same hosts: "
            "each that may have the address needs a Redis of its own"
        )
    for name, each in site["addresses"].items():
        if each == site["address"]:
            yield f"face_virtual_address is the address of {name}: take one that no host has for itself"
    named = [host["hostname"] for host in hosts.values() if host.get("hostname")]
    if len(set(named)) != len(named):
        yield "hosts of the group keepalived call themselves by one name (hostname): give each its own"
    for name, host in hosts.items():
        if host.get("system") and host["system"] != "Debian 13":
            yield f"{name} has {host['system']}: an address that moves needs Debian 13"


def _wrong_network(hosts: dict[str, dict[str, Any]], address: str) -> Iterator[str]:
    for name, host in hosts.items():
        # Another host of the run, which --limit may leave out.
        if not (look := host.get("look")):
            continue
        if not look["interface"]:
            yield f"{name} has no interface with its own address {host['own']}, where others are to reach it"
            continue
        network = ipaddress.ip_network(f"{host['own']}/{look['prefix']}", strict=False)
        inside = ipaddress.ip_address(address)
        if inside not in network or inside in (network.network_address, network.broadcast_address):
            yield (
                f"{address} is no address of the network of {name} ({network}): "
                "hosts hand it over within one network"
            )


def _taken(hosts: dict[str, dict[str, Any]], address: str) -> Iterator[str]:
    for name, host in hosts.items():
        look = host.get("look") or {"here": False, "answers": ""}
        if look["here"]:
            yield (
                f"{name} has {address} already, and not from this installation: "
                "remove it there, or take another one"
            )
        elif look["answers"]:
            yield f"{address} is somebody's already ({look['answers']} answers {name}): take one that is free"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"keepalived_faults": keepalived_faults}
