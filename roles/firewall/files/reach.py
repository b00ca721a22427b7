"""Which ports of other hosts can be asked: reach.py [[HOST, ADDRESS, PORT], ...], as JSON.

Prints those that it reached, ["HOST:PORT", ...]. Where nobody listens yet the host refuses at once, and was
reached. A firewall lets nothing come back.
"""

from __future__ import annotations

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

# The kernel sends the first packet again after one second and after three.
SECONDS = 4.0
AT_ONCE = 64

Door = tuple[str, str, int]


def reached(door: Door) -> bool:
    _, address, port = door
    try:
        socket.create_connection((address, port), SECONDS).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def main(doors: list[Door]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(reached, doors))
    print(json.dumps([f"{host}:{port}" for (host, _, port), yes in zip(doors, answers, strict=True) if yes]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
