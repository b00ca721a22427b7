"""Redis as the product runs it, twice, with the users of the role `redis`.

The queues' has an append-only file and evicts nothing; the searches' has no file, and old answers give way.
"""

import hashlib
import re
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import jinja2
import redis
import yaml

from tests.services.far import Far
from tests.services.process import Service

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "redis"
# Beside the product's own users: tests empty servers, change settings, and look at every key.
TESTER = "tester"


@cache
def users() -> dict[str, dict[str, str]]:
    """Of each user its rights in `redis`, the queues' server, and in `scratch`, as the role has them."""
    table: dict[str, dict[str, str]] = yaml.safe_load((ROLE / "vars/main.yml").read_text())["redis_users"]
    return table


@cache
def _units() -> dict[str, str]:
    """Who the product's units are to Redis, by what they run."""
    found = {}
    for unit in (ROOT / "roles").glob("*/templates/*.service.j2"):
        text = unit.read_text()
        user = re.search(r"^Environment=FACE_REDIS_USER=(\w+)$", text, re.MULTILINE)
        started = re.search(r"^ExecStart=.*?/venv/bin/(.+)$", text, re.MULTILINE)
        if user and started:
            found[_verb(started[1].split())] = user[1]
    return found


def _verb(command: Sequence[str]) -> str:
    """The module that Python runs, or the first word of a command that is no option, or the program."""
    if "-m" in command:
        return command[command.index("-m") + 1]
    words = (word for word in command[1:] if re.fullmatch("[a-z][a-z-]*", word))
    return next(words, Path(command[0]).name)


def user_of(command: Sequence[str]) -> str:
    """Who is to Redis what runs this: the unit's user, and else the operator."""
    return _units().get(_verb(command), "operator")


@cache
def passwords() -> Mapping[str, str]:
    """Of each user, the same at both servers, as on a host."""
    return {name: secrets.token_urlsafe(24) for name in (*users(), TESTER)}


def users_file(server: str) -> str:
    """The users of `redis` or `scratch`, by the role's template."""
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["hash"] = lambda text, name: hashlib.new(name, text.encode()).hexdigest()
    template = environment.from_string((ROLE / "templates/users.acl.j2").read_text())
    return template.render(
        redis_server=server,
        redis_users={**users(), TESTER: dict.fromkeys(("redis", "scratch"), "~* &* +@all")},
        redis_default_user="off resetchannels",
        face_secrets={f"redis_password_{name}": password for name, password in passwords().items()},
    )


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
        self.database = 0
        self.users_file = self.write("users.acl", users_file("scratch" if scratch else "redis"))
        settings = {
            "bind": self.host,
            "port": self.port,
            "dir": self.directory,
            "aclfile": self.users_file,
            "appendonly": "no" if scratch else "yes",
            "appendfsync": appendfsync,
            "save": '""',
            "maxmemory": maxmemory,
            "maxmemory-policy": "volatile-lru" if scratch else "noeviction",
            "daemonize": "no",
        }
        lines = (f"{name} {value}\n" for name, value in settings.items())
        self._configuration = self.write("redis.conf", "".join(lines))

    def url_of(self, user: str) -> str:
        return f"redis://{user}:{passwords()[user]}@{self.host}:{self.port}/{self.database}"

    def refusals(self) -> list[dict[str, Any]]:
        """What the product's units wanted and may not do, since the server started; the last first.

        A person is refused what a test tries, and Debian's exporter asks for more than it is to know.
        """
        with redis.Redis.from_url(self.url_of(TESTER)) as client:
            log = cast("list[dict[str, Any]]", client.acl_log())
        return [refused for refused in log if refused["username"] in _units().values()]

    def command(self) -> Sequence[str]:
        return ["redis-server", str(self._configuration)]

    def ready(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {TESTER} {passwords()[TESTER]}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\n") < 2:
                    chunk = connection.recv(256)
                    if not chunk:
                        return False
                    answer += chunk
        except OSError:
            return False
        return b"+PONG" in answer
