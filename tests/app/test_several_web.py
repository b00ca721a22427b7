"""Two web hosts, each with a disk of its own: what one takes the other has, and neither loses it by that."""

from __future__ import annotations

import shutil
import socket
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests
from face_pipeline.config import get_settings
from face_pipeline.ops import copies, indexer
from face_pipeline.ops import originals as reading
from face_pipeline.parts import Parts
from face_pipeline.store import copies as hosts
from face_pipeline.store import copy_rounds, erasure, original_faults
from face_pipeline.store.alone import alone
from face_pipeline.store.originals import (
    OriginalMissing,
    Originals,
    OriginalUnavailable,
    RemoteOriginals,
    SeveralOriginals,
)
from face_pipeline.store.rights import Role
from sqlalchemy import text

from tests.app import stock
from tests.app.test_copies import TOKEN, Host, aged, database_made
from tests.app.test_sessions import COOKIE, PHOTOS, Browser
from tests.installation import START_SECONDS, App, Installation, start_web, wait_until
from tests.photos import astronaut_again, astronaut_jpeg
from tests.services.process import free_port


@dataclass
class Site:
    """Two web hosts; what receives copies runs on each."""

    hosts: tuple[Host, Host]

    def settings(self, number: int, required: int = 2) -> dict[str, object]:
        own, other = self.hosts[number], self.hosts[1 - number]
        return {
            "originals_dir": own.directory / "originals", "copies_urls": other.url,
            "copies_web_urls": other.url, "copies_own_url": own.url, "copies_required": required,
        }  # fmt: skip

    def parts(self, number: int, required: int = 2) -> Parts:
        return Parts(get_settings().model_copy(update=self.settings(number, required)))

    def web(self, number: int, required: int = 2) -> App:
        told = {f"FACE_{name.upper()}": str(value) for name, value in self.settings(number, required).items()}
        installation = self.hosts[0].installation
        url, process = start_web(installation, f"web-{number}.log", **told)
        return App(installation, url, process)


@pytest.fixture(scope="module")
def running(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Host, Host]]:
    made = []
    for _ in range(2):
        directory = tmp_path_factory.mktemp("web")
        (directory / "originals").mkdir()
        (directory / "copies_token").write_text(TOKEN)
        made.append(Host(installation, directory, free_port()))
    yield made[0], made[1]
    for host in made:
        host.stop()


@pytest.fixture
def site(clean: Installation, running: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    tokens = [clean.directory / each / "copies_token" for each in ("credentials", Role.WEB)]
    for token in tokens:
        token.write_text(TOKEN)
    monkeypatch.setattr(hosts, "AWAY_SECONDS", 0.0)
    for host in running:
        shutil.rmtree(host.directory / "originals")
        (host.directory / "originals").mkdir()
        if host.process is None:
            host.start(FACE_COPIES_OWN_URL=host.url)
    yield Site(running)
    for token in tokens:
        token.unlink()
    with clean.parts.database.transaction() as session:
        session.execute(text("TRUNCATE copy_rounds, removals, original_rounds"))


def named(parts: Parts, names: Collection[str]) -> Collection[str]:
    with parts.database.reading() as session:
        return erasure.named(session, names)


def files(host: Host) -> set[str]:
    return {path.name for path in (host.directory / "originals").glob("??/??/*")}


def test_what_one_takes_the_other_shows_and_either_erases(site: Site) -> None:
    first, second = site.web(0), site.web(1)
    try:
        answer = first.upload(("a.jpg", astronaut_jpeg()))
        assert answer.status_code == 202
        identifier = answer.json()["photos"][0]["id"]
        assert files(site.hosts[0]) == files(site.hosts[1]) != set()
        shown = second.get(f"/api/v1/photos/{identifier}/image")
        assert (shown.status_code, shown.content) == (200, astronaut_jpeg())
        # Who signed in on one is signed in on the other.
        browser = Browser(first, first.api_key)
        cookies = {COOKIE: browser.token}
        assert requests.get(f"{second.url}{PHOTOS}", cookies=cookies, timeout=30).status_code == 200

        # One of them dies, with what receives copies: the other takes no upload that two hosts have to hold.
        site.hosts[0].stop()
        refused = second.upload(("b.jpg", astronaut_again()))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "copies_away")
        site.hosts[0].start(FACE_COPIES_OWN_URL=site.hosts[0].url)
        assert second.request("DELETE", f"/api/v1/photos/{identifier}").status_code == 200
        # A process that found the other away leaves it alone for some seconds; what stays there goes so.
        indexer.remove_originals(site.parts(1))
        assert astronaut_name() not in files(site.hosts[0]) | files(site.hosts[1])
    finally:
        for app in (first, second):
            app.installation.end(app.web)


def astronaut_name() -> str:
    return stock.name_of(astronaut_jpeg())


def test_an_upload_on_one_host_while_the_other_erases_loses_nothing(site: Site) -> None:
    erasing, taking = site.parts(0), site.parts(1)
    data = uuid.uuid4().bytes
    name = stock.name_of(data)
    taking.originals.write({name: data})
    asked: list[set[str]] = []

    def meanwhile(names: Collection[str]) -> Collection[str]:
        # The upload's row is there once the eraser looks for the second time.
        asked.append(files(site.hosts[0]) & {name} | files(site.hosts[1]) & {name})
        return [name] if len(asked) > 1 else []

    done = erasing.originals.remove([name], meanwhile)
    assert asked == [{name}, set()], "on no host was it in its place when the eraser looked again"
    assert (done.removed, done.named, done.later) == (0, 1, ())
    for host in site.hosts:
        assert host.disk.intact(name)
        assert files(host) == {name}

    assert erasing.originals.remove([name], lambda _: ()).removed == 1
    assert files(site.hosts[0]) == files(site.hosts[1]) == set()


def test_a_host_that_was_away_loses_what_was_erased_meanwhile_once_it_is_back(site: Site) -> None:
    parts = site.parts(0, required=1)
    data = uuid.uuid4().bytes
    name = stock.name_of(data)
    parts.originals.write({name: data})
    site.hosts[1].stop()
    assert parts.originals.remove([name], lambda _: ()).later == (name,)
    assert files(site.hosts[1]) == {name}
    site.hosts[1].start(FACE_COPIES_OWN_URL=site.hosts[1].url)
    assert parts.originals.remove([name], lambda _: ()).later == ()
    assert files(site.hosts[1]) == set()


def test_each_sweeps_its_own_disk_and_fills_the_others(site: Site) -> None:
    first, second = site.parts(0), site.parts(1)
    alone_ = Parts(first.settings.model_copy(update={"copies_urls": "", "copies_required": 1}))
    before = stock.sha256(alone_, stock.photo(alone_, None))
    nobodys = stock.name_of(b"nobody's")
    for host in site.hosts:
        host.disk.write({nobodys: b"nobody's"})
    aged(site.hosts[1].disk, nobodys)
    database_made(first, "2 hours")
    copies.repair(first)
    assert site.hosts[1].disk.intact(before), "the new host has what was there before"
    assert nobodys in files(site.hosts[1]), "a web host removes nothing on another by a round"
    assert indexer.sweep_originals(second) == 1
    assert indexer.sweep_originals(first) == 0, "what another host has received lately stays"
    assert files(site.hosts[1]) == {before}
    copies.repair(second)
    for parts, host in ((first, site.hosts[1]), (second, site.hosts[0])):
        (state,) = copies.states(parts)
        assert (state.host, state.held, state.is_well) == (host.url[7:], 1, True)
    # A disk that is empty fills again by the other's round.
    site.hosts[0].disk.path(before).unlink()
    copies.repair(second, whole=True)
    assert site.hosts[0].disk.intact(before)


def test_two_indexers_take_turns(site: Site) -> None:
    first = site.parts(0)
    stock.photo(first, None)
    turn = copy_rounds.turn(site.hosts[1].url[7:])
    with (
        first.database.single_statements() as connection,
        alone(connection, *turn),
        alone(connection, original_faults.READER_LOCK),
    ):
        other = site.parts(0)
        copies.repair(other)
        assert copies.states(other)[0].compared_at is None
        assert reading.inspect(other) == 0
    copies.repair(first)
    assert copies.states(first)[0].compared_at is not None
    assert reading.inspect(first) == 1


def test_a_copy_of_an_erased_photo_that_arrives_late_takes_nothing_away(
    site: Site,
) -> None:
    parts = site.parts(0)
    (there,) = parts.copies.hosts  # type: ignore[union-attr]
    data = uuid.uuid4().bytes
    name = stock.name_of(data)
    before = hosts.Moment.now()
    there.put_aside([name], uuid.uuid4().hex)
    site.hosts[1].disk.write({name: data})
    assert not there.put(name, data, before)
    assert site.hosts[1].disk.intact(name)


def sent_and_given_up(host: Host, data: bytes, began: hosts.Moment) -> None:
    """By somebody who does not wait for the answer."""
    head = (
        f"PUT /copies/{stock.name_of(data)} HTTP/1.1\r\nHost: {host.url}\r\nContent-Length: {len(data)}\r\n"
        f"Authorization: Bearer {TOKEN}\r\n{hosts.MOMENT_HEADER}: {began}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", host.port)) as connection:
        connection.sendall(head.encode() + data)


@pytest.mark.parametrize("erased_on", ["the host that sends", "another host"])
def test_a_copy_that_arrives_after_its_erasure_goes_with_the_next_run_of_the_indexer(
    site: Site, erased_on: str
) -> None:
    parts = site.parts(0)
    (there,) = parts.copies.hosts  # type: ignore[union-attr]
    kept, data = uuid.uuid4().bytes, uuid.uuid4().bytes
    stock.photo(parts, None, data=kept)
    name, mark = stock.name_of(data), uuid.uuid4().hex
    # Whoever erases finds that a row names the other one after all.
    there.put_aside([name, stock.name_of(kept)], mark)
    there.put_back([stock.name_of(kept)], mark)
    boot = "another-boot" if erased_on == "another host" else hosts.Moment.now().boot
    began = hosts.Moment(boot, 0.0)
    for each in data, kept:
        site.hosts[1].disk.write({stock.name_of(each): each})
        sent_and_given_up(site.hosts[1], each, began)
    wait_until(
        lambda: {name, stock.name_of(kept)} <= set(there.doubtful()), START_SECONDS, "both to have arrived"
    )
    assert files(site.hosts[1]) == {name, stock.name_of(kept)}
    copies.look_again(parts)
    indexer.remove_originals(parts)
    assert files(site.hosts[1]) == {stock.name_of(kept)}


def test_what_was_sent_to_a_process_that_has_just_begun_is_looked_at_again(site: Site) -> None:
    """It was perhaps sent to the one before, and erased in between."""
    site.hosts[1].stop()
    site.hosts[1].start(FACE_COPIES_OWN_URL=site.hosts[1].url)
    parts = site.parts(0)
    (there,) = parts.copies.hosts  # type: ignore[union-attr]
    data = uuid.uuid4().bytes
    assert there.put(stock.name_of(data), data, hosts.Moment.now())
    copies.look_again(parts)
    indexer.remove_originals(parts)
    assert files(site.hosts[1]) == set()
    assert there.doubtful() == []


def test_what_somebody_put_aside_who_did_not_come_back_goes_with_the_next_erasure(site: Site) -> None:
    parts = site.parts(0)
    (there,) = parts.copies.hosts  # type: ignore[union-attr]
    data = uuid.uuid4().bytes
    name = stock.name_of(data)
    for each in site.hosts:
        each.disk.write({name: data})
    # Of an erasure that could not reach the others any more.
    there.put_aside([name], uuid.uuid4().hex)
    site.hosts[0].disk.put_aside([name], uuid.uuid4().hex)
    assert parts.originals.remove([name], lambda _: ()).later == ()
    for each in site.hosts:
        assert [path for path in each.disk.directory.rglob("*") if path.is_file()] == []


@dataclass
class Given(RemoteOriginals):
    """A web host that gives out originals; None: it is away."""

    names: dict[str, bytes] | None
    asked: int = 0
    is_asked: bool = True  # type: ignore[assignment]

    def read(self, sha256: str) -> bytes:
        self.asked += 1
        if self.names is None:
            self.is_asked = False
            raise OriginalUnavailable("away")
        if sha256 not in self.names:
            raise OriginalMissing("missing")
        return self.names[sha256]


def test_a_worker_reads_from_any_web_host_that_has_a_photo(tmp_path: Path) -> None:
    data = b"a photo"
    name = stock.name_of(data)
    away, lacking, having = Given(None), Given({}), Given({name: data})
    read: Callable[[], bytes] = partial(SeveralOriginals([away, lacking, having]).read, name)
    assert (read(), read()) == (data, data)
    assert away.asked == 1, "it is asked last for a while"
    with pytest.raises(OriginalUnavailable):
        SeveralOriginals([away, lacking]).read(name)
    with pytest.raises(OriginalMissing):
        SeveralOriginals([lacking, Given({})]).read(name)
    own = Originals(tmp_path)
    assert SeveralOriginals([having], own).read(name) == data
    own.write({name: data})
    assert SeveralOriginals([Given(None)], own).read(name) == data
    own.path(name).write_bytes(b"other bytes")
    assert SeveralOriginals([having], own).read(name) == data
