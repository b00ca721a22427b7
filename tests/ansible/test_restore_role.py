"""The steps of a restore that need no server: moments, and what is put aside and back."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.programs import load
from tests.hardening import ROOT

PROGRAM = "roles/restore/files/restore.py"
restore = load(PROGRAM)
drill = load("roles/backup/files/drill.py")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-25 10:00", "2026-11-25 10:00:00+00:00"),
        ("2026-11-25 10:00:30", "2026-11-25 10:00:30+00:00"),
        ("2026-11-25 10:00+01:00", "2026-11-25 09:00:00+00:00"),
        ("2026-11-25T10:00:00Z", "2026-11-25 10:00:00+00:00"),
    ],
)
def test_a_moment_is_in_utc_or_has_its_zone(text: str, moment: str) -> None:
    assert restore.shown(restore.moment(text)) == moment


def test_no_moment_is_the_end_of_the_log() -> None:
    assert restore.moment("") is None


@pytest.mark.parametrize("text", ["yesterday", "10:00", "2026-13-01 10:00", "2150-01-01"])
def test_what_is_no_moment_of_the_past_is_explained(text: str) -> None:
    with pytest.raises(restore.Refused, match=r"nothing was changed"):
        restore.moment(text)


@pytest.mark.parametrize(
    "text",
    ["2026-11-28T10:38:25.123456789Z", "2026-11-28T11:38:25.9+01:00", "2026-11-28T10:38:25Z"],
)
def test_a_moment_of_restics_is_read(text: str) -> None:
    at = restore.taken(text)
    assert at.astimezone(UTC).replace(microsecond=0) == datetime(2026, 11, 28, 10, 38, 25, tzinfo=UTC)


# As restic tells of its backups.
LAST, EMPTY = "2026-11-28T09:00:12.5Z", "2026-11-28T12:00:07.1Z"
MADE = int(datetime(2026, 11, 28, 11, 30, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        ({}, EMPTY),
        ({"another_since": MADE}, LAST),
        # Of an hour that no backup has seen the end of.
        ({"another_since": MADE, "at": "2026-11-28 09:10"}, LAST),
        ({"another_since": MADE - 86400}, EMPTY),
    ],
)
def test_what_a_new_host_saved_before_its_data_came_back_is_not_brought_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any], chosen: str
) -> None:
    known = json.dumps([{"id": each, "time": each, "hostname": "web1"} for each in (EMPTY, LAST)])
    done = subprocess.CompletedProcess([], 0, known, "")
    monkeypatch.setattr(restore, "done", lambda *_, **__: done)
    assert [each["id"] for each in restore.snapshots(restore.Wish(place.wish(**wish)))] == [chosen]


@pytest.mark.parametrize(("since", "listed"), [(0, ["here"]), (MADE, ["lost host", "here"])])
def test_what_was_erased_on_a_host_that_is_lost_is_erased_again_on_a_new_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, since: int, listed: list[str]
) -> None:
    """The new database answers, and knows nothing of it."""

    def done(*command: str, **_: Any) -> subprocess.CompletedProcess[str]:
        if "export" in command:
            said = "here\n"
        elif "dump" in command:
            said = {LAST: "lost host\n", EMPTY: ""}[command[command.index("dump") + 1]]
        else:
            said = json.dumps([{"id": each, "time": each, "hostname": "web1"} for each in (LAST, EMPTY)])
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(restore, "done", done)
    restore.erasures(restore.Wish(place.wish(another_since=since)))
    assert sorted((place.state / "erasures.jsonl").read_text().splitlines()) == sorted(listed)


@pytest.mark.parametrize(
    ("identifier", "since"), [("7577012345678901234", 0), (str((MADE << 32) + 4711), MADE)]
)
def test_a_database_that_is_another_says_since_when(
    place: Place, monkeypatch: pytest.MonkeyPatch, identifier: str, since: int
) -> None:
    def done(*command: str, **_: Any) -> subprocess.CompletedProcess[str]:
        info = json.dumps([{"db": [{"id": 1, "system-id": 7577012345678901234}]}])
        control = f"Database system identifier:           {identifier}\nLatest checkpoint's TimeLineID:  3\n"
        return subprocess.CompletedProcess(command, 0, info if "info" in command else control, "")

    monkeypatch.setattr(restore, "done", done)
    wish = restore.Wish(place.wish())
    assert restore.another_since(wish) == since
    assert restore.timeline(wish) == ("latest" if since else "3")


@pytest.mark.parametrize(
    ("here", "at", "label", "followed"),
    [
        # The repository came after that timeline had begun: it has no history of it.
        ("5", "", "late", "current"),
        ("6", "", "late", "6"),
        ("5", "2026-11-28 09:30", "early", "5"),
    ],
)
def test_the_timeline_of_the_backup_itself_needs_no_history(
    place: Place, monkeypatch: pytest.MonkeyPatch, here: str, at: str, label: str, followed: str
) -> None:
    made = datetime(2026, 11, 28, 9, 0, tzinfo=UTC).timestamp()
    backups = [
        {
            "label": each,
            "timestamp": {"stop": made + 3600 * number},
            "archive": {"start": f"{number + 4:08X}{1:016X}"},
        }
        for number, each in enumerate(("early", "late"))
    ]
    asked: list[tuple[str, ...]] = []

    def done(*command: str, **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        info = json.dumps([{"db": [{"system-id": 1}], "backup": backups}])
        said = f"Database system identifier: 1\nLatest checkpoint's TimeLineID: {here}\n"
        return subprocess.CompletedProcess(command, 0, info if "info" in command else said, "")

    monkeypatch.setattr(restore, "done", done)
    monkeypatch.setattr(restore, "recover", lambda _: None)
    restore.restore_database(restore.Wish(place.wish(at=at)))
    assert {f"--set={label}", f"--target-timeline={followed}"} <= set(asked[-1])


class Place:
    """A database's directory and the originals, as a host has them."""

    def __init__(self, directory: Path) -> None:
        self.main = directory / "17/main"
        self.before = directory / "17/main.before"
        self.originals = directory / "originals"
        self.state = directory / "backup/restore"
        for each in (self.main, self.originals, self.state):
            each.mkdir(parents=True)
        (self.main / "PG_VERSION").write_text("as it was")

    def wish(self, **wish: Any) -> str:
        asked = {
            "at": "", "repository": 0, "timeline": "", "postgres": "17", "cluster": str(self.main),
            "state": str(self.state), "originals": str(self.originals), "config": "/none", "backup": "/none",
            "credentials": "/none", "host": "web1", "hosts": ["web1", "web2"], **wish,
        }  # fmt: skip
        return json.dumps(asked)

    def run(self, step: str, **wish: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", "-", step, self.wish(**wish)],
            input=(ROOT / PROGRAM).read_text(), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def way_back(self) -> str:
        return self.run("way-back").stdout.strip()

    def put_aside(self) -> None:
        self.main.rename(self.before)
        (self.originals / ".way-back").touch()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_a_restore_there_is_no_way_back(place: Place) -> None:
    assert place.way_back() == "no"
    assert place.run("back").returncode == 0
    assert (place.main / "PG_VERSION").read_text() == "as it was"


@pytest.mark.parametrize("restored", ["all of it", "half", "none"])
def test_what_was_put_aside_comes_back_however_far_the_restore_came(place: Place, restored: str) -> None:
    place.put_aside()
    if restored != "none":
        place.main.mkdir()
    if restored == "all of it":
        (place.main / "PG_VERSION").write_text("as it became")
    assert place.way_back() == "yes"
    done = place.run("back")
    assert (done.returncode, done.stderr) == (0, "")
    assert (place.main / "PG_VERSION").read_text() == "as it was"
    assert sorted(each.name for each in place.main.parent.iterdir()) == ["main"]
    assert place.way_back() == "no"


def test_a_way_back_that_was_broken_off_goes_on(place: Place) -> None:
    place.put_aside()
    tried = place.main.with_name("main.tried")
    tried.mkdir()
    (tried / "PG_VERSION").write_text("as it became")
    assert place.run("back").returncode == 0
    assert (place.main / "PG_VERSION").read_text() == "as it was"
    assert not tried.exists()


def test_what_was_accepted_is_kept_alone(place: Place) -> None:
    place.put_aside()
    refused = place.run("forget")
    assert (refused.returncode, "-e do=back" in refused.stderr) == (1, True)
    place.main.mkdir()
    assert place.run("forget").returncode == 0
    assert place.way_back() == "no"
    assert not place.before.exists()
    assert not place.state.exists()


def test_a_trial_that_never_succeeded_has_a_figure() -> None:
    lines = drill.text({"1": {"success": 5.0, "seconds": 2.5, "rows": 48.0}, "2": {}}).splitlines()
    assert 'face_restore_drill_success_timestamp_seconds{repository="1"} 5' in lines
    assert 'face_restore_drill_success_timestamp_seconds{repository="2"} 0' in lines
    assert not any("duration" in line and 'repository="2"' in line for line in lines)


def test_the_last_transaction_is_read_from_the_servers_log(tmp_path: Path) -> None:
    server = drill.Server(tmp_path, tmp_path)
    server.log.write_text(
        "2026-11-28 10:40 UTC [1] LOG:  redo done\n"
        "2026-11-28 10:40 UTC [1] LOG:  last completed transaction was at log time 2026-11-28 10:38:25.5+00\n"
    )
    assert server.last_transaction() == datetime(2026, 11, 28, 10, 38, 25, 500000, UTC).timestamp()
    server.log.write_text("")
    assert server.last_transaction() is None


def test_what_was_there_before_goes_on_in_a_timeline_that_no_repository_has(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put_aside()
    wish = restore.Wish(place.wish(patroni=True))
    seen: list[tuple[str, bool]] = []

    def recover(wish: Any) -> None:
        auto = (wish.main / "postgresql.auto.conf").read_text()
        seen.append((auto, (wish.main / "recovery.signal").exists()))

    monkeypatch.setattr(restore, "recover", recover)
    monkeypatch.setattr(restore.shutil, "chown", lambda *_: None)
    restore.back(wish)
    ((auto, signal),) = seen
    assert signal
    assert """restore_command = 'pgbackrest --stanza=face archive-get %f "%p"'""" in auto
    assert "recovery_target_timeline = 'current'" in auto


def saved(host: str, hour: int, files: int | None = 5) -> dict[str, Any]:
    """What restic tells of it, before 0.17 without a number of files."""
    told = {"hostname": host, "time": f"2026-11-28T{hour:02}:00:00.5Z", "short_id": f"{host}-{hour}"}
    return told if files is None else {**told, "summary": {"total_files_processed": files}}


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (5, 5, ["web1-10"]),
        (5, 6, ["web1-10"]),
        # The host was lost after the moment, and an empty one has its name.
        (5, 0, ["web1-9", "web1-10"]),
        (None, None, ["web1-9", "web1-10"]),
        (None, 5, ["web1-9", "web1-10"]),
    ],
)
def test_what_an_empty_host_saved_does_not_stand_for_what_the_lost_one_had(
    place: Place, monkeypatch: pytest.MonkeyPatch, before: int | None, after: int | None, wanted: list[str]
) -> None:
    known = [saved("web1", 8, 9), saved("web1", 9, before), saved("web1", 10, after), saved("web1", 11, 9)]
    done = subprocess.CompletedProcess([], 0, json.dumps(known), "")
    monkeypatch.setattr(restore, "restic", lambda *_: done)
    wish = restore.Wish(place.wish(host="web1", hosts=["web1"], at="2026-11-28 09:30"))
    assert [each["short_id"] for each in restore.snapshots(wish)] == wanted


@pytest.mark.parametrize(
    ("host", "at", "wanted"),
    [
        # The first after the moment has each file that the database then names.
        ("web2", "2026-11-28 10:30", ["web2-11"]),
        ("web2", "", ["web2-13"]),
        # Nobody else brings what a host had that is no more.
        ("web1", "2026-11-28 10:30", ["gone-10", "web1-12"]),
        ("web3", "", []),
    ],
)
def test_each_host_brings_back_its_own_and_the_first_those_of_hosts_that_are_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch, host: str, at: str, wanted: list[str]
) -> None:
    known = [
        saved(*each)
        for each in (("web2", 13), ("web1", 12), ("web2", 11), ("gone", 10), ("web1", 9), ("gone", 9))
    ]

    def restic(*_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, json.dumps(known), "")

    monkeypatch.setattr(restore, "restic", restic)
    wish = restore.Wish(place.wish(host=host, hosts=["web1", "web2", "web3"], at=at))
    assert [each["short_id"] for each in restore.snapshots(wish)] == wanted
    assert restore.plan_files(wish)["known"] is bool(wanted)
