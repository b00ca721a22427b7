"""The roles of Elasticsearch and Kibana on this machine, below a directory, against their stand-ins.

A role's own tasks are run: templates, filters, variables, commands and requests. Left out are owners,
handlers, packages and units. The stand-ins of molecule/cluster/elastic take their place, strictly.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
STANDIN = ROOT / "molecule" / "cluster" / "elastic"
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
ONE_HOST = {group: ["one"] for group in GROUPS}
CLUSTER = {**ONE_HOST, "logging": ["one", "two", "three"]}
SECRETS = {
    name: f"{name.replace('_', '-')}-of-the-tests-0123456789"
    for name in (
        "elastic_password", "kibana_system_password", "logstash_writer_password", "logs_reader_password",
        "elasticsearch_exporter_password", "grafana_elasticsearch_password", "kibana_saved_objects_key",
        "kibana_security_key", "kibana_reporting_key",
    )
}  # fmt: skip


def without_host(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks without what needs a host's users and services."""
    kept = []
    for task in tasks:
        one = {key: value for key, value in task.items() if key not in ("notify", "throttle", "no_log")}
        if "block" in one:
            one["block"] = without_host(one["block"])
        for key, value in one.items():
            if key.startswith("ansible.builtin.") and isinstance(value, dict):
                one[key] = {name: each for name, each in value.items() if name not in ("owner", "group")}
        kept.append(one)
    return kept


class Host:
    """A directory that stands for a host's root, with a role's paths in it."""

    def __init__(self, directory: Path, groups: dict[str, list[str]] = ONE_HOST) -> None:
        self.directory, self.groups = directory, groups
        self.secrets = dict(SECRETS)
        # What else a stand-in is told by its environment.
        self.more: dict[str, str] = {}
        defined = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
        names = ("elasticsearch", "elasticsearch_transport", "kibana")
        self.ports = {**defined, **{name: free_port() for name in names}}
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in (
            "etc/elasticsearch",
            "etc/kibana",
            "data",
            "data-kibana",
            "log",
            "home",
            "secrets",
            "roles",
        ):
            (directory / name).mkdir(parents=True)
        for shared in ("group_vars", "files"):
            (directory / shared).symlink_to(ROOT / shared)
        for role in (ROOT / "roles").iterdir():
            self._shadow(role)
        for program in ("elasticsearch", "kibana"):
            tools = directory / "home" / program / "bin"
            tools.mkdir(parents=True)
            for suffix in ("", "-keystore", "-reset-password"):
                (tools / f"{program}{suffix}").symlink_to(STANDIN / program)
                (STANDIN / program).chmod(0o755)

    def _shadow(self, role: Path) -> None:
        shadow = self.directory / "roles" / role.name
        if role.name not in ("certificates", "elastic", "elasticsearch", "hardening", "kibana", "vendor"):
            shadow.symlink_to(role)
            return
        (shadow / "tasks").mkdir(parents=True)
        for part in role.iterdir():
            if part.name not in ("tasks", "handlers"):
                (shadow / part.name).symlink_to(part)
        for file in (role / "tasks").iterdir():
            (shadow / "tasks" / file.name).write_text(
                yaml.safe_dump(without_host(yaml.safe_load(file.read_text())))
            )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ES_PATH_CONF": str(self.directory / "etc/elasticsearch"),
            "KBN_PATH_CONF": str(self.directory / "etc/kibana"),
            "STANDIN_ALLOW_SUPERUSER": "yes",
            "STANDIN_DELAY": "0.5",
            **self.more,
        }

    @property
    def variables(self) -> dict[str, Any]:
        etc = self.directory / "etc"
        return {
            "face_logging_enabled": True,
            "face_monitoring_enabled": True,
            "face_secrets_dir": str(self.directory / "secrets"),
            "face_own_secrets": self.secrets,
            "face_ports": self.ports,
            "face_elasticsearch_data_dir": str(self.directory / "data"),
            "elasticsearch_config_dir": str(etc / "elasticsearch"),
            "elasticsearch_home": str(self.directory / "home/elasticsearch"),
            "elasticsearch_log_dir": str(self.directory / "log"),
            "elasticsearch_unit_dir": str(etc / "elasticsearch.service.d"),
            "elasticsearch_start_seconds": 30,
            "elasticsearch_patience": 1,
            "kibana_config_dir": str(etc / "kibana"),
            "kibana_home": str(self.directory / "home/kibana"),
            "kibana_data_dir": str(self.directory / "data-kibana"),
            "kibana_log_dir": str(self.directory / "log"),
            "kibana_unit_dir": str(etc / "kibana.service.d"),
            "kibana_start_seconds": 30,
        }

    def play(
        self, role: str, *parts: str, check: bool = False, **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run those files of the role's tasks."""
        names = list(dict.fromkeys(name for members in self.groups.values() for name in members))
        local = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
        hosts = {name: {"ansible_host": f"10.0.0.{number}", **local} for number, name in enumerate(names, 1)}
        children = {group: {"hosts": dict.fromkeys(members)} for group, members in self.groups.items()}
        inventory = {"all": {"hosts": hosts, "children": children}}
        tasks = [{"ansible.builtin.import_role": {"name": role, "tasks_from": part}} for part in parts]
        # The first node is the one on this machine; the others are in the inventory alone.
        made = {"hosts": "one", "gather_facts": False, "environment": self.environment, "tasks": tasks}
        (self.directory / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
        (self.directory / "play.yml").write_text(yaml.safe_dump([made]))
        facts = {"memtotal_mb": 8000, "python": {"executable": sys.executable}}
        given = {"ansible_facts": facts, **self.variables, **variables}
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(self.directory / "hosts.yml")]
        command += ["--check"] if check else []
        return subprocess.run(
            [*command, str(self.directory / "play.yml"), "-e", json.dumps(given)],
            cwd=self.directory,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(self.directory / "roles")},
            capture_output=True,
            text=True,
            check=False,
        )

    def tool(
        self, program: str, name: str, *arguments: str, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.directory / "home" / program / "bin" / name), *arguments],
            env={**os.environ, **self.environment},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, program: str, ready: Callable[[], bool]) -> subprocess.Popen[bytes]:
        log = (self.directory / f"{program}.out").open("ab")
        command = [sys.executable, str(self.directory / "home" / program / "bin" / program)]
        process = subprocess.Popen(
            command, env={**os.environ, **self.environment}, stdout=log, stderr=subprocess.STDOUT
        )
        self.processes.append(process)
        end = time.monotonic() + 20
        while not ready():
            assert process.poll() is None, self.said(program)
            assert time.monotonic() < end, self.said(program)
            time.sleep(0.1)
        return process

    def said(self, program: str) -> str:
        return (self.directory / f"{program}.out").read_text()

    def start_elasticsearch(self) -> subprocess.Popen[bytes]:
        return self.start("elasticsearch", lambda: self.ask("elastic", "GET", "/", "").status_code > 0)

    def ask(self, user: str, method: str, path: str, password: str = "", **more: Any) -> requests.Response:
        """Of Elasticsearch; status 0 where it does not answer."""
        session = requests.Session()
        session.trust_env = False
        try:
            return session.request(
                method,
                f"https://localhost:{self.ports['elasticsearch']}{path}",
                auth=(user, password),
                verify=str(self.directory / "secrets/ca.crt"),
                timeout=30,
                **more,
            )
        except requests.ConnectionError:
            away = requests.Response()
            away.status_code = 0
            return away

    def unknown(self, data: str = "data") -> str:
        """What a stand-in was asked and nobody has taught it: nothing may be there."""
        file = self.directory / data / "standin-unknown"
        return file.read_text() if file.exists() else ""

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


def ran(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed, of a run that went well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made(host: Host) -> Host:
    """With what the package brings: its files of settings and an empty keystore."""
    for name in ("jvm.options", "users", "users_roles"):
        (host.directory / "etc/elasticsearch" / name).touch(0o660)
    assert host.tool("elasticsearch", "elasticsearch-keystore", "create").returncode == 0
    return host
