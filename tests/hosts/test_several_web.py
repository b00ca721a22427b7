"""Several web hosts: what one takes the other has, and a client with both addresses goes on without one.

Needs guests of this machine, and an inventory of one file with two hosts of `web` whose second has nothing
else that others need, and with face_originals_copies_required: 1.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.campaign.hosts import Guest, Site, read
from tests.hosts.test_cluster import GROUPS, on
from tests.hosts.test_copies import has
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.photos import astronaut_jpeg

WEB = GROUPS.get("web", [])
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it takes a host's power, and installs for minutes"),
    pytest.mark.skipif(
        not (SUMMARY and len(WEB) > 1),
        reason="needs an inventory with several hosts in the group web (FACE_HOST_INVENTORY)",
    ),
]
FIRST, SECOND = [*WEB, "", ""][:2]
BOOT_SECONDS = 180


@pytest.fixture(scope="module")
def site() -> Site:
    return read(Path(str(SUMMARY)), Path(str(INVENTORY)))


@pytest.fixture(scope="module")
def web(host: Host) -> dict[str, Host]:
    """Each web host at its own address."""
    addresses = {name: on(name, "hostname -I").split()[0] for name in WEB}
    return {name: replace(host, url=f"https://{address}") for name, address in addresses.items()}


@pytest.fixture
def lost(site: Site) -> Iterator[Guest]:
    """The second, which has its power again afterwards."""
    guest = next(each for each in site.guests if each.name == SECOND)
    assert guest.is_here, "it is to be a guest of this machine"
    yield guest
    if not guest.has_power:
        site.start()


class Client:
    """Sends photos one after the other to the address that answered last, and to the next where it does not.

    `refused`: photos that no address took at once; `turned`: how often it went on to another.
    """

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts
        self.acknowledged: list[dict[str, str]] = []
        self.refused = self.turned = 0
        # Seconds between two that were acknowledged, at most.
        self.longest = 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._send)

    def __enter__(self) -> Client:
        self.thread.start()
        wait(lambda: len(self.acknowledged) > 5, 60, "uploads")
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        print(
            f"{len(self.acknowledged)} acknowledged, {self.refused} refused, {self.turned} times the other"
            f" address, {self.longest:.1f} s at most between two"
        )

    def goes_on(self) -> None:
        number = len(self.acknowledged)
        wait(lambda: len(self.acknowledged) > number + 20, 120, "uploads to go on")

    def _send(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(0.1):
            photo = astronaut_jpeg(uuid.uuid4().int % 10**8)
            for _ in self.hosts:
                if self._takes(self.hosts[0], photo):
                    self.longest = max(self.longest, time.monotonic() - last)
                    last = time.monotonic()
                    break
                self.hosts = [*self.hosts[1:], self.hosts[0]]
                self.turned += 1
            else:
                self.refused += 1

    def _takes(self, host: Host, photo: bytes) -> bool:
        try:
            answer = requests.post(
                f"{host.url}/api/v1/photos", files={"photos": ("a.jpg", photo)},
                headers={"Authorization": f"Bearer {host.key}"}, verify=host.ca, timeout=(2, 15),
            )  # fmt: skip
        except requests.RequestException:
            return False
        if answer.status_code == 202:
            self.acknowledged.append(answer.json()["photos"][0])
        return answer.status_code == 202


def put(host: Host) -> dict[str, str]:
    data = astronaut_jpeg(uuid.uuid4().int % 10**8)
    answer = host.call("POST", "/api/v1/photos", files={"photos": ("a.jpg", data)})
    assert answer.status_code == 202, answer.text
    photo: dict[str, str] = answer.json()["photos"][0]
    return photo


def repaired(name: str) -> bool:
    told = json.loads(on(name, "face-pipeline copies --repair --json || true"))
    return bool(told) and all(each["well"] for each in told)


def test_what_one_takes_the_other_shows_and_either_erases(web: dict[str, Host]) -> None:
    for taking, showing in ((FIRST, SECOND), (SECOND, FIRST)):
        photo = put(web[taking])
        assert all(has(name, photo) for name in WEB)
        shown = web[showing].call("GET", f"/api/v1/photos/{photo['id']}/image")
        assert shown.status_code == 200
        assert web[showing].call("DELETE", f"/api/v1/photos/{photo['id']}").ok
        assert not any(has(name, photo) for name in WEB)


def test_who_signed_in_on_one_is_signed_in_on_the_other(web: dict[str, Host]) -> None:
    one, other = web[FIRST], web[SECOND]
    signed = requests.post(f"{one.url}/session", json={"api_key": one.key}, verify=one.ca, timeout=60)
    assert signed.status_code == 200, signed.text
    seen = requests.get(
        f"{other.url}/api/v1/photos", cookies=signed.cookies.get_dict(), verify=other.ca, timeout=60
    )
    assert seen.status_code == 200
    assert requests.get(f"{other.url}/api/v1/photos", verify=other.ca, timeout=60).status_code == 401


def test_a_client_with_both_addresses_goes_on_while_one_is_lost(
    web: dict[str, Host], site: Site, lost: Guest
) -> None:
    erased = put(web[SECOND])
    # It asks the one that is lost first.
    with Client([web[SECOND], web[FIRST]]) as client:
        lost.cut_power(silently=True)
        client.goes_on()
        assert web[FIRST].call("DELETE", f"/api/v1/photos/{erased['id']}").ok
        site.start()
        wait(lambda: lost.has("systemctl is-active nginx face-web face-copies"), BOOT_SECONDS, "its units")
        client.goes_on()
    assert client.refused == 0, "one address or the other took each"
    there = [
        web[FIRST].call("GET", f"/api/v1/photos/{each['id']}").status_code for each in client.acknowledged
    ]
    assert set(there) == {200}
    wait(lambda: repaired(FIRST), 60, "all copies")
    assert not [each["sha256"] for name in WEB for each in client.acknowledged if not has(name, each)]
    on(FIRST, "systemctl start face-indexer.service")
    assert not any(has(name, erased) for name in WEB)


def test_a_second_run_changes_nothing() -> None:
    again = playbook("../site")
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}, again.stdout
