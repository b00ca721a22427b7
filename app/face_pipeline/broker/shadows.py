"""A share of searches, on their way to whoever asks another model pack the same (actions/shadows.py).

They stay in the memory of one host: the photo and its faces are in a file without a name, which is handed
over by a socket, and is gone with the last process that has it open. Who searches never waits for it: where
nobody listens, or two are waiting already, the search is left out.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from face_pipeline.broker.messages import Found, FoundFace, from_json, to_json

# In the directory of who listens: the socket, and how many of a hundred searches are wanted.
SOCKET, PERCENT = "searches", "percent"
# Beside one that is just being handed over.
WAITING_MOST = 1
# What waited for longer is forgotten.
OLD_SECONDS = 30.0
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Search:
    """A photo that somebody searched in collections (ids), and what the pack of that contract found."""

    contract_id: str
    collections: Sequence[int]
    faces: Sequence[FoundFace]
    photo: bytes


def offer(directory: Path, search: Search) -> bool:
    """Hand the search over where somebody listens in `directory` and it is of their share; whether it was."""
    try:
        percent = int((directory / PERCENT).read_text())
        if random.random() * 100 >= percent:  # noqa: S311  (no secret)
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as to:
            to.setblocking(False)
            to.connect(str(directory / SOCKET))
            _hand_over(to, search)
    except (OSError, ValueError):
        return False
    return True


def _hand_over(to: socket.socket, search: Search) -> None:
    found = to_json(Found(None, search.contract_id, list(search.faces)))
    head = json.dumps(
        {"at": time.monotonic(), "collections": list(search.collections), "found": found}
    ).encode()
    file = os.memfd_create("search")
    try:
        with os.fdopen(file, "wb", closefd=False) as writing:
            writing.write(head)
            writing.write(search.photo)
        socket.send_fds(to, [len(head).to_bytes(_LENGTH_BYTES, "big")], [file])
    finally:
        os.close(file)


class Inbox:
    """Where searches come in."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening

    def take(self, seconds: float) -> Search | None:
        """The next search; None where none that is young enough came in so many seconds."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            client, _ = self._socket.accept()
        except TimeoutError:
            return None
        with client:
            client.settimeout(1)
            try:
                length, files, _, _ = socket.recv_fds(client, _LENGTH_BYTES, 1)
            except OSError:
                return None
        if not files:
            return None
        with os.fdopen(files[0], "rb") as reading:
            reading.seek(0)
            told = json.loads(reading.read(int.from_bytes(length, "big")))
            photo = reading.read()
        if time.monotonic() - told["at"] > OLD_SECONDS:
            return None
        found = from_json(told["found"])
        assert isinstance(found, Found)
        return Search(found.contract_id, told["collections"], found.faces, photo)


@contextmanager
def listening(directory: Path, percent: int) -> Iterator[Inbox]:
    """Let so many of a hundred searches come in for as long as this lasts."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, share = directory / SOCKET, directory / PERCENT
    # Of one that was killed.
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as made:
        made.bind(str(path))
        made.listen(WAITING_MOST)
        share.write_text(str(percent))
        try:
            yield Inbox(made)
        finally:
            for each in (share, path):
                with suppress(OSError):
                    each.unlink()
