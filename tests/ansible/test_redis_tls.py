"""Other hosts ask both Redises by TLS alone, and for a while those of the release before without it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from face_pipeline.broker.celery import publish_ingest
from face_pipeline.broker.names import QUEUE_INGEST
from face_pipeline.broker.redis import connect, reached
from face_pipeline.config import Settings
from face_pipeline.errors import QueueUnavailable, RedisRefused
from face_pipeline.parts import Parts
from kombu import pools

from tests.ansible.programs import load
from tests.services import Redis
from tests.services.process import HERE, free_port
from tests.services.process import ROOT as SERVICES
from tests.services.redis import TESTER, passwords

ROOT = Path(__file__).resolve().parents[2]
ROLE, BASE = ROOT / "roles/redis", ROOT / "roles/base"
DATA, WORKER = "127.0.0.2", "127.0.0.1"
SETTINGS = {"redis": "face.conf", "scratch": "redis-scratch.conf"}
certificates = load("roles/certificates/files/make_certificate.py")


class Server(Redis):
    """One of both, with the settings that the role wrote; both are in one directory, as on a host."""

    def __init__(self, name: str, beside: Server | None) -> None:
        super().__init__(scratch=name == "scratch")
        self.ports = {"port": self.port, "tls_port": free_port()}
        if beside:
            text = self.users_file.read_text()
            shutil.rmtree(self.directory)
            self.directory = beside.directory
            self.users_file = self.write(f"users-{name}.acl", text)
        self.settings = self.directory / SETTINGS[name]

    def command(self) -> list[str]:
        # What is not here: Debian's own settings, systemd, and places that it makes.
        lines = self.settings.read_text().splitlines(keepends=True)
        kept = [
            line for line in lines if line.split(" ")[0] not in ("dir", "logfile", "supervised", "pidfile")
        ]
        kept.append(f"dir {self.directory}\n")
        return ["redis-server", str(self.write(f"run-{self.settings.name}", "".join(kept)))]

    def ready(self) -> bool:
        try:
            with socket.create_connection((DATA, self.ports["tls_port"]), timeout=1):
                return True
        except OSError:
            return False

    def plain(self) -> redis.Redis:
        """A client as the release before has it."""
        return connect(f"redis://{TESTER}:{passwords()[TESTER]}@{DATA}:{self.ports['port']}/0", timeout=20)

    def proven(self) -> redis.Redis:
        url = f"rediss://{TESTER}:{passwords()[TESTER]}@{DATA}:{self.ports['tls_port']}/0"
        return connect(url, timeout=20, authority=str(self.directory / "ca.crt"))


class Host:
    """The host of the data, as the role sets it up, and one that asks there."""

    def __init__(self, directory: Path, **variables: object) -> None:
        self.directory = directory
        first = Server("redis", None)
        self.servers = {"redis": first, "scratch": Server("scratch", first)}
        self.there = first.directory
        self.authority = self.there / "ca.crt"
        for link, source in (("group_vars", ROOT / "group_vars"), ("templates", ROLE / "templates")):
            (directory / link).symlink_to(source)
        hosts = {
            name: {
                "face_private_address": address,
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
            }
            for name, address in (("data", DATA), ("compute", WORKER))
        }
        data, worker = ({"hosts": {name: hosts[name]}} for name in hosts)
        groups = {**dict.fromkeys(("proxy", "web", "postgres", "redis"), data), "workers": worker}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
        known = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
        own = {
            f"{server}redis{tls}": self.servers[name].ports[port]
            for name, server in (("redis", ""), ("scratch", "scratch_"))
            for port, tls in (("port", ""), ("tls_port", "_tls"))
        }
        self.variables: dict[str, Any] = {
            "face_ports": {**known, **own},
            "redis_servers": {
                name: {
                    "unit": f"unit of {name}", "option": ["--scratch"] if name == "scratch" else [],
                    "settings": str(server.settings), "users": str(server.users_file), **server.ports,
                }
                for name, server in self.servers.items()
            },
            "redis_certificate": str(self.there / "face.crt"),
            "redis_certificate_key": str(self.there / "face.key"),
            "redis_appendfsync": "everysec", "face_redis_memory_mb": 64, "face_scratch_redis_memory_mb": 64,
            "face_authority": str(self.authority),
            # One that a certificate is renewed for.
            "face_authority_permits": ["192.0.2.1"],
            "face_secrets_dir": str(directory / "secrets"),
            "face_credentials_dir": str(directory / "credentials"),
            "role_path": str(ROLE),
            **variables,
        }  # fmt: skip
        (directory / "bin").mkdir()
        self._program("systemctl", f'echo "$@" >>{directory}/restarted')
        if (SERVICES / ".complete").exists():
            enter = f"unshare --mount --propagation private -- {HERE}/enter {SERVICES} redis {self.there}"
            self._program("redis-cli", f'exec {enter} redis-cli "$@"')
        (directory / "credentials").mkdir()
        for user, password in passwords().items():
            (directory / f"credentials/redis_password_{user}").write_text(f"{password}\n")

    def _program(self, name: str, command: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{command}\n")
        path.chmod(0o755)

    def _tasks(self, entry: str) -> list[dict[str, Any]]:
        """Of the role, without what concerns Debian's package and systemd."""
        tasks: list[dict[str, Any]] = yaml.safe_load((ROLE / f"tasks/{entry}.yml").read_text())
        owner = str(self.servers["redis"]._identity()[0])
        kept = []
        for task in tasks:
            for inner in task.get("block", []):
                if "certificates_owner" in inner.get("vars", {}):
                    inner["vars"] |= {"certificates_owner": owner, "certificates_group": owner}
            if "ansible.builtin.template" in task and "settings of" in task["name"]:
                place = str(self.servers["redis" if entry == "configure" else "scratch"].settings)
                task["ansible.builtin.template"] |= {"owner": owner, "group": owner, "dest": place}
                kept.append(task)
            elif entry in ("tls", "settle", "loopback"):
                kept.append(task)
            elif entry == "close_plain":
                kept += self._tasks("settle") if "ansible.builtin.import_tasks" in task else [task]
        return kept

    def run(self, *entries: str) -> str:
        """These files of the role; what Ansible said of the host at its end."""
        made = [
            {"ansible.builtin.import_role": {"name": "certificates", "tasks_from": "authority"}},
            {
                "ansible.builtin.template": {
                    "src": str(BASE / "templates/face-redis.j2"), "mode": "0755",
                    "dest": str(self.directory / "bin/face-redis"),
                },
                "vars": yaml.safe_load((BASE / "defaults/main.yml").read_text())
                | {"base_redis_password": str(self.directory / "credentials/redis_password_operator")},
            },
        ]  # fmt: skip
        handlers = [
            {"name": name, "ansible.builtin.debug": {"msg": "Redis is restarted"}}
            for name in ("Restart Redis", "Restart the searches' Redis")
        ]
        play = {
            "hosts": "redis", "gather_subset": ["!all", "!min", "python"],
            "vars_files": [str(ROLE / "vars/main.yml")],
            "tasks": made + [task for entry in entries for task in self._tasks(entry)], "handlers": handlers,
        }  # fmt: skip
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml",
             "-e", json.dumps(self.variables)],
            cwd=self.directory, capture_output=True, text=True, check=False,
            env={
                **os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
                "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return next(line for line in done.stdout.splitlines() if line.startswith("data "))

    def write_settings(self) -> str:
        return self.run("tls", "configure", "scratch")

    @contextmanager
    def serves(self) -> Iterator[None]:
        with ExitStack() as stack:
            for server in self.servers.values():
                stack.callback(server.stop)
                server.start()
            yield

    def restarted(self) -> str:
        file = self.directory / "restarted"
        return file.read_text() if file.exists() else ""

    def parts(self, authority: Path | None = None, user: str = "worker") -> Parts:
        """What a process on the other host works with."""
        ports = self.variables["face_ports"]
        settings = Settings(
            tls_ca=str(authority or self.authority), credentials_dir=self.directory / "credentials",
            redis_user=user, redis_host=DATA, redis_port=ports["redis_tls"],
            scratch_redis_host=DATA, scratch_redis_port=ports["scratch_redis_tls"],
        )  # fmt: skip
        return Parts(settings)

    def close(self) -> None:
        for server in self.servers.values():
            server.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()


def another(directory: Path) -> Path:
    """The certificate of an authority that is not the installation's."""
    certificates.make(directory, certificates.Leaf(directory, []), datetime.now(UTC))
    return directory / "ca.crt"


def refusal(parts: Parts) -> str:
    """What is said where neither a client of Redis nor Celery gets in."""
    # kombu keeps connections of a process by their addresses; those of other tests stay open.
    pools.connections.clear()
    pools.producers.clear()
    said = []
    for ask in (
        parts.queue.ping,
        parts.scratch.ping,
        lambda: publish_ingest(parts.celery, [uuid.uuid4()], None),
    ):
        with pytest.raises(RedisRefused) as refused, reached():
            ask()
        said.append(str(refused.value).replace(str(parts.settings.scratch_redis_port), "PORT"))
    first = str(parts.settings.redis_port)
    assert {each.replace(first, "PORT") for each in said} == {said[1]}
    return said[1]


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_a_new_host_is_asked_by_tls_alone_and_proves_who_it_is(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write_settings()
    assert (host.there / "face.key").stat().st_mode & 0o777 == 0o600
    with host.serves():
        assert "changed=0 " in host.run("tls", "configure", "scratch", "settle", "close_plain")
        parts = host.parts(user=TESTER)
        assert parts.queue.ping()
        assert parts.scratch.ping()
        # What a connection without TLS has, one with it has as well.
        made = parts.queue.connection_pool.connection_kwargs
        assert made["socket_keepalive"]
        assert made["health_check_interval"]
        photo = uuid.uuid4()
        assert publish_ingest(parts.celery, [photo], None) == [photo]
        with parts.celery.connection() as connection, connection.SimpleQueue(QUEUE_INGEST) as queue:
            assert str(photo) in str(queue.get(timeout=20).payload)
            connected = queue.channel.pool.connection_kwargs
            assert connected["socket_keepalive_options"] == made["socket_keepalive_options"]
        for server in host.servers.values():
            with pytest.raises(redis.ConnectionError, match="refused"):
                server.plain().ping()

        # Another authority, also where this host trusts that of the server.
        monkeypatch.setenv("SSL_CERT_FILE", str(host.authority))
        said = refusal(host.parts(another(tmp_path / "other")))
        assert said.startswith(f"Redis at {DATA}:PORT cannot prove who it is (")
        assert said.endswith("certificates of one authority")
        assert "./face-ansible site.yml" in said
        assert "there is no /none/ca.crt" in refusal(host.parts(Path("/none/ca.crt")))


def test_a_renewed_certificate_is_shown_without_a_restart_and_a_wrong_one_is_refused(host: Host) -> None:
    host.write_settings()
    with host.serves():
        clients = {name: server.proven() for name, server in host.servers.items()}
        before = {name: client.client_id() for name, client in clients.items()}
        host.variables["face_host_names"] = ["192.0.2.1"]
        assert "changed=0 " not in host.run("tls", "settle")
        assert {name: client.client_id() for name, client in clients.items()} == before, "they stay connected"
        assert f"IP address mismatch, certificate is not valid for '{DATA}'" in refusal(host.parts())
        for server in host.servers.values():
            assert "settle" not in server.users_file.read_text()
        assert "settle" not in str(clients["redis"].acl_list())
        assert host.restarted() == ""

        # Where Redis cannot be told it is restarted.
        (host.directory / "credentials/redis_password_operator").write_text("another\n")
        del host.variables["face_host_names"]
        shutil.rmtree(host.directory / "secrets/redis-data")
        host.run("tls", "settle")
        assert host.restarted() == "restart unit of redis\nrestart unit of scratch\n"


@pytest.mark.campaign("only the way back to one host goes that way")
def test_who_asks_without_tls_is_let_in_while_several_hosts_become_one(host: Host) -> None:
    host.write_settings()
    with host.serves():
        connected = {name: server.proven() for name, server in host.servers.items()}
        before = {name: client.client_id() for name, client in connected.items()}
        assert "changed=2 " in host.run("loopback")
        assert all(server.plain().ping() for server in host.servers.values())
        assert {name: client.client_id() for name, client in connected.items()} == before
        assert host.restarted() == ""
        assert "changed=0 " in host.run("loopback")


@pytest.mark.campaign("only an update from an older release goes that way")
def test_units_of_the_release_before_ask_without_tls_until_the_end(host: Host) -> None:
    for server in host.servers.values():
        server.write(server.settings.name, f"bind {DATA}\nport {server.ports['port']}\n")
    host.write_settings()
    with host.serves():
        # A run that broke off begins again.
        assert "changed=0 " in host.run("tls", "configure", "scratch", "settle")
        old = {name: server.plain() for name, server in host.servers.items()}
        new = {name: server.proven() for name, server in host.servers.items()}
        connected = {name: client.client_id() for name, client in new.items()}
        assert all(client.ping() for client in old.values())
        assert "changed=2 " in host.run("close_plain")
        assert host.restarted() == ""
        assert {name: client.client_id() for name, client in new.items()} == connected
        for client in old.values():
            with pytest.raises(redis.ConnectionError):
                client.ping()
        assert "changed=0 " in host.run("tls", "configure", "scratch", "settle", "close_plain")
    with host.serves(), pytest.raises(QueueUnavailable), reached():
        host.servers["redis"].plain().ping()


def test_where_the_network_encrypts_there_is_no_tls(tmp_path: Path) -> None:
    host = Host(tmp_path, face_tls_between_hosts=False)
    try:
        host.run("tls", "configure", "scratch", "settle", "close_plain")
        for server in host.servers.values():
            text = server.settings.read_text()
            assert f"\nport {server.ports['port']}\n" in text
            assert "tls" not in text
        assert not (host.there / "face.key").exists()
    finally:
        host.close()
