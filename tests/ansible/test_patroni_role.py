"""A database that fails over by itself: what is written on which host, and what is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.ansible.test_copies_role import played
from tests.ansible.test_standby_role import GROUPS, ROOT

SITE = {**GROUPS, "etcd": ["front", "both", "keeper"]}
ADDRESSES = {"front": "10.0.0.1", "both": "10.0.0.2", "keeper": "10.0.0.3"}
CHECK = ROOT / "roles/patroni/tasks/check.yml"


@cache
def written(**given: Any) -> dict[str, str]:
    """HOST-FILE -> its text."""
    with TemporaryDirectory(prefix="patroni-") as name:
        directory = Path(name)
        made = f"{directory}/{{{{ inventory_hostname }}}}"
        vars_files = [
            {"ansible.builtin.include_vars": f"{ROOT}/roles/{role}/{part}/main.yml"}
            for role, part in (
                ("postgres", "defaults"), ("postgres", "vars"), ("etcd", "vars"), ("patroni", "vars"),
                ("backup", "vars"),
            )
        ]  # fmt: skip
        access = yaml.safe_load((ROOT / "roles/postgres/tasks/configure.yml").read_text())
        (block,) = (task for task in access if "block" in task)
        (lines,) = (task for task in block["block"] if "pipeline's hosts" in task["name"])
        lines["ansible.builtin.blockinfile"] |= {"path": f"{made}-hba", "create": True, "insertbefore": "EOF"}
        templates = [
            {"ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{made}-{file}"}}
            for file, source in (
                ("conf", "postgres/templates/face.conf.j2"),
                ("patroni", "patroni/templates/patroni.yml.j2"),
                ("etcd", "etcd/templates/etcd.j2"),
                ("backup", "backup/templates/backup.json.j2"),
                ("env", "app/templates/face-pipeline.env.j2"),
            )
        ]
        status, said = played(
            directory, [*vars_files, lines, *templates], SITE,
            ansible_managed="made", postgres_plain={"rc": 1}, role_path=str(ROOT / "roles/patroni"), **given,
        )  # fmt: skip
        assert status == 0, said
        return {path.name: path.read_text() for path in directory.iterdir() if path.name.count("-") == 1}


def test_hosts_follow_and_take_back_what_they_alone_have_by_tls_with_a_certificate() -> None:
    for name in ADDRESSES:
        lines = written()[f"{name}-hba"].splitlines()
        for kind, who in (("replication", "face_replicator"), ("postgres", "face_rewinder")):
            told = [line for line in lines if f" {who} " in f"{line} "]
            others = [address for host, address in ADDRESSES.items() if host != name]
            assert [line for line in told if line.startswith("hostssl")] == [
                f"hostssl {kind} {who} {address}/32 scram-sha-256 clientcert=verify-ca" for address in others
            ]
            assert told[-1].endswith("reject")


def test_patroni_asks_and_is_asked_by_tls_and_throws_nothing_away() -> None:
    told: dict[str, Any] = yaml.safe_load(written()["both-patroni"])
    assert sorted(told["etcd3"]["hosts"]) == [f"{address}:2379" for address in ADDRESSES.values()]
    assert told["etcd3"]["protocol"] == "https"
    assert told["restapi"]["certfile"].endswith("face.crt")
    assert len(told["restapi"]["authentication"]["password"]) == 40
    assert told["postgresql"]["authentication"]["replication"]["sslmode"] == "verify-full"
    assert told["postgresql"]["remove_data_directory_on_rewind_failure"] is False
    assert told["bootstrap"]["dcs"]["synchronous_mode"] == "quorum"
    assert told["bootstrap"]["dcs"]["postgresql"]["parameters"]["wal_log_hints"] == "on"
    # What the application leaves out when it asks who follows.
    assert "face.member = 'both'" in written()["both-conf"]


def test_members_of_etcd_know_each_other_by_address_and_ask_for_certificates() -> None:
    told = dict(line.split("=", 1) for line in written()["keeper-etcd"].splitlines() if line[0] != "#")
    assert set(told["ETCD_INITIAL_CLUSTER"].split(",")) == {
        f"{name}=https://{address}:2380" for name, address in ADDRESSES.items()
    }
    assert {told["ETCD_CLIENT_CERT_AUTH"], told["ETCD_PEER_CLIENT_CERT_AUTH"]} == {"true"}
    assert "http://" not in written()["keeper-etcd"]


def test_the_application_knows_all_hosts_of_the_database() -> None:
    told = dict(line.split("=", 1) for line in written()["front-env"].splitlines() if "=" in line)
    assert told["FACE_DATABASE_HOST"] == ",".join(ADDRESSES.values())
    assert told["FACE_DATABASE_MEMBERS"] == "front both keeper"
    assert "FACE_STANDBYS" not in told


@pytest.mark.campaign("what else is refused is told in the same way")
@pytest.mark.parametrize(
    ("groups", "given", "words"),
    [
        ({**SITE, "standbys": []}, {}, "the group standbys none"),
        (SITE, {"face_tls_between_hosts": False}, "by TLS alone"),
        (SITE, {"standby_anew": "both"}, "reinit 17-main HOST"),
        (GROUPS, {"patroni_member": True}, "playbooks/shrink.yml"),
    ],
)
def test_what_it_cannot_do_is_refused(
    tmp_path: Path, groups: dict[str, list[str]], given: dict[str, Any], words: str
) -> None:
    _refused(tmp_path, groups, dict(given), words)


def test_each_host_that_may_lead_asks_its_own_patroni_whether_it_makes_the_backup() -> None:
    for name, address in ADDRESSES.items():
        assert json.loads(written()[f"{name}-backup"])["leads"] == {
            "url": f"https://{address}:8008/primary",
            "authority": "/etc/face-pipeline/ca.crt",
        }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"look": "/var/lib/etcd/default/member"}, "keeper is a part of the database already"),
        ({"health": {"front": 0}}, "both: etcd is not well there"),
        ({"leader": ""}, "nobody leads the database"),
        ({"streaming": []}, "both: does not follow front"),
        ({}, ""),
    ],
)
def test_a_host_takes_the_place_of_a_lost_one_where_the_others_are_whole(
    tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    tasks = yaml.safe_load((ROOT / "roles/etcd/tasks/replace.yml").read_text())
    (fail,) = (task for task in tasks if "ansible.builtin.fail" in task)
    health = given.get("health", {"front": 0, "both": 0})
    facts = {
        "etcd_replace_look": {"stdout": given.get("look", "")},
        "etcd_replace_health": "{{ {'rc': health[inventory_hostname] | default(1)} }}",
    }
    asked = {
        "health": health,
        "etcd_replacing": "keeper",
        "patroni_leader": given.get("leader", "front"),
        "patroni_streaming": given.get("streaming", ["both"]),
    }
    status, said = played(tmp_path, [{"ansible.builtin.set_fact": facts}, fail], SITE, **asked)
    assert (status != 0) == bool(words), said
    assert words in said


def test_a_member_of_etcd_that_came_to_others_says_so_for_good() -> None:
    assert "ETCD_INITIAL_CLUSTER_STATE=new" in written()["keeper-etcd"]
    assert "ETCD_INITIAL_CLUSTER_STATE=existing" in written(etcd_joining="keeper")["keeper-etcd"]
    assert "ETCD_INITIAL_CLUSTER_STATE=new" in written(etcd_joining="keeper")["both-etcd"]


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"front": "running", "both": "streaming", "keeper": "streaming"}, ""),
        ({"front": "running", "both": "streaming", "keeper": "stopped"}, "front leads, both follows"),
        ({"both": "stopped"}, "nobody leads"),
    ],
)
def test_passwords_change_while_all_hosts_of_the_database_take_part(
    tmp_path: Path, states: dict[str, str], words: str
) -> None:
    plays = yaml.safe_load((ROOT / "playbooks/rotate.yml").read_text())
    (play,) = (play for play in plays if "take part" in play["name"])
    ask, fail = play["tasks"]
    members = [
        {"name": name, "role": "leader" if state == "running" else "replica", "state": state}
        for name, state in states.items()
    ]
    tasks = [
        # Nobody answers here.
        {**ask, "vars": {"patroni_here": False}},
        {"ansible.builtin.set_fact": {"patroni_cluster": {"json": {"members": members}}}},
        fail,
    ]
    status, said = played(tmp_path, tasks, SITE)
    assert (status != 0) == bool(words), said
    assert words in said


def test_what_hosts_of_the_database_sign_in_with_is_rotated_where_there_are_any(tmp_path: Path) -> None:
    names = ("patroni_password", "patroni_rewinder_password", "database_password_replicator")
    for groups in (SITE, GROUPS):
        directory = tmp_path / str(len(groups))
        directory.mkdir()
        tasks: list[dict[str, Any]] = [
            {"ansible.builtin.include_vars": f"{ROOT}/roles/base/vars/main.yml"},
            {
                "ansible.builtin.copy": {
                    "content": "{{ base_rotatable | join(' ') }}",
                    "dest": f"{directory}/names",
                }
            },
        ]
        status, said = played(directory, tasks, groups, role_path=str(ROOT / "roles/base"))
        assert status == 0, said
        told = (directory / "names").read_text().split()
        assert [name in told for name in names] == [groups is SITE, groups is SITE, True]


def _refused(tmp_path: Path, groups: dict[str, list[str]], given: dict[str, Any], words: str) -> None:
    # What other hosts are to see of one is a fact.
    facts = {"face_postgres_in_distribution": True, "patroni_member": given.pop("patroni_member", False)}
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.set_fact": facts},
        {"ansible.builtin.include_tasks": str(CHECK)},
    ]
    status, said = played(tmp_path, tasks, groups, role_path=str(ROOT / "roles/patroni"), **given)
    assert status != 0
    assert words in said
    assert "Nothing was changed" in said
