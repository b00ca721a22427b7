"""The photos of three web hosts in a store that speaks S3.

Needs what tests/hosts/test_whole_site.py needs. It deletes all photos first, for they cannot be moved while
there are several web hosts. Afterwards the site looks for its photos in a bucket that is gone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.hosts import Site, read
from tests.hosts.bucket import BUCKET, Bucket, lent
from tests.hosts.given import check, give
from tests.hosts.test_cluster import on
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_restore import put_in, states
from tests.hosts.test_restore_s3 import succeeds
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.hosts.test_whole_site import AWAY_SECONDS, HOSTS, THREE_ALIKE, chosen, filmed, guest, site_whole
from tests.photos import astronaut_again, astronaut_jpeg

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it moves the photos of three hosts into a store, for a quarter of an hour"),
    THREE_ALIKE,
]
FILES = "find /var/lib/face-pipeline/originals -type f"
ROWS = "runuser -u postgres -- psql -qAt face -c 'SELECT DISTINCT sha256 FROM photos'"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with lent(tmp_path_factory.mktemp("bucket"), *HOSTS) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def stored(bucket: Bucket) -> Path:
    """A file of variables by which photos lie in the bucket."""
    return bucket.file("store", face_originals_store="s3", face_originals_s3=bucket.place("/photos"))


@pytest.fixture(scope="module")
def site() -> Site:
    return read(Path(str(SUMMARY)), Path(str(INVENTORY)))


def objects(bucket: Bucket) -> set[str]:
    """The names of the photos in the bucket."""
    return {name.rpartition("/")[2] for name in bucket.swift.ask("GET", BUCKET).decode().split()}


def files() -> list[str]:
    return [file for name in HOSTS for file in on(name, FILES).split()]


def empty(host: Host) -> None:
    def deleted() -> bool:
        for each in host.call("GET", "/api/v1/collections").json()["collections"]:
            host.call("DELETE", f"/api/v1/collections/{each['name']}")
        return bool(host.call("GET", "/api/v1/photos").json()["photos"] == [])

    wait(deleted, 240, "all photos to be deleted")
    for _ in range(2):
        for name in HOSTS:
            on(name, "systemctl start face-indexer.service")


def test_photos_on_disks_are_in_the_way(host: Host, stored: Path) -> None:
    wait(site_whole, 180, "the site to be whole")
    put_in(host, "before")
    refused = playbook("../site", extra=stored)
    assert refused.returncode != 0
    assert "there are photos in the place of before" in refused.stdout


def test_three_web_hosts_begin_with_a_store(host: Host, bucket: Bucket, stored: Path) -> None:
    empty(host)
    wait(lambda: not files(), 240, "the disks to be empty")
    succeeds("../site", extra=stored)

    given = give(host)
    check(host, given)
    # What was erased is gone; site.yml put one photo in itself.
    assert objects(bucket) == set(on(HOSTS[0], ROWS).split())
    assert files() == []
    for name in HOSTS:
        # Each reads every photo, and compares its hash.
        on(name, "face-pipeline inspect")
        assert on(name, "systemctl is-active face-copies || true").strip() != "active"


def test_the_host_with_the_address_is_lost_and_all_is_there(
    host: Host, site: Site, bucket: Bucket, stored: Path
) -> None:
    del stored
    name = chosen("holder")
    with filmed(host, "store-loss-of-holder") as film:
        film.note(f"{name}, which has the address, loses its power and its cable")
        guest(site, name).cut_power(silently=True)
        time.sleep(AWAY_SECONDS)
        film.note(f"{name} is switched on")
        site.start()
        # A test host that boots writes its /etc/hosts anew.
        bucket.make_known(name)
        wait(site_whole, 240, f"{name} to take part again")


def test_without_the_store_searches_go_on_and_nothing_is_taken(
    host: Host, bucket: Bucket, stored: Path
) -> None:
    del stored
    photo = put_in(host, "away")
    bucket.swift.stop()
    try:
        given = {"photos": ("a.jpg", astronaut_jpeg(7))}
        refused = host.call("POST", "/api/v1/photos", files=given, data={"collection": "away"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "originals_away")
        assert int(refused.headers["Retry-After"]) > 0
        asked = {"photo": ("q.jpg", astronaut_again())}
        searched = host.call("POST", "/api/v1/search", files=asked, data={"collection": "away"})
        assert searched.status_code == 200
        assert searched.json()["faces"][0]["matches"]
    finally:
        bucket.swift.start()

    def taken() -> bool:
        # Each process leaves the store alone for ten seconds.
        answer = host.call("POST", "/api/v1/photos", files=given, data={"collection": "away"})
        return answer.status_code == 202

    wait(taken, 120, "the store to be asked again")
    sha256 = host.call("GET", f"/api/v1/photos/{photo}").json()["sha256"]
    assert sha256 in objects(bucket)
    # Nor does each process remove anything there for so long.
    wait(lambda: host.call("GET", "/health/ready").status_code == 200, 120, "all to be well")
    assert host.call("DELETE", f"/api/v1/photos/{photo}").status_code in (200, 204)
    assert states(host, photo) == [404]
    for name in HOSTS:
        on(name, "systemctl start face-indexer.service")
    assert sha256 not in objects(bucket)


def test_a_second_run_changes_nothing(stored: Path) -> None:
    again = playbook("../site", extra=stored)
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}, again.stdout
