"""PostgreSQL 17 with pgvector: database and owner `face`, a role for each unit, SCRAM only."""

import os
import re
import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from face_pipeline.store.rights import Role

from tests.services.far import Far
from tests.services.process import Service

BINARIES = "/usr/lib/postgresql/17/bin"
# What it logs and counts is part of what is tested.
ROLE = Path(__file__).resolve().parents[2] / "roles/postgres/templates/face.conf.j2"
AS_THE_ROLE = re.compile(
    r"(log_|tcp_|client_connection|shared_preload|pg_stat_statements\.|auto_explain)[^{]*"
)


class Postgres(Service):
    """A fresh cluster. `fsync=True` where a test is about durability; `settings` come after its own."""

    name = "postgres"
    system_user = "postgres"
    # SIGINT is PostgreSQL's fast shutdown: sessions are ended, nothing is lost.
    stop_signal = signal.SIGINT

    def __init__(
        self,
        *,
        fsync: bool = False,
        max_connections: int = 100,
        far: Far | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(far)
        self.user = "face"
        self.database = "face"
        self.password = secrets.token_urlsafe(24)
        self.passwords = {role: secrets.token_urlsafe(24) for role in Role}
        self.admin_user = "postgres"
        self.admin_password = secrets.token_urlsafe(24)
        self._fsync = fsync
        self._max_connections = max_connections
        self._settings = settings
        self._data = str(self.directory / "data")

    @property
    def dsn(self) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    def start(self) -> None:
        if not (self.directory / "data").exists():
            self._create()
        super().start()

    def command(self) -> Sequence[str]:
        return [f"{BINARIES}/postgres", "-D", self._data]

    def ready(self) -> bool:
        state = self.directory / "data" / "postmaster.pid"
        try:
            lines = state.read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def kill(self) -> None:
        super().kill()
        # The killed server's own lock would name a process id that means nothing in the next namespace.
        (self.directory / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _create(self) -> None:
        password_file = self.write("admin-password", self.admin_password + "\n")
        try:
            self.run(
                [
                    *(
                        f"{BINARIES}/initdb",
                        "--pgdata",
                        self._data,
                        "--username",
                        self.admin_user,
                        "--no-sync",
                    ),
                    *("--auth=scram-sha-256", "--pwfile", str(password_file)),
                    *("--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
                ]
            )
        finally:
            password_file.unlink()
        durability = "on" if self._fsync else "off"
        settings = {
            "listen_addresses": f"'{self.host}'",
            "port": self.port,
            "unix_socket_directories": f"'{self.directory}'",
            "max_connections": self._max_connections,
            "shared_buffers": "'64MB'",
            # Files of its own: a killed server would leave POSIX segments behind in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            "fsync": durability,
            "full_page_writes": durability,
        }
        with (self.directory / "data" / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = {value}\n" for name, value in settings.items())
            lines = ROLE.read_text().splitlines()
            configuration.writelines(f"{line}\n" for line in lines if AS_THE_ROLE.fullmatch(line))
            configuration.writelines(f"{name} = {value}\n" for name, value in self._settings.items())
        if self.far:
            with (self.directory / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all,replication all samenet scram-sha-256\n")
        roles = {self.user: self.password, **self.passwords}
        made = [f"CREATE ROLE {role} LOGIN PASSWORD '{password}';" for role, password in roles.items()]
        self._single(self.admin_user, " ".join(made))
        self._single(self.admin_user, "CREATE DATABASE face OWNER face;")
        to_connect = f"GRANT CONNECT ON DATABASE face TO {', '.join(self.passwords)};"
        self._single(self.admin_user, f"REVOKE ALL ON DATABASE face FROM PUBLIC; {to_connect}")
        self._single(self.database, "CREATE EXTENSION vector;")

    def promote(self) -> None:
        """Let one that follows lead from now on."""
        self.run([f"{BINARIES}/pg_ctl", "promote", "-D", self._data])

    def refuse_new(self) -> None:
        """Refuse whoever connects from now on, but those that follow; connections that there are stay."""
        rules = self.directory / "data" / "pg_hba.conf"
        rules.write_text("host all all all reject\n" + rules.read_text())
        # pg_ctl knows the process by the number that it has among the server's own.
        os.kill(self.pid, signal.SIGHUP)

    def _single(self, database: str, statement: str) -> None:
        """One statement without a server: single-user mode asks for no password."""
        mode = [f"{BINARIES}/postgres", "--single", "-j", "-F", "-D", self._data, database]
        self.run(mode, stdin=statement + "\n\n")


class Follower(Postgres):
    """A host that follows `leader`, at the same port of another address of loopback: a site of two hosts."""

    name = "follower"

    def __init__(self, leader: Postgres) -> None:
        super().__init__()
        self._leader = leader
        self.host, self.port = "127.0.0.2", leader.port
        self.password, self.passwords = leader.password, leader.passwords
        self.admin_password = leader.admin_password

    def _create(self) -> None:
        leader = self._leader
        # A file, for what stands in a command all may read.
        line = f"{leader.host}:{leader.port}:*:{self.admin_user}:{self.admin_password}\n"
        password = self.write("pgpass", line)
        self.run([
            f"{BINARIES}/pg_basebackup", "--pgdata", self._data, "--write-recovery-conf", "--checkpoint=fast",
            "--no-sync", "--dbname",
            f"host={leader.host} port={leader.port} user={self.admin_user} passfile={password}",
        ])  # fmt: skip
        with (self.directory / "data" / "postgresql.conf").open("a") as configuration:
            configuration.write(f"listen_addresses = '{self.host}'\n")
            configuration.write(f"unix_socket_directories = '{self.directory}'\n")
