"""Clients as users are: over HTTP, one operation at a time, and each of them noted."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.campaign.history import History, Operation, Outcome
from tests.photos import astronaut_jpeg

TIMEOUT = 15.0


@dataclass
class Api:
    """An installation as a client knows it; `verify`: the authority of its certificate."""

    url: str
    key: str
    verify: str | bool = True

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, self.url.rstrip("/") + path, headers={"Authorization": f"Bearer {self.key}"},
            verify=self.verify, timeout=TIMEOUT, **options,
        )  # fmt: skip


@dataclass
class Clients:
    """One client that uploads and deletes, one that searches, one that lists, until the block ends.

    `first`: the number of the first photo; no two campaigns on one installation may send the same.
    """

    api: Api
    history: History
    collection: str
    first: int
    pause: float = 0.5
    delete_every: int = 4
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Clients:
        for work in (self._send, self._search, self._list):
            thread = threading.Thread(target=self._again, args=(work,))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _again(self, work: Callable[[int], None]) -> None:
        number = 0
        while not self._end.wait(self.pause):
            work(number)
            number += 1

    def upload(self, number: int) -> str:
        """Until it is acknowledged, with the same content each time; its id, or nothing at the end."""
        photo = astronaut_jpeg(self.first + number)
        key = hashlib.sha256(photo).hexdigest()

        def send() -> tuple[int, str]:
            answer = self.api.call(
                "POST", "/api/v1/photos", files=[("photos", (f"{number}.jpg", photo))],
                data={"collection": self.collection},
            )  # fmt: skip
            return answer.status_code, answer.json()["photos"][0]["id"] if answer.status_code == 202 else ""

        return self._until_ok("upload", key, send)

    def delete(self, photo: str, key: str) -> str:
        def send() -> tuple[int, str]:
            answer = self.api.call("DELETE", f"/api/v1/photos/{photo}")
            # Gone by a try that got no answer.
            return (200 if answer.status_code == 404 else answer.status_code), photo

        return self._until_ok("delete", key, send, photo)

    def _until_ok(self, what: str, key: str, send: Callable[[], tuple[int, str]], photo: str = "") -> str:
        while True:
            done = self._noted("sender", what, key, send, photo)
            if done.outcome == "ok":
                return done.photo
            if self._end.wait(self.pause):
                return ""

    def _send(self, number: int) -> None:
        photo = self.upload(number)
        if photo and number % self.delete_every == self.delete_every - 1:
            self.delete(photo, hashlib.sha256(astronaut_jpeg(self.first + number)).hexdigest())

    def _search(self, number: int) -> None:
        def send() -> tuple[int, str]:
            # Another picture each time: the same would be answered from the cache.
            photo = astronaut_jpeg(-self.first - number)
            answer = self.api.call(
                "POST", "/api/v1/search", files={"photo": ("q.jpg", photo)},
                data={"collection": self.collection},
            )  # fmt: skip
            return answer.status_code, ""

        self._noted("searcher", "search", "", send)

    def _list(self, _: int) -> None:
        def send() -> tuple[int, str]:
            return self.api.call(
                "GET", f"/api/v1/photos?collection={self.collection}&limit=5"
            ).status_code, ""

        self._noted("lister", "list", "", send)

    def _noted(
        self, client: str, what: str, key: str, send: Callable[[], tuple[int, str]], photo: str = ""
    ) -> Operation:
        called, status, note = time.time(), 0, ""
        outcome: Outcome = "unknown"
        try:
            status, found = send()
            photo = found or photo
            if 200 <= status < 300:
                outcome = "ok"
            elif 400 <= status < 500:
                outcome = "fail"
        except (requests.RequestException, ValueError, KeyError, IndexError) as error:
            note = repr(error)[:200]
        done = Operation(client, what, key, called, time.time(), outcome, status, photo, note)
        self.history.add(done)
        return done
