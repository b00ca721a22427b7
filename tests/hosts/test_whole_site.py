"""Three hosts that are all alike, behind an address that moves: what a client sees when one of them is lost.

Needs guests of this machine, and an inventory of one file in which three hosts are in each of `web`,
`workers`, `redis`, `keepalived`, `etcd` and, together, `postgres` and `standbys` (molecule/site). Of each
loss a film is kept in FACE_RESULTS, or shown with -s: one line a second.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.campaign.hosts import Guest, Site, read
from tests.hosts.test_cluster import GROUPS, on
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY
from tests.hosts.test_site_database import leader, nothing_changes
from tests.hosts.test_site_database import whole as database_whole
from tests.photos import astronaut_jpeg

ALIKE = ("web", "workers", "redis", "keepalived", "etcd")
HOSTS = GROUPS.get("keepalived", [])
THREE_ALIKE = pytest.mark.skipif(
    not (SUMMARY and len(HOSTS) == 3 and all(set(GROUPS.get(each, [])) == set(HOSTS) for each in ALIKE)),
    reason="needs an inventory of three hosts that are alike (FACE_HOST_INVENTORY)",
)
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it takes hosts' power, for a quarter of an hour"),
    THREE_ALIKE,
]
COLLECTION = "site"
UNITS = "nginx face-web celery@1 redis-server patroni@17-main etcd face-keepalived"
STATE = "cat /run/face-keepalived/state.json"
ETCD = (
    "etcdctl --cacert=/etc/face-pipeline/ca.crt --cert=/etc/face-pipeline/etcd.crt"
    " --key=/etc/face-pipeline/etcd.key --endpoints=https://127.0.0.1:2379 endpoint status --write-out=json"
)
# Wanted are 5 and 25. The hosts of the test share a machine with others, whose load is not ours.
ANSWERS_WITHIN, UPLOADS_WITHIN = 60, 90
AWAY_SECONDS = 60


@pytest.fixture(scope="module")
def site() -> Site:
    return read(Path(str(SUMMARY)), Path(str(INVENTORY)))


@dataclass
class Shot:
    """One request: when it began and ended, in seconds of the film, and how."""

    began: float
    ended: float = 0.0
    word: str = ""
    ok: bool = False


@dataclass
class Film:
    """A page, a search and an upload each second, whatever became of those of the second before; with
    `every`, as many seconds apart."""

    host: Host
    every: float = 1
    shots: dict[str, list[Shot]] = field(default_factory=lambda: {"page": [], "search": [], "upload": []})
    acknowledged: list[str] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)
    _zero: float = field(default_factory=time.monotonic)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Film:
        self._director = threading.Thread(target=self._direct)
        self._director.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._director.join()
        for thread in self._threads:
            thread.join()

    def now(self) -> float:
        return time.monotonic() - self._zero

    def note(self, words: str) -> None:
        self.notes.append((self.now(), words))

    def _direct(self) -> None:
        while not self._ended.wait(self.every):
            for what, ask in (("page", self._page), ("search", self._search), ("upload", self._upload)):
                shot = Shot(self.now())
                self.shots[what].append(shot)
                thread = threading.Thread(target=self._take, args=(shot, ask))
                thread.start()
                self._threads.append(thread)

    def _take(self, shot: Shot, ask: Callable[[], requests.Response]) -> None:
        try:
            answer = ask()
            shot.word, shot.ok = str(answer.status_code), answer.ok
        except requests.RequestException as error:
            shot.word = type(error).__name__
        shot.ended = self.now()

    def _call(self, method: str, path: str, **options: object) -> requests.Response:
        return requests.request(
            method, self.host.url.rstrip("/") + path, headers={"Authorization": f"Bearer {self.host.key}"},
            verify=self.host.ca, timeout=(3, 30), **options,  # type: ignore[arg-type]
        )  # fmt: skip

    def _page(self) -> requests.Response:
        return self._call("GET", f"/api/v1/photos?collection={COLLECTION}&limit=5")

    def _search(self) -> requests.Response:
        # Another picture each time: the same would be answered from the cache.
        photo = astronaut_jpeg(uuid.uuid4().int % 10**8)
        return self._call(
            "POST", "/api/v1/search", files={"photo": ("q.jpg", photo)}, data={"collection": COLLECTION}
        )

    def _upload(self) -> requests.Response:
        photo = astronaut_jpeg(uuid.uuid4().int % 10**8)
        answer = self._call(
            "POST", "/api/v1/photos", files={"photos": ("a.jpg", photo)}, data={"collection": COLLECTION}
        )
        if answer.status_code == 202:
            self.acknowledged.append(answer.json()["photos"][0]["id"])
        return answer

    def outage(self, what: str) -> float:
        """The longest time, in seconds, from the end of one that succeeded to that of the next one."""
        ends = sorted(shot.ended for shot in self.shots[what] if shot.ok)
        return max((after - before for before, after in itertools.pairwise(ends)), default=self.now())

    def lines(self) -> Iterator[str]:
        notes = list(self.notes)
        for page, search, upload in zip(*self.shots.values(), strict=False):
            while notes and notes[0][0] <= page.began:
                yield f"        {notes.pop(0)[1]}"
            told = (
                f"{what} {shot.word:<16} {shot.ended - shot.began:5.1f} s"
                for what, shot in (("page", page), ("search", search), ("upload", upload))
            )
            yield f"{page.began:5.0f} s  {'   '.join(told)}"


def holder() -> str:
    return next((name for name in HOSTS if '"held": true' in on(name, STATE, check=False)), "")


def leads_etcd(name: str) -> bool:
    told = json.loads(on(name, ETCD, check=False) or "[]")
    return any(each["Status"]["leader"] == each["Status"]["header"]["member_id"] for each in told)


def apart() -> bool:
    """Whether etcd is led, and elsewhere than the database."""
    return any(leads_etcd(name) for name in HOSTS if name != leader())


def site_whole() -> bool:
    states = [on(name, STATE, check=False) for name in HOSTS]
    up = all('"able": true' in each for each in states)
    return up and sum('"held": true' in each for each in states) == 1 and database_whole(leader() or HOSTS[0])


def shown(film: Film, name: str) -> None:
    """The film as lines, kept in FACE_RESULTS, and its longest outages."""
    text = "\n".join(film.lines())
    if results := os.environ.get("FACE_RESULTS"):
        path = Path(results) / "site" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    print(text)
    told = ", ".join(f"{what} {film.outage(what):.1f} s" for what in film.shots)
    print(f"{name}: {len(film.acknowledged)} acknowledged; at most between two: {told}")


def all_there(host: Host, acknowledged: list[str]) -> None:
    """Every photo that was acknowledged is there, once and done."""

    def photos() -> list[requests.Response]:
        return [host.call("GET", f"/api/v1/photos/{each}") for each in acknowledged]

    assert [each.status_code for each in photos()] == [200] * len(acknowledged)
    wait(lambda: {each.json()["state"] for each in photos()} == {"done"}, 180, "all photos to be done")
    assert {len(each.json()["faces"]) for each in photos()} == {1}
    for each in acknowledged:
        assert host.call("GET", f"/api/v1/photos/{each}/image").status_code == 200


@contextmanager
def filmed(host: Host, name: str, every: float = 1) -> Iterator[Film]:
    """For the block; afterwards every photo that was acknowledged is there, once and done."""
    wait(site_whole, 180, "the site to be whole")
    with Film(host, every) as film:
        wait(lambda: len(film.acknowledged) > 5, 60, "uploads")
        yield film
        number = len(film.acknowledged)
        wait(lambda: len(film.acknowledged) > number + 5, 120, "uploads afterwards")
    shown(film, name)
    all_there(host, film.acknowledged)
    assert film.outage("page") < ANSWERS_WITHIN
    assert film.outage("search") < ANSWERS_WITHIN
    assert film.outage("upload") < UPLOADS_WITHIN


def guest(site: Site, name: str) -> Guest:
    found = next(each for each in site.guests if each.name == name)
    assert found.is_here, "it is to be a guest of this machine"
    return found


def chosen(what: str) -> str:
    if what == "leader":
        return leader()
    others = [name for name in HOSTS if name not in (leader(), holder())]
    return holder() if what == "holder" else others[0]


def test_the_hosts_are_alike(host: Host) -> None:
    wait(site_whole, 180, "the site to be whole")
    assert holder()
    assert host.call("GET", "/health/ready").status_code == 200
    for name in HOSTS:
        on(
            name,
            "systemctl is-active nginx face-web celery@1 redis-server patroni@17-main etcd face-keepalived",
        )


@pytest.mark.parametrize("what", ["leader", "holder", "other"])
def test_a_host_that_is_lost_silently_loses_nothing_and_comes_back(host: Host, site: Site, what: str) -> None:
    wait(site_whole, 180, "the site to be whole")
    wait(apart, 180, "etcd to be led elsewhere than the database")
    name = chosen(what)
    had = [word for word, is_so in (("address", holder() == name), ("leads", leader() == name)) if is_so]
    lost = guest(site, name)
    with filmed(host, f"loss-of-{what}") as film:
        film.note(f"{name} loses its power and its cable ({', '.join(had) or 'neither address nor leader'})")
        lost.cut_power(silently=True)
        time.sleep(AWAY_SECONDS)
        film.note(f"{name} is switched on")
        site.start()
        wait(site_whole, 240, f"{name} to take part again")
        film.note(f"{name} takes part again")


def test_a_host_that_is_cut_off_for_a_minute_costs_seconds(host: Host, site: Site) -> None:
    wait(site_whole, 180, "the site to be whole")
    wait(apart, 180, "etcd to be led elsewhere than the database")
    name = holder()
    with filmed(host, "cut-off") as film:
        film.note(f"{name}, which has the address, is cut off")
        with guest(site, name).cut_cable(100, 100):
            time.sleep(AWAY_SECONDS)
        film.note(f"{name} is reached again")
        wait(site_whole, 240, f"{name} to take part again")


def test_a_second_run_changes_nothing_wherever_all_is() -> None:
    nothing_changes()
