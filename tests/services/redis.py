"""Redis as the product runs it, twice.

The queues' has an append-only file and evicts nothing; the searches' has no file, and old answers give way.
"""

import secrets
import signal
import socket
from collections.abc import Sequence

from tests.services.far import Far
from tests.services.process import Service


class Redis(Service):
    name = "redis"
    system_user = "redis"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        *,
        appendfsync: str = "everysec",
        maxmemory: str = "256mb",
        scratch: bool = False,
        far: Far | None = None,
    ) -> None:
        super().__init__(far)
        self.user = None
        self.database = 0
        self.password = secrets.token_urlsafe(24)
        settings = {
            "bind": self.host,
            "port": self.port,
            "dir": self.directory,
            "requirepass": self.password,
            "appendonly": "no" if scratch else "yes",
            "appendfsync": appendfsync,
            "save": '""',
            "maxmemory": maxmemory,
            "maxmemory-policy": "volatile-lru" if scratch else "noeviction",
            "daemonize": "no",
        }
        lines = (f"{name} {value}\n" for name, value in settings.items())
        self._configuration = self.write("redis.conf", "".join(lines))

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}/{self.database}"

    def command(self) -> Sequence[str]:
        return ["redis-server", str(self._configuration)]

    def ready(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\n") < 2:
                    chunk = connection.recv(256)
                    if not chunk:
                        return False
                    answer += chunk
        except OSError:
            return False
        return b"+PONG" in answer
