"""A standby of the database: it has what the database has, takes its place, and the host that had it follows.

Needs an inventory of one file whose groups are `postgres`, `standbys` and others, with face_standby_required.
Afterwards the database is where it was.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from tests.hosts.test_cluster import GROUPS, on
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.photos import astronaut_jpeg

STANDBYS = [] if GROUPS.get("etcd") else GROUPS.get("standbys", [])
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it kills the database, and installs for minutes"),
    pytest.mark.skipif(
        not (SUMMARY and STANDBYS),
        reason="needs an inventory with hosts in the group standbys (FACE_HOST_INVENTORY)",
    ),
]
FIRST = (GROUPS.get("postgres") or [""])[0]
SECOND = (STANDBYS or [""])[0]
UNIT = "postgresql@17-main"
FOLLOW_SECONDS = 60


def asked(name: str, statement: str, check: bool = True) -> str:
    return on(name, f'runuser -u postgres -- psql -XAtc "{statement}" face', check=check).strip()


def follows(name: str) -> bool:
    return asked(name, "SELECT status FROM pg_stat_wal_receiver", check=False) == "streaming"


@pytest.fixture
def changed_places() -> Iterator[Path]:
    """The inventory in which the standby is the database's host, and the other way round."""
    given = Path(str(INVENTORY))
    inventory = yaml.safe_load(given.read_text())
    children = inventory["all"]["children"]
    children["postgres"], children["standbys"] = {"hosts": {SECOND: {}}}, {"hosts": {FIRST: {}}}
    # Beside the other, so that the secrets are the same.
    path = given.with_name("changed-places.yml")
    path.write_text(yaml.safe_dump(inventory, sort_keys=False))
    yield path
    path.unlink()


class Uploader:
    """Sends photos one after the other, and keeps those that were acknowledged."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.acknowledged: list[str] = []
        self.refused = 0
        # Seconds between two that were acknowledged, at most.
        self.longest = 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._send)

    def __enter__(self) -> Uploader:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _send(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(0.2):
            photo = astronaut_jpeg(uuid.uuid4().int % 10**8)
            try:
                answer = self.host.call(
                    "POST", "/api/v1/photos", files={"photos": ("a.jpg", photo)},
                    data={"collection": "standby"},
                )  # fmt: skip
            except requests.RequestException:
                self.refused += 1
                continue
            if answer.status_code == 202:
                self.acknowledged.append(answer.json()["photos"][0]["id"])
                self.longest = max(self.longest, time.monotonic() - last)
                last = time.monotonic()
            else:
                self.refused += 1


def missing(host: Host, photos: list[str]) -> list[str]:
    return [each for each in photos if host.call("GET", f"/api/v1/photos/{each}").status_code != 200]


def test_what_is_acknowledged_is_on_the_standby(host: Host) -> None:
    with Uploader(host) as uploader:
        wait(lambda: len(uploader.acknowledged) > 3, 60, "uploads")
    listed = ", ".join(f"'{each}'" for each in uploader.acknowledged)
    count = f"SELECT count(*) FROM photos WHERE id IN ({listed})"
    wait(lambda: asked(SECOND, count) == str(len(uploader.acknowledged)), 30, "rows on the standby")
    assert asked(FIRST, "SELECT active FROM pg_replication_slots WHERE slot_name ~ 'face_standby'") == "t"


def test_a_database_that_is_lost_goes_on_on_its_standby_and_its_host_follows(
    host: Host, changed_places: Path
) -> None:
    with Uploader(host) as uploader:
        wait(lambda: len(uploader.acknowledged) > 5, 60, "uploads")
        # As after a loss of power: it does not say goodbye, and does not come back.
        on(FIRST, f"systemctl mask --runtime {UNIT}; systemctl kill -s KILL {UNIT}")
        lost = time.monotonic()
        done = playbook("promote", inventory=changed_places, yes="true")
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"from the loss to the end of promote.yml: {time.monotonic() - lost:.0f} s")
        number = len(uploader.acknowledged)
        wait(lambda: len(uploader.acknowledged) > number + 3, 60, "uploads afterwards")
    print(f"{len(uploader.acknowledged)} acknowledged, {uploader.refused} refused")
    assert "has taken the database's place" in done.stdout
    assert missing(host, uploader.acknowledged) == []
    assert asked(SECOND, "SELECT pg_is_in_recovery()") == "f"

    # It comes back, and is not written to.
    on(FIRST, f"systemctl unmask --runtime {UNIT}; systemctl start {UNIT}")
    wait(
        lambda: asked(FIRST, "SELECT pg_is_in_recovery()", check=False) == "t",
        60,
        "a database that only reads",
    )
    refused = playbook("../site", inventory=changed_places)
    assert refused.returncode != 0
    assert f"standby_anew={FIRST}" in " ".join(refused.stdout.split())

    anew = playbook("../site", inventory=changed_places, standby_anew=FIRST)
    assert anew.returncode == 0, anew.stdout + anew.stderr
    wait(lambda: follows(FIRST), FOLLOW_SECONDS, "the other to follow")
    assert missing(host, uploader.acknowledged) == []


def test_a_second_run_changes_nothing(changed_places: Path) -> None:
    again = playbook("../site", inventory=changed_places)
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}, again.stdout


def test_a_reboot_keeps_it(host: Host) -> None:
    for name in (FIRST, SECOND):
        on(name, "systemctl reboot", check=False)
    wait(
        lambda: "running" in on(SECOND, "systemctl is-active face.target && echo running", check=False),
        180,
        SECOND,
    )
    wait(lambda: follows(FIRST), 180, "the standby after a reboot")
    with Uploader(host) as uploader:
        wait(lambda: len(uploader.acknowledged) > 1, 180, "uploads after a reboot")


def test_a_database_that_works_moves_back_without_a_loss(host: Host) -> None:
    refused = playbook("promote", yes="true")
    assert refused.returncode != 0
    assert "-e stop=true" in refused.stdout
    with Uploader(host) as uploader:
        wait(lambda: len(uploader.acknowledged) > 3, 60, "uploads")
        done = playbook("promote", yes="true", stop="true")
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"it has all that {SECOND} had" in " ".join(done.stdout.split())
    assert missing(host, uploader.acknowledged) == []
    anew = playbook("../site", standby_anew=SECOND)
    assert anew.returncode == 0, anew.stdout + anew.stderr
    wait(lambda: follows(SECOND), FOLLOW_SECONDS, "the first standby to follow")
