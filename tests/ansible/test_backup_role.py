"""Backups: settings that cannot work are explained, and each repository is what was asked for."""

from __future__ import annotations

import base64
import configparser
import io
import json
import re
import subprocess
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.programs import load
from tests.ansible.test_copies_role import played
from tests.ansible.test_hardening import write
from tests.ansible.test_several_web_hosts import GROUPS
from tests.hardening import ROOT
from tests.monitoring.rendering import certified
from tests.services.process import free_port

ROLE = ROOT / "roles/backup"
AGE = "age1" + "q" * 58
DIRECTORY = {"kind": "directory", "path": "/mnt/backup/"}
SFTP = {
    "kind": "sftp", "host": "vault.example.org", "port": 2222, "user": "face", "path": "/srv/face",
    "host_key": "ssh-ed25519 AAAA", "secret": "vault_ssh_key", "addresses": ["192.0.2.7"],
}  # fmt: skip
S3 = {
    "kind": "s3", "endpoint": "s3.example.org", "bucket": "face", "region": "eu-1", "path": "/site-a",
    "key_id": "AKIA", "secret": "s3_secret", "addresses": ["192.0.2.8"],
}  # fmt: skip
OWN_S3 = {**S3, "endpoint": "s3.example.net", "port": 9000, "path_style": False, "key_id": "face:app"}
PEM = "-----BEGIN CERTIFICATE-----\n"
OWN = {"vault_ssh_key": "-----BEGIN KEY-----", "s3_secret": "s3-secret-of-the-test"}

faults = load("roles/backup/filter_plugins/backup_faults.py").backup_faults


def faults_of(repositories: Any = (DIRECTORY,), recipients: Any = (AGE,), days: Any = 35) -> list[str]:
    given = list(repositories) if isinstance(repositories, tuple) else repositories
    found: list[str] = faults(
        given, list(recipients) if isinstance(recipients, tuple) else recipients, days, OWN
    )
    return found


@pytest.mark.parametrize("repositories", [[DIRECTORY], [SFTP], [S3, DIRECTORY], [OWN_S3]])
def test_settings_that_work_have_no_fault(repositories: list[Any]) -> None:
    assert faults_of(repositories, [AGE, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@example.org"]) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"repositories": []}, "needs face_backup_repositories, one or two places"),
        ({"repositories": [DIRECTORY] * 3}, "one or two places"),
        ({"repositories": [{"kind": "tape"}]}, "kind is one of directory, sftp, s3"),
        ({"repositories": ["/mnt/backup"]}, "such as {kind: directory, path: /mnt/backup}"),
        ({"repositories": [{"kind": "directory"}]}, "number 1: it lacks path"),
        ({"repositories": [{**DIRECTORY, "pth": "/x"}]}, "directory has no pth"),
        ({"repositories": [{**DIRECTORY, "path": "backup"}]}, "path is a whole path"),
        ({"repositories": [{**SFTP, "path": "/srv/two words"}]}, "path holds letters"),
        ({"repositories": [{**S3, "secret": "nothing"}]}, "face_own_secrets; nothing is not there"),
        ({"repositories": [{**S3, "endpoint": "https://s3.example"}]}, "endpoint is .* name of a host"),
        ({"repositories": [{**S3, "endpoint": "s3.example.org:9000"}]}, "its port goes into port"),
        ({"repositories": [{**S3, "port": "9000"}]}, "port is '9000'; it must be a number"),
        ({"repositories": [{**SFTP, "port": 0}]}, "port is 0; it must be a number from 1 to 65535"),
        ({"repositories": [{**S3, "bucket": "Face"}]}, "bucket is 'Face'; it must be 3 to 63 small letters"),
        ({"repositories": [{**S3, "region": "eu 1"}]}, "region is 'eu 1'"),
        ({"repositories": [{**S3, "key_id": "one\ntwo"}]}, "key_id .* id of an access key"),
        ({"repositories": [{**S3, "path_style": "no"}]}, "path_style is true, for ENDPOINT/BUCKET"),
        ({"repositories": [{**OWN_S3, "endpoint": "192.0.2.8"}]}, "path_style is false, and an address"),
        ({"repositories": [{**S3, "authority": "/nowhere/ca.crt"}]}, "authority is '/nowhere/ca.crt'"),
        ({"repositories": [{**S3, "authority": str(ROLE / "vars/main.yml")}]}, "authority is .*, PEM"),
        ({"recipients": []}, "needs face_backup_recipients.*age-keygen -o KEY"),
        ({"recipients": ["age1short"]}, "'age1short' is no public key"),
        ({"recipients": ["AGE-SECRET-KEY-1" + "Q" * 58]}, "this is a secret key"),
        ({"days": "35"}, "from 7 to 3650"),
        ({"days": 3}, "from 7 to 3650"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_explained(given: dict[str, Any], words: str) -> None:
    (fault,) = faults_of(**given)
    assert fault.startswith("face_backup_")
    assert re.search(words, fault), fault


def test_an_authority_is_a_certificate_of_the_controller(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    assert faults_of([{**S3, "authority": str(tmp_path / "ca.crt")}]) == []


def test_a_secret_key_of_age_is_not_repeated() -> None:
    assert "QQQ" not in str(faults_of(recipients=["AGE-SECRET-KEY-1" + "Q" * 58]))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a host with a repository of each kind, two by two."""
    directory = tmp_path_factory.mktemp("backup")
    tasks = []
    for number, repositories in enumerate(([SFTP, DIRECTORY], [S3, {**OWN_S3, "authority": "/ca.crt"}])):
        for name in ("pgbackrest.conf", "backup.json", "backup_known_hosts", "face-backup.conf"):
            dest = f"{directory}/{number}-{name}"
            task = {"ansible.builtin.template": {"src": f"{ROLE}/templates/{name}.j2", "dest": dest}}
            given = {
                "face_backup_enabled": True,
                "face_backup_repositories": repositories,
                "face_own_secrets": OWN,
                "face_secrets": {"backup_database_key": "cipher-of-the-test"},
            }
            tasks.append({**task, "vars": given})
    write(directory, tasks)
    return directory


def pgbackrest(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(path)
    return dict(parser["global"])


def test_pgbackrest_has_each_repository_encrypted_and_for_so_many_days(written: Path) -> None:
    both, s3 = pgbackrest(written / "0-pgbackrest.conf"), pgbackrest(written / "1-pgbackrest.conf")
    for options, number in ((both, 1), (both, 2), (s3, 1)):
        assert options[f"repo{number}-cipher-type"] == "aes-256-cbc"
        assert options[f"repo{number}-cipher-pass"] == "cipher-of-the-test"
        assert options[f"repo{number}-retention-full-type"] == "time"
        assert options[f"repo{number}-retention-full"] == "35"
    assert both["archive-async"] == "y"
    assert (both["repo1-type"], both["repo1-path"]) == ("sftp", "/srv/face/database")
    assert (both["repo1-sftp-host-port"], both["repo1-sftp-host-key-check-type"]) == ("2222", "strict")
    assert (both["repo2-type"], both["repo2-path"]) == ("posix", "/mnt/backup/database")
    assert (s3["repo1-type"], s3["repo1-path"], s3["repo1-s3-bucket"]) == ("s3", "/site-a/database", "face")
    assert s3["repo1-s3-key-secret"] == "s3-secret-of-the-test"


def test_pgbackrest_finds_a_store_of_ones_own(written: Path) -> None:
    options = pgbackrest(written / "1-pgbackrest.conf")
    assert (options["repo1-storage-port"], options["repo1-s3-uri-style"]) == ("443", "path")
    assert "repo1-storage-ca-file" not in options
    assert (options["repo2-s3-endpoint"], options["repo2-storage-port"]) == ("s3.example.net", "9000")
    assert (options["repo2-s3-uri-style"], options["repo2-s3-key"]) == ("host", "face:app")
    assert options["repo2-storage-ca-file"] == "/etc/face-pipeline/backup_authority_2.crt"


def test_an_authority_is_there_where_it_is_named_and_goes_where_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/backup_authority_1.crt").write_text("of a repository that was there before")
    given = {
        "face_backup_enabled": True,
        "face_backup_repositories": [DIRECTORY, {**OWN_S3, "authority": str(tmp_path / "ca.crt")}],
        "face_config_dir": str(tmp_path / "etc"),
    }
    tasks = [
        {**task, "vars": given}
        for name in ("repositories", "remove")
        for task in yaml.safe_load((ROLE / f"tasks/{name}.yml").read_text())
        if "authorities" in task["name"]
    ]
    write(tmp_path, tasks)
    (found,) = (tmp_path / "etc").iterdir()
    assert (found.name, found.read_text()) == ("backup_authority_2.crt", PEM)


def test_what_everybody_may_read_holds_no_secret(written: Path) -> None:
    for number in (0, 1):
        text = (written / f"{number}-backup.json").read_text()
        assert not [secret for secret in OWN.values() if secret in text]
    told = json.loads((written / "0-backup.json").read_text())
    assert [each["kind"] for each in told["repositories"]] == ["sftp", "directory"]
    assert "secret" not in told["repositories"][0]
    known = (written / "0-backup_known_hosts").read_text()
    assert known == "[vault.example.org]:2222 ssh-ed25519 AAAA\n"


def test_restic_gets_its_secrets_by_file_and_environment_alone(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = load("roles/backup/files/backup.py")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "backup_repository_1").write_text("s3-secret-of-the-test\n")
    (tmp_path / "backup_repository_2").write_text("s3-secret-of-the-test\n")
    (sftp, directory), (s3, own_s3) = (
        json.loads((written / f"{number}-backup.json").read_text())["repositories"] for number in (0, 1)
    )
    made = program.Restic(1, s3)
    assert made.env["RESTIC_REPOSITORY"] == "s3:https://s3.example.org/face/site-a/files"
    assert made.env["AWS_SECRET_ACCESS_KEY"] == "s3-secret-of-the-test"
    assert made.options == ["-o", "s3.bucket-lookup=path"]
    made = program.Restic(2, own_s3)
    assert made.env["RESTIC_REPOSITORY"] == "s3:https://s3.example.net:9000/face/site-a/files"
    authority = ["--cacert", "/etc/face-pipeline/backup_authority_2.crt"]
    assert made.options == ["-o", "s3.bucket-lookup=dns", *authority]
    assert program.Restic(2, directory).env["RESTIC_REPOSITORY"] == "/mnt/backup/files"
    made = program.Restic(1, sftp)
    assert made.env["RESTIC_REPOSITORY"] == "sftp:face@vault.example.org:/srv/face/files"
    command = made.options[1]
    assert f"-i {tmp_path}/backup_repository_1" in command
    assert "StrictHostKeyChecking=yes" in command
    assert command.endswith("face@vault.example.org -s sftp")
    assert all(each.env["RESTIC_PASSWORD_FILE"] == f"{tmp_path}/backup_files_key" for each in (made,))


def test_the_secrets_are_packed_the_same_until_one_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = load("roles/backup/files/pack_secrets.py")

    def packed() -> dict[str, str]:
        program.main(tmp_path)
        told: dict[str, str] = json.loads(capsys.readouterr().out)
        return told

    (tmp_path / "backup_files_key").write_text("key\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/ca.key").write_text("authority\n")
    first = packed()
    (tmp_path / "own/ca.key").touch()
    assert packed() == first
    (tmp_path / "own/ca.key").write_text("another\n")
    assert packed()["mark"] != first["mark"]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(first["archive"]))) as archive:
        assert archive.getnames() == ["backup_files_key", "own/ca.key"]
        content = archive.extractfile("own/ca.key")
        assert content is not None
        assert content.read() == b"authority\n"


def known(made: datetime, timeline: int = 1) -> dict[str, Any]:
    """A backup, as pgBackRest tells of it."""
    stamps = {"start": made.timestamp(), "stop": made.timestamp() + 60}
    return {"timestamp": stamps, "archive": {"stop": f"{timeline:08X}00000000000000A2"}, "info": {"size": 7}}


@pytest.mark.parametrize(
    ("made", "timeline", "now", "wanted"),
    [
        ("2026-11-29 01:31", 1, "2026-11-30 00:31", False),
        ("2026-11-29 01:31", 1, "2026-11-30 01:31", True),
        ("2026-11-29 10:31", 1, "2026-11-30 01:31", True),
        ("2026-11-30 01:31", 1, "2026-11-30 02:31", False),
        # Another leads since.
        ("2026-11-30 01:31", 2, "2026-11-30 02:31", True),
    ],
)
def test_whoever_leads_backs_up_at_night_and_once_another_took_its_place(
    made: str, timeline: int, now: str, wanted: bool
) -> None:
    program = load("roles/backup/files/backup.py")
    at = datetime.fromisoformat(now).astimezone()
    backups = [known(datetime.fromisoformat(made).astimezone())]
    assert program.due(backups, timeline, at) is wanted
    assert program.due([], timeline, at)


def test_the_host_that_leads_alone_makes_the_backup_and_has_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = load("roles/backup/files/backup.py")
    config = {"repositories": [DIRECTORY], "leads": {"url": "", "authority": ""}}
    made: list[int] = []
    there = [known(datetime(2026, 11, 29, 1, 31).astimezone(), timeline=2)]
    monkeypatch.setattr(program, "led", lambda _: leads)
    monkeypatch.setattr(program, "backups", lambda _: there)
    monkeypatch.setattr(program, "back_up_database", lambda number: made.append(number) or 7.0)
    monkeypatch.setattr(program, "verify_database", lambda _: None)

    def figures() -> str:
        program.database(program.Run(config, tmp_path, ("database",)))
        text: str = program.text(program.Run(config, tmp_path, ("database",)).state)
        return text

    leads = 0
    assert "repository=" not in figures()
    assert json.loads((tmp_path / "last.json").read_text()) == {"database": {}}
    leads = 2
    monkeypatch.setenv("TRIGGER_UNIT", "face-backup-database.timer")
    monkeypatch.setattr(program, "due", lambda *_: False)
    # What the host had that led before: no alert, and no silence.
    stop = there[0]["timestamp"]["stop"]
    assert f'success_timestamp_seconds{{part="database",repository="1"}} {stop:.0f}' in figures()
    assert made == []
    # By hand it is made in any case.
    monkeypatch.delenv("TRIGGER_UNIT")
    figures()
    assert made == [1]
    leads = 0
    assert "repository=" not in figures()

    def silent(asked: dict[str, str]) -> int:
        raise OSError("Patroni does not answer")

    monkeypatch.setattr(program, "led", silent)
    this = program.Run(config, tmp_path, ("database",))
    program.database(this)
    assert this.failed


def test_a_host_whose_patroni_does_not_run_leads_nothing() -> None:
    program = load("roles/backup/files/backup.py")
    asked = {
        "url": f"https://127.0.0.1:{free_port()}/primary",
        "authority": certified()["face_authority"],
    }
    assert program.led(asked) == 0


def test_figures_tell_of_each_repository_also_of_one_that_has_no_backup_yet(tmp_path: Path) -> None:
    program = load("roles/backup/files/backup.py")
    config = {"repositories": [DIRECTORY, SFTP]}
    this = program.Run(config, tmp_path, ("originals",))
    this.back_up("originals", 1, lambda: 4096.0)

    def broken() -> float:
        raise OSError("the host does not answer")

    this.back_up("originals", 2, broken)
    assert this.failed
    # As the next process reads it.
    text = program.text(program.Run(config, tmp_path, ("originals",)).state)
    assert 'face_backup_size_bytes{part="originals",repository="1"} 4096' in text
    assert 'face_backup_last_success_timestamp_seconds{part="originals",repository="2"} 0' in text
    assert 'face_backup_size_bytes{part="originals",repository="2"}' not in text
    # One that is named no more raises no alert.
    assert 'repository="2"' not in program.text(
        program.Run({"repositories": [DIRECTORY]}, tmp_path, ("originals",)).state
    )


def test_each_web_host_saves_its_own_disk_one_after_the_other(tmp_path: Path) -> None:
    """The first alone makes a repository that is new."""
    names = ("face-backup.timer", "backup.json")
    tasks: list[dict[str, Any]] = [{"ansible.builtin.include_vars": str(ROLE / "vars/main.yml")}]
    tasks += [
        {
            "ansible.builtin.template": {
                "src": f"{ROLE}/templates/{name}.j2",
                "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}-{name}",
            }
        }
        for name in names
    ]
    status, said = played(
        tmp_path, tasks, GROUPS, ansible_managed="made", item=["files", "timer"], face_backup_enabled=True,
        face_backup_repositories=[SFTP],
    )  # fmt: skip
    assert status == 0, said
    for host, minute in (("both", "00"), ("front", "30")):
        assert f"OnCalendar=*-*-* *:{minute}\n" in (tmp_path / f"{host}-face-backup.timer").read_text()
        assert json.loads((tmp_path / f"{host}-backup.json").read_text())["host"] == host


@pytest.mark.parametrize("names", [["one", "one"], ["one", "two"]])
def test_hosts_that_call_themselves_the_same_are_told(tmp_path: Path, names: list[str]) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/check.yml").read_text())
    (check,) = (task for task in tasks if "differently" in task["name"])
    facts = {"hostname": dict(zip(GROUPS["web"], names, strict=True))}
    called = {"hostname": "{{ called[inventory_hostname] | default('other') }}"}
    status, said = played(
        tmp_path, [{"ansible.builtin.set_fact": {"ansible_facts": called}}, check], GROUPS,
        called=facts["hostname"], face_backup_enabled=True,
    )  # fmt: skip
    assert (status == 0) == (len(set(names)) == 2), said
    assert ("call themselves one, one" in said) == (status != 0)


@pytest.mark.parametrize(("statuses", "tried"), [((82, 0), 2), ((82, 82), 2), ((55,), 1)])
def test_a_repository_that_lacks_the_log_of_before_gets_its_backup_at_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, ...], tried: int
) -> None:
    program = load("roles/backup/files/backup.py")
    told = iter(statuses)
    made: list[tuple[str, ...]] = []

    def run(*command: str, **_: Any) -> None:
        made.append(command)
        if status := next(told):
            raise subprocess.CalledProcessError(status, command)

    monkeypatch.setattr(program, "run", run)
    monkeypatch.setattr(program, "backups", lambda _: [{"type": "diff", "info": {"size": 7}}])
    if statuses[-1]:
        with pytest.raises(subprocess.CalledProcessError):
            program.back_up_database(1)
    else:
        assert program.back_up_database(1) == 7
    assert len(made) == tried
