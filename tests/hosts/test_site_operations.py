"""Operations of a database that fails over by itself: backups, and a host that is lost for good.

Needs what tests/hosts/test_site_database.py needs, and backups to repositories that all hosts of the
database reach, none of which lies on the second of them: that host is erased.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.hosts.test_cluster import GROUPS, on
from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_releasing import words
from tests.hosts.test_restore import make_anew
from tests.hosts.test_scaling import playbook
from tests.hosts.test_site_database import FIRST, MEMBERS, SECOND, leader, nothing_changes, uploads, whole

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it erases a host, and installs for minutes"),
    pytest.mark.skipif(
        not (SUMMARY and GROUPS.get("etcd")),
        reason="needs an inventory with hosts in the group etcd (FACE_HOST_INVENTORY)",
    ),
]
FIGURES = "/var/lib/prometheus/node-exporter/face_backup_database.prom"
UNIT = "face-backup-database.service"


@pytest.fixture(scope="module", autouse=True)
def backups_are_on() -> None:
    if on(FIRST, "test -e /etc/face-pipeline/backup.json && echo yes || true").strip() != "yes":
        pytest.skip("this site has no backups (face_backup_enabled)")


def backups(asked: str = FIRST) -> list[dict[str, Any]]:
    """Of all repositories."""
    (told,) = json.loads(
        on(asked, "runuser -u postgres -- pgbackrest --stanza=face info --output=json 2>/dev/null")
    )
    found: list[dict[str, Any]] = told["backup"]
    return found


def timeline(backup: dict[str, Any]) -> int:
    return int(backup["archive"]["stop"][:8], 16)


def by_timer(name: str) -> None:
    """As its timer runs it, now."""
    asked = f"systemctl show -p InvocationID -p ActiveState --value {UNIT}"
    before = on(name, asked).split()
    on(
        name,
        f"printf '[Timer]\\nOnActiveSec=1\\nAccuracySec=1ms\\nUnit={UNIT}\\n'"
        " > /run/systemd/system/face-now.timer; systemctl daemon-reload; systemctl restart face-now.timer",
    )
    wait(
        lambda: (now := on(name, asked).split())[1:] != before[1:] and not now[0].endswith("activating"),
        120,
        "backup",
    )
    on(name, "systemctl stop face-now.timer; rm /run/systemd/system/face-now.timer; systemctl daemon-reload")
    assert on(name, f"systemctl show -p Result --value {UNIT}").strip() == "success"


def figures() -> dict[str, list[str]]:
    """host -> its lines of the last success."""
    return {
        name: re.findall(r"^face_backup_last_success.*", on(name, f"cat {FIGURES}"), re.MULTILINE)
        for name in MEMBERS
    }


def let_lead(name: str) -> None:
    if leader() != name:
        done = playbook("switchover", to=name, yes="true")
        assert done.returncode == 0, done.stdout + done.stderr
    wait(whole, 120, "one leader, and the others streaming")


def test_the_host_that_leads_makes_the_backup_also_after_another_led(host: Host) -> None:
    del host
    let_lead(FIRST)
    made = len(backups())
    done = playbook("backup")
    assert done.returncode == 0, done.stdout + done.stderr
    repositories = {each["database"]["repo-key"] for each in backups()}
    assert len(backups()) == made + len(repositories)

    let_lead(SECOND)
    for name in MEMBERS:
        by_timer(name)
    found = backups(SECOND)
    assert len(found) == made + 2 * len(repositories), "the new leader alone makes one"
    assert timeline(found[-1]) > timeline(found[0])
    assert {name: len(lines) for name, lines in figures().items()} == {
        name: len(repositories) if name == SECOND else 0 for name in MEMBERS
    }
    by_timer(SECOND)
    assert len(backups(SECOND)) == len(found), "it was made already"
    for name in MEMBERS:
        on(name, f"systemctl is-failed --quiet {UNIT} && exit 1 || true")
    on(SECOND, "runuser -u postgres -- pgbackrest --stanza=face --log-level-console=warn check")


def test_each_host_of_the_database_restores_on_trial(host: Host) -> None:
    del host
    done = playbook("drill")
    assert done.returncode == 0, done.stdout + done.stderr
    assert words(done).count("every page and index whole") >= len(MEMBERS)


def test_an_empty_host_takes_the_place_of_one_that_is_lost(host: Host) -> None:
    let_lead(FIRST)
    refused = playbook("replace_host", host=SECOND, yes="true")
    assert refused.returncode != 0
    assert "is a part of the database already" in words(refused)
    make_anew(SECOND)
    refused = playbook("../site")
    assert refused.returncode != 0
    assert f"playbooks/replace_host.yml -e host={SECOND}".split("=")[0] in words(refused)
    with uploads(host):
        done = playbook("replace_host", host=SECOND, yes="true")
        assert done.returncode == 0, done.stdout + done.stderr
    wait(whole, 120, "one leader, and the others streaming")
    nothing_changes()
