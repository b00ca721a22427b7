"""An address that moves between two hosts with a Redis each: the work goes on, whoever has it or is lost.

Needs guests of this machine, and an inventory of one file with face_virtual_address and two hosts in the
group `keepalived`, of which the first has everything, and the second Redis and the address alone.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.campaign.hosts import Site, read
from tests.hosts.test_cluster import GROUPS, on
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY
from tests.hosts.test_site_database import nothing_changes
from tests.hosts.test_standby import Uploader, asked, missing
from tests.photos import astronaut_jpeg

HOSTS = GROUPS.get("keepalived", [])
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it takes hosts' power, and installs for minutes"),
    pytest.mark.skipif(
        not (SUMMARY and len(HOSTS) == 2),
        reason="needs an inventory with two hosts in the group keepalived (FACE_HOST_INVENTORY)",
    ),
]
FIRST, SECOND = HOSTS if len(HOSTS) == 2 else ("", "")
STATE = "cat /run/face-keepalived/state.json"
UNIT = "face-keepalived"
# Of VRRP's and the check's seconds, some; what a busy machine adds is not ours.
MOVE_SECONDS = 30
# What was queued where nobody asks any more is sent again by the reconciler.
DONE_SECONDS = 300


@pytest.fixture(scope="module")
def site() -> Site:
    return read(Path(str(SUMMARY)), Path(str(INVENTORY)))


def state(name: str) -> dict[str, Any]:
    told = on(name, STATE, check=False)
    found: dict[str, Any] = json.loads(told) if told.strip().startswith("{") else {}
    return found


def holders() -> list[str]:
    return [name for name in HOSTS if state(name).get("held")]


def whole() -> bool:
    found = [state(name) for name in HOSTS]
    return all(each.get("able") and not each["left"] for each in found) and len(holders()) == 1


def move(to: str) -> None:
    other = next(name for name in HOSTS if name != to)
    if holders() != [to]:
        on(other, f"systemctl stop {UNIT}")
        wait(lambda: holders() == [to], MOVE_SECONDS, f"{to} to have the address")
        on(other, f"systemctl start {UNIT}")
    wait(whole, MOVE_SECONDS, "both to be able to have the address")


class Searcher:
    """Asks who is on a photo, one search after the other; each photo is new, so that no cache knows it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.answered = self.refused = 0
        self.longest = 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Searcher:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _ask(self) -> None:
        last, number = time.monotonic(), int(time.time())
        while not self.ended.wait(0.2):
            number += 1
            try:
                answer = self.host.call(
                    "POST", "/api/v1/search", files={"photo": ("a.jpg", astronaut_jpeg(number))},
                    data={"collection": "standby"},
                )  # fmt: skip
            except requests.RequestException:
                self.refused += 1
                continue
            if answer.status_code != 200:
                self.refused += 1
                continue
            self.answered += 1
            self.longest = max(self.longest, time.monotonic() - last)
            last = time.monotonic()


def undone() -> int:
    return int(asked(FIRST, "SELECT count(*) FROM photos WHERE state <> 'done'"))


@contextmanager
def use(host: Host) -> Iterator[tuple[Uploader, Searcher]]:
    """Under uploads and searches; afterwards nothing is missing, and each photo was done once."""
    with Uploader(host) as uploader, Searcher(host) as searcher:
        wait(lambda: len(uploader.acknowledged) > 5 and searcher.answered > 3, 60, "uploads and searches")
        yield uploader, searcher
        uploads, searches = len(uploader.acknowledged), searcher.answered
        wait(
            lambda: len(uploader.acknowledged) > uploads + 5 and searcher.answered > searches + 3,
            120, "uploads and searches afterwards",
        )  # fmt: skip
    ended = time.monotonic()
    assert missing(host, uploader.acknowledged) == []
    wait(lambda: undone() == 0, DONE_SECONDS, "all photos to be done")
    print(
        f"{len(uploader.acknowledged)} acknowledged, {uploader.refused} refused,"
        f" {uploader.longest:.1f} s at most between two; {searcher.answered} searches,"
        f" {searcher.refused} refused, {searcher.longest:.1f} s at most between two;"
        f" all done {time.monotonic() - ended:.1f} s after the last"
    )
    listed = ", ".join(f"'{each}'" for each in uploader.acknowledged)
    found = asked(FIRST, f"SELECT count(*), count(DISTINCT photo_id) FROM faces WHERE photo_id IN ({listed})")
    assert found == f"{len(uploader.acknowledged)}|{len(uploader.acknowledged)}", "each is processed once"


def test_one_host_has_it_and_the_other_can() -> None:
    wait(whole, MOVE_SECONDS, "one to have the address, and the other to be able to")


def test_the_work_goes_on_where_the_address_moves_and_nobody_is_lost(host: Host) -> None:
    move(FIRST)
    with use(host):
        on(FIRST, f"systemctl stop {UNIT}")
        wait(lambda: holders() == [SECOND], MOVE_SECONDS, "the other to have it")
        on(FIRST, f"systemctl start {UNIT}")
        wait(whole, MOVE_SECONDS, "both to be able to have the address")
        # Nobody goes on with the Redis that it left.
        assert on(FIRST, "face-redis --own DBSIZE").strip() == "0"
        assert on(FIRST, "face-redis --own --scratch DBSIZE").strip() == "0"
    assert holders() == [SECOND], "who has it keeps it"


@pytest.mark.parametrize("name", [SECOND, FIRST])
def test_a_redis_that_is_stopped_is_left(host: Host, name: str) -> None:
    move(name)
    with use(host):
        on(name, "systemctl stop redis-server")
        wait(lambda: holders() not in ([], [name]), MOVE_SECONDS, "the other to have it")
        on(name, "systemctl start redis-server")
        wait(whole, MOVE_SECONDS, "both to be able to have the address")


def test_a_killed_keepalived_leaves_no_second_holder(host: Host) -> None:
    move(SECOND)
    with use(host):
        on(SECOND, f"systemctl kill --signal=KILL {UNIT}")
        wait(whole, MOVE_SECONDS, "one to have the address")


def test_a_host_that_is_lost_silently_loses_nothing(host: Host, site: Site) -> None:
    guest = next(each for each in site.guests if each.name == SECOND)
    assert guest.is_here, "it is to be a guest of this machine"
    move(SECOND)
    with use(host):
        guest.cut_power(silently=True)
        lost = time.monotonic()
        wait(lambda: state(FIRST).get("held") is True, MOVE_SECONDS, "the other to have it")
        print(f"the other has it after {time.monotonic() - lost:.1f} s")
    site.start()
    wait(whole, 180, "both to be able to have the address")
    assert holders() == [FIRST]


def test_a_network_that_is_cut_heals(host: Host, site: Site) -> None:
    guest = next(each for each in site.guests if each.name == SECOND)
    move(SECOND)
    with use(host):
        with guest.cut_cable(100, 100):
            wait(lambda: state(FIRST).get("held") is True, MOVE_SECONDS, "the other to have it")
            time.sleep(15)
        wait(whole, 60, "one to have the address")


def test_a_second_run_changes_nothing_after_a_move() -> None:
    move(SECOND)
    nothing_changes()
    assert holders() == [SECOND]


def test_it_is_there_after_both_booted(host: Host, site: Site) -> None:
    for guest in site.guests:
        guest.run("systemctl reboot", check=False)
    time.sleep(5)
    site.start()
    wait(whole, 240, "one to have the address")
    with use(host):
        pass
