"""Who listens on a host, and what a firewall would cut off: listeners.py SETTINGS, as JSON.

SETTINGS are {"allow", "deny", "ssh_from", "ours"}: face_firewall_allow, face_firewall_deny,
face_firewall_ssh_from, and the ports of the product ("80", "9811-9820"). Prints

    {"faults": ["face_firewall_allow: ..."], "ssh": [22], "cut": ["tcp 111 (rpcbind)"]}

`ssh`: the ports of SSH servers, and the one by which this program was started; `cut`: what is reached over
the network and named nowhere. Changes nothing; as root, for others' programs have no names otherwise.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVERS = {"sshd", "sshd-session", "dropbear"}
SOCKETS = ("ssh.socket", "sshd.socket")
KEYS = {"port", "protocol", "from", "interface"}
# A host asks for its addresses there (DHCP); the rules let the answers in.
ADDRESSES = {("udp", 68), ("udp", 546)}
HIGHEST_PORT = 65535


def bounds(port: object) -> tuple[int, int]:
    """Of a port or a range. Raises ValueError."""
    first, _, last = str(port).partition("-")
    low, high = int(first), int(last or first)
    if not 0 < low <= high <= HIGHEST_PORT:
        raise ValueError(port)
    return low, high


def wrong_addresses(addresses: object) -> Iterator[str]:
    for address in addresses if isinstance(addresses, list) else [addresses]:
        try:
            ipaddress.ip_network(str(address), strict=False)
        except ValueError:
            yield (
                f"'{address}' is no address or network; a name would be looked up once and then be wrong "
                "without a word: say its address"
            )


def wrong_entry(entry: Any) -> Iterator[str]:
    """What is wrong with an entry of face_firewall_allow."""
    if not isinstance(entry, dict) or set(entry) - KEYS:
        yield f"{json.dumps(entry)} is not one of {{{', '.join(sorted(KEYS))}}}"
        return
    protocol, interface = str(entry.get("protocol", "tcp")), str(entry.get("interface", "any"))
    if ("port" in entry) != (protocol in ("tcp", "udp")):
        yield f"{json.dumps(entry)}: tcp and udp have a port, other protocols have none"
    if not re.fullmatch(r"[a-z0-9-]+", protocol) or not re.fullmatch(r"[\w.@-]{1,15}", interface):
        yield f"{json.dumps(entry)}: the protocol or the interface is no name"
    try:
        bounds(entry.get("port", 1))
    except ValueError:
        yield f"'{entry['port']}' is no port from 1 to {HIGHEST_PORT} and no range of them (60000-61000)"
    if "from" in entry:
        yield from wrong_addresses(entry["from"])


def faults(settings: dict[str, Any]) -> Iterator[str]:
    for name in ("allow", "deny", "ssh_from"):
        if not isinstance(settings[name], list):
            yield f"face_firewall_{name} is no list"
            return
    for entry in settings["allow"]:
        yield from (f"face_firewall_allow: {fault}" for fault in wrong_entry(entry))
    for port in settings["deny"]:
        try:
            bounds(port)
        except ValueError:
            yield f"face_firewall_deny: '{port}' is no port and no range of them"
    yield from (f"face_firewall_ssh_from: {fault}" for fault in wrong_addresses(settings["ssh_from"]))


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def sockets() -> Iterator[tuple[str, str, int, set[str]]]:
    """Protocol, address, port and programs of each socket that waits for others."""
    for protocol, option in (("tcp", "-t"), ("udp", "-u")):
        for line in said("ss", "-Hlnp", option).splitlines():
            # State, two queues, here, there, programs.
            here = line.split()[3]
            address, _, port = here.rpartition(":")
            yield (
                protocol,
                address.split("%")[0].strip("[]"),
                int(port),
                set(re.findall(r'\("([^"]+)"', line)),
            )


def loopback(address: str) -> bool:
    return address != "*" and ipaddress.ip_address(address).is_loopback


def own_connection() -> Iterator[int]:
    """The port by which this program was started; sudo forgets it, so the processes above are asked."""
    pid = os.getpid()
    while pid > 1:
        process = Path("/proc", str(pid))
        for setting in process.joinpath("environ").read_bytes().split(b"\0"):
            if setting.startswith(b"SSH_CONNECTION="):
                yield int(setting.split()[3])
        pid = int(process.joinpath("stat").read_text().rpartition(")")[2].split()[1])


def ssh_ports(listening: list[tuple[str, str, int, set[str]]]) -> set[int]:
    waited = said("systemctl", "show", "--property=Listen", *SOCKETS)
    by_socket = {int(port) for port in re.findall(r":(\d+) \(Stream\)", waited)}
    held = {
        port
        for protocol, _, port, programs in listening
        if protocol == "tcp" and (programs & SERVERS or (port in by_socket and "systemd" in programs))
    }
    return held | set(own_connection())


def lowest_passing() -> int:
    """Ports from here on are given to programs that ask, and are no service's."""
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def cut_off(
    listening: list[tuple[str, str, int, set[str]]], settings: dict[str, Any], ssh: set[int]
) -> list[str]:
    named = [bounds(each) for each in settings["ours"] + settings["deny"]]
    named += [bounds(entry["port"]) for entry in settings["allow"] if "port" in entry]
    passing = lowest_passing()
    found = {
        f"{protocol} {port} ({', '.join(sorted(programs)) or 'the kernel'})"
        for protocol, address, port, programs in listening
        if not loopback(address)
        and not (protocol == "tcp" and port in ssh)
        and not (protocol == "udp" and (port >= passing or ("udp", port) in ADDRESSES))
        and not any(low <= port <= high for low, high in named)
    }
    return sorted(found, key=lambda each: (each.split()[0], int(each.split()[1])))


def main(settings: dict[str, Any]) -> None:
    wrong = list(faults(settings))
    listening = list(sockets())
    ssh = ssh_ports(listening)
    cut = [] if wrong else cut_off(listening, settings, ssh)
    print(json.dumps({"faults": wrong, "ssh": sorted(ssh), "cut": cut}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
