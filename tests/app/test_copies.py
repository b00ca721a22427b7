"""Copies of originals on further hosts, by real services there: kept, removed, compared, mended both ways."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from face_pipeline.config import get_settings
from face_pipeline.errors import ConfigurationError
from face_pipeline.ops import copies, indexer
from face_pipeline.ops import originals as reading
from face_pipeline.parts import Parts
from face_pipeline.store import copies as hosts
from face_pipeline.store import original_faults
from face_pipeline.store.originals import ORPHAN_AFTER_SECONDS, Originals
from face_pipeline.store.rights import Role
from sqlalchemy import text

from tests.app import stock
from tests.app.test_metrics_serving import certify
from tests.installation import BIN, START_SECONDS, App, Installation, start_web, wait_until
from tests.photos import astronaut_again, astronaut_jpeg
from tests.services.process import free_port

TOKEN = "a token of the tests"


@dataclass
class Host:
    """A host that keeps copies: its service, and its disk."""

    installation: Installation
    directory: Path
    port: int
    scheme: str = "http"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def disk(self) -> Originals:
        return Originals(self.directory / "originals")

    def start(self, **extra: str) -> None:
        log = f"copies-{self.port}.log"
        self.process = self.installation.spawn(
            log, str(BIN / "gunicorn"), "--config", "python:face_pipeline.copies.gunicorn_conf",
            "face_pipeline.copies:create_app()",
            FACE_COPIES_LISTEN=f"127.0.0.1:{self.port}", FACE_ORIGINALS_DIR=str(self.directory / "originals"),
            FACE_CREDENTIALS_DIR=str(self.directory), FACE_DISK_RESERVE_MB="0", **extra,
        )  # fmt: skip
        wait_until(self._answers, START_SECONDS, "the host to keep copies")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.installation.end(self.process)
            self.process = None


@pytest.fixture(scope="module")
def make_host(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Host]]:
    made: list[Host] = []

    def make() -> Host:
        directory = tmp_path_factory.mktemp("host")
        (directory / "originals").mkdir(parents=True)
        (directory / "copies_token").write_text(TOKEN)
        made.append(Host(installation, directory, free_port()))
        return made[-1]

    yield make
    for host in made:
        host.stop()


@pytest.fixture(scope="module")
def running(make_host: Callable[[], Host]) -> Host:
    return make_host()


@pytest.fixture
def host(clean: Installation, running: Host) -> Host:
    """With an empty disk."""
    if running.process is None:
        running.start()
    shutil.rmtree(running.directory / "originals")
    (running.directory / "originals").mkdir()
    return running


@pytest.fixture
def with_copies(
    clean: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Parts]]:
    """What a process works with that gives copies to some hosts; never to one that it found away before."""
    tokens = [clean.directory / each / "copies_token" for each in ("credentials", Role.WEB)]
    for token in tokens:
        token.write_text(TOKEN)
    monkeypatch.setattr(hosts, "AWAY_SECONDS", 0.0)

    def make(*all_hosts: Host, required: int = 1, authority: str = "") -> Parts:
        urls = " ".join(each.url for each in all_hosts)
        told = {"copies_urls": urls, "copies_required": required, "tls_ca": authority}
        return Parts(get_settings().model_copy(update=told))

    yield make
    for token in tokens:
        token.unlink()
    with clean.parts.database.transaction() as session:
        session.execute(text("TRUNCATE copy_rounds, removals"))


def photo(parts: Parts) -> str:
    """The name of the original of a photo that has a row, and no copy."""
    alone = Parts(parts.settings.model_copy(update={"copies_urls": "", "copies_required": 1}))
    return stock.sha256(alone, stock.photo(alone, None))


def aged(originals: Originals, name: str) -> None:
    old = time.time() - ORPHAN_AFTER_SECONDS - 60
    os.utime(originals.path(name), (old, old))


def database_made(parts: Parts, ago: str) -> None:
    with parts.database.transaction() as session:
        for table in ("api_keys", "collections"):
            session.execute(text(f"UPDATE {table} SET created_at = now() - interval '{ago}'"))


def ask(host: Host, path: str, method: str = "GET", body: bytes | None = None, token: str = TOKEN) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = requests.request(method, host.url + path, data=body, headers=headers, timeout=30)
    assert answer.ok or answer.json()["error"]["message"]
    return answer.status_code


def test_a_host_with_copies_answers_nobody_without_the_token_and_takes_no_other_bytes(host: Host) -> None:
    name = "ab" * 32
    for path, method, body in (
        (f"/copies/{name}", "GET", None), (f"/copies/{name}", "PUT", b"x"),
        ("/copies?prefix=ab", "GET", None),
        ("/copies/remove", "POST", b"{}"), ("/copies/check", "POST", b"{}"),
    ):  # fmt: skip
        assert ask(host, path, method, body, token="another") == 401
    assert ask(host, "/health", token="") == 200
    assert ask(host, f"/copies/{name}", "PUT", b"other bytes") == 422
    assert ask(host, f"/copies/{name}") == 404
    assert ask(host, "/copies/..%2f..%2fetc%2fpasswd") == 404
    assert ask(host, "/copies/passwd") == 400
    assert ask(host, "/copies?prefix=x") == 400
    assert ask(host, f"/copies/{name}", "PUT", bytes(5 * 1024**2)) == 413
    assert host.disk.names("ab") == {}


def test_an_upload_is_answered_once_a_further_host_has_its_photo(
    host: Host, with_copies: Callable[..., Parts]
) -> None:
    parts = with_copies(host, required=2)
    url, web = start_web(
        host.installation, "copying.log", FACE_COPIES_URLS=host.url, FACE_COPIES_REQUIRED="2"
    )
    app = App(host.installation, url, web)
    try:
        answer = app.upload(("a.jpg", astronaut_jpeg()))
        assert answer.status_code == 202
        with parts.database.reading() as session:
            name = session.execute(text("SELECT sha256 FROM photos")).scalar_one()
        assert host.disk.read(name) == astronaut_jpeg()
        # The web host's disk loses it.
        parts.originals.path(name).unlink()
        shown = app.get(f"/api/v1/photos/{answer.json()['photos'][0]['id']}/image")
        assert (shown.status_code, shown.content) == (200, astronaut_jpeg())

        host.stop()
        refused = app.upload(("b.jpg", astronaut_again()))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "copies_away")
        assert int(refused.headers["Retry-After"]) > 0
        with parts.database.reading() as session:
            assert session.execute(text("SELECT count(*) FROM photos")).scalar_one() == 1
        identifier = answer.json()["photos"][0]["id"]
        assert app.request("DELETE", f"/api/v1/photos/{identifier}").status_code == 200
        host.start()
        assert host.disk.path(name).exists(), "it was away"
        indexer.remove_originals(parts)
        assert not host.disk.path(name).exists()
    finally:
        host.installation.end(web)


def test_an_upload_waits_for_a_host_that_starts_again_as_with_a_release(
    host: Host,
    make_host: Callable[[], Host],
    with_copies: Callable[..., Parts],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "RESTART_SECONDS", 2 * START_SECONDS)
    other = make_host()
    other.start()
    parts = with_copies(host, other, required=2)
    first, data = uuid.uuid4().bytes, uuid.uuid4().bytes
    # So that both have a connection, which ends.
    parts.originals.write({stock.name_of(first): first})
    host.stop()
    other.stop()
    with ThreadPoolExecutor() as threads:
        written = threads.submit(parts.originals.write, {stock.name_of(data): data})
        time.sleep(1)
        assert not written.done()
        host.start()
        written.result()
        # What is on its way to the other one comes to an end.
        other.start()
    assert host.disk.read(stock.name_of(data)) == data


def test_a_host_that_starts_again_holds_up_no_other(
    host: Host,
    make_host: Callable[[], Host],
    with_copies: Callable[..., Parts],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "RESTART_SECONDS", 2 * START_SECONDS)
    other = make_host()
    parts = with_copies(host, other, required=2)
    photos = [uuid.uuid4().bytes for _ in range(3 * hosts.UPLOADS_AT_ONCE)]
    began = time.monotonic()
    with ThreadPoolExecutor(len(photos)) as threads:
        for written in [
            threads.submit(parts.originals.write, {stock.name_of(each): each}) for each in photos
        ]:
            written.result()
    assert time.monotonic() - began < START_SECONDS
    other.start()


def test_a_copy_that_arrives_after_its_removal_does_not_stay(
    host: Host, with_copies: Callable[..., Parts]
) -> None:
    (there,) = with_copies(host).copies.hosts  # type: ignore[union-attr]
    data = uuid.uuid4().bytes
    name = stock.name_of(data)
    before = hosts.Moment.now()
    assert there.put(name, data, before)
    assert there.remove([name]) == 1
    # It was on its way for long.
    assert not there.put(name, data, before)
    assert host.disk.names(name[:2]) == {}
    assert there.is_asked
    # Somebody uploads it anew; another boot's time says nothing.
    assert there.put(name, data, hosts.Moment.now())
    assert there.put(name, data, before)
    assert host.disk.read(name) == data
    assert there.remove([name]) == 1
    assert there.put(name, data, hosts.Moment("another-boot", 0.0))
    assert host.disk.read(name) == data
    assert name in there.doubtful()
    # It is gone once somebody looked.
    parts = with_copies(host)
    copies.look_again(parts)
    indexer.remove_originals(parts)
    assert host.disk.names(name[:2]) == {}
    assert name not in there.doubtful()


def test_what_is_required_decides_whether_a_host_that_is_away_is_missed(
    host: Host, make_host: Callable[[], Host], with_copies: Callable[..., Parts]
) -> None:
    here, away = host, make_host()
    data = uuid.uuid4().bytes
    name = stock.name_of(data)
    for required in (1, 2):
        with_copies(here, away, required=required).originals.write({name: data})
        assert here.disk.read(name) == data
    with pytest.raises(hosts.CopiesAway, match="2 of the 3 hosts"):
        with_copies(here, away, required=3).originals.write({name: data})
    with pytest.raises(ConfigurationError, match="at most 3 hosts hold a photo"):
        _ = with_copies(here, away, required=4).copies


def test_a_round_mends_both_sides_and_removes_what_no_row_names(
    host: Host, with_copies: Callable[..., Parts]
) -> None:
    parts = with_copies(host)
    lacking, lost, both = (photo(parts) for _ in range(3))
    for name in (lost, both):
        host.disk.write({name: parts.originals.read(name)})
    parts.originals.path(lost).unlink()
    nobodys, fresh = (stock.name_of(data) for data in (b"nobody's", b"of an upload under way"))
    host.disk.write({nobodys: b"nobody's", fresh: b"of an upload under way"})
    aged(host.disk, nobodys)
    database_made(parts, "2 hours")
    assert copies.lacking(parts) == [lost]

    copies.repair(parts)
    assert copies.lacking(parts) == []
    for name in (lacking, lost, both):
        assert host.disk.intact(name)
        assert parts.own_originals.intact(name)
    assert not host.disk.path(nobodys).exists()
    assert host.disk.path(fresh).exists()
    (state,) = copies.states(parts)
    assert (state.host, state.held, state.missing, state.is_well) == (host.url[7:], 3, 0, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as whom an operator mends")
def test_what_root_mends_belongs_to_whom_the_originals_belong(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    data = b"lost, and back"
    originals = Originals(tmp_path)
    originals.write({stock.name_of(data): data})
    path = originals.path(stock.name_of(data))
    for each in (path, path.parent, path.parent.parent):
        assert (each.stat().st_uid, each.stat().st_gid) == (12345, 12346), each


def test_a_database_that_was_made_anew_removes_no_copy_of_its_forerunner(
    host: Host, with_copies: Callable[..., Parts]
) -> None:
    parts = with_copies(host)
    earlier = stock.name_of(b"of the database before")
    host.disk.write({earlier: b"of the database before"})
    aged(host.disk, earlier)
    database_made(parts, "1 minute")
    copies.repair(parts)
    assert host.disk.intact(earlier)


def test_a_host_that_is_away_is_told_of_until_it_answers(
    host: Host, with_copies: Callable[..., Parts]
) -> None:
    parts = with_copies(host)
    name = photo(parts)
    host.stop()
    copies.repair(parts)
    (state,) = copies.states(parts)
    assert state.away_since is not None
    since = state.away_since
    copies.repair(parts)
    assert copies.states(parts)[0].away_since == since
    shown = list(copies.table(copies.states(parts)))
    assert shown[1].split()[:2] == [host.url[7:], "away"]
    host.start()
    copies.repair(parts)
    assert copies.states(parts)[0].is_well
    assert host.disk.intact(name)


def test_a_damaged_file_is_mended_from_the_other_side(host: Host, with_copies: Callable[..., Parts]) -> None:
    parts = with_copies(host)
    here, there = photo(parts), photo(parts)
    copies.repair(parts)
    for originals, name in ((parts.own_originals, here), (host.disk, there)):
        originals.path(name).chmod(0o600)
        originals.path(name).write_bytes(b"other bytes")
    with parts.database.transaction() as session:
        session.execute(text("DELETE FROM original_rounds"))
    reading.inspect(parts)
    assert parts.own_originals.intact(here)
    assert host.disk.intact(there)
    with parts.database.reading() as session:
        assert original_faults.known(session) == {}


def test_what_is_erased_meanwhile_does_not_come_back(host: Host, with_copies: Callable[..., Parts]) -> None:
    parts = with_copies(host)
    name = photo(parts)
    data = parts.originals.read(name)
    host.disk.write({name: data})
    with parts.database.transaction() as session:
        session.execute(text("DELETE FROM photos"))
    # Whoever looked before that wants it back.
    copies._take_back(parts, parts.copies.hosts[0], {name})  # type: ignore[union-attr]
    assert not parts.own_originals.path(name).exists()
    assert not host.disk.path(name).exists()


def test_a_host_with_copies_proves_who_it_is_and_takes_over_a_renewed_certificate(
    make_host: Callable[[], Host], with_copies: Callable[..., Parts], tmp_path: Path
) -> None:
    certify(tmp_path)
    certify(other := tmp_path / "other")
    host = make_host()
    host.scheme = "https"
    host.start(
        FACE_COPIES_CERTIFICATE=str(tmp_path / "server.crt"), FACE_COPIES_KEY=str(tmp_path / "server.key")
    )
    photo = {stock.name_of(b"a photo"): b"a photo"}
    for _ in range(2):
        with_copies(host, required=2, authority=str(tmp_path / "ca.crt")).originals.write(photo)
        before = ssl.get_server_certificate(("127.0.0.1", host.port))
        certify(tmp_path)
        assert ssl.get_server_certificate(("127.0.0.1", host.port)) != before
    with pytest.raises(hosts.CopiesAway):
        with_copies(host, required=2, authority=str(other / "ca.crt")).originals.write(photo)
    with pytest.raises(requests.ConnectionError):
        ask(Host(host.installation, host.directory, host.port), "/health")
