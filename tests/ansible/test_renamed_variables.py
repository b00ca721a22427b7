"""A variable that is called by a name of before fails with its new name, and is not passed over."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.ansible.programs import load

ROOT = Path(__file__).resolve().parents[2]
RENAMED = yaml.safe_load((ROOT / "roles/preflight/vars/main.yml").read_text())["preflight_renamed"]


def checked(directory: Path, host: dict[str, Any], *options: str) -> tuple[int, str]:
    """Exit status and words of the preflight's look at the names, for an inventory with those variables."""
    directory.mkdir(exist_ok=True)
    hosts = {"one": {"ansible_connection": "local", **host}, "other": {"ansible_connection": "local"}}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    tasks = [{"ansible.builtin.import_role": {"name": "preflight", "tasks_from": "names"}}]
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}])
    )
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_an_old_name_fails_with_the_new_one(tmp_path: Path) -> None:
    status, said = checked(tmp_path, {"face_elastic_enabled": True, "grafana_elasticsearch_index": "logs-*"})
    assert status == 2
    assert "one: face_elastic_enabled is now face_logging_enabled: rename it in the inventory" in said
    assert "grafana_elasticsearch_index is gone: an Elasticsearch of your own is a data source of" in said
    assert "other: " not in said

    status, said = checked(tmp_path, {}, "-e", "base_units_by_group={}")
    assert status == 2
    assert "base_units_by_group is gone: the units of a service stand in its entry of face_services" in said


def test_a_secret_of_the_operators_own_that_nothing_asks_for_fails_with_the_name_that_it_has_now(
    tmp_path: Path,
) -> None:
    own = {
        "redis_password": "kept to itself",
        "database_pasword_web": "kept to itself",
        "session_secret": "x",
    }
    status, said = checked(tmp_path, {"face_own_secrets": own})
    assert status == 2
    assert "one: face_own_secrets: " in said
    assert "redis_password is now redis_password_web, redis_password_worker, redis_password_upkeep," in said
    assert "database_pasword_web is a name that nothing asks for: did you mean database_password_web?" in said
    assert "session_secret is" not in said
    assert "kept to itself" not in said
    assert "other: " not in said


def test_the_names_that_a_secret_has_now_are_names_of_secrets() -> None:
    made = load("roles/base/files/make_secrets.py").SECRETS
    given = yaml.safe_load((ROOT / "roles/preflight/vars/main.yml").read_text())["preflight_renamed_secrets"]
    for old, now in given.items():
        assert old not in made
        assert set(now) == {name for name in made if name.startswith("redis_password_")}


def test_names_of_today_pass(tmp_path: Path) -> None:
    """Also those that only begin or end like an old one."""
    values: dict[str, Any] = {"face_logging_enabled": True, "vendor_timeout": 5, "my_face_elastic_enabled": 1}
    values |= {
        "face_own_secrets": {"redis_password_web": "x", "slack": "x", "loki": "x", "vault": "x", "mail": "x"},
        "face_alert_receivers": [{"type": "slack", "url_secret": "slack"}],
        "face_smtp": {"password_secret": "mail"},
        "face_grafana_extra_datasources": [{"name": "loki", "secrets": {"basicAuthPassword": "loki"}}],
        "face_backup_repositories": [{"kind": "sftp", "secret": "vault"}],
    }
    status, said = checked(tmp_path, values)
    assert status == 0, said


def test_each_old_name_leads_somewhere_and_is_read_nowhere() -> None:
    written = {
        path: path.read_text(encoding="utf-8", errors="ignore")
        for directory in ("roles", "playbooks", "group_vars", "inventory", "docs", "molecule")
        for path in (ROOT / directory).rglob("*")
        if path.is_file() and path.suffix in {".yml", ".j2", ".md"}
    }
    here = written.pop(ROOT / "roles/preflight/vars/main.yml")
    text = "\n".join(written.values())
    for variable in RENAMED:
        assert len({"now", "instead"} & set(variable)) == 1, variable["old"]
        assert not re.search(rf"\b{variable['old']}\b", text), variable["old"]
        said = variable.get("now") or variable["instead"]
        known = [
            name for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", said) if re.search(rf"(?m)^{name}:", text)
        ]
        assert known, f"{variable['old']}: {said}"
    assert len({variable["old"] for variable in RENAMED}) == len(RENAMED) == here.count("{old: ")
