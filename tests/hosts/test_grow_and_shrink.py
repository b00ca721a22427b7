"""From three hosts that are alike to one, and to three again: what a client of the one that stays sees.

Needs what test_whole_site needs. The host that stays is the first of the group `web`; the others are erased
on the way. Of each way a film is kept in FACE_RESULTS, or shown with -s.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.hosts.test_cluster import GROUPS, KILLED, on
from tests.hosts.test_host import Host, wait
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.hosts.test_site_database import leader
from tests.hosts.test_whole_site import COLLECTION, HOSTS, THREE_ALIKE, Film, all_there, shown, site_whole

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it installs on three hosts, for half an hour"),
    THREE_ALIKE,
]
STAYS = (GROUPS.get("web") or [""])[0]
LEAVE = [name for name in HOSTS if name != STAYS]
# Of a host that shares its cores with others. Uploads wait while PostgreSQL is restarted.
UPLOADS_WITHIN = 90
OWN = f"{COLLECTION}-before"
PRESENT = "sha256sum /var/lib/face-pipeline/originals/*/*/* | cut -c-64"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inventory with the host that stays in every group, and the others in the group `leaving`."""
    told = yaml.safe_load(Path(str(INVENTORY)).read_text())
    for values in told["all"]["hosts"].values():
        values.pop("face_virtual_address", None)
    groups = {group: [STAYS] for group in ("proxy", "web", "workers", "redis", "postgres", "monitoring")}
    told["all"]["children"] = {
        group: {"hosts": dict.fromkeys(hosts)} for group, hosts in {**groups, "leaving": LEAVE}.items()
    }
    path = tmp_path_factory.mktemp("inventory") / "one.yml"
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def stays(host: Host) -> Host:
    """The host that stays, at its own address."""
    return replace(host, url=f"https://{on(STAYS, 'hostname -I').split()[0]}")


@contextmanager
def under_load(stays: Host, name: str) -> Iterator[Film]:
    """For the block, a page, a search and an upload every other second; afterwards no photo is missing."""
    film = Film(stays, every=2)
    try:
        with film:
            wait(lambda: len(film.acknowledged) > 5, 60, "uploads")
            yield film
            number = len(film.acknowledged)
            wait(lambda: len(film.acknowledged) > number + 5, 120, "uploads afterwards")
    finally:
        # Also of a run that failed.
        shown(film, name)
        for what, shots in film.shots.items():
            words = [shot.word for shot in shots if not shot.ok]
            print(f"{what}: {len(shots)} asked, {len(words)} not answered: {sorted(set(words))}")
    all_there(stays, film.acknowledged)
    assert film.outage("upload") < UPLOADS_WITHIN


def no_change(inventory: Path | str | None) -> None:
    again = playbook("../site", inventory=inventory)
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}, again.stdout


def ledger(name: str) -> set[str]:
    query = "SELECT DISTINCT sha256 FROM photos"
    return set(on(name, f"cd /; runuser -u postgres -- psql -XqAt face -c '{query}'").split())


def test_three_hosts_become_one(stays: Host, one: Path) -> None:
    wait(site_whole, 180, "the site to be whole")
    refused = playbook("../site", inventory=one)
    assert refused.returncode != 0
    assert "playbooks/shrink.yml" in " ".join(refused.stdout.split())
    planned = playbook("shrink", inventory=one, do="plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "nothing was changed" in planned.stdout
    assert site_whole()

    began = on(STAYS, "date +%s").strip()
    with under_load(stays, "three-to-one") as film:
        film.note(f"shrink.yml begins; {leader()} leads")
        # Their data lies on disks of its own.
        done = playbook("shrink", inventory=one, yes="true", data="remove", anyway="true")
        film.note(f"shrink.yml ended: {done.returncode}")
    assert done.returncode == 0, done.stdout + done.stderr

    assert not re.search(KILLED, on(STAYS, f"journalctl -u 'celery@*' -o cat --no-pager --since @{began}"))
    assert ledger(STAYS) <= set(on(STAYS, PRESENT).split()), "its disk has each photo of the ledger"
    on(STAYS, "systemctl is-active postgresql@17-main nginx face-web celery@1 redis-server prometheus")
    for unit in ("patroni@17-main", "etcd", "face-keepalived", "face-copies"):
        assert on(STAYS, f"systemctl is-active {unit}", check=False).strip() != "active"
    slots = "SELECT slot_name FROM pg_replication_slots"
    assert on(STAYS, f"cd /; runuser -u postgres -- psql -XqAt -c '{slots}'").strip() == ""
    for name in LEAVE:
        # A disk of its own stays where it is mounted, empty.
        left = "find /etc/face-pipeline /var/lib/face-pipeline /var/lib/postgresql -type f"
        assert on(name, left, check=False) == ""


def test_a_second_run_on_the_one_changes_nothing(one: Path) -> None:
    no_change(one)


def test_one_host_becomes_three(stays: Host) -> None:
    began = stays.upload_many(OWN), stays.upload_many(OWN)
    for each in began:
        wait(lambda each=each: (stays.batch(each) or {}).get("finished"), 180, "photos to be done")
    had = ledger(STAYS)
    with under_load(stays, "one-to-three") as film:
        film.note("site.yml begins")
        done = playbook("../site")
        film.note(f"site.yml ended: {done.returncode}")
    assert done.returncode == 0, done.stdout + done.stderr

    wait(site_whole, 180, "the site to be whole")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not copied():
        time.sleep(5)
    for name in HOSTS:
        assert had <= set(on(name, PRESENT).split()), f"{name} has what there was before"


def copied() -> bool:
    told = json.loads(on(STAYS, "face-pipeline copies --repair --json || true"))
    return bool(told) and all(each["well"] for each in told)


def test_a_second_run_on_the_three_changes_nothing() -> None:
    no_change(INVENTORY)
