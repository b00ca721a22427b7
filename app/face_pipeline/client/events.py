"""What happened, and the web hooks that are told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from face_pipeline.client.base import PAGE, Calls, Id, part
from face_pipeline.client.operating import Delivery, Event, Events, Hook, HookWithSecret

# Between two looks for events where there were none.
EVERY_SECONDS = 2.0


class Following(Iterator[Event]):
    """Events as they happen, one after the other, without an end.

    place: where to go on from (`after`), so that none is missed. Until a page is through it is the one
    before: what was read of that page comes again.
    """

    def __init__(
        self, read: Callable[..., Events], place: str | None, every: float, pause: Callable[[float], object]
    ) -> None:
        self.place = place
        self._read, self._every, self._pause = read, every, pause
        self._waiting: Iterator[Event] = iter(())
        self._behind = place

    def __next__(self) -> Event:
        while True:
            for event in self._waiting:
                return event
            self.place = self._behind
            # Whoever begins now hears of what happens from now on.
            page = self._read(last=0) if self.place is None else self._read(after=self.place)
            self._waiting, self._behind = iter(page.events), page.next_cursor
            if not page.events:
                self.place = page.next_cursor
                self._pause(self._every)


class EventCalls(Calls):
    def events(
        self,
        *,
        after: str | None = None,
        last: int | None = None,
        kind: str | None = None,
        collection: str | None = None,
        limit: int = PAGE,
    ) -> Events:
        """A page of events, oldest first, and where to go on from.

        after: next_cursor of the page before; without it, the oldest that are kept. last: so many of the
        newest instead.
        """
        return self._read(
            Events, "/events", after=after, last=last, kind=kind, collection=collection, limit=limit
        )

    def follow(
        self,
        *,
        after: str | None = None,
        kind: str | None = None,
        collection: str | None = None,
        every: float = EVERY_SECONDS,
        pause: Callable[[float], object] = time.sleep,
    ) -> Following:
        """What happens from now on, or behind the cursor `after`; looked for every so many seconds.

        pause: how the seconds between two looks are spent; it may raise to end.
        """

        def read(**where: Any) -> Events:
            return self.events(kind=kind, collection=collection, **where)

        return Following(read, after, every, pause)

    def hooks(self) -> Iterator[Hook]:
        return self._pages(Hook, "/hooks", "hooks")

    def hook(self, hook_id: Id) -> Hook:
        return self._read(Hook, f"/hooks/{part(hook_id)}")

    def create_hook(
        self,
        url: str,
        *,
        kinds: Iterable[str] | None = None,
        collections: Iterable[str] | None = None,
        enabled: bool = True,
    ) -> HookWithSecret:
        """Have a receiver told of events of these kinds and collections; None: of all.

        Its secret is told this once.
        """
        body: dict[str, Any] = {"url": url, "enabled": enabled}
        if kinds is not None:
            body["kinds"] = list(kinds)
        if collections is not None:
            body["collections"] = list(collections)
        return self._make(HookWithSecret, "/hooks", body)

    def change_hook(self, hook_id: Id, **fields: Any) -> HookWithSecret:
        """Give a hook another `url`, `kinds`, `collections` (None: all) or `enabled`.

        rotate_secret=True: a new secret, told this once.
        """
        return self._change(HookWithSecret, f"/hooks/{part(hook_id)}", fields)

    def remove_hook(self, hook_id: Id) -> None:
        self._remove(f"/hooks/{part(hook_id)}")

    def test_hook(self, hook_id: Id) -> Delivery:
        """Have one event of the kind `test` sent to it; deliveries() tell how that went."""
        return self._make(Delivery, f"/hooks/{part(hook_id)}/test")

    def deliveries(self, hook_id: Id) -> Iterator[Delivery]:
        """What became of events for a hook, newest first."""
        return self._pages(Delivery, f"/hooks/{part(hook_id)}/deliveries", "deliveries")
