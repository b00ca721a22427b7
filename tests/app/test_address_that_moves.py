"""The address of Redis moves to another host, whose Redis knows of nothing: nobody hangs or is refused."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest
from face_pipeline.broker import queues
from face_pipeline.broker.celery import make_app, publish_ingest, publish_search
from face_pipeline.broker.names import QUEUE_INGEST, QUEUE_SEARCH
from face_pipeline.broker.redis import connect, reached
from face_pipeline.errors import QueueUnavailable
from kombu import pools

from tests.services import Redis


class Address:
    """A port that leads to one of several servers. When it moves, connections from before are reset."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def move(self, server: Redis) -> None:
        self.server, before, self._pairs = server, self._pairs, []
        for pair in before:
            for end in pair:
                # Closed so, the other side gets an RST.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        self._listener.close()
        self.move(self.server)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asked, _ = self._listener.accept()
                there = socket.create_connection((self.server.host, self.server.port))
                self._pairs.append((asked, there))
                threading.Thread(target=self._pass_on, args=(asked, there), daemon=True).start()

    @staticmethod
    def _pass_on(asked: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
            ready.register(asked, selectors.EVENT_READ, there)
            ready.register(there, selectors.EVENT_READ, asked)
            while True:
                for key, _ in ready.select(5):
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    key.data.sendall(data)


@pytest.fixture
def servers() -> Iterator[list[Redis]]:
    made = [Redis(), Redis()]
    for server in made:
        server.start()
    yield made
    for server in made:
        server.close()


def test_messages_go_to_the_redis_that_has_the_address_now(servers: list[Redis]) -> None:
    first, second = servers
    address = Address(first)
    url = first.url_of("web").replace(f":{first.port}/", f":{address.port}/")
    app = make_app(url)
    client = connect(url, timeout=5)
    there = [connect(server.url_of("operator"), timeout=5) for server in servers]

    def send() -> None:
        publish_ingest(app, [uuid.uuid4()], None)
        publish_search(app, "one", task_id=str(uuid.uuid4()), request_id=None, expires_seconds=5)

    def lengths() -> list[tuple[int, int]]:
        return [(queues.length(each, QUEUE_INGEST), queues.length(each, QUEUE_SEARCH)) for each in there]

    try:
        send()
        assert queues.length(client, QUEUE_INGEST) == 1
        assert lengths() == [(1, 1), (0, 0)]
        # The users' files of both are the same, as on hosts.
        address.move(second)
        # A client does not hear of it.
        assert client.ping()
        # Who publishes may be told that its connection has ended; the ledger keeps the photo.
        for _ in range(2):
            with contextlib.suppress(QueueUnavailable), reached():
                send()
                break
        assert lengths()[0] == (1, 1)
        ingest, search = lengths()[1]
        assert ingest >= 1
        assert search == 1
        assert queues.length(client, QUEUE_INGEST) == ingest
        assert second.refusals() == []
    finally:
        address.close()
        pools.connections.clear()
        pools.producers.clear()
