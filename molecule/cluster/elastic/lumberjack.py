"""Lumberjack, version 2: the protocol between Filebeat and Logstash (logstash-input-beats, PROTOCOL.md).

A window says how many events follow; each is a JSON frame with its number; frames may come compressed.
The receiver acknowledges a number once everything up to it is safe. Of the STAND-INs alone, in our words.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

VERSION = b"2"
MAX_FRAME = 64 * 1024 * 1024
Read = Callable[[int], bytes]


class ProtocolError(ValueError):
    pass


def exactly(read: Read, size: int) -> bytes:
    if size > MAX_FRAME:
        raise ProtocolError(f"a frame of {size} bytes")
    data = b""
    while len(data) < size:
        if not (part := read(size - len(data))):
            raise EOFError
        data += part
    return data


def frames(read: Read) -> Iterator[tuple[str, int, Any]]:
    """(kind, number, event) until the other side closes; kind is W, J or A."""
    while True:
        try:
            head = exactly(read, 2)
        except EOFError:
            return
        if head[:1] != VERSION:
            raise ProtocolError(f"not version 2: {head!r}")
        kind = head[1:].decode(errors="replace")
        (number,) = struct.unpack("!I", exactly(read, 4))
        if kind in "WA":
            yield kind, number, None
        elif kind == "J":
            (size,) = struct.unpack("!I", exactly(read, 4))
            yield kind, number, json.loads(exactly(read, size))
        elif kind == "C":
            inner = memoryview(zlib.decompress(exactly(read, number)))
            place = 0

            def within(size: int, inner: memoryview = inner) -> bytes:
                nonlocal place
                part = bytes(inner[place : place + size])
                place += len(part)
                return part

            yield from frames(within)
        else:
            raise ProtocolError(f"unknown frame {kind!r}")


def send(connection: socket.socket, events: list[dict[str, Any]]) -> None:
    """Send one window, wait until all of it is acknowledged; OSError or EOFError where that does not come."""
    packed = b""
    for number, event in enumerate(events, 1):
        text = json.dumps(event).encode()
        packed += VERSION + b"J" + struct.pack("!II", number, len(text)) + text
    packed = zlib.compress(packed, 3)
    connection.sendall(
        VERSION
        + b"W"
        + struct.pack("!I", len(events))
        + VERSION
        + b"C"
        + struct.pack("!I", len(packed))
        + packed
    )
    for kind, number, _ in frames(connection.recv):
        if kind == "A" and number == len(events):
            return
    raise EOFError("the connection ended before the acknowledgement")


class Receiver(socketserver.ThreadingTCPServer):
    """Takes windows over TLS; `keep` must make a window's events durable before it returns."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        keep: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.context, self.keep = context, keep
        super().__init__(address, Session)


class Session(socketserver.BaseRequestHandler):
    server: Receiver

    def handle(self) -> None:
        self.request.settimeout(60)
        try:
            with self.server.context.wrap_socket(self.request, server_side=True) as connection:
                self.converse(connection)
        except (OSError, EOFError, ValueError, zlib.error):
            # Filebeat sends again what was not acknowledged.
            return

    def converse(self, connection: ssl.SSLSocket) -> None:
        window, events = 0, []
        for kind, number, event in frames(connection.recv):
            if kind == "W":
                window, events = number, []
            elif kind == "J":
                events.append(event)
                if len(events) == window:
                    self.server.keep(events)
                    connection.sendall(VERSION + b"A" + struct.pack("!I", number))
