"""The role `redis` writes who may sign in, also where nobody had a user before."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import yaml
from redis.exceptions import AuthenticationError

from tests.ansible.programs import load
from tests.services import Redis
from tests.services.redis import users

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "redis"
GROUPS = ("proxy", "web", "workers", "postgres", "redis")
OLD = "the one password of all"
# Nobody's unit: a person at a shell, and a program of Debian's.
NO_UNITS_OF_OURS = {
    "operator": set(), "exporter": {"prometheus-redis-exporter"}, "keepalived": {"face-keepalived"},
}  # fmt: skip


class Host:
    """Directories in the place of a host's, with the tasks of the role that write users."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.users = {name: directory / f"{name}.acl" for name in ("redis", "scratch")}
        self.settings = {name: directory / f"{name}.conf" for name in self.users}
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
        (directory / "credentials").mkdir()
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        children = {group: {"hosts": {"one": local}} for group in GROUPS}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}))

    def run(self, tasks: str) -> str:
        """The tasks of this file of the role; what Ansible said at its end."""
        kept = []
        for task in yaml.safe_load((ROLE / "tasks" / tasks).read_text()):
            task.pop("notify", None)
            for owned in ("owner", "group"):
                task.get("ansible.builtin.template", {}).pop(owned, None)
            if "ansible.builtin.template" in task:
                task["ansible.builtin.template"]["src"] = str(ROLE / "templates/users.acl.j2")
            kept.append(task)
        play = {
            "hosts": "one", "gather_facts": False, "vars_files": [str(ROLE / "vars/main.yml")], "tasks": kept,
        }  # fmt: skip
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        given = {
            "redis_servers": {
                name: {"users": str(self.users[name]), "settings": str(self.settings[name])}
                for name in self.users
            },
            "face_credentials_dir": str(self.directory / "credentials"),
            "face_secrets": {f"redis_password_{name}": f"of {name}" for name in users()},
            "face_no_log": False,
        }
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml"]
        done = subprocess.run(
            [*command, "-e", json.dumps(given)],
            cwd=self.directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-2]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def lets_in(server: Redis, user: str | None, password: str) -> bool:
    try:
        with redis.Redis(port=server.port, username=user, password=password) as client:
            return bool(client.ping())
    except AuthenticationError:
        return False


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_a_new_host_lets_in_users_alone(host: Host) -> None:
    host.run("users.yml")
    assert "changed=0 " in host.run("users.yml")
    assert "changed=0 " in host.run("close.yml")
    for name, file in host.users.items():
        text = file.read_text()
        assert text.startswith("user default off ")
        assert not re.search("of [a-z]+", text), "a password"
        there = {line.split()[1] for line in text.splitlines()[1:]}
        assert there == {user for user, rights in users().items() if name in rights}


@pytest.mark.campaign("only an update from an older release goes that way")
def test_units_of_the_release_before_stay_signed_in_until_all_have_users(host: Host) -> None:
    for file in host.settings.values():
        file.write_text(f"port 1\nrequirepass {OLD}\nmaxmemory 1mb\n")
    for name in ("redis_password", "scratch_redis_password"):
        (host.directory / "credentials" / name).write_text(OLD)
    host.run("users.yml")
    # The settings of this release have no password; a run that broke off begins again.
    for file in host.settings.values():
        file.write_text("port 1\naclfile users.acl\n")
    assert "changed=0 " in host.run("users.yml")
    with Redis() as server:
        assert isinstance(server, Redis)
        loaded = server.users_file.read_text().splitlines(keepends=True)[-1]

        def load_users() -> None:
            server.users_file.write_text(host.users["redis"].read_text() + loaded)
            with redis.Redis.from_url(server.url_of("tester")) as tester:
                tester.acl_load()

        load_users()
        assert lets_in(server, None, OLD)
        assert lets_in(server, "web", "of web")
        assert not lets_in(server, None, "another")
        assert "changed=2 " in host.run("close.yml")
        load_users()
        assert not lets_in(server, None, OLD)
        assert lets_in(server, "web", "of web")
    assert list((host.directory / "credentials").iterdir()) == []
    assert hashlib.sha256(OLD.encode()).hexdigest() not in host.users["scratch"].read_text()
    for again in ("users.yml", "close.yml"):
        assert "changed=0 " in host.run(again)


def units() -> dict[str, set[str]]:
    """The product's units of each user, by what their files say."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "roles").glob("*/templates/*.service.j2"):
        text = path.read_text()
        for user in re.findall(r"^Environment=FACE_REDIS_USER=(\w+)$", text, re.MULTILINE):
            found.setdefault(user, set()).add(path.name.removesuffix(".service.j2"))
        credentials = re.findall(r"^LoadCredential=redis_password_(\w+):(\S.*)$", text, re.MULTILINE)
        assert [name for name, _ in credentials] == re.findall(r"FACE_REDIS_USER=(\w+)", text), path.name
        for name, file in credentials:
            assert file == f"{{{{ face_credentials_dir }}}}/redis_password_{name}", path.name
    return found


def test_each_unit_is_a_user_of_its_own_and_reads_no_other_password() -> None:
    assert units().keys() | NO_UNITS_OF_OURS.keys() == users().keys()


def test_every_user_has_a_secret_and_every_unit_finds_its_own() -> None:
    made = {name for name in load("roles/base/files/make_secrets.py").SECRETS if "redis" in name}
    assert made == {f"redis_password_{user}" for user in users()}
    installed = set(re.findall(r"redis_password_\w+", (ROOT / "roles/app/vars/main.yml").read_text()))
    assert installed == {f"redis_password_{user}" for user in units()}
    named = (ROOT / "group_vars/all/secrets.yml").read_text()
    assert not [name for name in made if name not in named]


def test_the_table_in_the_documents_is_that_of_the_role() -> None:
    text = (ROOT / "docs/security.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert [user for user, *_ in rows] == list(users())
    ours = {**NO_UNITS_OF_OURS, **units()}
    for user, who, queues, searches in rows:
        assert set(re.findall(r"[a-z-]*(?:face-\w+|celery@|redis-exporter)", who)) >= ours[user], user
        assert ("-" not in (queues, searches)) == (len(users()[user]) == 2), user
        assert (searches == "-") == ("scratch" not in users()[user]), user
