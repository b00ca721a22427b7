"""The hosts of one database: which of them leads now, and which that follows may be read in its place.

A thread for each asks it twice a second, over a connection of its own. What a host said stands until it says
something else, or is not reached any more: one that is slow is not away. Whether it is reached, the kernels
decide (network.py), so that a busy machine is not taken for a dead one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

LOOK_SECONDS = 0.5
# How long a process that has begun waits for the first words of the hosts.
FIRST_SECONDS = 3.0
# Who follows is read as long as this behind who led: a failover takes half as long.
STALE_SECONDS = 60.0

# Of a host that leads its timeline, for of two that do the later one is right; of one that follows nothing.
# And how far it has the log: on its disk, or for one that follows in what it answers from.
SAYS = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN ''"
    " ELSE left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) END AS timeline,"
    " (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END"
    " - '0/0')::bigint AS place"
)

# Connects to one host.
Connect = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class _Said:
    timeline: str
    place: int


class Members:
    """`hosts`: how to connect to each. Its threads begin when it is first asked."""

    def __init__(self, hosts: Mapping[str, Connect]) -> None:
        self._hosts = hosts
        self._lock = threading.Lock()
        # Set: the threads end. None: there are none.
        self._ended: threading.Event | None = None
        self._heard = threading.Event()
        # Until when their first words are waited for.
        self._patient_until = 0.0
        # How often a host that led was lost, or led no more.
        self.losses = 0
        # None: not reached. A host that is not in it has not been asked yet.
        self._said: dict[str, _Said | None] = {}
        # When who led had which place, newest last.
        self._led: deque[tuple[float, int]] = deque(maxlen=int(2 * STALE_SECONDS / LOOK_SECONDS))

    @property
    def silent(self) -> bool:
        """Whether it is not known yet who leads: the hosts have not had their first words."""
        self._begin()
        return not self._heard.is_set()

    def leader(self) -> str | None:
        """The host that takes changes; None where nobody leads that can be reached."""
        self._begin()
        with self._lock:
            leading = [(said.timeline, host) for host, said in self._said.items() if said and said.timeline]
        return max(leading)[1] if leading else None

    def follower(self) -> str | None:
        """The host that has most of what was changed, and all that was until `STALE_SECONDS` ago; or None.

        A change is answered once one that follows has it, too: whichever has most, has it.
        """
        self._begin()
        since = time.monotonic() - STALE_SECONDS
        with self._lock:
            needed = min((place for at, place in self._led if at >= since), default=None)
            following = [
                (said.place, host) for host, said in self._said.items() if said and not said.timeline
            ]
        if needed is None or not following:
            return None
        place, host = max(following)
        return host if place >= needed else None

    def close(self) -> None:
        """End the threads; whoever asks later begins others."""
        with self._lock:
            if self._ended is not None:
                self._ended.set()
            self._ended = None
            self._said.clear()
            self._heard.clear()

    def _begin(self) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = threading.Event()
                self._patient_until = time.monotonic() + FIRST_SECONDS
                for host, connect in self._hosts.items():
                    watched = (host, connect, self._ended)
                    threading.Thread(target=self._watch, args=watched, name="member", daemon=True).start()
        self._heard.wait(max(0.0, self._patient_until - time.monotonic()))

    def _watch(self, host: str, connect: Connect, ended: threading.Event) -> None:
        while not ended.is_set():
            reached = False
            try:
                with connect() as connection:
                    while not ended.is_set():
                        row = connection.execute(SAYS).one()
                        reached = True
                        self._hear(host, _Said(row.timeline, row.place))
                        ended.wait(LOOK_SECONDS)
            except SQLAlchemyError:
                self._hear(host, None)
                # The connection alone may have ended: the next one tells.
                ended.wait(0 if reached else LOOK_SECONDS)

    def _hear(self, host: str, said: _Said | None) -> None:
        with self._lock:
            before = self._said.get(host)
            if before and before.timeline and not (said and said.timeline):
                self.losses += 1
            self._said[host] = said
            if said and said.timeline:
                self._led.append((time.monotonic(), said.place))
            if (said and said.timeline) or len(self._said) == len(self._hosts):
                self._heard.set()
