"""What units may do: each role's drop-in, as the role `hardening` writes it and systemd takes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hardening import LIMIT, ROOT, SHARED, calls, drop_in, tasks_that_call
from tests.order import in_campaign

GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if calls(path.name))
CALLS = [(role, number) for role in ROLES for number in range(len(calls(role)))]
EXPORTERS = ("node", "nginx", "postgres", "redis", "blackbox")
# What `systemd-analyze security` gives a bare unit with the drop-in alone.
EXPOSED = {
    "app-0": 1.0,
    "autoscaler-0": 1.1,
    "backup-0": 1.1,
    "backup-1": 1.1,
    "backup-2": 1.6,
    "base-0": 0.9,
    "worker-2": 0.2,
    "unit_metrics-0": 0.7,
    "updates-0": 1.6,
    "firewall-0": 1.6,
    **{f"{name}-0": 1.2 for name in ("alertmanager", "prometheus")},
    **{f"{name}-0": 1.4 for name in ("elasticsearch", "grafana", "kibana", "logstash")},
    **{f"exporters-{name}": 1.1 for name in EXPORTERS},
    "exporters-node": 1.9,
    "filebeat-0": 1.9,
    "filebeat-1": 1.5,
    "nginx-0": 1.6,
    "postgres-0": 1.1,
    "postgres-1": 0.9,
    "standby-0": 1.2,
    "etcd-0": 0.9,
    "etcd-1": 0.9,
    "patroni-0": 1.2,
    "keepalived-0": 2.0,
}
# Drop-ins over another one: for cards, for code that is compiled, for hooks, and over a package's own.
FURTHER = {"copies-0", "hooks-0", "redis-0", "worker-0", "worker-1"}
ROOTS = r"autoscaler|backup-2|base|filebeat|firewall|postgres|standby|unit_metrics|updates"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze"
)


def write(directory: Path, tasks: list[dict[str, Any]], others: Sequence[str] = ()) -> None:
    """Tasks on this machine as a host with everything, beside `others`, with the variables of all roles."""
    for shared in ("group_vars", "files"):
        (directory / shared).symlink_to(ROOT / shared)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    children = {group: {"hosts": {name: {} for name in ("one", *others)}} for group in GROUPS}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": local, "children": children}}))
    files = [
        str(path) for part in ("defaults", "vars") for path in sorted(ROOT.glob(f"roles/*/{part}/main.yml"))
    ]
    play = {"hosts": "one", "gather_facts": False, "vars_files": files, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    given = {"ansible_facts": {"memtotal_mb": 64000}, "unit_metrics_counted": {"rc": 0}}
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*map(str, command), "-e", json.dumps(given)],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unit ROLE-CALL.service with each drop-in that a role writes, and one for each exporter."""
    directory = tmp_path_factory.mktemp("units")
    wanted = {f"{role}-{number}": drop_in(role, "", number) for role, number in CALLS if role != "exporters"}
    wanted |= {f"exporters-{name}": drop_in("exporters", "", exporters_name=name) for name in EXPORTERS}
    for name, task in wanted.items():
        unit = directory / f"{name}.service"
        # As the package's unit has it, where the drop-in does not say.
        user = "" if re.match(ROOTS, name) else "User=www-data\n"
        unit.write_text(f"[Unit]\nDescription={name}\n[Service]\n{user}ExecStart=/bin/true\n")
        (directory / f"{name}.service.d").mkdir()
        task["ansible.builtin.template"]["dest"] = f"{directory}/{name}.service.d/drop-in.conf"
    write(directory, list(wanted.values()))
    return directory


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:/usr/lib/systemd/system"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@needs_systemd
def test_systemd_knows_every_directive_and_value(units: Path) -> None:
    files = sorted(map(str, units.glob("*.service")))
    done = analyze(units, "verify", "--man=no", "--recursive-errors=no", *files)
    assert [line for line in done.stderr.splitlines() if "drop-in.conf" in line] == []


def test_every_unit_has_a_limit_of_threads_and_processes(units: Path) -> None:
    second = {"worker-0": "gpu", "worker-1": "code", "hooks-0": "outward"}
    limits = {
        unit.stem: re.findall(r"^TasksMax=(.*)$", (units / f"{unit.name}.d/drop-in.conf").read_text(), re.M)
        for unit in units.glob("*.service")
    }
    # A second drop-in of a unit whose first has it.
    assert {name for name, found in limits.items() if not found} <= set(second)
    assert all(1 <= int(value) <= 4096 for found in limits.values() for value in found)


@needs_systemd
def test_no_unit_may_more_than_it_did(units: Path) -> None:
    files = [str(units / f"{name}.service") for name in EXPOSED]
    said = analyze(units, "security", "--offline=yes", "--no-pager", *files).stdout
    found = dict(re.findall(r"exposure level for (\S+)[.]service: (\S+)", said))
    assert found.keys() == EXPOSED.keys(), said
    assert {path.stem for path in units.glob("*.service")} == EXPOSED.keys() | FURTHER
    assert {name: level for name, level in found.items() if float(level) > EXPOSED[name]} == {}


def test_no_unit_may_more_than_the_limit() -> None:
    assert {name: level for name, level in EXPOSED.items() if level > LIMIT} == {}


# What may reach other hosts, on one host as it comes; docs/security.md says why.
OUTWARD = {
    "grafana-0": "data sources of the operator's own",
    "nginx-0": "answers any address",
    "exporters-blackbox": "asks the public address, which is a name here",
    # A drop-in over that of every unit of the pipeline.
    "hooks-0": "receivers",
    "copies-0": "nothing of it: the drop-in below has the filter",
    **dict.fromkeys(("worker-0", "worker-1"), "nothing of it: the drop-in below has the filter"),
}


def lines(drop_in_file: Path) -> list[str]:
    return [line for line in drop_in_file.read_text().splitlines() if line and not line.startswith("#")]


def test_every_unit_is_kept_in_the_installation_but_for_named_exceptions(units: Path) -> None:
    found = {unit.stem: lines(units / f"{unit.name}.d/drop-in.conf") for unit in units.glob("*.service")}
    kept = {name for name, said in found.items() if {"IPAddressDeny=any", "PrivateNetwork=yes"} & set(said)}
    assert found.keys() - kept == OUTWARD.keys()
    allowed = {line for name in kept for line in found[name] if line.startswith("IPAddressAllow=")}
    assert allowed == {"IPAddressAllow=localhost"}, "one host speaks to itself"


SOMEBODY = [{"type": "webhook", "url": "https://alerts.example.org/"}]


@pytest.mark.parametrize(
    ("role", "variables", "kept"),
    [
        ("alertmanager", {}, True),
        ("prometheus", {"face_remote_write": [{"url": "https://series.example.org/"}]}, False),
        *in_campaign(
            "other units follow the same rule",
            ("alertmanager", {"face_alert_receivers": SOMEBODY}, False),
            ("prometheus", {}, True),
            ("prometheus", {"face_extra_scrape_configs": [{"job_name": "more"}]}, False),
            ("exporters", {"exporters_name": "blackbox", "face_public_host": "192.0.2.9"}, True),
            ("exporters", {"exporters_name": "blackbox", "face_public_host": "faces.example.org"}, False),
        ),
    ],
)
def test_a_unit_may_leave_where_the_operator_names_somebody(
    tmp_path: Path, role: str, variables: dict[str, Any], kept: bool
) -> None:
    write(tmp_path, [drop_in(role, tmp_path / "made.conf", **variables)])
    assert ("IPAddressDeny=any" in lines(tmp_path / "made.conf")) == kept


def test_several_hosts_reach_each_other(tmp_path: Path) -> None:
    made = {name: tmp_path / f"{name}.conf" for name in ("alertmanager", "prometheus", "redis", "postgres")}
    write(tmp_path, [drop_in(name, file) for name, file in made.items()], others=["192.0.2.2", "192.0.2.3"])
    for file in made.values():
        allowed = [line.partition("=")[2] for line in lines(file) if line.startswith("IPAddressAllow=")]
        assert set(allowed) == {"localhost", "one", "192.0.2.2", "192.0.2.3"}, file.name


@pytest.mark.parametrize("profile", ["default", "jvm", "collector", "switch", "packaged"])
def test_no_profile_lets_a_crash_write_memory_to_a_disk(units: Path, profile: str) -> None:
    roles = [
        f"{role}-{number}"
        for role, number in CALLS
        if role != "exporters" and calls(role)[number].get("hardening_profile", "default") == profile
    ]
    assert roles
    for name in roles:
        lines = (units / f"{name}.service.d/drop-in.conf").read_text().splitlines()
        assert {"LimitCORE=0", "CoredumpFilter=0x0"} <= set(lines), name


def test_a_unit_adds_to_its_profile_repeats_and_takes_away(tmp_path: Path) -> None:
    task = {
        "ansible.builtin.template": {
            "src": str(ROOT / "roles/hardening/templates/hardening.conf.j2"),
            "dest": str(tmp_path / "made.conf"),
        },
        "vars": {
            **SHARED,
            "hardening_unit": {"After": "one.service"},
            "hardening_service": {"PrivateTmp": None, "ProtectClock": False, "DeviceAllow": ["a", "b"]},
            "hardening_addresses": ["192.0.2.1"],
            "hardening_reason": "It is of a test.",
        },
    }
    write(tmp_path, [task])
    text = (tmp_path / "made.conf").read_text()
    lines = text.splitlines()
    assert "# It is of a test." in lines
    assert "\n[Unit]\nAfter=one.service\n" in text
    assert {"ProtectClock=no", "NoNewPrivileges=yes", "CapabilityBoundingSet="} <= set(lines)
    assert [line for line in lines if line.startswith(("PrivateTmp", "DeviceAllow", "IPAddress"))] == [
        "IPAddressDeny=any", "IPAddressAllow=localhost", "IPAddressAllow=192.0.2.1",
        "DeviceAllow=a", "DeviceAllow=b",
    ]  # fmt: skip
    assert text.endswith("\n")


def test_the_default_profile_is_written_in_one_place() -> None:
    """A drop-in of a role's own that repeats it would not follow when it changes."""
    shared = re.compile(r"^(NoNewPrivileges|ProtectKernel\w+|LockPersonality)=", re.MULTILINE)
    written = [
        str(path.relative_to(ROOT))
        for path in ROOT.glob("roles/*/templates/*")
        if path.is_file() and shared.search(path.read_text())
    ]
    assert written == []


def test_each_call_names_a_profile_and_drop_ins() -> None:
    for role, number in CALLS:
        call = calls(role)[number]
        assert call.get("hardening_profile", "default") in SHARED["hardening_profiles"], role
        assert call["hardening_files"], role
        assert call.keys() <= SHARED.keys(), role


def test_no_call_is_looked_at_where_tags_leave_it_out() -> None:
    """Ansible checks a role's arguments under every --tags, where what they are made of is not known yet."""
    for role in ROLES:
        for task in tasks_that_call(role):
            assert task["ansible.builtin.import_role"].get("rolespec_validate") is False, role
