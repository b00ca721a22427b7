"""What a service tells systemd about itself."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `state` (sd_notify(3)); a process that systemd did not start sends nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.sendall(state.encode())
