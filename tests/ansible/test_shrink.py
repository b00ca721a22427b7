"""playbooks/shrink.yml as an operator types it: what keeps several hosts from becoming one, in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.test_copies_role import played
from tests.ansible.test_joining_and_leaving import ROOT, play
from tests.order import in_campaign

SHRINKING = ROOT / "playbooks/shrink.yml"
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring")
ONE = {group: ["front"] for group in GROUPS}
LEFT = {**ONE, "leaving": ["both", "keeper"]}


def inventory(directory: Path, groups: dict[str, list[str]]) -> Path:
    hosts = {name: {"ansible_connection": "local"} for name in ("front", "both", "keeper")}
    children = {group: {"hosts": dict.fromkeys(members)} for group, members in groups.items()}
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": children}}, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("groups", "options", "words"),
    [
        (ONE, ("yes=true",), "which hosts go? Name these in the group leaving"),
        *in_campaign(
            "other reasons take the same way",
            (LEFT, (), "nobody said yes"),
            (LEFT, ("do=grow",), "do is 'grow': take -e do=shrink, or plan"),
            ({**LEFT, "copies": ["keeper"]}, ("do=plan",), "keeper: a host of the group leaving is in"),
            ({**ONE, "leaving": ["both"], "copies": ["keeper"]}, ("do=plan",), "front, keeper: one host is"),
        ),
    ],
)  # fmt: skip
def test_what_is_not_asked_for_clearly_is_refused(
    tmp_path: Path, groups: dict[str, list[str]], options: tuple[str, ...], words: str
) -> None:
    given = [part for option in options for part in ("-e", option)]
    done = play(inventory(tmp_path, groups), SHRINKING, *given)
    said = " ".join(done.stdout.split())
    assert done.returncode == 2, said + done.stderr
    assert words in said
    assert "nothing was changed" in said


THERE = [
    "/etc/systemd/system/face-web.service", "/etc/redis/face.conf",
    "/etc/postgresql/17/main/conf.d/face.conf", "/etc/patroni/17-main.yml",
]  # fmt: skip
LEADS = {"name": "front", "role": "leader", "state": "running"}
FOLLOWS = {"name": "both", "role": "quorum_standby", "state": "streaming"}
OTHER_LEADS = {"name": "both", "role": "leader", "state": "running"}


@pytest.mark.parametrize(
    ("there", "members", "recovery", "words"),
    [
        (THERE, [LEADS, FOLLOWS], "", ""),
        (THERE, [OTHER_LEADS], "", "front does not follow both, which leads"),
        *in_campaign(
            "other reasons take the same way",
            (THERE, [OTHER_LEADS, {**FOLLOWS, "name": "front"}], "", ""),
            (THERE, [FOLLOWS], "", "nobody leads the database"),
            (THERE, [LEADS, {**FOLLOWS, "name": "fourth"}], "", "fourth: a part of the database, too"),
            (THERE[1:], [], "", "front lacks what it had in the groups proxy and web"),
            (THERE[:3], [], "f", ""),
            (THERE[:3], [], "t", "front has no database that takes changes"),
            (None, [], "", "front: no answer. Start it again"),
        ),
    ],
)  # fmt: skip
def test_one_host_goes_on_alone_where_it_has_or_gets_all_that_the_others_have(
    tmp_path: Path, there: list[str] | None, members: list[dict[str, str]], recovery: str, words: str
) -> None:
    tasks = yaml.safe_load((ROOT / "roles/shrink/tasks/main.yml").read_text())
    (fail,) = (task for task in tasks if "ansible.builtin.fail" in task)
    look: dict[str, Any] = (
        {"stdout_lines": there, "stdout": ""} if there is not None else {"unreachable": True}
    )
    facts = {
        "shrink_look": "{{ look if inventory_hostname == 'front' else {'stdout': ''} }}",
        "shrink_cluster": {"json": {"members": members}},
        "shrink_follows": {"stdout": recovery},
    }
    known = {"ansible.builtin.include_vars": f"{ROOT}/roles/shrink/vars/main.yml"}
    status, said = played(
        tmp_path, [{"ansible.builtin.set_fact": facts}, known, fail], LEFT, look=look,
    )  # fmt: skip
    assert (status != 0) == bool(words), said
    assert words in said


# As `systemctl show -P IPAddressAllow` tells it of a host of three.
ALLOWED = "127.0.0.0/8 ::1/128 10.0.0.1/32 10.0.0.2/32 10.0.0.9/32"


def test_units_that_run_reach_what_they_ask_until_they_ask_over_loopback(tmp_path: Path) -> None:
    """systemd limits at once, not with the restart, where units may send packets."""
    (applied,) = (
        each for each in yaml.safe_load(SHRINKING.read_text())
        if each.get("ansible.builtin.import_playbook") == "app.yml"
    )  # fmt: skip
    tasks = [
        {
            "ansible.builtin.assert": {"that": "face_client_addresses == wanted"},
            "vars": {**applied["vars"], "wanted": ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.9/32"]},
        },
        {"ansible.builtin.assert": {"that": "face_client_addresses == []"}},
    ]
    status, said = played(tmp_path, tasks, ONE, shrink_allowed={"stdout": ALLOWED})
    assert status == 0, said
