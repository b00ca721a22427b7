"""What a host's memory gives to web service, workers and the Redis of the searches; what reaches a disk."""

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

from tests.hardening import drop_in

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
FILES = {
    "face-web.service": "web/templates/face-web.service.j2",
    "celery@.service": "worker/templates/celery@.service.j2",
    "redis-scratch.conf": "redis/templates/redis-scratch.conf.j2",
    "face-scratch.conf": "redis/templates/face-scratch.conf.j2",
    "face-pipeline.env": "app/templates/face-pipeline.env.j2",
}
DEFAULTS = [
    f"{ROOT}/roles/{role}/{part}/main.yml" for role in ("web", "worker", "app") for part in ("defaults",)
]
DEFAULTS += [f"{ROOT}/roles/{role}/vars/main.yml" for role in ("web", "app", "redis")]


def played(directory: Path, tasks: list[dict[str, Any]], memory_mb: int, **variables: Any) -> tuple[int, str]:
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    (directory / "roles").symlink_to(ROOT / "roles")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    children = {group: {"hosts": {"one": {}}} for group in GROUPS}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": local, "children": children}}))
    play = {"hosts": "one", "gather_facts": False, "vars_files": DEFAULTS, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    given = {
        "ansible_facts": {"memtotal_mb": memory_mb},
        "nvidia_plan": {"use": False, "cuda": ""},
        **variables,
    }
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*map(str, command), "-e", json.dumps(given)],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def written(directory: Path, memory_mb: int, **variables: Any) -> dict[str, str]:
    tasks = [
        {"ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{directory}/{name}"}}
        for name, source in FILES.items()
    ]
    tasks.append(drop_in("app", directory / "hardening.conf"))
    tasks.append(drop_in("redis", directory / "redis-hardening.conf"))
    status, said = played(directory, tasks, memory_mb, **variables)
    assert status == 0, said
    names = (*FILES, "hardening.conf", "redis-hardening.conf")
    return {name: (directory / name).read_text() for name in names}


def limit(text: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}[= ](.*)$", text, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(
    ("memory_mb", "web", "worker", "scratch"),
    [(1900, "1024M", "2048M", "384mb"), (64000, "16000M", "16000M", "3200mb")],
)
def test_each_has_a_limit_that_follows_the_hosts_memory(
    tmp_path: Path, memory_mb: int, web: str, worker: str, scratch: str
) -> None:
    found = written(tmp_path, memory_mb)
    assert limit(found["face-web.service"], "MemoryMax") == web
    assert limit(found["celery@.service"], "MemoryMax") == worker
    assert limit(found["redis-scratch.conf"], "maxmemory") == scratch


def test_uploads_wait_on_a_disk_and_searches_on_none(tmp_path: Path) -> None:
    found = written(tmp_path, 8000)
    assert "\nEnvironment=TMPDIR=/var/tmp\n" in found["face-web.service"]
    assert "\nPrivateTmp=yes\n" in found["hardening.conf"]
    assert limit(found["redis-scratch.conf"], "save") == '""'
    assert limit(found["redis-scratch.conf"], "appendonly") == "no"
    assert limit(found["redis-scratch.conf"], "maxmemory-policy") == "volatile-lru"
    assert limit(found["redis-scratch.conf"], "dir").startswith("/run/")
    assert limit(found["face-scratch.conf"], "MemorySwapMax") == "0"
    for name in ("redis-hardening.conf", "hardening.conf"):
        assert limit(found[name], "LimitCORE") == "0"
    assert limit(found["face-pipeline.env"], "FACE_SCRATCH_REDIS_PORT") == "6380"


@pytest.mark.parametrize(
    ("variable", "value"), [("face_worker_memory_max_mb", 500), ("face_web_memory_max_mb", "2G")]
)
def test_a_limit_under_which_nothing_works_is_refused(tmp_path: Path, variable: str, value: Any) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    (check,) = (task for task in tasks if task["name"] == "Check the limits of memory")
    status, said = played(tmp_path, [check], 8000, **{variable: value})
    assert status == 2
    assert f"{variable} is '{value}'" in " ".join(said.split()) or f"'{value}' (1024 or more)" in said
