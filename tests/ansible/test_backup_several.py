"""Backups of several web hosts in one repository, and back: Debian's restic and age, by the roles'
programs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hardening import ROOT
from tests.services.process import S3_ROOT, Service

pytestmark = pytest.mark.campaign(
    "its programs are in a root of their own; test_backup_role has the settings"
)
PHOTO_BYTES = 300_000


def named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Site(Service):
    """Web hosts with a directory for backups that all of them mount. At any time one of them acts."""

    name = "web"
    system_user = "postgres"
    root = S3_ROOT
    acting = ""

    def set_up(self, *hosts: str) -> None:
        here = self.directory
        for name in ("repository/sealed", "credentials", "models", "settings"):
            (here / name).mkdir(parents=True)
        (here / "credentials/backup_files_key").write_text("key-of-the-test\n")
        program = (ROOT / "roles/backup/files/backup.py").read_text()
        (here / "backup.py").write_text(
            program.replace("POLL_SECONDS = 6 * 3600.0, 30.0", "POLL_SECONDS = 60, 0.2")
        )
        for path in (here, *here.rglob("*")):
            self._own(path)
        for host in hosts:
            self.make(host)

    def make(self, host: str) -> None:
        for name in ("originals", "state/files"):
            (self.directory / host / name).mkdir(parents=True)
        (self.directory / host / "erasures").write_text("")
        for path in (self.directory / host, *(self.directory / host).rglob("*")):
            self._own(path)

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """What a host has lies where each host has it."""
        here = self.directory
        config = {
            "host": host, "repositories": [{"kind": "directory", "path": f"{here}/repository"}], "days": 35,
            "originals": f"{here}/originals", "models": f"{here}/models", "settings": f"{here}/settings",
            "erasures": ["cat", f"{here}/erasures"],
        }  # fmt: skip
        (here / "backup.json").write_text(json.dumps(config))
        parts = ("originals", "state", "erasures")
        for part in parts:
            (here / host / part).rename(here / part)
        self.acting = host
        try:
            yield
        finally:
            self.acting = ""
            for part in parts:
                (here / part).rename(here / host / part)

    def _wrap(self, arguments: Sequence[str]) -> list[str]:
        """Restic tells whose a lock is by the name of the host."""
        named_so = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.acting or "nobody"]
        return [*named_so, *super()._wrap(arguments)]

    def program(self, *words: str) -> list[str]:
        here = self.directory
        told = {
            "CREDENTIALS_DIRECTORY": here / "credentials", "STATE_DIRECTORY": here / "state/files",
            "RESTIC_CACHE_DIR": here / "cache", "HOME": here,
        }  # fmt: skip
        python = ["/usr/bin/python3", "-I", "-B", f"{here}/backup.py", f"{here}/backup.json"]
        return ["env", *(f"{name}={value}" for name, value in told.items()), *python, *words]

    def backup(self, *words: str, stdin: str = "") -> str:
        return self.run(self.program(*words), stdin)

    def save(self, host: str) -> None:
        with self.on(host):
            self.backup("files")

    def restore(self, step: str, host: str, hosts: list[str], **wish: Any) -> str:
        here = self.directory
        asked = {
            "at": "", "repository": 1, "timeline": "", "postgres": "17", "cluster": f"{here}/none",
            "state": f"{here}/state/restore", "originals": f"{here}/originals",
            "config": f"{here}/backup.json", "backup": f"{here}/backup.py",
            "credentials": f"{here}/credentials", "host": host, "hosts": hosts,
            **wish,
        }  # fmt: skip
        program = (ROOT / "roles/restore/files/restore.py").read_text()
        # It answers nothing: the database is away.
        program = program.replace("/usr/local/bin/face-pipeline", "/bin/false")
        command = ["env", f"HOME={here}", f"RESTIC_CACHE_DIR={here}/cache", "/usr/bin/python3", "-B", "-"]
        with self.on(host):
            return self.run([*command, step, json.dumps(asked)], program)

    def put(self, host: str, *photos: bytes) -> None:
        for data in photos:
            path = self.path(host, data)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            for each in (path, path.parent, path.parent.parent):
                self._own(each)

    def path(self, host: str, data: bytes) -> Path:
        name = named(data)
        return self.directory / host / "originals" / name[:2] / name[2:4] / name

    def lose_disk(self, host: str) -> None:
        shutil.rmtree(self.directory / host / "originals")
        (self.directory / host / "originals").mkdir()
        self._own(self.directory / host / "originals")

    def has(self, host: str, *photos: bytes) -> list[bool]:
        return [
            self.path(host, data).exists() and named(self.path(host, data).read_bytes()) == named(data)
            for data in photos
        ]

    def kept(self) -> list[tuple[str, str]]:
        """Host and tag of each backup."""
        told = json.loads(self.backup("restic", "1", "snapshots", "--json", "--no-lock"))
        return sorted((each["hostname"], each["tags"][0]) for each in told)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.set_up("web1", "web2")
    yield made
    made.close()


def test_each_saves_what_is_on_its_disk_once_and_a_lost_one_s_comes_back(site: Site) -> None:
    first, both, second = (os.urandom(PHOTO_BYTES) for _ in range(3))
    site.put("web1", first, both)
    # This one's copy was still to come when it was lost.
    site.put("web2", both, second)
    for host in ("web1", "web2"):
        (site.directory / host / "erasures").write_text(f'{{"id": "{host}"}}\n')
        with site.on(host), pytest.raises(RuntimeError, match=r"secrets.tar.age"):
            site.backup("files")
    assert site.kept() == [(host, tag) for host in ("web1", "web2") for tag in ("configuration", "originals")]
    with site.on("web1"):
        told = json.loads(
            site.backup("restic", "1", "stats", "--json", "--mode", "raw-data", "--tag", "originals")
        )
    assert told["total_size"] < 3.2 * PHOTO_BYTES
    for host in ("web1", "web2"):
        state = json.loads((site.directory / host / "state/files/last.json").read_text())
        assert all(state[part]["1"]["verified"] > 0 for part in ("originals", "configuration"))

    # A new host in its place gets what it had alone, and the other what it had.
    site.lose_disk("web2")
    site.path("web1", first).unlink()
    hosts = ["web1", "web2"]
    assert "by web2" not in site.restore("plan-files", "web1", hosts)
    for host in hosts:
        site.restore("files", host, hosts)
    assert site.has("web1", first, both, second) == [True, True, False]
    assert site.has("web2", first, both, second) == [False, True, True]

    # Where none takes its place, the first of those that are left gets it.
    told = json.loads(site.restore("plan-files", "web1", ["web1"]))
    assert " by web2 and " in told["told"]
    site.restore("files", "web1", ["web1"])
    assert site.has("web1", first, both, second) == [True, True, True]
    # One that saved nothing yet waits for the others.
    site.make("web3")
    told = json.loads(site.restore("plan-files", "web3", ["web1", "web2", "web3"]))
    assert (told["known"], "come from the others" in told["told"]) == (False, True)

    # The database is away: what any of them knew to be erased.
    (site.directory / "web1/state/files/erasures.jsonl").unlink()
    assert "2 lines" in site.restore("erasures", "web1", ["web1"])


def test_what_a_lost_host_saved_goes_after_the_time_that_was_promised(site: Site) -> None:
    data = os.urandom(PHOTO_BYTES)
    site.put("web1", data)
    site.put("web2", data)
    with site.on("web2"), pytest.raises(RuntimeError, match=r"secrets.tar.age"):
        site.backup("files")
    with site.on("web2"):
        old = ["--host", "web0", "--tag", "originals", "--time", "2020-01-01 10:00:00"]
        site.backup("restic", "1", "backup", *old, f"{site.directory}/originals")
    assert ("web0", "originals") in site.kept()
    with site.on("web1"), pytest.raises(RuntimeError, match=r"secrets.tar.age"):
        site.backup("files")
    assert {host for host, _ in site.kept()} == {"web1", "web2"}


def test_one_that_reads_the_repository_back_waits_for_one_that_saves(site: Site) -> None:
    site.put("web1", os.urandom(PHOTO_BYTES))
    site.put("web2", os.urandom(PHOTO_BYTES))
    with site.on("web2"), pytest.raises(RuntimeError, match=r"secrets.tar.age"):
        site.backup("files")
    with site.on("web2"):
        command = site.program("restic", "1", "backup", "--host", "web2", "--tag", "originals", "--stdin")
        saving = subprocess.Popen(site._wrap(command), stdin=subprocess.PIPE, start_new_session=True)
    assert saving.stdin
    try:
        locks = site.directory / "repository/files/locks"
        while not list(locks.iterdir()):
            time.sleep(0.05)
        with site.on("web1"):
            reading = subprocess.Popen(
                site._wrap(site.program("files")), stderr=subprocess.PIPE, text=True, start_new_session=True
            )
            state = site.directory / "state/files/last.json"
            while not state.exists() or "success" not in json.loads(state.read_text()).get(
                "configuration", {}
            ).get("1", {}):
                time.sleep(0.05)
            time.sleep(1.5)
            assert reading.poll() is None
            assert "verified" not in json.loads(state.read_text())["originals"]["1"]
            saving.stdin.write(b"the end")
            saving.stdin.close()
            assert saving.wait(60) == 0
            _, said = reading.communicate(timeout=60)
            assert "verification" not in said, said
            assert json.loads(state.read_text())["originals"]["1"]["verified"] > 0
    finally:
        saving.kill()


def test_older_secrets_of_one_that_was_away_do_not_take_the_place_of_newer_ones(site: Site) -> None:
    key = site.directory / "key"
    site.run(["age-keygen", "-o", str(key)])
    recipient = site.run(["age-keygen", "-y", str(key)]).strip()

    def seal(host: str, secrets: bytes) -> None:
        archive = {
            "archive": base64.b64encode(secrets).decode(),
            "mark": secrets.decode(),
            "recipients": [recipient],
        }
        with site.on(host):
            assert site.backup("seal", stdin=json.dumps(archive)).strip() == "sealed"
        site.save(host)

    def opened() -> str:
        return site.run(
            ["age", "--decrypt", "-i", str(key), f"{site.directory}/repository/sealed/secrets.tar.age"]
        )

    site.put("web1", os.urandom(1000))
    site.put("web2", os.urandom(1000))
    seal("web1", b"first")
    seal("web2", b"second")
    site.save("web1")
    assert opened() == "second"
    # A repository that is new has none.
    shutil.rmtree(site.directory / "repository/files")
    (site.directory / "repository/sealed/secrets.tar.age").unlink()
    site.save("web2")
    assert opened() == "second"
