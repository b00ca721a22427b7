"""Backups in a real S3 store, and back from it: Debian's Swift, pgBackRest, restic and PostgreSQL, by the
role's own programs and settings."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ansible.programs import load
from tests.ansible.test_hardening import write
from tests.hardening import ROOT
from tests.services import Postgres
from tests.services.process import S3_ROOT
from tests.services.swift import Swift

pytestmark = pytest.mark.campaign(
    "a store is built for it alone; the settings are tested in test_backup_role"
)
ROLE = ROOT / "roles/backup"
PHOTO = b"a photo, by its bytes" * 100
NAME = hashlib.sha256(PHOTO).hexdigest()


@pytest.fixture(scope="module")
def swift() -> Iterator[Swift]:
    store = Swift()
    try:
        store.start()
        store.make_bucket("face")
        yield store
    finally:
        store.close()


def repository(swift: Swift, path: str, **rest: Any) -> dict[str, Any]:
    return {
        "kind": "s3", "endpoint": swift.host, "port": swift.port, "authority": str(swift.authority),
        "bucket": "face", "region": swift.region, "path": path, "key_id": swift.key_id,
        "secret": "s3_secret", "addresses": ["127.0.0.1"], **rest,
    }  # fmt: skip


class Host(Postgres):
    """A database and originals that are backed up: all that is read and written lies in its directory."""

    root = S3_ROOT

    def set_up(self, repository: dict[str, Any], secret: str) -> None:
        """As the role does, with its templates and programs."""
        here = self.directory
        etc, secrets = here / "etc", {"s3_secret": secret}
        for name in ("etc", "originals", "state", "drill", "credentials", "lock", "spool", "cache"):
            (here / name).mkdir()
        given = {
            "face_backup_enabled": True,
            "face_backup_repositories": [repository],
            "face_own_secrets": secrets,
            "face_secrets": {"backup_database_key": "cipher-of-the-test"},
            "face_config_dir": str(etc),
            "face_originals_dir": str(here / "originals"),
            "face_models_dir": str(here / "models"),
        }
        tasks = []
        for name in ("pgbackrest.conf", "backup.json"):
            task = {"src": f"{ROLE}/templates/{name}.j2", "dest": f"{etc}/{name}"}
            tasks.append({"ansible.builtin.template": task, "vars": given})
        write(here / "etc", tasks)
        config = json.loads((etc / "backup.json").read_text())
        config["erasures"] = ["echo", "{}"]
        (etc / "backup.json").write_text(json.dumps(config))
        if "authority" in repository:
            shutil.copy(repository["authority"], config["repositories"][0]["authority"])
        (here / "credentials/backup_files_key").write_text("key-of-the-test\n")
        (here / "credentials/backup_repository_1").write_text(f"{secret}\n")
        for program in ("backup.py", "drill.py"):
            shutil.copy(ROLE / "files" / program, here)
        photo = here / "originals" / NAME[:2] / NAME[2:4] / NAME
        photo.parent.mkdir(parents=True)
        photo.write_bytes(PHOTO)
        for path in here.rglob("*"):
            self._own(path)

    @property
    def environment(self) -> list[str]:
        here = self.directory
        return [
            "env",
            f"PGBACKREST_CONFIG={here}/etc/pgbackrest.conf",
            f"PGBACKREST_PG1_PATH={here}/data",
            f"PGBACKREST_PG1_PORT={self.port}",
            f"PGBACKREST_PG1_SOCKET_PATH={here}",
            f"PGBACKREST_LOCK_PATH={here}/lock",
            f"PGBACKREST_SPOOL_PATH={here}/spool",
            f"CREDENTIALS_DIRECTORY={here}/credentials",
            f"RESTIC_CACHE_DIR={here}/cache",
            f"HOME={here}",
        ]

    def command(self) -> list[str]:
        return [*self.environment, *super().command()]

    def _create(self) -> None:
        super()._create()
        rules = self.directory / "data/pg_hba.conf"
        rules.write_text(f"local all postgres peer\n{rules.read_text()}")
        with (self.directory / "data/postgresql.conf").open("a") as file:
            file.write((ROLE / "templates/face-backup.conf.j2").read_text().partition("\n")[2])

    def tool(self, *command: str, stdin: str = "") -> str:
        return self.run([*self.environment, *command], stdin)

    def backup(self, *words: str, stdin: str = "", program: str = "backup.py", state: str = "state") -> str:
        here = self.directory
        command = ["/usr/bin/python3", "-I", "-B", f"{here}/{program}", f"{here}/etc/backup.json", *words]
        return self.tool(f"STATE_DIRECTORY={here}/{state}", *command, stdin=stdin)

    def psql(self, statement: str) -> str:
        where = ["-h", str(self.directory), "-p", str(self.port), "-d", "face"]
        return self.tool("psql", "-XAtqc", statement, *where).strip()

    def figures(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.directory / "state/last.json").read_text())
        return told


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


def test_the_database_goes_to_a_store_and_comes_back_from_it(swift: Swift, host: Host) -> None:
    host.set_up(repository(swift, "/site-a"), swift.secret)
    host.start()
    host.tool("pgbackrest", "--stanza=face", "stanza-create")
    host.psql("CREATE TABLE photos AS SELECT generate_series(1, 1000) AS id")
    host.backup("database")
    # After the backup: it comes back by the log alone.
    host.psql("INSERT INTO photos SELECT generate_series(1001, 1500)")
    host.tool("pgbackrest", "--stanza=face", "check")
    told = host.backup("drill", program="drill.py", state="drill")
    assert "1500 rows, every page and index whole" in told
    first = host.figures()["database"]["1"]
    assert first["verified"] > 0
    # The second is what changed since.
    host.backup("database")
    told = json.loads(host.tool("pgbackrest", "--stanza=face", "info", "--output=json"))
    assert [each["type"] for each in told[0]["backup"]] == ["full", "diff"]
    assert b"cipher" not in swift.ask("GET", "face/site-a/database/archive/face/archive.info")


def test_a_part_of_a_backup_that_the_store_damaged_is_noticed(swift: Swift, host: Host) -> None:
    before = set(swift.objects())
    # By the name of the bucket, too.
    host.set_up(repository(swift, "/site-b", path_style=False), swift.secret)
    host.start()
    host.tool("pgbackrest", "--stanza=face", "stanza-create")
    host.tool("pgbackrest", "--stanza=face", "backup")
    largest = max(set(swift.objects()) - before, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 255
    largest.write_bytes(content)
    with pytest.raises(RuntimeError, match="verification of repository 1 failed"):
        host.backup("database")
    assert "verified" not in host.figures()["database"]["1"]


@pytest.mark.parametrize("path_style", [True, False])
def test_originals_and_secrets_go_to_a_store_and_come_back(
    swift: Swift, host: Host, path_style: bool
) -> None:
    path = f"/site-{'c' if path_style else 'd'}"
    host.set_up(repository(swift, path, path_style=path_style), swift.secret)
    key = host.directory / "key"
    host.tool("age-keygen", "-o", str(key))
    recipient = host.tool("age-keygen", "-y", str(key)).strip()
    archive = {
        "archive": base64.b64encode(b"secrets of the test").decode(),
        "mark": "1",
        "recipients": [recipient],
    }
    host.backup("seal", stdin=json.dumps(archive))
    host.backup("files")
    assert {part: figures["1"]["verified"] > 0 for part, figures in host.figures().items()} == {
        "originals": True, "configuration": True,
    }  # fmt: skip
    # Over an object that is there.
    host.backup("files")
    sealed = host.directory / "came-back"
    sealed.write_bytes(swift.ask("GET", f"face{path}/sealed/secrets.tar.age"))
    assert host.tool("age", "--decrypt", "-i", str(key), str(sealed)) == "secrets of the test"
    target = host.directory / "restored"
    host.backup("restic", "1", "restore", "latest", "--tag", "originals", "--target", str(target))
    (found,) = (each for each in target.rglob(NAME))
    assert found.read_bytes() == PHOTO


def test_a_store_that_refuses_the_key_is_told_of(swift: Swift, host: Host) -> None:
    host.set_up(repository(swift, "/site-e"), "another-secret")
    with pytest.raises(RuntimeError, match="Access Denied"):
        host.backup("files")
    config = json.loads((host.directory / "etc/backup.json").read_text())["repositories"][0]
    put = load("roles/backup/files/backup.py").put
    with pytest.raises(OSError, match=r"localhost answers 403 to PUT .*SignatureDoesNotMatch"):
        put(config, "another-secret", "site-e/sealed/one", b"sealed")
    host.start()
    with pytest.raises(RuntimeError, match=r"failed with 403 \(Forbidden\)"):
        host.tool("pgbackrest", "--stanza=face", "stanza-create")
