"""What the clients did: one JSON object a line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

# `unknown`: no answer, or one that does not say whether it was done.
Outcome = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True)
class Operation:
    """One call. `key`: the SHA-256 of the photo sent; `photo`: its id, where the client knows it."""

    client: str
    what: str
    key: str
    called: float
    returned: float
    outcome: Outcome
    status: int = 0
    photo: str = ""
    note: str = ""


class History:
    """Any number of clients may add to it; each line is in the file before the client goes on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._all: list[Operation] = []

    def add(self, operation: Operation) -> None:
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            self._all.append(operation)
            file.write(json.dumps(asdict(operation)) + "\n")

    def __iter__(self) -> Iterator[Operation]:
        with self._lock:
            return iter(list(self._all))


def read(file: Path) -> list[Operation]:
    return [Operation(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
