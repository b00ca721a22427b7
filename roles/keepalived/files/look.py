"""Who has an address? look.py ADDRESS OWN: JSON with `interface` and `prefix` of OWN, `here` and `answers`.

`here`: whether this host has ADDRESS. `answers`: what answers to it (a hardware address), or "": nobody.
It is asked by ARP, as who is about to take an address asks (RFC 5227), which changes nothing on other hosts.
Standard library only.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time

ARP = 0x0806
TRIES, SECONDS = 3, 0.5


def interfaces() -> list[tuple[str, str, int]]:
    """Name, address and length of the network's prefix, of each IPv4 address."""
    said = subprocess.run(
        ["ip", "-json", "-4", "address", "show"], capture_output=True, text=True, check=True
    ).stdout
    return [
        (each["ifname"], address["local"], address["prefixlen"])
        for each in json.loads(said)
        for address in each.get("addr_info", [])
    ]


def answers(address: str, interface: str) -> str:
    asked = socket.inet_aton(address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as wire:
        wire.bind((interface, ARP))
        own = wire.getsockname()[4]
        frame = (
            b"\xff" * 6
            + own
            + struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, 1)
            + own
            + bytes(4)
            + bytes(6)
            + asked
        )
        for _ in range(TRIES):
            wire.send(frame)
            until = time.monotonic() + SECONDS
            while (left := until - time.monotonic()) > 0:
                wire.settimeout(left)
                try:
                    got = wire.recv(128)
                except TimeoutError:
                    break
                # From that address, whether it is asked or tells.
                if got[12:14] == struct.pack("!H", ARP) and got[28:32] == asked:
                    return ":".join(f"{byte:02x}" for byte in got[22:28])
    return ""


def main(address: str, own: str) -> None:
    known = interfaces()
    interface, prefix = next(((name, length) for name, each, length in known if each == own), ("", 0))
    here = any(each == address for _, each, _ in known)
    found = answers(address, interface) if interface and not here else ""
    print(json.dumps({"here": here, "interface": interface, "prefix": prefix, "answers": found}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
