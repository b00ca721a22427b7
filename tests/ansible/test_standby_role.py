"""Standbys of the database: what is written on which host, what is refused, and what a promotion does."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.ansible.programs import load
from tests.ansible.test_copies_role import played

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/standby"
faults = load("roles/standby/filter_plugins/standby_faults.py")
program = load("roles/standby/files/standby.py")
fence = load("roles/standby/files/fence.py")

# `front` has the database, `both` and `keeper` follow.
GROUPS = {
    **{group: ["front"] for group in ("proxy", "web", "postgres", "redis")},
    "workers": ["front", "both"],
    "standbys": ["both", "keeper"],
}
ALONE = {group: members for group, members in GROUPS.items() if group != "standbys"}


def rendered(groups: dict[str, list[str]], **given: Any) -> dict[str, str]:
    """HOST-FILE -> its text, for the hosts of the database."""
    with TemporaryDirectory(prefix="standby-") as name:
        directory = Path(name)
        made = f"{directory}/{{{{ inventory_hostname }}}}"
        vars_files = [
            {"ansible.builtin.include_vars": f"{ROOT}/roles/{role}/{part}/main.yml"}
            for role in ("postgres", "standby")
            for part in ("defaults", "vars")
        ]
        access = yaml.safe_load((ROOT / "roles/postgres/tasks/configure.yml").read_text())
        (block,) = (task for task in access if "block" in task)
        (lines,) = (task for task in block["block"] if "pipeline's hosts" in task["name"])
        lines["ansible.builtin.blockinfile"] |= {"path": f"{made}-hba", "create": True, "insertbefore": "EOF"}
        templates = [
            {"ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{made}-{file}"}}
            for file, source in (
                ("conf", "postgres/templates/face.conf.j2"),
                ("standby", "standby/templates/face-standby.conf.j2"),
                ("required", "standby/templates/face-required.conf.j2"),
                ("fence", "standby/templates/fence.json.j2"),
                ("slots", "standby/templates/slots.sql.j2"),
            )
        ]
        tasks = [
            *vars_files,
            {"ansible.builtin.meta": "end_host", "when": "inventory_hostname not in face_database_hosts"},
            lines,
            *templates,
        ]
        status, said = played(
            directory,
            tasks,
            groups,
            ansible_managed="made",
            postgres_plain={"rc": 1},
            role_path=str(ROLE),
            **given,
        )
        assert status == 0, said
        return {path.name: path.read_text() for path in directory.iterdir() if path.name.count("-") == 1}


@cache
def written() -> dict[str, str]:
    return rendered(GROUPS, face_standby_required=True)


def test_without_standbys_nothing_is_written_that_was_not() -> None:
    alone = rendered(ALONE)
    assert "replic" not in alone["front-hba"]
    assert not any(word in alone["front-conf"] for word in ("ssl_ca_file", "wal_sender", "max_slot"))


def test_a_standby_is_let_in_from_its_host_with_a_password_and_a_certificate() -> None:
    lines = written()["front-hba"].splitlines()
    wanted = "hostssl replication face_replicator {}/32 scram-sha-256 clientcert=verify-ca"
    allowed = [wanted.format(address) for address in ("10.0.0.2", "10.0.0.3")]
    refused = [
        "host all,replication face_replicator all reject", "local all,replication face_replicator reject",
    ]  # fmt: skip
    assert [line for line in lines if "face_replicator" in line] == [*allowed, *refused]
    # What may be promoted lets in whom the database lets in, and the host that has it now.
    assert wanted.format("10.0.0.1") in written()["both-hba"]
    assert [line for line in lines if " face_web " in line] == [
        line for line in written()["both-hba"].splitlines() if " face_web " in line
    ]
    assert "ssl_ca_file = '/etc/face-pipeline/ca.crt'" in written()["front-conf"]
    assert written()["front-conf"].replace("10.0.0.1", "10.0.0.2") == written()["both-conf"]


def test_a_standby_follows_by_tls_and_the_database_follows_nobody() -> None:
    followed = [line for line in written()["both-standby"].splitlines() if line.startswith("primary_")]
    assert "host=10.0.0.1" in followed[0]
    for word in (
        "sslmode=verify-full",
        "sslrootcert=/etc/face-pipeline/ca.crt",
        "application_name=face_standby_both",
    ):
        assert word in followed[0]
    assert "password=" not in followed[0].replace("passfile=", "")
    assert followed[1] == "primary_slot_name = 'face_standby_both'"
    assert "primary_" not in written()["front-standby"].replace("face.primary", "")
    assert "face.primary = 'front'" in written()["keeper-standby"]


def test_what_a_dead_standby_keeps_of_the_log_is_bounded() -> None:
    assert "max_slot_wal_keep_size = 8192MB\n" in written()["front-conf"]
    assert written()["front-slots"].count("pg_create_physical_replication_slot") == 2
    fenced = rendered(GROUPS, face_fenced_hosts=["keeper"])["front-slots"]
    assert "pg_create_physical_replication_slot('face_standby_both')" in fenced
    assert "pg_create_physical_replication_slot('face_standby_keeper')" not in fenced


def test_changes_wait_for_any_one_of_the_standbys() -> None:
    assert (
        "synchronous_standby_names = 'ANY 1 (face_standby_both, face_standby_keeper)'"
        in written()["front-required"]
    )


def test_each_host_of_the_database_is_watched_by_all_others() -> None:
    peers = json.loads(written()["keeper-fence"])["peers"]
    assert set(peers) == {"front", "both"}
    assert "host=10.0.0.1 " in peers["front"]
    assert peers["front"].endswith("dbname=postgres replication=true")


FIRST = {
    "there": True, "ours": True, "empty": False, "follows": False, "fenced": False, "system": "7",
    "running": True, "writable": True, "slots": {"face_standby_both": "reserved"},
}  # fmt: skip
FOLLOWS = {**FIRST, "follows": True, "writable": False, "received": "0/5000", "slot": "face_standby_both"}
FOLLOWS.pop("slots")
NEW = {
    "there": True,
    "ours": False,
    "empty": True,
    "follows": False,
    "fenced": False,
    "slot": "face_standby_both",
}


def found(front: dict[str, Any], both: dict[str, Any], named: tuple[str, ...] = ()) -> list[str]:
    standbys = ["both"]
    told: list[str] = faults.standby_faults({"front": front, "both": both}, "front", standbys, list(named))
    return told


@pytest.mark.parametrize(
    ("both", "words"),
    [
        ({**FOLLOWS, "fenced": True}, "was the database's host until another was promoted"),
        ({**FIRST, "slots": {}}, "two would drift apart"),
        ({**FIRST, "running": False, "writable": False}, "has a database of its own"),
        ({**FOLLOWS, "system": "8"}, "follows another database"),
        ({**FOLLOWS, "slot": "lost"}, "no longer has what it missed"),
    ],
    ids=["fenced", "writable", "own", "foreign", "lost"],
)
def test_what_a_standby_has_is_thrown_away_only_when_that_is_said(both: dict[str, Any], words: str) -> None:
    front = {**FIRST, "slots": {"lost": "lost"}}
    (told,) = found(front, both)
    assert words in told
    assert "site.yml -e standby_anew=both" in told
    assert found(front, both, ("both",)) == []


def test_new_standbys_and_those_that_follow_are_well() -> None:
    assert found(FIRST, FOLLOWS) == found(FIRST, NEW) == found(FIRST, {"there": False, "ours": False}) == []
    assert "names gone, which the group standbys does not" in found(FIRST, NEW, ("gone",))[0]


def test_a_standby_that_is_named_as_the_database_is_promoted_first() -> None:
    (told,) = found(FOLLOWS, FIRST)
    assert "./face-ansible playbooks/promote.yml" in told


def test_an_empty_host_never_takes_the_place_of_one_with_data() -> None:
    (told,) = found(NEW, FOLLOWS)
    assert "front, which has no database, and both has one" in told
    assert found(NEW, NEW) == []


def test_a_forgotten_database_that_is_written_to_is_told() -> None:
    told = faults.standby_faults({"front": FIRST, "old": {**FIRST, "slots": {}}}, "front", [], [])
    assert "old has a database that is written to" in told[0]
    stopped = {**FIRST, "running": False, "writable": False}
    assert faults.standby_faults({"front": FIRST, "old": stopped}, "front", [], []) == []


OURS = {"front": ["web", "standbys"], "both": ["postgres"], "keeper": ["standbys", "workers"]}


def planned(looks: dict[str, Any], **options: bool) -> dict[str, Any]:
    plan: dict[str, Any] = faults.standby_promotion(looks, "both", ["front", "keeper"], OURS, **options)
    return plan


def test_a_database_that_works_is_not_stopped_unless_that_is_said() -> None:
    looks = {"front": FIRST, "both": FOLLOWS, "keeper": FOLLOWS}
    assert "-e stop=true" in planned(looks)["faults"][0]
    plan = planned(looks, may_stop=True)
    assert (plan["faults"], plan["old"], plan["fenced"], plan["away"]) == ([], "front", ["front"], [])
    assert "standby_anew=front" in plan["afterwards"][1]


def test_a_database_that_works_and_cannot_be_stopped_refuses_the_promotion() -> None:
    looks = {
        "front": NEW,
        "both": {**FOLLOWS, "upstream": "writable", "upstream_host": "10.0.0.9"},
        "keeper": NEW,
    }
    assert "10.0.0.9 still works" in planned(looks)["faults"][0]


def test_the_standby_that_received_most_is_promoted() -> None:
    looks = {"front": {**FIRST, "running": False, "writable": False}, "both": FOLLOWS}
    looks["keeper"] = {**FOLLOWS, "received": "0/6000"}
    assert "keeper received 4096 bytes more" in planned(looks)["faults"][0]
    assert planned(looks, anyway=True)["faults"] == []


def test_hosts_that_are_silent_are_left_out_where_others_do_their_work() -> None:
    stopped = {**FIRST, "running": False, "writable": False}
    plan = planned({"front": stopped, "both": FOLLOWS})
    assert (plan["faults"], plan["away"]) == ([], ["keeper"])
    assert (
        "front does not answer, and is the host of web"
        in planned({"both": FOLLOWS, "keeper": FOLLOWS})["faults"][0]
    )


@pytest.mark.parametrize(
    ("both", "words"),
    [
        (None, "does not answer"),
        (NEW, "has no copy"),
        ({**FOLLOWS, "fenced": True}, "made anew first"),
        ({**FOLLOWS, "running": False}, "does not run"),
    ],
)
def test_what_cannot_be_promoted_is_refused(both: dict[str, Any] | None, words: str) -> None:
    looks = {"front": {**FIRST, "running": False, "writable": False}, "keeper": NEW}
    assert words in planned(looks | ({"both": both} if both else {}))["faults"][0]


@pytest.mark.parametrize(
    ("clean", "missed", "words"),
    [
        (True, None, "it has all that front had"),
        (False, {"bytes": 900, "changes": 3}, "3 changes of front (900 bytes) never reached it"),
        (False, {"bytes": 0, "changes": 0}, "it has all that front had"),
        (False, None, "nobody can say what came after it"),
    ],
)
def test_what_was_lost_is_said_as_far_as_it_is_known(clean: bool, missed: object, words: str) -> None:
    hostvars = {
        "both": {
            "standby_promoted": {"stdout": json.dumps({"was": False, "timeline": 2})},
            "standby_look": {"stdout": json.dumps({"last": 1_700_000_000})},
        },
        "front": {
            "standby_stopped": {"stdout": json.dumps({"clean": clean})},
            **({"standby_missed": {"stdout": json.dumps(missed)}} if missed else {}),
        },
    }
    assert words in faults.standby_behind({"new": "both", "old": "front"}, hostvars)


def cluster(directory: Path, *files: str) -> Path:
    for name in ("base/5/1259", "pg_tblspc/", *files):
        path = directory / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    (directory / "PG_VERSION").write_text("17\n")
    return directory


def test_a_cluster_is_empty_as_long_as_nobody_put_anything_there(tmp_path: Path) -> None:
    assert program.empty(tmp_path / "nothing")
    assert program.empty(cluster(tmp_path / "fresh"))
    assert not program.empty(cluster(tmp_path / "database", "base/16384/1259"))
    assert not program.empty(cluster(tmp_path / "table", "base/5/16390_vm"))
    assert not program.empty(cluster(tmp_path / "tablespace", "pg_tblspc/16400"))


SAID = {
    "newer": (0, "7|3|0/5|\nboth\n", ""),
    "promoted by mistake": (0, "7|3|0/5|\nfront\n", ""),
    "same": (0, "7|2|0/5|\nfront\n", ""),
    "another database": (0, "8|9|0/5|\nboth\n", ""),
    "refused": (2, "", "FATAL:  kein pg_hba.conf-Eintrag"),
    "another password": (
        2,
        "",
        "FATAL:  Passwort-Authentifizierung für Benutzer »face_replicator« fehlgeschlagen",
    ),
    "silent": (2, "", "connection to server at 10.0.0.2 failed: Connection refused"),
}


@pytest.mark.parametrize(
    ("said", "fenced"),
    [
        ("newer", True), ("promoted by mistake", False), ("same", False), ("another database", False),
        ("refused", False), ("another password", False), ("silent", False),
    ],
)  # fmt: skip
def test_a_database_that_another_replaced_starts_as_a_standby(
    said: str, fenced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = SAID[said]
    control = "Database system identifier:  7\nLatest checkpoint's TimeLineID:  2\n"

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "pg_controldata" in command[0]:
            return subprocess.CompletedProcess(command, 0, control, "")
        return subprocess.CompletedProcess(command, status, out, err)

    monkeypatch.setattr(fence.subprocess, "run", run)
    monkeypatch.setattr(fence, "PATIENCE_SECONDS", 0)
    (cluster(tmp_path) / "pg_wal").mkdir()
    here = fence.Cluster({"cluster": str(tmp_path), "bin": "/usr/bin", "peers": {"both": "host=10.0.0.2"}})
    fence.start(here)
    assert (tmp_path / "standby.signal").exists() == fenced
    assert (tmp_path / "face-fenced").exists() == fenced


def test_a_timeline_that_no_checkpoint_tells_of_yet_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = "Database system identifier:  7\nLatest checkpoint's TimeLineID:  2\n"
    done = subprocess.CompletedProcess([], 0, control, "")
    monkeypatch.setattr(fence.subprocess, "run", lambda *_, **__: done)
    (cluster(tmp_path) / "pg_wal").mkdir()
    (tmp_path / "pg_wal/00000003.history").touch()
    assert fence.Cluster({"cluster": str(tmp_path), "bin": "/b", "peers": {}}).known() == ("7", 3)
