"""The role `exporters` below a directory: what it writes and takes away, without packages and units."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring")
EXPORTERS = {"node", "nginx", "postgres", "redis", "blackbox"}
# By which exporters are asked by TLS, where there are several hosts.
OBSERVED = ["observed.crt", "observed.key", "observed.yml"]
OF_A_HOST = ("ansible.builtin.apt", "ansible.builtin.systemd_service")
OF_ROOT = ("owner", "group", "validate")


def without_host(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks without packages, units and owners."""
    kept = []
    for task in tasks:
        if not any(module in task for module in OF_A_HOST):
            one = {
                key: {name: each for name, each in value.items() if name not in OF_ROOT}
                if key.startswith("ansible.builtin.") and isinstance(value, dict)
                else value
                for key, value in task.items()
            }
            kept.append(one | ({"block": without_host(one["block"])} if "block" in one else {}))
    return kept


class Host:
    """Directories in the place of a host's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.units, self.defaults = directory / "units", directory / "defaults"
        for made in ("units", "defaults", "credentials", "prometheus", "config"):
            (directory / made).mkdir()
        for role in ("certificates", "exporters", "hardening"):
            (directory / "roles" / role / "tasks").mkdir(parents=True)
            for part in (ROOT / "roles" / role).iterdir():
                if part.name != "tasks":
                    (directory / "roles" / role / part.name).symlink_to(part)
            for file in (ROOT / "roles" / role / "tasks").iterdir():
                (directory / "roles" / role / "tasks" / file.name).write_text(
                    yaml.safe_dump(without_host(yaml.safe_load(file.read_text())), sort_keys=False)
                )
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
        (directory / "ca.crt").write_text("the authority {{ as it is }}\n")
        play = [{"hosts": "here", "gather_facts": False, "roles": ["exporters"]}]
        (directory / "play.yml").write_text(yaml.safe_dump(play))

    def run(self, *groups: str, **variables: Any) -> str:
        """The role on a host of these groups; what Ansible said."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        other = {group: {"hosts": {"elsewhere": {}}} for group in GROUPS}
        children = other | {group: {"hosts": {"here": {}}} for group in groups}
        (self.directory / "hosts.yml").write_text(
            yaml.safe_dump({"all": {"vars": local, "children": children}})
        )
        given = {
            "exporters_units_dir": str(self.units),
            "exporters_defaults_dir": str(self.defaults),
            "exporters_postgres_config": str(self.directory / "none"),
            "exporters_blackbox_config": str(self.directory / "prometheus/blackbox.yml"),
            "exporters_blackbox_ca": str(self.directory / "prometheus/ca.crt"),
            "face_config_dir": str(self.directory / "config"),
            "face_credentials_dir": str(self.directory / "credentials"),
            "face_secrets_dir": str(self.directory / "secrets"),
            "face_private_address": "10.0.0.1",
            "face_tls_trusted": str(self.directory / "ca.crt"),
            "face_secrets": {"redis_password_exporter": "of-the-exporter"},
            **variables,
        }
        done = subprocess.run(
            [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(self.directory / "hosts.yml"),
             str(self.directory / "play.yml"), "-e", json.dumps(given)],
            cwd=self.directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def exporters(self) -> set[str]:
        """Those that have both their arguments and their drop-in."""
        found = {
            re.sub(r"prometheus-(.*)-exporter.*", r"\1", path.parent.name)
            for path in self.units.glob("*.service.d/face-hardening.conf")
        }
        assert {f"prometheus-{name}-exporter" for name in found} == {
            path.name for path in self.defaults.iterdir()
        }
        return found

    def files(self) -> list[str]:
        """What else they have."""
        places = (self.directory / name for name in ("credentials", "prometheus", "config"))
        return sorted(path.name for place in places for path in place.iterdir())

    def called_by(self, role: str, files: dict[str, str], table: dict[str, Any]) -> None:
        """From now on the role is run by another one, which has these files, for an exporter of its own."""
        for name, text in files.items():
            file = self.directory / "roles" / role / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        call = {"ansible.builtin.import_role": {"name": "exporters"}, "vars": {"exporters_table": table}}
        tasks = self.directory / "roles" / role / "tasks/main.yml"
        tasks.parent.mkdir()
        tasks.write_text(yaml.safe_dump([call]))
        included = [{"ansible.builtin.include_role": {"name": role}}]
        play = [{"hosts": "here", "gather_facts": False, "tasks": included}]
        (self.directory / "play.yml").write_text(yaml.safe_dump(play))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_has_the_exporters_of_its_groups_and_loses_the_others(host: Host) -> None:
    host.run(*GROUPS)
    assert host.exporters() == EXPORTERS
    assert host.files() == ["blackbox.yml", "ca.crt", "redis_exporter.json"]
    node = host.defaults / "prometheus-node-exporter"
    assert "web.config" not in node.read_text()
    passwords = host.directory / "credentials/redis_exporter.json"
    assert json.loads(passwords.read_text()) == {
        "redis://exporter@127.0.0.1:6379": "of-the-exporter",
        "redis://exporter@127.0.0.1:6380": "of-the-exporter",
    }  # fmt: skip
    assert passwords.stat().st_mode & 0o777 == 0o600
    assert (host.directory / "prometheus/ca.crt").read_text() == "the authority {{ as it is }}\n"
    host.run("workers", "postgres")
    assert host.exporters() == {"node", "postgres"}
    # Prometheus is elsewhere now.
    assert f" --web.config.file={host.directory}/config/observed.yml'\n" in node.read_text()
    assert host.files() == OBSERVED
    modes = [(host.directory / "config" / name).stat().st_mode & 0o777 for name in OBSERVED]
    assert modes == [0o644, 0o640, 0o644]
    assert "changed=0 " in host.run("workers", "postgres")


@pytest.mark.campaign("an operator does it once")
def test_switched_off_all_go_but_what_somebody_else_installed(host: Host) -> None:
    host.run("redis")
    assert host.exporters() == {"node", "redis"}
    own = host.defaults / "prometheus-nginx-exporter"
    own.write_text("ARGS=''\n")
    host.run(*GROUPS, face_monitoring_enabled=False)
    assert list(host.defaults.iterdir()) == [own]
    assert list(host.units.iterdir()) == []
    assert host.files() == []
    assert "changed=0 " in host.run(*GROUPS, face_monitoring_enabled=False)


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_another_role_brings_an_exporter_of_its_own_and_leaves_the_others_alone(host: Host) -> None:
    host.run("redis")
    secret = "{{ host_directory }}/credentials/own.env"
    table = {
        "elasticsearch": {
            "hosts": "{{ groups['redis'] }}",
            "arguments": ["--es.uri={{ caller_url }}"],
            "passwords": {"file": secret, "template": "own.env.j2"},
            "service": {"EnvironmentFile": secret},
        }
    }
    files = {
        "templates/own.env.j2": "PASSWORD={{ caller_word }}\n",
        "vars/main.yml": "caller_url: https://a\n",
    }
    host.called_by("caller", files, table)
    said = {"caller_word": "hidden", "host_directory": str(host.directory)}
    host.run("redis", **said)
    assert host.exporters() == {"node", "redis", "elasticsearch"}
    assert (host.directory / "credentials/own.env").read_text() == "PASSWORD=hidden\n"
    arguments = (host.defaults / "prometheus-elasticsearch-exporter").read_text()
    assert "ARGS='--web.listen-address=10.0.0.1:9114 --es.uri=https://a --web.config.file=" in arguments
    drop_in = host.units / "prometheus-elasticsearch-exporter.service.d/face-hardening.conf"
    assert f"EnvironmentFile={host.directory}/credentials/own.env\n" in drop_in.read_text()
    host.run("postgres", **said)
    assert host.exporters() == {"node", "redis"}
    assert host.files() == [*OBSERVED, "redis_exporter.json"]
