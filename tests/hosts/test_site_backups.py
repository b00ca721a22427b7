"""Backups of a site whose database fails over by itself, to one bucket, and the way back from there.

Needs what tests/hosts/test_whole_site.py needs. Afterwards the site has no backups.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.bucket import Bucket, lent
from tests.hosts.given import check, give
from tests.hosts.test_cluster import on
from tests.hosts.test_host import Host, wait
from tests.hosts.test_releasing import words
from tests.hosts.test_restore import moment, put_in, restore, states, whole
from tests.hosts.test_restore_s3 import succeeds
from tests.hosts.test_scaling import playbook
from tests.hosts.test_site_database import leader
from tests.hosts.test_whole_site import HOSTS, THREE_ALIKE, filmed, site_whole

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it installs backups on three hosts and restores them, for half an hour"),
    THREE_ALIKE,
]
FIGURES = "/var/lib/prometheus/node-exporter/face_backup_{}.prom"
SUCCESS = re.compile(r'^face_backup_last_success\S*part="(\w+)"', re.MULTILINE)
ORIGINALS = "/var/lib/face-pipeline/originals"
BEFORE = "/var/lib/postgresql/17/main.before"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with lent(tmp_path_factory.mktemp("bucket"), *HOSTS) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def backups(bucket: Bucket) -> Path:
    """A file of variables that switches backups on."""
    key = bucket.directory / "recipient"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    recipient = key.with_suffix(".pub").read_text().strip()
    return bucket.variables("backups", face_backup_enabled=True, face_backup_recipients=[recipient])


def lead_elsewhere() -> str:
    """Which host leads the database from then on: not the one that settles what was restored."""
    if leader() == HOSTS[0]:
        succeeds("switchover", to=HOSTS[1], yes="true")
    wait(site_whole, 180, "the site to be whole")
    return leader()


def figures() -> dict[str, set[str]]:
    """host -> of what it says when it was saved last."""
    found = "cat {} {} 2>/dev/null || true".format(*map(FIGURES.format, ("database", "files")))
    return {name: set(SUCCESS.findall(on(name, found))) for name in HOSTS}


def kept() -> list[str]:
    """Hosts that keep what was there before a restore."""
    return [name for name in HOSTS if on(name, f"test -e {BEFORE} && echo yes || true").strip()]


def test_each_host_saves_its_part(host: Host, backups: Path) -> None:
    wait(site_whole, 180, "the site to be whole")
    # PostgreSQL is restarted on each.
    with filmed(host, "backups-on", every=5):
        succeeds("../site", extra=backups)
    put_in(host, "saved")
    succeeds("backup", extra=backups)
    for name in HOSTS:
        # As its timer does each hour: one that led before has no figures any more.
        if name != leader():
            on(name, "systemctl start face-backup-database.service")
    files = {"originals", "configuration"}
    assert figures() == {name: files | ({"database"} if name == leader() else set()) for name in HOSTS}
    assert succeeds("drill", extra=backups).count("every page and index whole") == len(HOSTS)


def test_a_moment_comes_back_on_all_hosts_and_is_left_again(host: Host, backups: Path) -> None:
    leads = lead_elsewhere()
    given = give(host)
    erased = put_in(host, "moment")
    succeeds("backup", extra=backups)
    at = moment(host)
    late = put_in(host, "moment")
    assert host.call("DELETE", f"/api/v1/photos/{erased}").status_code in (200, 204)

    done = restore(at=f'"{at}"', extra=backups)
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(host, late, erased) == [404, 404]
    check(host, given)
    assert whole(host)
    wait(site_whole, 180, "the site to be whole")
    assert (leader(), kept()) == (leads, [leads])
    newer = put_in(host, "moment")

    # Whichever host leads by then: the one that keeps what was there before leads it.
    succeeds("switchover", to=next(name for name in HOSTS if name != leads), yes="true")
    back = restore(do="back", extra=backups)
    assert back.returncode == 0, back.stdout + back.stderr
    assert states(host, late, erased, newer) == [200, 404, 404]
    check(host, given)
    assert whole(host)
    wait(site_whole, 180, "the site to be whole")
    assert (leader(), kept()) == (leads, [])


def test_a_restore_that_fails_leaves_all_as_it_was(host: Host, backups: Path) -> None:
    photo = put_in(host, "fails")
    # No log of this timeline exists.
    done = restore(timeline=99, extra=backups)
    assert done.returncode != 0
    assert "nothing was restored, for" in words(done)
    assert "The service runs with the data it had" in words(done)
    assert states(host, photo) == [200]
    wait(site_whole, 180, "the site to be whole")
    assert kept() == []


def test_photos_that_no_disk_has_any_more_come_back(host: Host, backups: Path) -> None:
    given = give(host)
    succeeds("backup", extra=backups)
    late = put_in(host, "lost")
    for name in HOSTS:
        on(name, f"rm -rf {ORIGINALS}/??")
    done = restore(extra=backups)
    assert done.returncode == 0, done.stdout + done.stderr
    check(host, given)
    # Of after the last backup: the row came by the log, and nobody has the file.
    assert states(host, late) == [200]
    assert not whole(host)
    assert host.call("DELETE", f"/api/v1/photos/{late}").status_code in (200, 204)
    assert whole(host)
    done = restore(do="forget", extra=backups)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kept() == []


def test_a_second_run_changes_nothing(backups: Path) -> None:
    again = playbook("../site", extra=backups)
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}, again.stdout


def test_switched_off_nobody_hands_over_the_log(backups: Path) -> None:
    del backups
    succeeds("data")
    for name in HOSTS:
        assert on(name, "runuser -u postgres -- psql -XAtc 'SHOW archive_mode'").strip() == "off", name
        assert on(name, "systemctl list-timers --all --no-legend 'face-backup-*'").strip() == "", name
    wait(site_whole, 180, "the site to be whole")
