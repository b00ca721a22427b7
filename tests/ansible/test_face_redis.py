"""Redis is asked by a command that knows its password, and shows it to nobody."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.services import Redis
from tests.services.process import ROOT as SERVICES
from tests.services.redis import passwords

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "roles" / "base"


@dataclass
class Asking:
    """The installed command, and what it finds on a host."""

    program: Path
    credential: Path
    environment: dict[str, str]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(self.program), *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis) -> Path:
    directory = tmp_path_factory.mktemp("face-redis")
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    groups = ("proxy", "web", "workers", "postgres", "redis")
    one = {"hosts": {"one": {"ansible_connection": "local"}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": dict.fromkeys(groups, one)}}))
    tasks = [
        {"ansible.builtin.include_vars": f"{BASE}/defaults/main.yml"},
        {"ansible.builtin.include_vars": f"{BASE}/vars/main.yml"},
        {
            "ansible.builtin.template": {
                "src": f"{BASE}/templates/face-redis.j2",
                "dest": f"{directory}/face-redis",
                "mode": "0755",
            }
        },
    ]
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "one", "gather_facts": False, "tasks": tasks}])
    )
    ports = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    given = {
        "face_ports": {**ports, "redis": redis_server.port},
        "face_credentials_dir": str(directory / "credentials"),
    }
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*command, "-e", json.dumps(given)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "face-redis"


@pytest.fixture
def asking(program: Path, redis_server: Redis) -> Asking:
    binaries = program.parent / "bin"
    binaries.mkdir(exist_ok=True)
    if (SERVICES / ".complete").exists():
        (binaries / "redis-cli").write_text(f'#!/bin/sh\nexec chroot {SERVICES} /usr/bin/redis-cli "$@"\n')
        (binaries / "redis-cli").chmod(0o755)
    credential = program.parent / "credentials" / "redis_password_operator"
    credential.parent.mkdir(exist_ok=True)
    credential.write_text(f"{passwords()['operator']}\n")
    return Asking(program, credential, {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"})


def test_a_queue_is_counted_without_typing_a_password(asking: Asking) -> None:
    done = asking.ask("LLEN", "face-redis-test")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0", "")
    assert "used_memory_human" in asking.ask("INFO", "memory").stdout


def test_the_password_is_in_no_command_line(asking: Asking) -> None:
    command = ["sh", str(asking.program), "SUBSCRIBE", "face-redis-test"]
    with subprocess.Popen(command, env=asking.environment, stdout=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "subscribe\n"
            lines = []
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
            assert any("redis-cli" in line and "SUBSCRIBE" in line for line in lines)
            assert not any(passwords()["operator"] in line for line in lines)
        finally:
            waiting.kill()


def test_an_error_of_redis_is_an_exit_status(asking: Asking) -> None:
    done = asking.ask("NONSENSE")
    assert done.returncode != 0
    assert "unknown command" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", [["FLUSHALL"], ["MONITOR"], ["CONFIG", "SET", "maxmemory", "1"], ["KEYS", "*"]]
)
def test_what_nobody_may_do_is_refused_to_a_person_too(asking: Asking, words: list[str]) -> None:
    done = asking.ask(*words)
    assert done.returncode != 0
    assert "NOPERM" in done.stdout + done.stderr


def test_a_users_file_that_changed_is_read_without_a_restart(asking: Asking) -> None:
    assert asking.ask("ACL", "LOAD").stdout.strip() == "OK"


def test_without_roots_rights_it_says_what_to_type(asking: Asking) -> None:
    asking.credential.unlink()
    done = asking.ask("LLEN", "ingest")
    assert done.returncode == 1
    assert "sudo face-redis LLEN ingest" in done.stderr
