"""The data of an installed host as it was at a moment, by the operator's commands, and back."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.hosts.given import check, give
from tests.hosts.test_cluster import GROUPS, on, way
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_releasing import words
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.photos import astronaut_jpeg

RECIPIENT = os.environ.get("FACE_HOST_RECIPIENT")
# The first is the one that is asked from outside.
HOSTS = list(dict.fromkeys([*GROUPS.get("web", []), *GROUPS.get("postgres", [])]))
DATABASE = next(iter(GROUPS.get("postgres", [])), "")
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def backups(host: Host) -> None:
    if host.run("test -e /etc/face-pipeline/backup.json && echo yes || true").strip() != "yes":
        pytest.skip("this host has no backups (face_backup_enabled); molecule/restore has")


def over_ssh(name: str, command: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run([*way(name), command], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"{name}: {command}: {done.stderr.decode()}"
    return done.stdout


def on_all(command: str) -> str:
    return "".join(on(name, command) for name in HOSTS)


def keep_disks(name: str) -> bytes:
    """What lies in a host's repositories."""
    return over_ssh(name, "tar -C /mnt -cz backup second")


def put_back(name: str, disks: bytes) -> None:
    """On a new host, where the users had other numbers."""
    over_ssh(
        name, "tar -C /mnt -xz && find /mnt -maxdepth 2 -name database -exec chown -R 4711:4711 {} +", disks
    )


def make_anew(*names: str) -> None:
    """Empty hosts in the place of lost ones."""
    for verb in ("destroy", "create"):
        done = playbook(f"machines/{verb}", machine_guests=list(names))
        assert done.returncode == 0, done.stdout + done.stderr


def put_in(host: Host, collection: str) -> str:
    photo = astronaut_jpeg(uuid.uuid4().int % 10**8)
    answer = host.call(
        "POST", "/api/v1/photos", files=[("photos", ("a.jpg", photo))], data={"collection": collection}
    )
    assert answer.status_code == 202, answer.text
    name: str = answer.json()["photos"][0]["id"]
    wait(lambda: host.call("GET", f"/api/v1/photos/{name}").json()["state"] == "done", 240, f"photo {name}")
    return name


def states(host: Host, *photos: str) -> list[int]:
    """The status of the answer for each photo."""
    return [host.call("GET", f"/api/v1/photos/{photo}").status_code for photo in photos]


def whole(host: Host) -> bool:
    """Whether every original is there, and has its bytes."""
    return host.run("face-pipeline inspect >/dev/null 2>&1; echo $?").strip() == "0"


def moment(host: Host) -> str:
    """Now, apart from what was before and what comes."""
    time.sleep(2)
    at = host.run("date -u '+%F %T'").strip()
    time.sleep(2)
    return at


def restore(**variables: object) -> Any:
    return playbook("restore", yes="true", **variables)


def test_what_was_there_at_a_moment_comes_back_and_what_was_erased_since_does_not(host: Host) -> None:
    collection = f"restore-{uuid.uuid4().hex[:8]}"
    kept, erased = put_in(host, collection), put_in(host, collection)
    made = host.call("POST", "/api/v1/keys", json={"name": collection, "scopes": ["read"]}).json()
    saved = playbook("backup")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    # A change of the log at least, before and after the moment.
    at = moment(host)
    late = put_in(host, collection)
    assert host.call("DELETE", f"/api/v1/photos/{erased}").status_code in (200, 204)
    assert host.call("DELETE", f"/api/v1/keys/{made['id']}").status_code in (200, 204)
    identity = "cat /etc/machine-id; systemctl list-units --plain --no-legend --state=failed"
    before = on_all(identity)

    planned = playbook("restore", do="plan", at=f'"{at}"')
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert f"to {at}+00:00, from the backup" in words(planned)
    assert states(host, kept, late) == [200, 200]

    done = restore(at=f'"{at}"')
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(host, kept, late, erased) == [200, 404, 404]
    assert whole(host)
    key = {"X-API-Key": made["api_key"]}
    answer = requests.get(f"{host.url.rstrip('/')}/api/v1/photos", headers=key, verify=host.ca, timeout=60)
    assert answer.status_code == 401
    newer = put_in(host, collection)
    assert on_all(identity) == before

    again = restore()
    assert again.returncode != 0
    assert "-e do=back goes back to it, -e do=forget removes it" in words(again)

    back = restore(do="back")
    assert back.returncode == 0, back.stdout + back.stderr
    assert states(host, kept, late, erased, newer) == [200, 200, 404, 404]
    assert whole(host)
    assert "keeps nothing from before a restore" in words(restore(do="back"))


def test_a_restore_that_fails_is_taken_back(host: Host) -> None:
    photo = put_in(host, "restore-fails")
    # No log of this timeline exists.
    done = restore(timeline=9)
    assert done.returncode != 0
    assert "nothing was restored, for" in words(done)
    assert "The service runs with the data it had" in words(done)
    assert states(host, photo) == [200]
    put_in(host, "restore-fails")


def test_all_there_is_comes_back_and_is_accepted(host: Host) -> None:
    photo = put_in(host, "restore-end")
    saved = playbook("backup")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    late = put_in(host, "restore-end")
    sha256 = host.call("GET", f"/api/v1/photos/{photo}").json()["sha256"]
    path = f"/var/lib/face-pipeline/originals/{sha256[:2]}/{sha256[2:4]}/{sha256}"
    host.run(f"chmod u+w {path}; printf x | dd of={path} conv=notrunc bs=1 status=none")
    assert not whole(host)
    done = restore(repository=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(host, photo, late) == [200, 200]
    assert whole(host)
    accepted = restore(do="forget")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert on_all("ls -d /var/lib/postgresql/*/main.before 2>/dev/null || true") == ""


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"at": "yesterday"}, 'write it as "2026-11-25 10:00", in UTC'),
        ({"at": '"2150-01-01 00:00"'}, "which is yet to come"),
        ({"at": '"2001-01-01 00:00"'}, "2001-01-01 00:00:00+00:00 is before that"),
        ({"repository": 7}, "take -e repository=1, or 2"),
        ({"do": "undo"}, "take -e do=restore, plan, back or forget"),
        ({"erasures": "maybe"}, "take -e erasures=apply, or none"),
    ],
)
def test_a_wish_that_cannot_be_is_one_clear_line_and_changes_nothing(
    host: Host, wish: dict[str, Any], said: str
) -> None:
    since = "systemctl show -p ActiveEnterTimestamp face-web postgresql@17-main"
    before = on_all(since)
    done = restore(**wish)
    assert done.returncode != 0
    assert said in words(done)
    assert on_all(since) == before


def test_a_trial_brings_the_database_back_from_each_repository_and_leaves_nothing() -> None:
    done = playbook("drill")
    assert done.returncode == 0, done.stdout + done.stderr
    for repository in (1, 2):
        assert f"repository {repository}: restored in" in words(done)
    assert "every page and index whole" in words(done)
    assert on(DATABASE, "ls /var/lib/face-backup/drill").split() == ["last.json"]
    figures = on(DATABASE, "cat /var/lib/prometheus/node-exporter/face_backup_drill.prom")
    assert 'face_restore_drill_success_timestamp_seconds{repository="2"} 1' in figures


def test_a_repository_whose_files_are_damaged_fails_the_trial_and_the_other_does_not() -> None:
    place = "/mnt/second/database/backup/face"
    on(DATABASE, f"mv {place} {place}.away")
    try:
        done = playbook("drill")
        assert done.returncode != 0
        assert "the restore from repository 2 failed: there is no backup yet" in words(done)
        assert "repository 1: restored in" in words(done)
    finally:
        on(DATABASE, f"mv {place}.away {place}; systemctl reset-failed face-backup-drill")


def bring_back(host: Host, given: dict[str, Any]) -> None:
    """Restore, and go on from there: photos come in, and the next backup is made."""
    done = restore()
    assert done.returncode == 0, done.stdout + done.stderr
    check(host, given)
    assert whole(host)
    put_in(host, given["collection"])
    accepted = restore(do="forget")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    saved = playbook("backup")
    assert saved.returncode == 0, saved.stdout + saved.stderr


@pytest.mark.skipif(len(HOSTS) < 2, reason="the database is on the same host: molecule/apart has two")
def test_the_host_of_the_database_is_lost_and_a_new_one_takes_its_place(host: Host) -> None:
    """The web host has its photos and stays; the new one has the disk with the backups alone."""
    given = give(host)
    saved = playbook("backup")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    disks = keep_disks(DATABASE)
    make_anew(DATABASE)
    put_back(DATABASE, disks)
    installed = playbook("../site")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    bring_back(host, given)


# The last one: the hosts are others afterwards.
def test_hosts_that_are_lost_with_their_controller_come_back_on_empty_ones(host: Host) -> None:
    """Left are the disks with the repositories, whose users had other numbers, and one private key."""
    if not RECIPIENT:
        pytest.skip(
            "needs a private key that opens the sealed secrets (FACE_HOST_RECIPIENT): molecule/restore"
        )
    given = give(host)
    saved = playbook("backup")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    disks = {name: keep_disks(name) for name in HOSTS}
    secrets = Path(host.ca).parent
    make_anew(*HOSTS)
    assert not secrets.exists()

    host.run("apt-get -qq update && apt-get -qq install -y age >/dev/null")
    for name, kept in disks.items():
        put_back(name, kept)
    key = Path(RECIPIENT).read_bytes()
    opened = over_ssh(HOSTS[0], "age --decrypt -i - /mnt/backup/sealed/secrets.tar.age", key)
    secrets.mkdir(mode=0o700)
    with tarfile.open(fileobj=io.BytesIO(opened)) as archive:
        archive.extractall(secrets, filter="data")

    installed = playbook("../site")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert host.call("GET", f"/api/v1/photos/{given['erased']}").status_code == 404
    bring_back(host, given)
