"""The ledger's rules, on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import resource
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_pipeline.actions import uploads
from face_pipeline.engine import DetectedFace
from face_pipeline.ops import indexer, reconciler
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, ledger
from face_pipeline.store.models import ApiKey, Collection, Face, Photo, State
from face_pipeline.store.originals import Originals
from face_pipeline.store.rights import Role
from sqlalchemy import event, func, select, update

from tests.installation import Installation, as_role
from tests.photos import astronaut_jpeg

pytestmark = pytest.mark.usefixtures("clean")


def reconcile(parts: Parts) -> reconciler.Reconciled:
    """As its unit does."""
    with as_role(parts, Role.UPKEEP) as upkeep:
        return reconciler.reconcile(upkeep)


def add_photo(parts: Parts, name: str = "a.jpg", sha256: str | None = None) -> uuid.UUID:
    new = ledger.NewPhoto(sha256 or uuid.uuid4().hex * 2, name, "image/jpeg", 10, 100, 100)
    with parts.database.transaction() as session:
        collection = collections.open_collection(session, "default", parts.pack)
        _, (accepted,) = ledger.accept(session, collection, [new], person=None, request_id="request-1")
    return accepted.photo_id


def accept_as(parts: Parts, person: str | None, sha256: str) -> ledger.Accepted:
    new = ledger.NewPhoto(sha256, "a.jpg", "image/jpeg", 10, 100, 100)
    with parts.database.transaction() as session:
        collection = collections.open_collection(session, "default", parts.pack)
        _, (accepted,) = ledger.accept(session, collection, [new], person=person, request_id=None)
    return accepted


def a_face() -> DetectedFace:
    vector = np.random.default_rng(1).normal(size=128).astype(np.float32)
    return DetectedFace(
        bbox=np.array([1, 2, 30, 40], np.float32),
        landmarks=np.zeros((5, 2), np.float32),
        detection_score=0.9,
        quality=0.8,
        embedding=vector / np.linalg.norm(vector),
    )


def take(parts: Parts, photo_id: uuid.UUID, lease: float = 10.0) -> ledger.Claim | None:
    with parts.database.single_statements() as connection:
        return ledger.claim(connection, photo_id, worker="w@tests", lease_seconds=lease)


def photo(parts: Parts, photo_id: uuid.UUID) -> Photo:
    with parts.database.transaction() as session:
        return session.get_one(Photo, photo_id)


def test_only_one_of_two_messages_for_a_photo_gets_it(parts: Parts) -> None:
    photo_id = add_photo(parts)
    assert take(parts, photo_id) is not None
    assert take(parts, photo_id) is None


def test_a_run_that_lost_its_lease_cannot_write(parts: Parts) -> None:
    photo_id = add_photo(parts)
    slow = take(parts, photo_id, lease=-1)
    assert slow is not None
    with parts.database.transaction() as session:
        assert ledger.release_lapsed(session, max_attempts=3) == 1
    quick = take(parts, photo_id)
    assert quick is not None
    with parts.database.single_statements() as connection:
        ledger.finish(connection, quick, [a_face()])
    with pytest.raises(ledger.LeaseLost), parts.database.single_statements() as connection:
        ledger.finish(connection, slow, [a_face(), a_face()])
    with parts.database.transaction() as session:
        assert len(session.scalars(select(Face)).all()) == 1
        assert session.scalars(select(Collection.face_count)).one() == 1


def test_a_renewed_lease_is_not_taken(parts: Parts) -> None:
    held = take(parts, add_photo(parts), lease=-1)
    assert held is not None
    with parts.database.single_statements() as connection:
        ledger.renew(connection, [held.token], 10)
    with parts.database.transaction() as session:
        assert ledger.release_lapsed(session, max_attempts=3) == 0


def test_a_failed_photo_keeps_its_reason_until_it_is_uploaded_again(parts: Parts) -> None:
    photo_id = add_photo(parts, sha256="f" * 64)
    held = take(parts, photo_id)
    assert held is not None
    with parts.database.single_statements() as connection:
        ledger.fail(connection, held, "broken_image", "cannot be decoded")
    assert (photo(parts, photo_id).state, photo(parts, photo_id).reason_message) == (
        "failed",
        "cannot be decoded",
    )
    assert add_photo(parts, sha256="f" * 64) == photo_id
    again = photo(parts, photo_id)
    assert (again.state, again.reason_code, again.attempts) == ("received", None, 0)


def test_the_version_of_a_collection_grows_with_its_faces_only(parts: Parts) -> None:
    def version() -> int:
        with parts.database.transaction() as session:
            return session.scalars(select(Collection.version)).one()

    first, second = add_photo(parts), add_photo(parts)
    for photo_id, faces, expected in ((first, [a_face()], 1), (second, [], 1)):
        held = take(parts, photo_id)
        assert held is not None
        with parts.database.single_statements() as connection:
            ledger.finish(connection, held, faces)
        assert version() == expected


def _age(parts: Parts, photo_id: uuid.UUID, state: str) -> None:
    from sqlalchemy import text

    with parts.database.transaction() as session:
        session.execute(
            text(
                "UPDATE photos SET state = :state, received_at = now() - interval '1 minute',"
                " queued_at = now() - interval '1 minute' WHERE id = :id"
            ),
            {"state": state, "id": photo_id},
        )


def test_exactly_the_rows_without_a_message_are_queued_again(parts: Parts) -> None:
    from face_pipeline.broker.celery import publish_ingest

    kept, lost, never = add_photo(parts), add_photo(parts), add_photo(parts)
    publish_ingest(parts.celery, [kept], None)
    for photo_id, state in ((kept, "queued"), (lost, "queued"), (never, "received")):
        _age(parts, photo_id, state)
    assert reconcile(parts).queued == 2
    queue = parts.queue.lrange("ingest", 0, -1)
    assert len(queue) == 3
    assert reconcile(parts).queued == 0, "a second run changes nothing"


def test_a_fresh_row_is_left_alone(parts: Parts) -> None:
    add_photo(parts)
    assert reconcile(parts).queued == 0


def make_database_old(parts: Parts, days: int = 3) -> None:
    """As if it had been made so many days ago."""
    with parts.database.transaction() as session:
        session.execute(update(ApiKey).values(created_at=func.now() - timedelta(days=days)))


def test_originals_nobody_names_are_swept_once_they_are_old(installation: Installation, parts: Parts) -> None:
    originals = parts.originals
    named, orphan, fresh = ("1" * 64, "2" * 64, "3" * 64)
    for sha256 in (named, orphan, fresh):
        originals.write({sha256: b"data"})
    add_photo(parts, sha256=named)
    long_ago = time.time() - 7200
    for sha256 in (named, orphan):
        os.utime(originals.path(sha256), (long_ago, long_ago))
    make_database_old(parts, days=0)
    assert indexer.sweep_originals(parts) == 0, "a new database does not know those before it"
    assert originals.path(orphan).exists()
    make_database_old(parts)
    assert indexer.sweep_originals(parts) == 1
    assert originals.path(named).exists()
    assert originals.path(fresh).exists()
    assert not originals.path(orphan).exists()


def test_an_original_is_whole_or_absent(tmp_path: Path) -> None:
    originals = Originals(tmp_path)
    name = hashlib.sha256(b"photo").hexdigest()
    originals.write({name: b"photo"})
    assert originals.read(name) == b"photo"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]
    assert originals.path(name).stat().st_mode & 0o007 == 0


def test_the_originals_of_a_large_upload_are_kept_with_few_files_open(tmp_path: Path) -> None:
    data = [f"photo {number}".encode() for number in range(100)]
    photos = {hashlib.sha256(each).hexdigest(): each for each in data}
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 40, most))
    try:
        Originals(tmp_path).write(photos)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    assert {sha256: Originals(tmp_path).read(sha256) for sha256 in photos} == photos
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == len(photos)


def test_originals_are_flushed_with_all_that_leads_to_them_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    flush = os.fsync

    def watched(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    originals = Originals(tmp_path)
    photos = {f"{number % 4:02x}{number:062x}": b"photo" for number in range(40)}
    originals.write(photos)
    there = {path.parent for path in map(originals.path, photos)}
    assert len(there) == 4
    files = [path for path in flushed if path.name.startswith(".")]
    assert {path.name[1:65] for path in files} == set(photos)
    # After the last file was in its place.
    assert flushed[: len(files)] == files
    assert sorted(flushed[len(files) :]) == sorted([tmp_path, *there, *(path.parent for path in there)])
    flushed.clear()
    originals.write({"00" + "f" * 62: b"photo"})
    assert sorted(flushed[1:]) == [tmp_path / "00", tmp_path / "00" / "ff"]


def test_an_upload_that_the_disk_does_not_take_leaves_nothing(tmp_path: Path) -> None:
    # Files of this process may not grow over 1,000 bytes: what a full disk does, at a byte that is known.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Originals(tmp_path).write({"1" * 64: b"small", "2" * 64: b"large" * 1000, "3" * 64: b"small"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_photos_of_a_request_are_written_and_queued_together(parts: Parts) -> None:
    """However many they are, the database and Redis are asked as often as for one."""
    with parts.database.transaction() as session:
        collections.open_collection(session, "together", parts.pack)
    asked: dict[int, tuple[int, int]] = {}
    for count in (1, 12):
        statements: list[str] = []
        pushed = _pushes(parts)
        with _seen(parts, statements):
            files = ((f"{number}.jpg", astronaut_jpeg(100 * count + number)) for number in range(count))
            checked = uploads.check_all(parts, files, gone=lambda: False)
            accepted = uploads.accept(parts, checked, collection="together", person=None, by=audit.SERVICE)
        assert {each.duplicate for each in accepted.photos} == {False}
        with parts.database.transaction() as session:
            ids = [each.photo_id for each in accepted.photos]
            assert set(session.scalars(select(Photo.state).where(Photo.id.in_(ids)))) == {State.QUEUED}
        asked[count] = len(statements), _pushes(parts) - pushed
    assert asked[12] == asked[1]
    assert asked[1][1] == 1
    assert len(parts.queue.lrange("ingest", 0, -1)) == 13


def _pushes(parts: Parts) -> int:
    return int(parts.queue.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"])


@contextmanager
def _seen(parts: Parts, statements: list[str]) -> Iterator[None]:
    """Each round trip of this process's transactions to PostgreSQL, meanwhile."""

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        statements.extend([statement] * (len(parameters) if many else 1))

    event.listen(parts.database.engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(parts.database.engine, "before_cursor_execute", note)
