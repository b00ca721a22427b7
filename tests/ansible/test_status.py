"""playbooks/status.yml: one page of the site, also of hosts that do not answer, and its exit status."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.test_worker_playbooks import AWAY, Workers

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    "site_status", ROOT / "roles/status/filter_plugins/site_status.py"
)
assert spec
assert spec.loader
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SITE = {"url": "https://faces.example.org", "backups": True, "autoscaler": False, "now": 1_000_000.0}


FOLLOWS = {"follows": True, "lost": False, "behind_bytes": 3 * 1024**2, "waited_for": True}


def told(**changed: Any) -> dict[str, Any]:
    """What a host says of itself on which all is well."""
    host: dict[str, Any] = {
        "drift_seconds": 0.4,
        "release": "abc",
        "units": {
            "web": [{"unit": "face-web.service", "state": "active", "restarts": 1}],
            "worker": [{"unit": f"celery@{n}.service", "state": "active", "restarts": 0} for n in (1, 2)],
        },
        "failed_units": [],
        "disks": [{"path": "/", "free_mb": 5000, "total_mb": 9000, "reserve_mb": 1024}],
        "workers": {"workers": 2, "installed": 2, "paused": True, "measured": None},
        "certificate_days": 300,
        "database": {"bytes": 10**9, "connections": 5, "connections_most": 200},
        "redis": {"queues": {"bytes": 1, "bytes_most": 2, "clients": 3}},
        "backups": {"database": {"database": {"1": {"success": 990_000.0, "verified": 990_000.0}}}},
        "alerts": [],
        "doctor": [{"check": "disk", "state": "warn", "found": "9 %", "mend": "", "message": "9 %"}],
        "queues": {"search": 0, "ingest": 4, "waiting": 4, "processing": 2, "failed": 1,
                   "oldest_waiting_seconds": 3.0},
    }  # fmt: skip
    return {"rc": 0, "stdout": json.dumps(host | changed), "stderr": ""}


def test_a_page_of_a_site_on_which_all_is_well_says_so_in_its_last_line() -> None:
    found = page.site_status({"front": told(standbys={"db2": FOLLOWS})}, SITE)
    lines = page.site_page(found)
    assert found["well"]
    assert lines[-1] == "All is well"
    text = "\n".join(lines)
    for words in (
        "2 of 2, by hand",
        "4 waiting, the oldest for 3 s, 2 under way, 1 failed",
        "5 of 200 connections",
        "300 days left",
        "database in repository 1: 2.8 hours ago, read back 0.1 days ago",
        "front: warn disk: 9 %",
        "standby      db2: follows, 3.0 MB behind, changes wait for it",
        "(1.0 reserved)",
    ):
        assert words in text


def test_what_several_alertmanagers_say_is_told_once_also_while_one_is_away() -> None:
    full = {"name": "DiskFull", "severity": "critical", "host": "a", "summary": "no room"}
    slow = {**full, "name": "Slow"}
    for said, away in (({"a": [full], "b": [full, slow]}, []), ({"a": None, "b": [full, slow]}, ["a"])):
        found = page.site_status({host: told(alerts=alerts) for host, alerts in said.items()}, SITE)
        assert found["alerts"] == said
        assert found["wrong"] == [
            *(f"{host}: Alertmanager does not answer" for host in away),
            "alert DiskFull (critical) on a: no room",
            "alert Slow (critical) on a: no room",
        ]
        lines = [line for line in page.site_page(found) if line.startswith("alerts")]
        assert lines == ["alerts       DiskFull, Slow"]


def test_of_several_hosts_that_make_backups_each_is_told_by_its_name() -> None:
    lines = page.site_page(page.site_status({"web1": told(), "web2": told()}, SITE))
    assert [line.split(": ")[0] for line in lines if line.startswith("backup")] == [
        "backup       web1", "backup       web2"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"drift_seconds": -40.0}, "front: its clock is -40 s off"),
        (
            {"disks": [{"path": "/", "free_mb": 500, "total_mb": 9000, "reserve_mb": 1024}]},
            "front: 500 MB are free at /, under the reserve of 1024 MB",
        ),
        (
            {
                "units": {"web": [{"unit": "face-web.service", "state": "failed", "restarts": 5}]},
                "workers": {},
            },
            "front: face-web.service is failed",
        ),
        ({"workers": {"workers": 3}}, "front: 2 of 3 workers run"),
        ({"failed_units": ["face-indexer.service"]}, "front: face-indexer.service has failed"),
        (
            {"units": {"web": [{"unit": "face-web.service", "state": "not-found", "restarts": 0}]}},
            "front: nothing is installed there",
        ),
        ({"certificate_days": 3}, "front: its certificate has 3 days left"),
        ({"database": None}, "front: nobody can be asked about PostgreSQL"),
        ({"redis": {"queues": None}}, "front: Redis (queues) does not answer"),
        ({"standbys": {"db2": {**FOLLOWS, "follows": False}}}, "db2 does not follow the database on front"),
        (
            {"standbys": {"db2": {**FOLLOWS, "lost": True}}},
            "db2 has to be made anew: ./face-ansible site.yml",
        ),
        ({"doctor": None}, "front: `face-pipeline doctor` says nothing"),
        (
            {"doctor": [{"check": "audit", "state": "fail", "message": "an entry does not fit"}]},
            "front: audit: an entry does not fit",
        ),
        ({"backups": {"database": None}}, "front: there is no backup of the database yet"),
        (
            {"backups": {"files": {"originals": {"1": {"success": 100_000.0}}}}},
            "front: the last backup of the originals in repository 1 is 250 hours old",
        ),
        ({"alerts": None}, "front: Alertmanager does not answer"),
        (
            {"alerts": [{"name": "DiskFull", "severity": "critical", "host": "front", "summary": "no room"}]},
            "alert DiskFull (critical) on front: no room",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_not_well_is_named_in_one_line(changed: dict[str, Any], words: str) -> None:
    found = page.site_status({"front": told(**changed)}, SITE)
    assert not found["well"]
    assert len(found["wrong"]) == 1, found["wrong"]
    assert found["wrong"][0].startswith(words)
    assert page.site_page(found)[-1].strip() == found["wrong"][0]


def test_two_releases_at_the_same_time_are_not_well() -> None:
    found = page.site_status({"front": told(), "worker1": told(release="def")}, SITE)
    assert [line for line in found["wrong"] if line.startswith("hosts run 2 releases: abc, def")]


def test_a_host_that_does_not_answer_is_a_line_and_no_end(tmp_path: Path) -> None:
    site = Workers(tmp_path, {"w1": {"ansible_connection": "local"}, "w2": AWAY})
    done = site.play("status", "-e", "face_monitoring_enabled=false")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "\nw2    no " in done.stdout
    assert "\n  w2 does not answer: " in done.stdout
    assert "changed=0" in done.stdout
    assert "changed=1" not in done.stdout
    assert "UNREACHABLE" not in done.stdout + done.stderr

    done = site.play("status", "-e", "format=json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["hosts"]["w1"]["reachable"]
    assert not found["hosts"]["w2"]["reachable"]
    assert not found["well"]
    # The system's states are those of a machine on which nothing was installed.
    assert any(line.startswith("w1: ") for line in found["wrong"])


def test_the_first_host_may_be_the_one_that_does_not_answer(tmp_path: Path) -> None:
    site = Workers(tmp_path, {"w1": AWAY, "w2": {"ansible_connection": "local"}})
    done = site.play("status", "-e", "format=json")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert [name for name, host in found["hosts"].items() if host["reachable"]] == ["w2"]


def test_an_unknown_format_is_one_line_that_lists_them(tmp_path: Path) -> None:
    site = Workers(tmp_path, {"w1": {"ansible_connection": "local"}})
    done = site.play("status", "-e", "format=xml")
    assert done.returncode == 2
    assert "format is 'xml': take -e format=table or json" in done.stdout


def test_who_has_the_address_that_moves_is_said_and_that_it_is_one() -> None:
    def site(*states: dict[str, Any] | None) -> Any:
        hosts = {name: told(address=state) for name, state in zip("abc", states, strict=False)}
        return page.site_status(hosts, SITE)

    has, can = ({"held": held, "able": True, "left": False, "faults": []} for held in (True, False))
    cannot = {"held": False, "able": False, "left": True, "faults": ["Redis at port 1: refused"]}
    good = site(has, can)
    assert good["well"], good["wrong"]
    assert {"address      a: has it", "address      b: can have it"} <= set(page.site_page(good))
    assert "no host has it" in site(can, can)["wrong"][0]
    assert "a, b have it at once" in site(has, has)["wrong"][0]
    wrong = site(has, cannot, None)["wrong"]
    assert "b cannot have the address that moves: Redis at port 1: refused" in wrong
    assert "c cannot have the address that moves: nothing looks whether it could" in wrong
