"""What was removed lately, so that a copy which is still on its way does not come back.

The web host gives up waiting for a host that is slow, and what it sent may arrive seconds later, when the
photo is deleted and its copy removed. So it says when it began with each request (`Moment`), and this host
remembers for a while what it removed, in memory. Where it cannot tell which was first, the sender is told to
look again.
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


class Removals:
    """Any number of threads may use it at once."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._removed: OrderedDict[str, tuple[Moment, float]] = OrderedDict()

    def note(self, names: Iterable[str], asked: Moment) -> None:
        """Before they are removed."""
        now = time.monotonic()
        with self._lock:
            for name in names:
                self._removed.pop(name, None)
                self._removed[name] = (asked, now)
            while self._removed and (
                len(self._removed) > KEPT_MOST or next(iter(self._removed.values()))[1] < now - KEPT_SECONDS
            ):
                self._removed.popitem(last=False)

    def forget(self, name: str, began: Moment) -> None:
        """Before it is kept: whoever sends it knows of its removal, and wants it again."""
        with self._lock:
            if (removed := self._removed.get(name)) is not None and began.is_after(removed[0]):
                del self._removed[name]

    def since(self, name: str, began: Moment, undo: Callable[[], object]) -> Since:
        """After it was kept: `undo` that where it was removed since somebody `began` to send it.

        Nobody else keeps it for good meanwhile: that begins with `forget`. What another host removed than the
        one that sends it cannot be compared.
        """
        with self._lock:
            removed = self._removed.get(name)
            if removed is None:
                return Since.PERHAPS if time.monotonic() - self._began < YOUNG_SECONDS else Since.NOT
            if not removed[0].is_after(began):
                return Since.PERHAPS
            undo()
            return Since.REMOVED
