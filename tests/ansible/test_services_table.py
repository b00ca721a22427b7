"""face_services is the one table of services.

Ports, packages, units and Prometheus' jobs of each host follow from it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
LISTS = ("preflight_ports", "base_packages", "base_units", "base_monitoring_units", "verify_units")
ALL_PARTS = {"vendor_failed_parts": {}, "verify_parts": ["pipeline", "observation"]}
MADE = TemporaryDirectory(prefix="services-")

ONE = {group: ["one"] for group in GROUPS}
# The logs are kept on a host that does nothing else; `stray` is in no group.
SEVERAL = {
    **{group: ["front"] for group in ("proxy", "web")},
    **{group: ["data"] for group in ("postgres", "redis", "monitoring")},
    "workers": ["data", "compute"],
    "logging": ["logs"],
}
NO_LOGS = {group: SEVERAL[group] for group in ("proxy", "web", "workers", "postgres", "redis")}
NO_WORKERS = {group: SEVERAL[group] for group in ("proxy", "postgres", "redis", "monitoring", "logging")}

MADE_UP = """
  made_up:
    hosts: "{{ groups['workers'] }}"
    ports: [{port: 4321, process: made-up}]
    packages: [made-up-package]
    units: [made-up.service]
    target: monitoring
    verified: observation
    jobs: [{name: made_up, port: 4322}]
"""


def decide(
    directory: Path, groups: dict[str, list[str]], cases: dict[str, dict[str, Any]], entry: str = ""
) -> dict[str, dict[str, dict[str, Any]]]:
    """What follows, by case and host. A case is values of variables; `entry` joins the table."""
    (directory / "group_vars/all").mkdir(parents=True)
    for path in (ROOT / "group_vars/all").glob("*.yml"):
        text = path.read_text()
        if path.name == "services.yml":
            text = text.replace("face_services:\n", "face_services:\n" + entry, 1)
        (directory / "group_vars/all" / path.name).write_text(text)
    names = sorted({name for hosts in groups.values() for name in hosts} | {"stray"})
    hosts = {
        name: {"ansible_connection": "local", "ansible_host": f"10.0.0.{number}"}
        for number, name in enumerate(names, start=1)
    }
    children = {group: {"hosts": dict.fromkeys(members)} for group, members in groups.items()}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": children}}))
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.include_vars": str(ROOT / "roles" / role / part / "main.yml")}
        for role in ("base", "preflight", "prometheus", "verify")
        for part in ("defaults", "vars")
        # What is said with include_vars wins over a case.
        if (role, part) != ("verify", "defaults")
    ]
    here = "face_services | dict2items | selectattr('value.hosts', 'contains', inventory_hostname)"
    lists = ", ".join([f"here={here} | map(attribute='key')", *(f"{name}={name}" for name in LISTS)])
    template = f"{ROOT}/roles/prometheus/templates/prometheus.yml.j2"
    asked = f"lookup('ansible.builtin.template', '{template}') if face_monitoring_hosts else ''"
    for number, variables in enumerate(cases.values()):
        written = {
            "content": f"{{{{ dict({lists}, prometheus={asked}) | to_json }}}}",
            "dest": f"{directory}/{number}-{{{{ inventory_hostname }}}}.json",
            "mode": "0600",
        }
        tasks.append({"ansible.builtin.copy": written, "vars": {**ALL_PARTS, **variables}})
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    given = {"ansible_facts": {"memtotal_mb": 16000}, "face_public_host": "front"}
    done = subprocess.run(
        [*command, "-e", json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        case: {name: json.loads((directory / f"{number}-{name}.json").read_text()) for name in names}
        for number, case in enumerate(cases)
    }


def jobs(host: dict[str, Any]) -> dict[str, Any]:
    return {job["job_name"]: job for job in yaml.safe_load(host["prometheus"])["scrape_configs"]}


def ports(host: dict[str, Any]) -> dict[int, str]:
    return {each["port"]: each["process"] for each in host["preflight_ports"]}


def test_a_new_service_is_one_entry(tmp_path: Path) -> None:
    hosts = decide(tmp_path, SEVERAL, {"made up": {}}, entry=MADE_UP)["made up"]
    for name in ("data", "compute"):
        assert ports(hosts[name])[4321] == "made-up"
        assert "made-up-package" in hosts[name]["base_packages"]
        assert "made-up.service" in hosts[name]["base_monitoring_units"]
        assert "made-up.service" in hosts[name]["verify_units"]
    elsewhere = json.dumps([{key: hosts["front"][key] for key in LISTS}, hosts["stray"]["here"]])
    assert "made" not in elsewhere
    asked = {
        each["labels"]["instance"]: each["targets"]
        for each in jobs(hosts["data"])["made_up"]["static_configs"]
    }
    assert asked == {"data:4322": ["10.0.0.2:4322"], "compute:4322": ["10.0.0.1:4322"]}


WITHOUT_MONITORING = {
    "monitoring", "node_exporter", "unit_metrics", "redis_exporter", "postgres_exporter", "nginx_exporter",
    "elasticsearch_exporter", "prometheus", "alertmanager", "blackbox_exporter", "grafana", "log_metrics",
}  # fmt: skip
WITHOUT_LOGS = {"elasticsearch", "logstash", "kibana", "filebeat", "elasticsearch_exporter", "log_metrics"}
SWITCHED: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "Flower off": {"face_flower_enabled": False},
    "web hooks off": {"face_hooks_enabled": "no"},
    "autoscaler on": {"face_autoscale_enabled": "yes"},
    "firewall on": {"face_firewall_enabled": "yes"},
    "backups on": {"face_backup_enabled": "yes"},
    "Grafana off": {"face_grafana_enabled": "no"},
    "monitoring off": {"face_monitoring_enabled": False},
    "logs off": {"face_logging_enabled": False},
    "Elasticsearch and Grafana failed": {"vendor_failed_parts": {"elasticsearch": {}, "grafana": {}}},
    "pipeline alone verified": {"verify_parts": ["pipeline"]},
}


@cache
def everything_on_one_host() -> dict[str, dict[str, dict[str, Any]]]:
    return decide(Path(MADE.name) / "one", ONE, SWITCHED)


@cache
def several_hosts() -> dict[str, dict[str, dict[str, Any]]]:
    cases = {case: SWITCHED[case] for case in ("as it comes", "logs off")}
    return decide(Path(MADE.name) / "several", SEVERAL, cases)


@pytest.mark.campaign("each of its inventories is read for each host")
@pytest.mark.parametrize(
    ("case", "missing"),
    [
        ("Flower off", {"flower"}),
        ("web hooks off", {"hooks"}),
        ("Grafana off", {"grafana"}),
        ("monitoring off", WITHOUT_MONITORING),
        ("logs off", WITHOUT_LOGS),
    ],
)
def test_what_is_switched_off_is_nowhere(case: str, missing: set[str]) -> None:
    on, off = (everything_on_one_host()[each]["one"] for each in ("as it comes", case))
    assert set(on["here"]) - set(off["here"]) == missing
    table = yaml.safe_load((ROOT / "group_vars/all/services.yml").read_text())["face_services"]
    units = {unit for name in missing for unit in table[name].get("units", [])}
    packages = {package for name in missing for package in table[name].get("packages", [])}
    assert units & {*off["base_units"], *off["base_monitoring_units"], *off["verify_units"]} == set()
    assert packages & set(off["base_packages"]) == set()
    assert len(off["preflight_ports"]) == len(on["preflight_ports"]) - sum(
        "process" in port for name in missing for port in table[name].get("ports", [])
    )


def test_what_is_switched_on_is_asked() -> None:
    """Values of a feature are words where an inventory or -e says them so."""
    on, off = (everything_on_one_host()[each]["one"] for each in ("autoscaler on", "as it comes"))
    assert set(jobs(on)) - set(jobs(off)) == {"autoscaler"}
    assert set(on["here"]) - set(off["here"]) == {"autoscaler"}


def test_the_firewall_comes_where_it_is_switched_on_and_no_target_stops_it() -> None:
    on, off = (everything_on_one_host()[each]["one"] for each in ("firewall on", "as it comes"))
    assert set(on["here"]) - set(off["here"]) == {"firewall"}
    assert set(on["base_packages"]) - set(off["base_packages"]) == {"nftables"}
    assert set(on["verify_units"]) - set(off["verify_units"]) == {"face-firewall.service"}
    assert (on["base_units"], on["base_monitoring_units"]) == (
        off["base_units"],
        off["base_monitoring_units"],
    )


def test_backups_come_where_they_are_wanted() -> None:
    on, off = (everything_on_one_host()[each]["one"] for each in ("backups on", "as it comes"))
    assert set(on["here"]) - set(off["here"]) == {"backup_database", "backup_files"}
    assert {"pgbackrest", "restic", "age"} <= set(on["base_packages"]) - set(off["base_packages"])
    assert "face-backup-files.timer" in on["verify_units"]


def test_a_failed_part_is_not_said_twice() -> None:
    whole, failed = (
        everything_on_one_host()[each]["one"]["verify_units"]
        for each in ("as it comes", "Elasticsearch and Grafana failed")
    )
    assert [unit for unit in whole if unit not in failed] == [
        "elasticsearch.service",
        "grafana-server.service",
    ]


def test_the_pipeline_is_verified_before_anything_observes_it() -> None:
    assert everything_on_one_host()["pipeline alone verified"]["one"]["verify_units"] == [
        "postgresql@17-main.service", "redis-server.service", "redis-server@scratch.service",
        "face-web.socket", "face-web.service", "face-reconciler.timer", "face-clusterer.timer",
        "face-indexer.timer", "face-hooks.service", "face-flower.service", "celery@*.service",
        "nginx.service",
    ]  # fmt: skip


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_each_host_has_its_own_part() -> None:
    hosts = several_hosts()["as it comes"]
    assert ports(hosts["front"]) == {
        80: "nginx", 443: "nginx", 9802: "nginx", 5555: "celery", 9100: "prometheus-node"
    }  # fmt: skip
    assert ports(hosts["compute"]) == {9100: "prometheus-node"}
    assert set(ports(hosts["logs"])) == {9200, 5044, 9600, 5601, 9100}
    assert set(ports(hosts["data"])) == {5432, 6379, 6380, 6381, 6382, 9090, 9093, 3000, 9100}
    everywhere = {"ca-certificates", "iproute2", "logrotate", "prometheus-node-exporter"}
    assert set(hosts["logs"]["base_packages"]) == everywhere
    assert set(hosts["compute"]["base_packages"]) == {*everywhere, "python3-venv", "redis-tools"}
    assert hosts["compute"]["base_units"] == [
        "filebeat.service",
        "face-pipeline.target",
        "face-monitoring.target",
    ]


def test_a_host_that_observes_nothing_any_more_is_not_observed() -> None:
    """Its role removes the exporter, so base must not install it."""
    logs = several_hosts()["logs off"]["logs"]
    assert logs["here"] == ["pipeline"]
    assert set(logs["base_packages"]) == {"ca-certificates", "iproute2", "logrotate"}


def test_a_host_of_no_group_has_no_service() -> None:
    for case, hosts in several_hosts().items():
        assert (case, hosts["stray"]["here"], hosts["stray"]["base_units"]) == (case, [], [])


@pytest.mark.parametrize("groups", [NO_LOGS, NO_WORKERS], ids=["no logs", "no workers"])
def test_an_inventory_may_lack_groups(tmp_path: Path, groups: dict[str, list[str]]) -> None:
    """The preflight says which groups must be there; nothing ends in an undefined variable before that."""
    hosts = decide(tmp_path, groups, {"as it comes": {}})["as it comes"]
    assert "postgres" in hosts["data"]["here"]
    assert {"web", "worker", "prometheus", "logstash"} - set().union(
        *(host["here"] for host in hosts.values())
    )


def test_an_entry_says_what_is_known_of_a_service() -> None:
    table = yaml.safe_load((ROOT / "group_vars/all/services.yml").read_text())["face_services"]
    known = {"hosts", "ports", "packages", "units", "target", "verified", "jobs"}
    for name, entry in table.items():
        assert set(entry) <= known, name
        assert entry.get("target", "face") in ("face", "monitoring"), name
        for port in entry.get("ports", []):
            assert {"port"} < set(port) <= {"port", "process", "clients", "protocols"}, name
        assert entry.get("verified", "pipeline") in ("pipeline", "observation"), name
        assert "units" in entry or not {"target", "verified"} & set(entry), name
    # A standby runs what the database's host runs, on another host.
    entries = [entry for name, entry in table.items() if name != "postgres_standby"]
    every = [unit for entry in entries for unit in entry.get("units", [])]
    assert len(set(every)) == len(every)
    named = [job["name"] for entry in table.values() for job in entry.get("jobs", [])]
    assert len(set(named)) == len(named)


def test_where_a_service_runs_is_asked_of_the_table() -> None:
    """Groups are the inventory's: its checks and the table read them; roles and playbooks read the table."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for directory in ("roles", "playbooks")
        for path in sorted((ROOT / directory).rglob("*"))
        if path.suffix in (".yml", ".j2") and path != ROOT / "roles/preflight/tasks/inventory.yml"
        for line in path.read_text().splitlines()
        if re.search(r"(?:in|==) groups[\[.]", line)
    ]
    assert found == []
