"""The judge of the fault campaign names all that is broken on purpose, and nothing that is sound."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from face_pipeline.actions import chain
from face_pipeline.parts import Parts
from face_pipeline.store import audit
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.campaign import breaks, history, schedule
from tests.campaign.breaks import FLIP, Place, kill
from tests.campaign.clients import Api, Clients
from tests.campaign.evidence import ROWS, Alert, Evidence, Happened, rows
from tests.campaign.faults import ANY, FAULTS, MACHINE
from tests.campaign.history import History, Operation
from tests.campaign.hosts import CommandFailed, Guest, Site, alerts, cut_rules, here
from tests.campaign.judge import ALERT_AFTER, BUDGETS, judge
from tests.campaign.report import Report
from tests.campaign.together import together
from tests.hosts.test_host import Host
from tests.installation import App, wait_until
from tests.photos import ROOT

COLLECTION = "campaign"


def _hashed(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass
class Lived:
    """What clients did with an installation of which a worker was killed."""

    parts: Parts
    history: list[Operation]
    faults: list[Happened]
    before: frozenset[str]

    def evidence(self, session: Session | None = None) -> Evidence:
        query = text(ROWS.format(collection=COLLECTION))
        if session is None:
            with self.parts.database.transaction() as own:
                found = own.execute(query).scalar_one()
        else:
            found = session.execute(query).scalar_one()
        files = _hashed(self.parts.settings.originals_dir)
        fault = chain.verify(self.parts, by=audit.SERVICE).fault
        return Evidence(rows(found), files, fault, before=self.before)


@pytest.fixture
def lived(live_app: App, parts: Parts, tmp_path: Path) -> Lived:
    before = frozenset(_hashed(parts.settings.originals_dir))
    kept = History(tmp_path / "history.jsonl")
    clients = Clients(Api(live_app.url, live_app.api_key), kept, COLLECTION, 7_000_000, pause=0.1)

    def done(what: str) -> int:
        return sum(1 for each in kept if each.what == what and each.outcome == "ok")

    with clients:
        wait_until(lambda: done("upload") >= 3, 60, "the first photos")
        began = time.time()
        live_app.installation.end(live_app.workers[1], signal.SIGKILL)
        live_app.start_worker(2)
        healthy = time.time()
        wait_until(lambda: done("upload") >= 8 and done("delete") >= 1, 60, "more photos")

    def ended() -> bool:
        live_app.installation.run("reconcile")
        with parts.database.reading() as session:
            query = text("SELECT count(*) FROM photos WHERE state NOT IN ('done', 'failed')")
            return not session.execute(query).scalar_one()

    wait_until(ended, 90, "all photos to end", every=1)
    fault = Happened(1, "kill", "celery worker", began, began + 1, healthy, may=("CeleryWorkerDown",))
    read = history.read(tmp_path / "history.jsonl")
    assert read == list(kept)
    return Lived(parts, read, [fault], before)


# A statement that breaks the rule; {kept} is a photo that was acknowledged, {deleted} one that was deleted.
IN_THE_DATABASE = {
    "lost:": "DELETE FROM photos WHERE id = '{kept}'",
    "no end:": "UPDATE photos SET state = 'received' WHERE id = '{kept}'",
    "failed:": "UPDATE photos SET state = 'failed', reason_code = 'engine_error' WHERE id = '{kept}'",
    "other photo:": "UPDATE photos SET sha256 = repeat('a', 64) WHERE id = '{kept}'",
    "not sent: nobody sent photo": "UPDATE photos SET sha256 = repeat('b', 64) WHERE id = '{kept}'",
}
IN_THE_DATABASE["faces:"] = """
INSERT INTO faces (photo_id, id, collection_id, person_id, position, bbox, landmarks, detection_score,
  quality, embedding)
SELECT photo_id, gen_random_uuid(), collection_id, person_id, position + 1, bbox, landmarks, detection_score,
  quality, embedding
FROM faces WHERE photo_id = '{kept}'
"""
IN_THE_DATABASE["came back:"] = """
INSERT INTO photos (id, collection_id, batch_id, sha256, filename, media_type, byte_size, width, height,
  state, attempts)
SELECT '{deleted}', collection_id, batch_id, '{deleted_sha256}', filename, media_type, byte_size, width,
  height, state, attempts
FROM photos WHERE id = '{kept}'
"""


@pytest.mark.campaign("it is about the campaign alone")
def test_the_judge_names_what_is_broken_and_nothing_else(lived: Lived) -> None:
    sound = lived.evidence()
    reference = sound.rows[0].faces
    assert len(reference) == 1

    def found(evidence: Evidence, operations: list[Operation] | None = None, *more: Happened) -> list[str]:
        return judge(operations or lived.history, evidence, [*lived.faults, *more], reference, patience=5)

    assert found(sound) == []

    deleted = next(each for each in lived.history if each.what == "delete" and each.outcome == "ok")
    kept = sound.rows[0]
    missed: dict[str, list[str]] = {}

    def expect(rule: str, said: list[str]) -> None:
        if not any(line.startswith(rule) for line in said):
            missed[rule] = said

    words = {"kept": kept.photo, "deleted": deleted.photo, "deleted_sha256": deleted.key}
    for rule, statement in IN_THE_DATABASE.items():
        with lived.parts.database.transaction() as session:
            session.execute(text(statement.format(**words)))
            broken = session.execute(text(ROWS.format(collection=COLLECTION))).scalar_one()
            session.rollback()
        expect(rule, found(replace(sound, rows=rows(broken))))

    # The database itself refuses it.
    mute = replace(kept, state="failed", reason=None)
    expect("no reason:", found(replace(sound, rows=[mute, *sound.rows[1:]])))
    expect("doubled photo:", found(replace(sound, rows=[*sound.rows, replace(kept, photo="another")])))
    _in_files(lived, kept.sha256, lambda rule: expect(rule, found(lived.evidence())))

    with lived.parts.database.transaction() as session:
        session.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_only_added"))
        change = "UPDATE audit SET actor_name = {} WHERE id = (SELECT min(entry) FROM audit_seals)"
        session.execute(text(change.format("actor_name || '!'")))
    try:
        expect("audit:", found(lived.evidence()))
    finally:
        with lived.parts.database.transaction() as session:
            session.execute(text(change.format("left(actor_name, -1)")))
            session.execute(text("ALTER TABLE audit ENABLE TRIGGER audit_only_added"))
    assert found(lived.evidence()) == []

    copied = {"copies1": dict(sound.files)}
    assert found(replace(sound, copies=copied)) == []
    expect("no copy:", found(replace(sound, copies={"copies1": {}})))
    expect("copy stays:", found(replace(sound, copies={"copies1": {**sound.files, "d" * 64: "d" * 64}})))
    expect(
        "bytes: the copy", found(replace(sound, copies={"copies1": {**sound.files, kept.sha256: "e" * 64}}))
    )

    now = time.time()
    long = Happened(2, "power", "host", now, now + 90, now + 100, must=("HostDown", "TargetDown"))
    expect("silent:", found(sound, None, long))
    heard = replace(sound, alerts=[Alert("HostDown", now + 65, now + 95)])
    assert found(heard, None, long) == []
    expect("false alarm:", found(replace(sound, alerts=[Alert("RedisDown", now, now + 60)])))
    expect("heal:", found(sound, None, replace(long, must=(), error="it did not come back")))

    over = now + BUDGETS["power"] * 5 + 10
    refused = Operation("searcher", "search", "", now + 1, now + 2, "unknown")
    again = Operation("searcher", "search", "", over, over + 1, "ok", 200)
    lasting = replace(long, must=(), healthy=over)
    expect("outage:", found(sound, [*lived.history, refused, again], lasting))
    expect("outage:", found(sound, [*lived.history, refused], lasting))
    assert missed == {}


def _in_files(lived: Lived, name: str, look: Callable[[str], None]) -> None:
    """Breaks originals in turn, and mends them."""
    original = lived.parts.originals.path(name)
    content = original.read_bytes()
    try:
        original.write_bytes(content[:-1] + b"x")
        look("bytes:")
        original.unlink()
        look("lost file:")
    finally:
        original.write_bytes(content)
    strange = original.with_name("c" * 64)
    strange.write_bytes(b"nobody sent this")
    try:
        look("not sent: nobody sent the file")
    finally:
        strange.unlink()


def test_a_schedule_follows_its_seed_and_has_each_fault_once_before_any_again() -> None:
    kinds = list(FAULTS)
    every = {(kind, target) for kind in kinds for target in FAULTS[kind]}
    first = schedule.plan(1, len(every) + 10, kinds)
    assert first == schedule.plan(1, len(first), kinds)
    # The one of which a finding says the number is the same in a shorter one.
    assert first[:7] == schedule.plan(1, 7, kinds)
    assert all(each.seconds <= 3 for each in schedule.plan(1, len(first), kinds, longest=3))
    assert first != schedule.plan(2, len(first), kinds)
    assert {(each.kind, each.target) for each in first[: len(every)]} == every
    assert set(kinds) == set(BUDGETS)
    assert all(1 <= each.seconds <= 25 for each in first if each.kind == "freeze")


def test_faults_name_alerts_that_there_are() -> None:
    rules = (ROOT / "files/prometheus/rules").glob("*.yml")
    there = set(re.findall(r"alert: (\w+)", "".join(file.read_text() for file in rules)))
    every = [fault for targets in FAULTS.values() for fault in targets.values()]
    named = {*ANY, *MACHINE, *(name for fault in every for name in (*fault.may, *fault.must))}
    assert named <= there, named - there
    # A minute is what goes by before one has to fire.
    assert all(fault.must for fault in every if fault.seconds[0] > ALERT_AFTER)


def _this_machine() -> Place:
    host = Host("", ["sh", "-c"], "", "")
    guest = Guest("here", frozenset(), host)
    site = Site(Api("", ""), ROOT, [guest])
    return Place(site, guest, Random(1), 0.0)


def test_a_kill_ends_the_process_and_says_which() -> None:
    victim = subprocess.Popen(["sleep", "4711"])
    # Nobody else takes note of its end, as systemd would.
    waiter = threading.Thread(target=victim.wait)
    waiter.start()
    with kill(lambda _: f"unit=a.service; pid={victim.pid}\n")(_this_machine()) as hit:
        waiter.join()
    assert victim.returncode == -signal.SIGKILL
    assert hit == f"a.service, process {victim.pid} (sleep)"


def test_a_fault_that_hits_nothing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaks, "FIND_TRIES", 1)
    with (
        pytest.raises(CommandFailed, match="no such process of a"),
        kill(lambda _: "unit=a.service; pid=\n")(_this_machine()),
    ):
        pass


def test_a_condition_of_a_host_is_asked_on_it(tmp_path: Path) -> None:
    guest = _this_machine().guest
    assert guest.has(f"ls {tmp_path}")
    assert not guest.has(f"mountpoint -q {tmp_path}; exit 1")
    assert not guest.has(f"ls {tmp_path}/nothing")


def test_a_file_is_spoiled_and_mended(tmp_path: Path) -> None:
    file = tmp_path / "original"
    file.write_bytes(b"abcdefg")
    guest = _this_machine().guest
    guest.run(FLIP.format(path=file))
    assert file.read_bytes() != b"abcdefg"
    guest.run(FLIP.format(path=file))
    assert file.read_bytes() == b"abcdefg"
    # One that was deleted meanwhile does not come back.
    file.unlink()
    guest.run(FLIP.format(path=file))
    assert not file.exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft")
@pytest.mark.parametrize(("toward", "back"), [(100, 100), (100, 0), (0, 100), (20, 20)])
def test_the_rules_that_cut_a_network_are_rules(toward: int, back: int) -> None:
    for among_guests in (False, True):
        here("nft", "--check", "-f", "-", stdin=cut_rules("no-body", toward, back, among_guests))


def test_alerts_are_read_with_their_times() -> None:
    def series(name: str, *times: int) -> dict[str, Any]:
        return {"metric": {"alertname": name}, "values": [[at, "1"] for at in times]}

    found = alerts(
        [series("Before", 1000, 1015, 1030), series("Twice", 1045, 1060, 1200, 1215)], 1000
    )  # fmt: skip
    assert found == [Alert("Twice", 1045, 1060), Alert("Twice", 1200, 1215)]


def test_a_report_counts_by_kind_and_says_how_to_do_a_fault_again(tmp_path: Path) -> None:
    report = Report(9, ["kill", "power"], began=1000, ended=1600)
    report.faults = [
        Happened(4, "kill", "redis", 1010, 1011, 1015),
        Happened(5, "kill", "nginx", 1100, 1101, 1121),
        Happened(6, "power", "host", 1200, 1270, 1300),
    ]
    report.operations = [
        Operation("sender", "upload", "a" * 64, 1001, 1002, "ok", 202, "photo-1"),
        Operation("sender", "upload", "b" * 64, 1105, 1106, "unknown", 503),
        Operation("sender", "upload", "b" * 64, 1108, 1109, "ok", 202, "photo-2"),
        Operation("lister", "list", "", 1110, 1111, "ok", 200),
    ]
    report.alerts = [Alert("HostDown", 1265, 1280)]
    report.findings = [
        "lost: photo photo-2 was acknowledged and has no row",
        "outage: fault 6, power of host: lister was not answered for 500 s",
        "audit: position 4 is gone",
    ]
    kill_row, power_row, all_of_them = report.rows()
    assert kill_row == ["kill", "2", "3", "1", "12", "20", "4", "-"]
    assert power_row == ["power", "1", "0", "0", "30", "30", "0", "HostDown"]
    assert all_of_them[:4] == ["all", "3", "3", "1"]
    again = [line.split("   ")[1].strip() for line in report.said() if "again:" in line]
    command = "again: python -m tests.campaign --seed 9 --from {} --count 1 --kinds kill,power"
    assert again == [command.format(5), command.format(6)]
    report.write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["photos acknowledged"] == 2
    written = (tmp_path / "report.md").read_text()
    assert "| power | 1 |" in written
    assert "| pages s | searches s | uploads s | error |" in written
    assert "| 5 | kill | nginx |  | 1 | 20 | 0 | 0 | 4 |  |" in written


def test_pieces_of_a_campaign_make_one_report(tmp_path: Path) -> None:
    for seed, began in (3, 1000.0), (4, 5000.0):
        directory = tmp_path / str(seed)
        report = Report(seed, ["kill"], began, ended=began + 120)
        report.faults = [Happened(1, "kill", "redis", began + 1, began + 2, began + 4 + seed)]
        operation = Operation("sender", "upload", "a" * 64, began + 1, began + 3, "ok", 202, f"photo-{seed}")
        directory.mkdir()
        History(directory / "history.jsonl").add(operation)
        report.operations = [operation]
        report.write(directory)
    made = together([tmp_path / "3", tmp_path / "4"])
    figures = made.figures()
    assert figures["counts"]["minutes"] == 4.0
    assert figures["counts"]["photos acknowledged"] == 2
    told = {"faults": 2, "pages s": 0, "searches s": 0, "uploads s": 0}
    assert figures["targets"] == {"kill of redis": told}
    assert [(each["seed"], each["first"], each["last"]) for each in figures["pieces"]] == [
        (3, 1, 1),
        (4, 1, 1),
    ]
    assert made.rows()[-1][:6] == ["all", "2", "2", "0", "6", "6"]
