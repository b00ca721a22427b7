"""The judge of the fault campaign names all that is broken on purpose, and nothing that is sound."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from face_pipeline.actions import chain
from face_pipeline.parts import Parts
from face_pipeline.store import audit
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.campaign import history, schedule
from tests.campaign.clients import Api, Clients
from tests.campaign.evidence import ROWS, Alert, Evidence, Happened, rows
from tests.campaign.history import History, Operation
from tests.campaign.judge import BUDGETS, judge
from tests.installation import App, wait_until

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


def test_a_schedule_follows_its_seed_and_has_each_kind() -> None:
    kinds = list(schedule.TARGETS)
    first = schedule.plan(1, 50, kinds)
    assert first == schedule.plan(1, 50, kinds)
    assert first != schedule.plan(2, 50, kinds)
    assert {each.kind for each in first[: len(kinds)]} == set(kinds) == set(BUDGETS)
    assert all(1 <= each.seconds <= 25 for each in first if each.kind == "freeze")
