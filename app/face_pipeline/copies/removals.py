"""What was removed lately, so that a copy which is still on its way does not come back.

The web host gives up waiting for a host that is slow, and what it sent may arrive seconds later, when the
photo is deleted and its copy removed. So it says when it began with each request (`Moment`), and this host
remembers for a while what it removed, in memory. Where it cannot tell which was first, it remembers the name
for a web host that asks: whoever sent it may be gone.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum, auto

from face_pipeline.store.copies import Moment

# What is sent arrives within seconds, or never (network.GIVE_UP_SECONDS). Of one upload there may be many.
KEPT_SECONDS = 900.0
KEPT_MOST = 100_000
# So long after its start a process does not know all: what was sent to the one before is sent again to it
# (store.copies.RESTART_SECONDS), and may have been removed in between.
YOUNG_SECONDS = 60.0


class Since(Enum):
    """Whether a copy was removed since somebody began to send it; PERHAPS: nobody can tell."""

    NOT = auto()
    PERHAPS = auto()
    REMOVED = auto()


# NAME -> when whoever asked began with it, and when it was noted here; the oldest first.
Noted = OrderedDict[str, tuple[Moment, float]]


class Removals:
    """Any number of threads may use it at once."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._removed = Noted()
        self._doubtful = Noted()

    def note(self, names: Iterable[str], asked: Moment) -> None:
        """Before they are removed."""
        with self._lock:
            for name in names:
                self._doubtful.pop(name, None)
                _note(self._removed, name, asked)

    def forget(self, name: str, began: Moment) -> None:
        """Before it is kept: whoever sends it knows of its removal, and wants it again."""
        with self._lock:
            if (removed := self._removed.get(name)) is not None and began.is_after(removed[0]):
                del self._removed[name]

    def since(self, name: str, began: Moment, undo: Callable[[], bool]) -> Since:
        """After it was kept: `undo` that where it was removed since somebody `began` to send it.

        Nobody else keeps it for good meanwhile: that begins with `forget`. What another host removed than the
        one that sends it cannot be compared. Where `undo` says that it did not, the name is doubtful, too.
        """
        with self._lock:
            since = self._since(name, began)
            if since is Since.PERHAPS or (since is Since.REMOVED and not undo()):
                _note(self._doubtful, name, began)
            return since

    def _since(self, name: str, began: Moment) -> Since:
        removed = self._removed.get(name)
        if removed is None:
            return Since.PERHAPS if time.monotonic() - self._began < YOUNG_SECONDS else Since.NOT
        return Since.REMOVED if removed[0].is_after(began) else Since.PERHAPS

    def doubtful(self) -> list[str]:
        """Names of copies that were kept perhaps after their removal, and not removed since; of the last
        `KEPT_SECONDS`."""
        with self._lock:
            _forget_old(self._doubtful)
            return list(self._doubtful)


def _note(noted: Noted, name: str, began: Moment) -> None:
    noted.pop(name, None)
    noted[name] = began, time.monotonic()
    _forget_old(noted)


def _forget_old(noted: Noted) -> None:
    oldest = time.monotonic() - KEPT_SECONDS
    while noted and (len(noted) > KEPT_MOST or next(iter(noted.values()))[1] < oldest):
        noted.popitem(last=False)
