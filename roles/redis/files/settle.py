"""Let running Redises do what their files say of TLS: the certificate they show, and the port without TLS.

    settle.py SERVERS

SERVERS is JSON, a list of an object for each: `unit`, `settings`, `users` and `certificate` (files),
`option` (of face-redis), `address`, `port` and `tls_port`, `authority`. Connections by TLS stay; those
without it end where there is no such port any more. Nobody may change settings of Redis: for this there is
a user for a moment, whose password is known to this process alone. Where that does not work Redis is
restarted. It prints a line for each that changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USER = "settle"
RIGHTS = "resetkeys resetchannels -@all +config|set +client|kill"
SECONDS = 20
ERRORS = ("ERR ", "NOPERM ", "NOAUTH ", "WRONGPASS ", "LOADING ", "AUTH failed")


class Refused(Exception):
    """Redis did not do what it was told to."""


@dataclass(frozen=True)
class Server:
    unit: str
    settings: Path
    users: Path
    certificate: Path
    option: list[str]
    address: str
    port: int
    tls_port: int
    authority: str

    @classmethod
    def of(cls, given: dict[str, Any]) -> Server:
        return cls(
            unit=given["unit"],
            settings=Path(given["settings"]),
            users=Path(given["users"]),
            certificate=Path(given["certificate"]),
            option=given["option"],
            address=given["address"],
            port=int(given["port"]),
            tls_port=int(given["tls_port"]),
            authority=given["authority"],
        )

    def ask(self, *words: str) -> str:
        """As the operator; the last line of what it says."""
        return said(["face-redis", *self.option, *words])

    def shown(self) -> str:
        """The certificate that it shows; empty where it shows none."""
        try:
            return ssl.get_server_certificate((self.address, self.tls_port), timeout=SECONDS)
        except OSError:
            return ""

    def to_do(self) -> Iterator[tuple[str, list[list[str]]]]:
        """What is to change, and the commands for it."""
        if self.shown().strip() != self.certificate.read_text().strip():
            yield "shows its new certificate", [["CONFIG", "SET", "tls-cert-file", str(self.certificate)]]
        lines, port = self.settings.read_text().splitlines(), self.ask("CONFIG", "GET", "port")
        if f"port {self.port}" in lines and port == "0":
            yield "is asked without TLS, too", [["CONFIG", "SET", "port", str(self.port)]]
        if "port 0" in lines and port != "0":
            closed = [f"{address}:{self.port}" for address in dict.fromkeys(("127.0.0.1", self.address))]
            ends = [["CLIENT", "KILL", "LADDR", each] for each in closed]
            yield "is asked by TLS alone", [["CONFIG", "SET", "port", "0"], *ends]


def said(command: list[str], password: str | None = None) -> str:
    environment = {**os.environ, **({"REDISCLI_AUTH": password} if password else {})}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    # An older redis-cli ends well where it was refused.
    if done.returncode or lines[-1].startswith(ERRORS):
        raise Refused(f"{' '.join(command[-3:])}: {lines[-1]}")
    return lines[-1]


def replace(path: Path, text: str) -> None:
    """The owner and the mode stay."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    found = path.stat()
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        os.chown(new, found.st_uid, found.st_gid)
        shutil.copymode(path, new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def user(server: Server) -> Iterator[str]:
    """The password of one that may change settings."""
    password = secrets.token_urlsafe(24)
    digest = hashlib.sha256(password.encode()).hexdigest()
    before = server.users.read_text()
    kept = "".join(line for line in before.splitlines(keepends=True) if not line.startswith(f"user {USER} "))
    try:
        replace(server.users, f"{kept}user {USER} on #{digest} {RIGHTS}\n")
        server.ask("ACL", "LOAD")
        yield password
    finally:
        replace(server.users, kept)
        server.ask("ACL", "LOAD")


def settle(server: Server) -> str:
    """What was done; empty: nothing."""
    try:
        changes = list(server.to_do())
        if not changes:
            return ""
        with user(server) as password:
            for command in (each for _, commands in changes for each in commands):
                asking = ["redis-cli", "-h", server.address, "-p", str(server.tls_port), "--user", USER]
                said([*asking, "--tls", "--cacert", server.authority, *command], password)
        if not list(server.to_do()):
            return f"{server.unit} {' and '.join(what for what, _ in changes)}"
        reason = "it did not do what its settings say"
    except (Refused, subprocess.TimeoutExpired) as error:
        reason = str(error)
    subprocess.run(["systemctl", "restart", server.unit], check=True)
    return f"{server.unit} is restarted: {reason}"


def main() -> None:
    for line in filter(None, (settle(Server.of(each)) for each in json.loads(sys.argv[1]))):
        print(line)


if __name__ == "__main__":
    main()
