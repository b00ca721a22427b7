"""Originals in a real S3 store, Debian's Swift: kept, read, removed, swept; it is away, it refuses a key."""

from __future__ import annotations

import hashlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.actions import originals
from face_pipeline.config import get_settings
from face_pipeline.errors import Conflict
from face_pipeline.ops import indexer
from face_pipeline.ops import moving as mover
from face_pipeline.ops import originals as reading
from face_pipeline.parts import Parts
from face_pipeline.store import buckets, original_faults
from face_pipeline.store.originals import (
    WAY_BACK,
    OriginalDamaged,
    OriginalMissing,
    OriginalsAway,
    Removed,
    relative,
)
from face_pipeline.store.originals import s3 as in_store
from face_pipeline.store.rights import Role
from sqlalchemy import text

from tests.app import stock
from tests.installation import App, Installation, start_web, wait_until
from tests.photos import astronaut_jpeg
from tests.services.swift import Swift

pytestmark = pytest.mark.campaign("a store is built for it alone; what is asked of it is in test_buckets")
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


def settings_of(swift: Swift, **rest: Any) -> dict[str, Any]:
    return {
        "originals_store": "s3", "originals_s3_endpoint": swift.host, "originals_s3_port": swift.port,
        "originals_s3_bucket": "face", "originals_s3_region": swift.region,
        "originals_s3_path": "/site-a", "originals_s3_authority": str(swift.authority),
        "originals_s3_key_id": swift.key_id, **rest,
    }  # fmt: skip


def environment_of(swift: Swift) -> dict[str, str]:
    return {f"FACE_{name.upper()}": str(value) for name, value in settings_of(swift).items()}


@pytest.fixture
def secret(clean: Installation, swift: Swift) -> Iterator[Callable[[str], None]]:
    """Gives the installation the secret of an access key; it has the right one."""
    files = [clean.directory / each / "originals_s3_secret" for each in ("credentials", *Role)]

    def give(value: str) -> None:
        for file in files:
            file.write_text(value)

    give(swift.secret)
    yield give
    for file in files:
        file.unlink()
    with clean.parts.database.transaction() as session:
        session.execute(text("TRUNCATE removals"))


@pytest.fixture
def stored(swift: Swift, secret: Callable[[str], None]) -> Callable[..., Parts]:
    """What a process works with whose originals are in the store."""

    def make(**rest: Any) -> Parts:
        return Parts(get_settings().model_copy(update=settings_of(swift, **rest)))

    return make


@pytest.fixture
def app(clean: Installation, swift: Swift, secret: Callable[[str], None]) -> Iterator[App]:
    """Web and a worker."""
    where = environment_of(swift)
    url, web = start_web(clean, "web-s3.log", **where)
    made = App(clean, url, web)
    made.start_worker(**where)
    yield made
    for process in (web, *made.workers.values()):
        clean.end(process)


@pytest.fixture
def away(swift: Swift) -> Iterator[Callable[[], None]]:
    """Stops the store; afterwards it runs again."""
    yield swift.stop
    swift.start()


def damage(swift: Swift, name: str) -> None:
    """The bytes of an object become others, of which nobody tells the store."""
    swift_put(swift, name, b"other bytes")


def swift_put(swift: Swift, name: str, data: bytes) -> None:
    swift.ask("PUT", f"face/site-a/{relative(name)}", data)


def no_file(installation: Installation) -> bool:
    return not [each for each in (installation.directory / "originals").rglob("*") if each.is_file()]


def test_a_photo_goes_to_the_store_and_is_found_shown_and_removed(
    app: App, stored: Callable[..., Parts], swift: Swift
) -> None:
    data = astronaut_jpeg(9101)
    sent = app.upload(("a.jpg", data))
    assert sent.status_code == 202
    (photo,) = sent.json()["photos"]
    assert swift.ask("GET", f"face/site-a/{relative(photo['sha256'])}") == data
    app.wait_finished(sent.json()["batch_id"])
    found = app.get(f"/api/v1/photos/{photo['id']}").json()
    assert (found["state"], len(found["faces"])) == ("done", 1)
    image = app.get(f"/api/v1/photos/{photo['id']}/image")
    assert (image.content, image.headers["Content-Type"]) == (data, "image/jpeg")
    assert app.get(f"/api/v1/faces/{found['faces'][0]['id']}/crop").ok
    (query,) = app.search(data).json()["faces"]
    assert query["matches"][0]["photo_id"] == photo["id"]
    assert app.get("/health/ready").json()["checks"]["originals"] == "ok"
    metrics = app.get("/metrics").text
    assert re.search(r'face_recognition_originals_store_seconds_count\{call="put"\} [1-9]', metrics)
    assert no_file(app.installation)
    gone = app.request("DELETE", f"/api/v1/photos/{photo['id']}").json()
    assert gone["originals"] == 1
    assert not stored().originals.has(photo["sha256"])


def test_while_the_store_is_away_uploads_are_told_to_come_again_and_work_waits(
    app: App, away: Callable[[], None], swift: Swift, stored: Callable[..., Parts]
) -> None:
    sent = app.upload(("a.jpg", astronaut_jpeg(9102))).json()
    app.wait_finished(sent["batch_id"])
    (photo,) = sent["photos"]
    away()
    slowest = 0.0
    for number in range(12):
        began = time.monotonic()
        refused = app.upload(("b.jpg", astronaut_jpeg(9103 + number)))
        slowest = max(slowest, time.monotonic() - began)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "originals_away")
        assert int(refused.headers["Retry-After"]) > 0
    assert slowest < 10
    refused = app.get(f"/api/v1/photos/{photo['id']}/image")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "originals_away")
    assert app.get("/health/ready").json()["checks"]["originals"] != "ok"
    assert app.search(astronaut_jpeg(9102)).json()["faces"][0]["matches"], "searches go on"
    gone = app.request("DELETE", f"/api/v1/photos/{photo['id']}")
    assert gone.status_code == 200, gone.text
    assert gone.json()["originals"] == 0
    failures = r'face_recognition_originals_store_failures_total\{call="put",reason="away"\} [1-9]'
    assert re.search(failures, app.get("/metrics").text)

    swift.start()
    wait_until(lambda: app.upload(("b.jpg", astronaut_jpeg(9120))).status_code == 202, 40, "uploads")
    name = photo["sha256"]
    assert swift.ask("GET", f"face/site-a/{relative(name)}"), "not yet removed"
    assert indexer.remove_originals(stored()) == 1
    assert not stored().originals.has(name)


def test_a_worker_waits_for_a_store_that_is_away(
    clean: Installation, app: App, away: Callable[[], None], swift: Swift
) -> None:
    clean.end(app.workers.pop(1))
    sent = app.upload(("a.jpg", astronaut_jpeg(9130))).json()
    away()
    app.start_worker(2, **environment_of(swift))
    time.sleep(5)
    (photo,) = sent["photos"]
    assert app.get(f"/api/v1/photos/{photo['id']}").json()["state"] in ("queued", "processing")
    swift.start()
    app.wait_finished(sent["batch_id"], 60)
    assert app.get(f"/api/v1/photos/{photo['id']}").json()["state"] == "done"


def test_what_was_not_removed_is_removed_later(
    stored: Callable[..., Parts], away: Callable[[], None], swift: Swift
) -> None:
    parts = stored()
    name = stock.sha256(parts, stock.photo(parts, None))
    away()
    done = originals.remove(parts, [name], lambda _: [])
    assert done == Removed(0, 0, 0, (name,))
    swift.start()
    stock_gone(parts)
    assert indexer.remove_originals(stored()) == 1
    assert not stored().originals.has(name)


def stock_gone(parts: Parts) -> None:
    with parts.database.transaction() as session:
        session.execute(text("TRUNCATE photos CASCADE"))


def test_a_wrong_key_and_a_bucket_that_is_not_there_are_told(
    stored: Callable[..., Parts], secret: Callable[[str], None]
) -> None:
    def told(parts: Parts) -> str:
        with pytest.raises(OriginalsAway) as raised:
            parts.originals.writable()
        with pytest.raises(OriginalsAway):
            parts.originals.write({NAME: PHOTO})
        return str(raised.value.__cause__)

    assert "NoSuchBucket" in told(stored(originals_s3_bucket="nowhere"))
    assert "cannot prove who it is" in told(stored(originals_s3_authority=""))
    secret("another secret")
    assert "look at key_id and secret of face_originals_s3" in told(stored())


def test_a_bucket_that_is_not_there_lacks_no_photo(stored: Callable[..., Parts]) -> None:
    with pytest.raises(OriginalsAway):
        stored(originals_s3_bucket="nowhere").originals.has(NAME)
    assert not stored().originals.has(NAME)


def test_other_bytes_than_were_sent_are_noticed(
    app: App, stored: Callable[..., Parts], swift: Swift, clean: Installation
) -> None:
    sent = app.upload(("a.jpg", astronaut_jpeg(9140))).json()
    app.wait_finished(sent["batch_id"])
    (photo,) = sent["photos"]
    damage(swift, photo["sha256"])
    answer = app.get(f"/api/v1/photos/{photo['id']}/image")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "original_damaged")
    parts = stored()
    with pytest.raises(OriginalDamaged):
        parts.originals.check(photo["sha256"])
    assert reading.inspect(parts) == 1
    with parts.database.reading() as session:
        assert original_faults.known(session) == {photo["sha256"]: "damaged"}
    # Sent again it is whole.
    app.upload(("a.jpg", astronaut_jpeg(9140)))
    parts.originals.check(photo["sha256"])


def test_a_store_that_is_away_makes_no_photo_missing(
    stored: Callable[..., Parts], away: Callable[[], None]
) -> None:
    parts = stored()
    stock.photo(parts, None)
    away()
    assert reading.inspect(parts) == 0
    with parts.database.reading() as session:
        assert not original_faults.known(session)


@pytest.mark.parametrize("path_style", [True, False])
def test_objects_are_written_read_listed_and_removed(
    stored: Callable[..., Parts], path_style: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest: find("localhost", *rest))
    originals = stored(originals_s3_path_style=path_style, originals_s3_path="/site-b").originals
    photos = {hashlib.sha256(data).hexdigest(): data for data in (bytes([n]) * 5000 for n in range(30))}
    originals.write(photos)
    assert {name: originals.read(name) for name in photos} == photos
    assert all(originals.intact(name) for name in photos)
    first, *others = photos
    done = originals.remove(photos, lambda names: {first}.intersection(names))
    assert done == Removed(len(others), 1, 0)
    with pytest.raises(OriginalMissing):
        originals.read(others[0])
    assert originals.read(first) == photos[first]
    # Once more, of what is gone already.
    assert originals.remove(others, lambda _: []) == Removed(0, 0, 0)


def moving(stored: Callable[..., Parts], to: str) -> Parts:
    before = "disk" if to == "s3" else "s3"
    return stored(originals_store=to, originals_before=before, originals_s3_path="/site-e")


def test_photos_move_to_the_store_and_back_while_they_are_used(
    clean: Installation, stored: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "NAMES_AT_ONCE", 5)
    disk, store = clean.parts, stored(originals_s3_path="/site-e")
    photos = [stock.photo(disk, None) for _ in range(12)]
    names = {stock.sha256(disk, each) for each in photos}
    for place, other, to in ((store, disk, "s3"), (disk, store, "disk")):
        parts = moving(stored, to)
        assert mover.look(parts) == mover.Moved(left=len(names))
        with pytest.raises(Conflict, match=f"{len(names)} originals are in .* alone; nothing was removed"):
            mover.empty(parts, print)
        # It is read and removed on the way.
        first, *rest = sorted(names)
        assert parts.originals.read(first)
        assert parts.originals_source.read(first)
        new = stock.sha256(parts, stock.photo(parts, None))
        assert place.originals.has(new)
        assert not other.originals.has(new)
        # Ended in the middle, and run again.
        with pytest.raises(KeyboardInterrupt):
            mover.move(parts, interrupted)
        assert 0 < mover.look(parts).left < len(names)
        told = mover.move(parts, lambda _: None)
        assert (told.there, told.left, told.lost) == (len(names) + 1, 0, ())
        # Other bytes in the new place are made good from that of before.
        spoilt = Path(disk.originals.path(first)) if to == "disk" else None
        if spoilt:
            spoilt.write_bytes(b"other bytes")
        emptied = mover.empty(parts, lambda _: None)
        assert (emptied.emptied, emptied.left, emptied.lost) == (len(names), 0, ())
        assert other.originals.among(names) == set()
        names.add(new)
        assert all(place.originals.intact(name) for name in names)
        gone = parts.originals.remove(rest[:1], lambda _: [])
        assert gone.removed == 1
        with disk.database.transaction() as session:
            session.execute(text("DELETE FROM photos WHERE sha256 = :name"), {"name": rest[0]})
        names.remove(rest[0])


def interrupted(_: mover.Moved) -> None:
    raise KeyboardInterrupt


def test_what_is_lost_in_both_places_is_named(clean: Installation, stored: Callable[..., Parts]) -> None:
    name = stock.sha256(clean.parts, stock.photo(clean.parts, None))
    clean.parts.disk.path(name).write_bytes(b"other bytes")
    told = mover.move(moving(stored, "s3"), lambda _: None)
    assert (told.there, told.lost) == (0, (name,))


def test_a_photo_that_is_erased_while_it_is_moved_is_in_neither_place(
    clean: Installation, stored: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = moving(stored, "s3")
    name = stock.sha256(clean.parts, stock.photo(clean.parts, None))
    read = parts.originals.old.read  # type: ignore[union-attr]

    def erased(sha256: str) -> bytes:
        data = bytes(read(sha256))
        stock_gone(parts)
        parts.originals.remove([sha256], lambda _: [])
        return data

    monkeypatch.setattr(parts.originals.old, "read", erased)  # type: ignore[union-attr]
    assert mover.move(parts, lambda _: None) == mover.Moved()
    assert not parts.originals.has(name)


def test_a_list_of_many_pages_is_whole(stored: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch) -> None:
    parts = stored(originals_s3_path="/site-c")
    photos = {hashlib.sha256(data).hexdigest(): data for data in (bytes([n]) for n in range(25))}
    parts.originals.write(photos)
    bucket = parts.originals._bucket  # type: ignore[union-attr]
    monkeypatch.setattr(buckets, "PAGE", 4)
    listed = list(bucket.names(""))
    assert [each.name for each in listed] == sorted(map(relative, photos))
    assert all(abs(each.put_at - time.time()) < 60 for each in listed)


def test_what_an_upload_names_meanwhile_is_put_back(stored: Callable[..., Parts]) -> None:
    originals = stored().originals
    originals.write({NAME: PHOTO})
    answers: Iterator[list[str]] = iter([[], [NAME]])
    assert originals.remove([NAME], lambda _: next(answers)) == Removed(0, 1, 0)
    assert originals.read(NAME) == PHOTO


def test_objects_that_nobody_names_are_swept(
    stored: Callable[..., Parts], swift: Swift, monkeypatch: pytest.MonkeyPatch, clean: Installation
) -> None:
    parts = stored(originals_s3_path="/site-d")
    swift.ask("PUT", "face/site-d/a-thing-of-somebody", b"else")
    named = stock.sha256(parts, stock.photo(parts, None))
    parts.originals.write({NAME: PHOTO})

    # All names in one sweep.
    monkeypatch.setattr(in_store, "SWEEP_DIGITS", [""])
    assert indexer.sweep_originals(parts) == 0, "it is an upload's of this moment"
    monkeypatch.setattr(in_store, "ORPHAN_AFTER_SECONDS", -60)
    monkeypatch.setattr(indexer.size, "age_of_database", lambda _: -30.0)
    assert indexer.sweep_originals(parts) == 0, "it is older than the database"
    monkeypatch.setattr(indexer.size, "age_of_database", lambda _: 3600.0)
    way_back = parts.settings.originals_dir / WAY_BACK
    way_back.touch()
    assert indexer.sweep_originals(parts) == 0, "a restore may be taken back"
    way_back.unlink()
    assert indexer.sweep_originals(parts) == 1
    assert parts.originals.has(named)
    assert not parts.originals.has(NAME)
    assert swift.ask("GET", "face/site-d/a-thing-of-somebody") == b"else"
