"""May this host have the address that moves? keepalived_check.py SETTINGS

keepalived asks every other second. Exit status 1: what would be asked for at the address cannot be done here,
found by two looks one after the other, and another host is to have it at once. Why is said in the journal
when it changes, and in STATE/state.json; Prometheus reads STATE/address.prom.

SETTINGS is JSON: `address` that moves; `redis`: [[address, port], ...] of this host's own; `user` and
`passwords` for them; `authority`, a file, by which servers prove who they are ("": without TLS); `nginx`:
[port, a file that is there where nginx is to run], or null; `etcd`: {members: [[address, port], ...],
certificate, key}, or null; `state`, a directory. Standard library only.

Where the address was here and is not any more, connections to it are ended, and both Redises are emptied:
nobody may go on with what others do not see, and what lies there must not come back with the address. Until
that is done this host may not have it again.
"""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import ssl
import sys
import syslog
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

# Of a look, all questions of which are asked at once: this host is perhaps parted from the others, which take
# the address meanwhile.
SECONDS = 2.0
# From one look to the next, which has the last word: a server that starts again is back by then.
AGAIN_SECONDS = 2.0
# So long the first member of etcd is waited for before all are asked.
FIRST_SECONDS = 0.7
# Those that give up say why.
MORE_SECONDS = 0.2
SILENT = "no answer"
# Any key will do. That there is an answer to the first means that most members agree; to the second each has
# one of its own.
READ = b'{"key":"AA=="}'
READ_OWN = b'{"key":"AA==","serializable":true}'
METRICS = {
    "face_virtual_address_held": "Whether this host has the address that moves",
    "face_virtual_address_able": "Whether this host can have it",
}


class Refused(Exception):
    """A server answered, and not as it should."""


def is_here(address: str, table: str = "/proc/net/fib_trie") -> bool:
    """Whether it is one of this host's addresses. To bind to it proves nothing: that may be done before."""
    found = rf"\|-- {re.escape(address)}\n\s+/32 host LOCAL"
    return re.search(found, Path(table).read_text(encoding="ascii")) is not None


@contextmanager
def connected(
    address: str, port: int, authority: str, certificate: str = "", key: str = ""
) -> Iterator[socket.socket]:
    with socket.create_connection((address, port), timeout=SECONDS) as plain:
        if not authority:
            yield plain
            return
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            context.load_cert_chain(certificate, key)
        with context.wrap_socket(plain, server_hostname=address) as proven:
            yield proven


def words(*command: str) -> bytes:
    """A command as Redis reads it."""
    parts = [f"${len(each.encode())}\r\n{each}\r\n" for each in command]
    return f"*{len(parts)}\r\n{''.join(parts)}".encode()


def ask_redis(settings: dict[str, Any], address: str, port: int, *commands: tuple[str, ...]) -> None:
    """Sign in, send these, and see that none is refused. While a password changes the next one may be it."""
    said = ""
    for password in settings["passwords"]:
        asked = [("AUTH", settings["user"], password), *commands]
        with connected(address, port, settings["authority"]) as connection:
            connection.sendall(b"".join(words(*each) for each in asked))
            with connection.makefile("rb") as answers:
                lines = [answers.readline().decode(errors="replace").strip() for _ in asked]
        wrong = [line for line in lines if not line.startswith(("+", ":"))]
        if not wrong:
            return
        said = wrong[0].removeprefix("-") or "it hung up"
        if lines[0].startswith("+"):
            break
    raise Refused(said)


def ask_http(connection: socket.socket, request: bytes) -> bytes:
    """The first line of the answer."""
    connection.sendall(request)
    with connection.makefile("rb") as answer:
        return answer.readline()


def ask_nginx(port: int) -> None:
    with connected("127.0.0.1", port, "") as connection:
        line = ask_http(connection, b"HEAD / HTTP/1.0\r\n\r\n")
    if not line.startswith(b"HTTP/"):
        raise Refused("it hung up")


def ask_etcd(authority: str, members: list[list[Any]], certificate: str, key: str) -> None:
    """Whether this host is among most of the members, of which its own comes first where it has one.

    One read that most agree to is proof. Where that takes long, they may be about to choose who leads: then
    it is enough that most of them answer here, each for itself.
    """
    agreed, answered = threading.Event(), threading.Semaphore(0)
    most = len(members) // 2 + 1
    said: list[str] = []

    def read(member: list[Any], what: bytes) -> None:
        address, port = member
        with connected(address, port, authority, certificate, key) as connection:
            head = f"POST /v3/kv/range HTTP/1.0\r\nHost: {address}\r\nContent-Length: {len(what)}\r\n\r\n"
            line = ask_http(connection, head.encode() + what)
        if b" 200 " not in line:
            raise Refused(line.decode(errors="replace").strip() or "it hung up")

    def ask_first() -> None:
        if fault := told(partial(read, members[0], READ)):
            said.append(fault)
        else:
            agreed.set()
            answered.release(most)

    def ask_each(member: list[Any]) -> None:
        if fault := told(partial(read, member, READ_OWN)):
            said.append(fault)
        else:
            answered.release()

    until = time.monotonic() + SECONDS
    start(ask_first)
    if agreed.wait(FIRST_SECONDS):
        return
    for member in members:
        start(partial(ask_each, member))
    for _ in range(most):
        if not answered.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Refused("; ".join(dict.fromkeys(said)) or SILENT)


def start(ask: Callable[[], None]) -> None:
    """Whoever is still waiting when the program ends is not waited for."""
    threading.Thread(target=ask, daemon=True).start()


def told(ask: Callable[[], None]) -> str:
    """What is wrong; "": nothing."""
    try:
        ask()
    except (OSError, Refused) as error:
        return str(error) or type(error).__name__
    return ""


def faults(settings: dict[str, Any], *, left: bool) -> list[str]:
    """What keeps this host from having the address; `left`: it was here, and is not any more."""
    asked: dict[str, Callable[[], None]] = {}
    for address, port in settings["redis"]:
        ended = ("CLIENT", "KILL", "LADDR", f"{settings['address']}:{port}")
        emptied = (ended, ("FLUSHALL",)) if left else ()
        asked[f"Redis at port {port}"] = partial(ask_redis, settings, address, port, *emptied, ("PING",))
    if settings["nginx"] and Path(settings["nginx"][1]).exists():
        asked["nginx"] = partial(ask_nginx, settings["nginx"][0])
    if settings["etcd"]:
        asked["etcd has no majority here"] = partial(ask_etcd, settings["authority"], **settings["etcd"])
    return [f"{what}: {fault}" for what, fault in at_once(asked).items() if fault]


def at_once(asked: dict[str, Callable[[], None]]) -> dict[str, str]:
    """What is wrong with each; "": nothing."""
    said: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def note(what: str) -> None:
        said.put((what, told(asked[what])))

    for what in asked:
        start(partial(note, what))
    found, until = dict.fromkeys(asked, SILENT), time.monotonic() + SECONDS + MORE_SECONDS
    with suppress(queue.Empty):
        for _ in asked:
            what, fault = said.get(timeout=max(0.0, until - time.monotonic()))
            found[what] = fault
    return found


def write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def before(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def main(file: str) -> int:
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    there = Path(settings["state"])
    known = before(there / "state.json")
    held = is_here(settings["address"])
    # What could not be emptied is tried again.
    left = not held and (known.get("held") is True or known.get("left") is True)
    began = time.monotonic()
    found = faults(settings, left=left)
    if found and known.get("able", True):
        time.sleep(max(0.0, began + AGAIN_SECONDS - time.monotonic()))
        found = faults(settings, left=left)
    state = {
        "held": held,
        "able": not found,
        "left": left and any(each.startswith("Redis") for each in found),
        "faults": found,
    }
    if found != known.get("faults", []):
        syslog.openlog("face-keepalived")
        syslog.syslog(
            syslog.LOG_WARNING if found else syslog.LOG_INFO,
            "this host cannot have the address: " + "; ".join(found)
            if found
            else "this host can have the address",
        )
    if state != known:
        write(there / "state.json", json.dumps(state))
        write(there / "address.prom", metrics(held=held, able=not found))
    return 1 if found else 0


def metrics(**values: bool) -> str:
    named = {f"face_virtual_address_{name}": int(value) for name, value in values.items()}
    return "".join(
        f"# HELP {name} {METRICS[name]}.\n# TYPE {name} gauge\n{name} {value}\n"
        for name, value in named.items()
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    sys.exit(main(sys.argv[1]))
