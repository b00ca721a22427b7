"""While no host of the database leads: what only looks goes on, and the audit has each look later."""

from __future__ import annotations

import os
import re
import signal
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from face_pipeline.actions import audit as actions
from face_pipeline.actions import chain, doctor
from face_pipeline.errors import AuditUnavailable, DatabaseUnavailable
from face_pipeline.parts import Parts
from face_pipeline.store import audit, members, spool
from face_pipeline.store.models import AuditEntry
from face_pipeline.store.rights import Role
from sqlalchemy import select, text

from tests import packs
from tests.app.test_system import finding
from tests.installation import App, Installation, seal_all, start_web, wait_until
from tests.patience import PATIENCE
from tests.photos import astronaut_again, astronaut_jpeg
from tests.services import Postgres, Redis
from tests.services.far import Far
from tests.services.postgres import Follower

# Of a loss that makes a noise, as here; a silent one takes the kernel 1.5 s longer.
SOON_SECONDS = 5
SERVICE = audit.SERVICE


@dataclass
class Site:
    """Two hosts of one database, and the web service of one host."""

    installation: Installation
    first: Postgres
    second: Follower
    spool: Path

    @property
    def web(self) -> dict[str, str]:
        return {"FACE_DATABASE_HOST": f"{self.first.host},{self.second.host}"}

    def parts(self) -> Parts:
        """As a web process has them."""
        settings = self.installation.parts.settings.model_copy(
            update={
                "database_host": self.web["FACE_DATABASE_HOST"], "audit_spool_dir": self.spool,
                "database_user": Role.WEB.value, "credentials_dir": self.installation.directory / Role.WEB,
            }
        )  # fmt: skip
        return Parts(settings, goes_on=True)

    def entries(self, action: str) -> list[AuditEntry]:
        """What the audit has, at the host that leads."""
        with self.parts().database.reading() as session:
            found = select(AuditEntry).where(AuditEntry.action == action).order_by(AuditEntry.id)
            return list(session.scalars(found))


@contextmanager
def two_hosts(directory: Path, redis: Redis, first: Postgres) -> Iterator[Site]:
    before = dict(os.environ)
    first.start()
    made = Installation.make(directory, first, redis, packs.dlib_pack(), FACE_WORKER_CONCURRENCY="2")
    waiting = directory / "spool"
    waiting.mkdir(mode=0o700)
    second = Follower(first)
    second.start()
    yield Site(made, first, second, waiting)
    for process in list(made.processes):
        made.end(process, signal.SIGKILL)
    made.scratch.close()
    second.close()
    first.close()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def site(tmp_path: Path, redis_server: Redis) -> Iterator[Site]:
    with two_hosts(tmp_path, redis_server, Postgres()) as made:
        yield made


@pytest.fixture
def far_site(tmp_path: Path, redis_server: Redis) -> Iterator[Site]:
    """The host that leads is behind a cable."""
    far = Far()
    far.open()
    try:
        with two_hosts(tmp_path, redis_server, Postgres(far=far)) as made:
            yield made
    finally:
        far.close()


def follows(site: Site, parts: Parts) -> None:
    """The second host has what the first has, and the process knows of both."""
    with parts.database.single_statements() as connection:
        wrote = connection.scalar(text("SELECT pg_current_wal_lsn() - '0/0'"))
    watched = parts.database._members
    assert watched is not None

    def caught_up() -> bool:
        said = watched._said.get(site.second.host)
        return said is not None and said.place >= wrote

    wait_until(caught_up, 10, "the second host to follow")


def loses(site: Site, parts: Parts) -> None:
    site.first.kill()
    watched = parts.database._members
    assert watched is not None
    wait_until(lambda: watched.leader() is None, SOON_SECONDS, "the loss to be noticed")


def look(parts: Parts, who: str = "somebody") -> None:
    with parts.database.reading() as session:
        session.execute(text("SELECT count(*) FROM photos"))
        audit.note(session, audit.Actor(SERVICE.kind, who), "photo.list", details={"photos": 0})


def test_looks_go_on_changes_are_refused_and_the_audit_has_each_look_once(site: Site) -> None:
    extra = {**site.web, "FACE_AUDIT_SPOOL_DIR": str(site.spool), "FACE_WEB_PROCESSES": "2"}
    app = App(site.installation, *start_web(site.installation, **extra))
    app.start_worker()
    app.wait_finished(app.upload(("a.jpg", astronaut_jpeg(1))).json()["batch_id"])
    photo = app.get("/api/v1/photos").json()["photos"][0]["id"]
    assert app.search(astronaut_again()).status_code == 200
    before = {name: len(site.entries(name)) for name in ("photo.look", "search.run", "access.refuse")}
    time.sleep(2 * members.LOOK_SECONDS)
    site.first.kill()
    began = time.monotonic()
    ids = []

    def looked() -> Any:
        answer = app.get(f"/api/v1/photos/{photo}")
        if answer.status_code == 200:
            ids.append(answer.headers["X-Request-ID"])
        return answer.status_code == 200

    wait_until(looked, SOON_SECONDS, "a look to be answered")
    assert time.monotonic() - began < SOON_SECONDS
    for _ in range(5):
        assert looked()
    found = app.search(astronaut_jpeg(2))
    assert (found.status_code, len(found.json()["faces"][0]["matches"])) == (200, 1)
    assert app.get(f"/api/v1/photos/{photo}/image").status_code == 200
    assert app.get("/", headers={}).status_code in (200, 302)
    assert requests.get(app.url + "/api/v1/photos", headers={"X-API-Key": "no"}, timeout=9).status_code == 401
    for refuse in (
        lambda: app.upload(("b.jpg", astronaut_jpeg(3))),
        lambda: app.request("POST", "/api/v1/persons", json={"name": "Ada"}),
    ):
        asked = time.monotonic()
        answer = refuse()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert time.monotonic() - asked < 1
    assert {stat.S_IMODE(each.stat().st_mode) for each in site.spool.iterdir()} == {0o600}
    waiting = re.search(r"^face_recognition_audit_kept_entries (\S+)", app.get("/metrics").text, re.MULTILINE)
    assert waiting is not None
    assert float(waiting[1]) >= len(ids) + 3, "with a search, a picture, and a wrong key"
    promoted = time.time()
    site.second.promote()
    wait_until(lambda: app.upload(("c.jpg", astronaut_jpeg(4))).status_code == 202, 15, "an upload")
    wait_until(lambda: not list(site.spool.iterdir()), 15, "the entries to be brought")
    looks = site.entries("photo.look")[before["photo.look"] :]
    assert sorted(str(each.request_id) for each in looks) == sorted(ids)
    assert all("kept_on" in each.details and each.at.timestamp() < promoted for each in looks)
    assert len(site.entries("search.run")) == before["search.run"] + 1
    assert len(site.entries("access.refuse")) == before["access.refuse"] + 1
    parts = Parts(site.installation.parts.settings.model_copy(update={"database_host": site.second.host}))
    seal_all(parts)
    assert chain.verify(parts, by=SERVICE).fault is None


def test_looks_go_on_where_the_host_that_leads_takes_no_new_connection(site: Site) -> None:
    parts = site.parts()
    look(parts)
    follows(site, parts)
    site.first.refuse_new()
    # What watches stays connected; what asks connects anew.
    wait_until(lambda: not leads_in_fact(parts), 10, "new connections to be refused")
    look(parts, "meanwhile")
    assert leads(parts), "it is known to lead"
    assert parts.spool is not None
    assert parts.spool.kept().count == 1


def test_what_a_killed_process_kept_comes_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody is read that does not have what is new."""
    parts = site.parts()
    look(parts)
    follows(site, parts)
    # What the host that leads has not on its disk yet goes with it.
    look(parts, "before")
    loses(site, parts)
    child = os.fork()
    if not child:
        # A process of its own, which knows the hosts as its parent's memory has them.
        try:
            kept = parts.spool
            assert kept is not None
            for number in range(3):
                kept.keep({**ENTRY, "actor_name": f"killed {number}"})
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    look(parts, "alive")
    assert parts.spool is not None
    with pytest.raises(DatabaseUnavailable):
        actions.bring(parts)
    assert parts.spool.kept().count == 3 + 1 + 2, "with those that may be in the audit"
    with pytest.raises(DatabaseUnavailable), parts.database.transaction():
        pass
    monkeypatch.setattr(members, "STALE_SECONDS", 0.1)
    with pytest.raises(DatabaseUnavailable, match="what is new"):
        look(parts)
    site.second.promote()
    wait_until(lambda: leads(parts), 10, "the second host to lead")
    # Killed once more, between the audit and the removal of the file.
    monkeypatch.setattr(Path, "unlink", broken)
    with pytest.raises(OSError, match="killed"):
        actions.bring(parts)
    monkeypatch.undo()
    other = site.parts()
    for each in (parts, other):
        actions.bring(each)
    assert list(site.spool.iterdir()) == []
    names = [each.actor_name for each in site.entries("photo.list")]
    assert sorted(names) == ["alive", "before", "killed 0", "killed 1", "killed 2", "somebody"]
    assert names.index("killed 0") < names.index("killed 1") < names.index("killed 2")


@pytest.mark.campaign(
    "a loss that makes a noise is quicker; hosts show both (tests/hosts/test_whole_site.py)"
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a host of its own")
def test_looks_are_answered_soon_after_a_host_was_lost_without_a_word(far_site: Site) -> None:
    extra = {**far_site.web, "FACE_AUDIT_SPOOL_DIR": str(far_site.spool)}
    app = App(far_site.installation, *start_web(far_site.installation, **extra))
    answered: list[tuple[float, float, int]] = []

    def ask() -> None:
        began = time.monotonic()
        status = app.get("/api/v1/photos?limit=5").status_code
        answered.append((began, time.monotonic(), status))

    def film(seconds: float) -> None:
        threads = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
            time.sleep(0.5)
        for thread in threads:
            thread.join()

    film(3)
    assert far_site.first.far is not None
    far_site.first.far.pull()
    lost = time.monotonic()
    film(12)
    again = min(ended for _, ended, status in answered if ended > lost + 0.5 and status == 200)
    assert again - lost < SOON_SECONDS * PATIENCE
    asked = time.monotonic()
    assert app.upload(("b.jpg", astronaut_jpeg(3))).status_code == 503
    assert time.monotonic() - asked < PATIENCE


ENTRY: dict[str, Any] = {
    "actor_kind": "key", "actor_id": None, "actor_name": "k", "address": None, "request_id": None,
    "action": "photo.list", "collection": None, "subject": None, "outcome": "done", "details": {},
}  # fmt: skip


def broken(*_: Any, **__: Any) -> None:
    raise OSError("killed")


def leads(parts: Parts) -> bool:
    try:
        parts.database.check_takes_changes()
    except DatabaseUnavailable:
        return False
    return True


def leads_in_fact(parts: Parts) -> bool:
    parts.database.engine.dispose()
    parts.database._autocommit.dispose()
    try:
        with parts.database.transaction() as session:
            session.execute(text("SELECT 1"))
    except DatabaseUnavailable:
        return False
    return True


def spool_at(directory: Path) -> spool.Spool:
    return spool.Spool(directory, lambda: ["secret"])


def brought(kept: spool.Spool) -> tuple[list[str], dict[str, Any] | None]:
    """What one that adopts the files of an ended process would put into the audit."""
    names: list[str] = []
    faults: list[Any] = []

    def take(_: Any, entries: Any, fault: Any) -> None:
        names.extend(each["actor_name"] for each in entries)
        faults.append(fault)

    kept.bring(None, take)  # type: ignore[arg-type]
    return names, next((each for each in faults if each), None)


def test_what_was_changed_or_removed_while_it_waited_is_told(tmp_path: Path) -> None:
    for harm in ("change", "remove one", "remove the end"):
        kept = spool_at(tmp_path)
        for name in ("one", "two", "three"):
            kept.keep({**ENTRY, "actor_name": name})
        (path,) = tmp_path.glob("*.entries")
        lines = path.read_text().splitlines()
        if harm == "change":
            lines[1] = lines[1].replace("two", "six")
        if harm != "change":
            del lines[1 if harm == "remove one" else 2]
        path.write_text("".join(f"{each}\n" for each in lines))
        names, fault = brought(kept)
        assert fault is not None, harm
        assert names == ["one", "two"][: fault["fit"]]
        (damaged,) = tmp_path.glob("*.damaged")
        assert kept.kept().damaged == 1
        damaged.unlink()


def test_a_line_that_was_not_whole_was_not_answered(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        spool_at(tmp_path).keep(ENTRY)
        os._exit(0)
    os.waitpid(child, 0)
    (path,) = tmp_path.glob("*.entries")
    with path.open("a") as file:
        file.write("0123 {")
    assert brought(spool_at(tmp_path)) == (["k"], None)


def test_what_cannot_be_kept_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AuditUnavailable):
        spool_at(tmp_path / "nowhere").keep(ENTRY)
    monkeypatch.setattr(spool, "BYTES_MOST", 100)
    kept = spool_at(tmp_path)
    kept.keep(ENTRY)
    with pytest.raises(AuditUnavailable, match="too many"):
        kept.keep(ENTRY)


def test_the_doctor_tells_of_what_waits(clean: Installation, tmp_path: Path) -> None:
    parts = Parts(clean.parts.settings.model_copy(update={"audit_spool_dir": tmp_path}))
    seal_all(clean.parts)
    kept = spool_at(tmp_path)
    kept.keep(ENTRY)
    assert "entries that wait on this host: 1" in finding(parts, "audit").found
    (path,) = tmp_path.glob("*.entries")
    path.rename(tmp_path / f"{uuid.uuid4().hex}.damaged")
    assert finding(parts, "audit").state is doctor.State.FAIL
