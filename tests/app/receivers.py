"""Receivers of web hooks, on loopback: what a test says is what they answer."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Got:
    """A request that arrived."""

    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.raw)
        return told


class Receiver:
    """An HTTP server. `status` and `answer` of its answers; while `hangs` is set it does not answer."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.got: list[Got] = []
        self.status = 200
        self.answer = b"thanks"
        self.location: str | None = None
        self.hangs = threading.Event()
        self.answers = threading.Event()
        self.connections = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(Got({name.lower(): value for name, value in self.headers.items()}, raw))
                if receiver.hangs.is_set():
                    receiver.answers.wait()
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Who hung up is part of the tests."""

        self.server = Server((address, port), Handler)
        self.port = int(self.server.server_address[1])
        self.url = f"http://{address}:{self.port}/events"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def secure(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = self.url.replace("http://", "https://")

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [each.body for each in self.got]

    def start(self) -> Receiver:
        self._thread.start()
        return self

    def close(self) -> None:
        self.answers.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@dataclass
class Receivers:
    """All of a test's, closed at its end."""

    running: list[Receiver] = field(default_factory=list)

    def __call__(self, address: str = "127.0.0.1", port: int = 0) -> Receiver:
        self.running.append(Receiver(address, port).start())
        return self.running[-1]


@contextmanager
def receivers() -> Iterator[Receivers]:
    made = Receivers()
    try:
        yield made
    finally:
        # Their threads would keep a failed run from ending.
        for each in made.running:
            each.close()
