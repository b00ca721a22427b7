"""A database that fails over by itself: what is acknowledged stays, whichever of its hosts is lost.

Needs guests of this machine, and an inventory of one file with the groups `postgres`, `standbys` and
`etcd`, of which the first host of `standbys` has nothing else that others need. Afterwards the first leads.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.campaign.hosts import Site, read
from tests.hosts.test_cluster import GROUPS, on
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.hosts.test_standby import Uploader, missing

MEMBERS = [*GROUPS.get("postgres", []), *GROUPS.get("standbys", [])]
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it takes hosts' power, and installs for minutes"),
    pytest.mark.skipif(
        not (SUMMARY and GROUPS.get("etcd")),
        reason="needs an inventory with hosts in the group etcd (FACE_HOST_INVENTORY)",
    ),
]
FIRST = (MEMBERS or [""])[0]
SECOND = (MEMBERS[1:] or [""])[0]
# Of Patroni's settings: ttl, loop_wait and the promotion; what the machine adds is not ours.
FAILOVER_SECONDS = 60
PATRONI = "https://$(hostname -I | cut -d' ' -f1):8008/cluster"
ASK = f"curl -s --max-time 5 --cacert /etc/face-pipeline/ca.crt {PATRONI}"


@pytest.fixture(scope="module")
def site() -> Site:
    return read(Path(str(SUMMARY)), Path(str(INVENTORY)))


def members(asked: str = FIRST) -> dict[str, tuple[str, str]]:
    """Of each host its role and state, as one of them says."""
    told = on(asked, ASK, check=False)
    found = json.loads(told)["members"] if told.strip() else []
    return {each["name"]: (each["role"], each["state"]) for each in found}


def leader(asked: str = FIRST) -> str:
    return next((name for name, (role, _) in members(asked).items() if role == "leader"), "")


def whole(asked: str = FIRST) -> bool:
    found = members(asked)
    states = sorted(state for role, state in found.values() if role != "leader")
    return len(found) == len(MEMBERS) and states == ["streaming"] * (len(MEMBERS) - 1)


@contextmanager
def uploads(host: Host) -> Iterator[Uploader]:
    """Under which the longest time without one is measured."""
    with Uploader(host) as uploader:
        wait(lambda: len(uploader.acknowledged) > 5, 60, "uploads")
        yield uploader
        number = len(uploader.acknowledged)
        wait(lambda: len(uploader.acknowledged) > number + 3, 120, "uploads afterwards")
    assert missing(host, uploader.acknowledged) == []
    print(
        f"{len(uploader.acknowledged)} acknowledged, {uploader.refused} refused,"
        f" {uploader.longest:.1f} s at most between two"
    )


def nothing_changes() -> None:
    again = playbook("../site")
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(re.findall(r"changed=(\d+)", again.stdout)) == {"0"}, again.stdout


def test_all_hosts_are_one_database() -> None:
    wait(whole, 60, "one leader, and the others streaming")
    assert on(leader(), "runuser -u postgres -- psql -XAtc 'SHOW synchronous_standby_names'").startswith(
        "ANY 1"
    )


def test_a_killed_server_comes_back(host: Host) -> None:
    with uploads(host):
        on(leader(), "kill -9 $(head -n 1 /var/lib/postgresql/17/main/postmaster.pid)")
        wait(whole, FAILOVER_SECONDS, "one leader, and the others streaming")


def test_another_host_leads_on_request(host: Host) -> None:
    refused = playbook("promote", yes="true")
    assert refused.returncode != 0
    assert "playbooks/switchover.yml" in " ".join(refused.stdout.split())
    with uploads(host):
        done = playbook("switchover", to=SECOND, yes="true")
        assert done.returncode == 0, done.stdout + done.stderr
    assert leader() == SECOND
    again = playbook("switchover", to=SECOND, yes="true")
    assert again.returncode == 0, again.stdout
    assert "leads already" in again.stdout


def test_a_host_that_is_lost_silently_loses_nothing_and_comes_back(host: Host, site: Site) -> None:
    guest = next(each for each in site.guests if each.name == SECOND)
    assert guest.is_here, "it is to be a guest of this machine"
    if leader() != SECOND:
        assert playbook("switchover", to=SECOND, yes="true").returncode == 0
    wait(whole, 60, "one leader, and the others streaming")
    with uploads(host):
        guest.cut_power(silently=True)
        lost = time.monotonic()
        wait(lambda: leader() not in ("", SECOND), FAILOVER_SECONDS, "another leader")
        print(f"another leads after {time.monotonic() - lost:.0f} s")
    refused = playbook(
        "switchover", to=next(each for each in MEMBERS if each not in (SECOND, leader())), yes="true"
    )
    assert refused.returncode != 0
    assert "anyway=true" in refused.stdout

    site.start()
    booted = time.monotonic()
    wait(whole, 180, f"{SECOND} to follow")
    print(f"it follows {time.monotonic() - booted:.0f} s after it was switched on")


def test_a_second_run_changes_nothing_after_a_failover() -> None:
    nothing_changes()


def test_the_first_leads_again(host: Host) -> None:
    with uploads(host):
        done = playbook("switchover", to=FIRST, yes="true")
        assert done.returncode == 0, done.stdout + done.stderr
    wait(whole, 60, "one leader, and the others streaming")
