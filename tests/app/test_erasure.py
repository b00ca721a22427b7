"""What is erased is gone: rows, files, cached answers; and what the receipt says is true."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
import redis
import requests
from face_pipeline.actions import erasure, uploads
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, indexes, ledger
from face_pipeline.store import erasure as store_erasure
from face_pipeline.store.models import Collection, Face, Person, Photo, Removal
from face_pipeline.store.originals import Originals
from sqlalchemy import func, select, text

from tests.app import stock
from tests.installation import MAKE_PARTS, App, Installation, wait_until
from tests.photos import astronaut_again, astronaut_jpeg, no_face


@pytest.fixture(autouse=True)
def no_files(clean: Installation, parts: Parts) -> None:
    """Other tests leave theirs."""
    shutil.rmtree(parts.originals.directory)
    parts.originals.directory.mkdir()


ZERO = {"photos": 0, "faces": 0, "persons": 0, "merges": 0, "originals": 0, "answers": 0, "tasks": 0,
        "under_way": 0}  # fmt: skip


def erase(app: App, path: str, **options: Any) -> requests.Response:
    return app.request("DELETE", f"/api/v1/{path}", **options)


def receipt(app: App, path: str, **options: Any) -> dict[str, Any]:
    answer = erase(app, path, **options)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def counts(told: dict[str, Any]) -> dict[str, int]:
    """What is not nothing."""
    return {name: told[name] for name in ZERO if told[name]}


def kept(told: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(each["what"], each["code"], each["count"]) for each in told["kept"]]


def answers(parts: Parts) -> list[bytes]:
    found: Any = parts.scratch.keys("face:search:answer:*")
    return sorted(found)


def there(parts: Parts, what: Any) -> int:
    with parts.database.transaction() as session:
        return session.scalar(select(func.count()).select_from(what)) or 0


# Photos


def test_an_erased_photo_leaves_nothing(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    going, staying = stock.photo(parts, anna, None), stock.photo(parts, None)
    name, before = stock.sha256(parts, going), stock.version(parts)
    told = receipt(web_app, f"photos/{going}")
    assert (told["dry_run"], told["collection"], told["kept"]) == (False, "default", [])
    assert counts(told) == {"photos": 1, "faces": 2, "originals": 1}
    assert web_app.get(f"/api/v1/photos/{going}").json()["error"]["code"] == "photo_not_found"
    assert not stock.has_file(parts, name)
    assert (there(parts, Photo), there(parts, Face)) == (1, 1)
    assert stock.version(parts) > before, "no cached answer is found any more"
    assert web_app.get(f"/api/v1/photos/{staying}").ok
    stock.check_consistent(parts)
    again = erase(web_app, f"photos/{going}")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "photo_not_found")


def test_a_file_that_another_collection_has_stays(web_app: App, parts: Parts) -> None:
    first = stock.photo(parts, None, data=b"the same")
    second = stock.photo(parts, None, data=b"the same", collection="other")
    told = receipt(web_app, f"photos/{first}")
    assert (told["originals"], kept(told)) == (0, [("originals", "named_elsewhere", 1)])
    stock.check_consistent(parts)
    assert receipt(web_app, f"photos/{second}")["originals"] == 1
    assert stock.files(parts) == []


@pytest.mark.parametrize("what", ["photo", "face", "person", "collection"])
def test_a_dry_run_says_what_the_same_call_does_and_changes_nothing(
    web_app: App, parts: Parts, what: str
) -> None:
    anna, ben = stock.person(parts, "Anna"), stock.person(parts, "Ben")
    first = stock.photo(parts, anna, data=b"shared")
    stock.photo(parts, None, data=b"shared", collection="other")
    stock.photo(parts, anna, ben), stock.photo(parts, named="Anna", state="received")
    stock.photo(parts, named="Anna", state="processing")
    stock.photo(parts, None, None, named="Anna")
    stock.merge(parts, anna, {"id": str(uuid.uuid4()), "name": "Anne"})
    with parts.database.transaction() as session:
        number = session.scalars(select(Collection.id).where(Collection.name == "default")).one()
    for answer in (f"{number}:1:a", f"{number}:2:b", f"{number}7:1:c"):
        parts.scratch.set(f"face:search:answer:{answer}", "[]")
    path = {
        "photo": f"photos/{first}", "face": f"faces/{stock.faces_of(parts, first)[0]}",
        "person": f"persons/{anna}", "collection": "collections/default",
    }[what]  # fmt: skip
    before, files, told = stock.rows(parts), stock.files(parts), len(stock.audit(parts, f"{what}.erase"))
    dry = receipt(web_app, path, params={"dry_run": "true"})
    assert dry["dry_run"] is True
    assert (stock.rows(parts), stock.files(parts), len(answers(parts))) == (before, files, 3)
    assert len(stock.audit(parts, f"{what}.erase")) == told
    real = receipt(web_app, path, params={"dry_run": "false"})
    assert len(stock.audit(parts, f"{what}.erase")) == told + 1
    assert (dry["proof"], real["proof"]["what"]) == (None, what)
    assert {**dry, "dry_run": False, "proof": real["proof"]} == real
    assert real["answers"] == 2
    assert answers(parts) == [f"face:search:answer:{number}7:1:c".encode()]
    stock.check_consistent(parts)


def test_what_a_worker_finds_on_a_photo_that_was_erased_meanwhile_is_dropped(
    web_app: App, slow_code: str, parts: Parts
) -> None:
    web_app.start_worker(1, PYTHONPATH=slow_code)
    sent = web_app.upload(("slow.jpg", astronaut_jpeg() + b"slow:3"), person="Eileen Collins").json()
    photo_id = sent["photos"][0]["id"]
    log = web_app.installation.log
    already = log("worker1.log").count("result dropped")
    wait_until(lambda: web_app.get(f"/api/v1/photos/{photo_id}").json()["state"] == "processing", 20, "it")
    told = receipt(web_app, f"photos/{photo_id}")
    assert counts(told) == {"photos": 1, "originals": 1, "tasks": 1, "under_way": 1}
    wait_until(lambda: log("worker1.log").count("result dropped") > already, 20, "the worker to end it")
    assert (there(parts, Photo), there(parts, Face)) == (0, 0)
    stock.check_consistent(parts)
    # The worker goes on, and the same photo is welcome again.
    again = web_app.upload(("again.jpg", astronaut_jpeg())).json()
    assert web_app.wait_finished(again["batch_id"])["states"]["done"] == 1


def test_the_message_of_an_erased_photo_does_nothing(web_app: App, parts: Parts) -> None:
    sent = web_app.upload(("a.jpg", astronaut_jpeg()), ("b.jpg", astronaut_jpeg(1))).json()
    first, second = (each["id"] for each in sent["photos"])
    assert counts(receipt(web_app, f"photos/{first}")) == {"photos": 1, "originals": 1, "tasks": 1}
    web_app.start_worker()
    wait_until(lambda: web_app.get(f"/api/v1/photos/{second}").json()["state"] == "done", 60, "the other")
    assert parts.queue.llen("ingest") == 0
    assert web_app.get(f"/api/v1/photos/{first}").status_code == 404
    assert web_app.get(f"/api/v1/batches/{sent['batch_id']}").json()["total"] == 1


# Faces


def test_an_erased_face_leaves_its_photo(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    photo_id = stock.photo(parts, anna, None)
    first, second = stock.faces_of(parts, photo_id)
    before = stock.version(parts)
    told = receipt(web_app, f"faces/{first}")
    assert counts(told) == {"faces": 1}
    assert (kept(told), told["kept"][0]["photos"]) == ([("photos", "photo_stays", 1)], [str(photo_id)])
    shown = web_app.get(f"/api/v1/photos/{photo_id}").json()
    assert [face["id"] for face in shown["faces"]] == [str(second)]
    assert web_app.get(f"/api/v1/faces/{first}/crop").json()["error"]["code"] == "face_not_found"
    assert stock.version(parts) > before
    stock.check_consistent(parts)
    assert erase(web_app, f"faces/{first}").json()["error"]["code"] == "face_not_found"


# Persons


def test_an_erased_person_takes_what_shows_nobody_else(web_app: App, parts: Parts) -> None:
    anna, ben = stock.person(parts, "Anna"), stock.person(parts, "Ben")
    alone = [stock.photo(parts, anna), stock.photo(parts, anna, anna), stock.photo(parts, named="Anna")]
    waiting = stock.photo(parts, named="Anna", state="received")
    broken = stock.photo(parts, named="Anna", state="failed")
    with_ben, with_somebody = stock.photo(parts, anna, ben), stock.photo(parts, anna, None)
    of_several = stock.photo(parts, None, None, named="Anna")
    of_ben = stock.photo(parts, ben)
    stock.merge(parts, anna, {"id": str(uuid.uuid4()), "name": "Anne"})
    stock.merge(parts, ben, {"id": str(anna), "name": "Anna"}, undone=True)
    stock.merge(parts, ben, {"id": str(uuid.uuid4()), "name": "Benny"})
    told = receipt(web_app, f"persons/{anna}")
    assert counts(told) == {
        "photos": 5, "faces": 5, "persons": 1, "merges": 2, "originals": 5, "tasks": 1
    }  # fmt: skip
    assert kept(told) == [("photos", "face_unknown", 1), ("photos", "shows_others", 2)]
    assert told["kept"][0]["photos"] == [str(of_several)]
    assert set(told["kept"][1]["photos"]) == {str(with_ben), str(with_somebody)}
    for gone in (*alone, waiting, broken):
        assert web_app.get(f"/api/v1/photos/{gone}").status_code == 404
    for stays, faces in ((with_ben, 1), (with_somebody, 1), (of_several, 2), (of_ben, 1)):
        shown = web_app.get(f"/api/v1/photos/{stays}").json()
        assert len(shown["faces"]) == faces
        assert shown["person"] is None
        assert shown["reason"] is None, "it would tell of a name"
    assert "Ann" not in str(stock.rows(parts)), "the name is nowhere"
    assert "Ben" in str(stock.rows(parts))
    assert len(stock.files(parts)) == 4
    stock.check_consistent(parts)
    assert erase(web_app, f"persons/{anna}").json()["error"]["code"] == "person_not_found"
    # Whoever comes by that name is somebody new.
    assert stock.person(parts, "anna") != anna


def test_no_search_finds_an_erased_person_and_no_memory_has_an_answer_about_them(
    live_app: App, parts: Parts
) -> None:
    for collection in ("default", "other"):
        sent = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen", collection=collection).json()
        live_app.wait_finished(sent["batch_id"])
        for limit in ("1", "2"):
            live_app.search(astronaut_again(), collection=collection, limit=limit)
    found = live_app.search(astronaut_again()).json()["faces"][0]["matches"][0]
    assert (found["person_name"], len(answers(parts))) == ("Eileen", 5)
    assert receipt(live_app, f"persons/{found['person_id']}")["answers"] == 3
    assert len(answers(parts)) == 2, "those of the other collection"
    again = live_app.search(astronaut_again()).json()
    assert (again["cache"], again["faces"][0]["matches"]) == ("miss", [])
    assert live_app.search(astronaut_again(), collection="other", limit="1").json()["cache"] == "hit"


def test_an_answer_that_was_found_before_an_erasure_and_given_after_is_not_kept(
    web_app: App, slow_code: str, parts: Parts
) -> None:
    web_app.start_worker(1, PYTHONPATH=slow_code)
    sent = web_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen").json()
    web_app.wait_finished(sent["batch_id"])
    log = web_app.installation.log
    already = log("worker1.log").count("STANDIN slow 3")
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(web_app.search, astronaut_again() + b"slow:3")
        wait_until(lambda: log("worker1.log").count("STANDIN slow 3") > already, 20, "the search")
        receipt(web_app, f"photos/{sent['photos'][0]['id']}")
        assert asked.result().status_code == 200
    assert answers(parts) == []


def test_a_cache_that_cannot_be_asked_is_told_and_erases_all_the_same(
    clean: Installation, parts: Parts
) -> None:
    away = Parts(parts.settings)
    away.scratch = redis.Redis(port=1, socket_connect_timeout=1)
    photo_id = stock.photo(parts, None)
    told = erasure.photo(away, photo_id, dry_run=False, by=audit.SERVICE)
    assert [(each.what, each.why) for each in told.kept] == [("answers", "cache_unavailable")]
    assert there(parts, Photo) == 0


# Collections


def test_an_erased_collection_takes_all_that_is_in_it_and_nothing_else(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    stock.merge(parts, anna, {"id": str(uuid.uuid4()), "name": "Anne"})
    for _ in range(3):
        stock.photo(parts, anna, None)
    stock.photo(parts, named="Anna", state="received")
    other = stock.person(parts, "Anna", "other")
    stays = stock.photo(parts, other, collection="other")
    told = receipt(web_app, "collections/default")
    assert counts(told) == {
        "photos": 4, "faces": 6, "persons": 1, "merges": 1, "originals": 4, "tasks": 1
    }  # fmt: skip
    found = erase(web_app, "collections/default")
    assert (found.status_code, found.json()["error"]["code"]) == (404, "collection_not_found")
    assert [row for row in stock.rows(parts)["photos"] if str(stays) not in row] == []
    assert len(stock.files(parts)) == 1
    stock.check_consistent(parts)
    # It may be used again, from nothing.
    assert web_app.upload(("a.jpg", no_face())).status_code == 202


def test_a_large_collection_goes_in_steps_that_the_audit_names(web_app: App, parts: Parts) -> None:
    stock.photo(parts, None)
    with parts.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO photos (id, collection_id, batch_id, sha256, filename, media_type, byte_size,"
                " width, height, state) SELECT gen_random_uuid(), collection_id, batch_id,"
                " lpad(to_hex(n), 64, '0'), filename, media_type, byte_size, width, height, state"
                " FROM photos, generate_series(1, 4500) n"
            )
        )
    seen = [len(stock.audit(parts, action)) for action in ("collection.empty", "collection.erase")]
    assert counts(receipt(web_app, "collections/default")) == {"photos": 4501, "faces": 1, "originals": 1}
    steps = stock.audit(parts, "collection.empty")[seen[0] :]
    assert [each["details"]["photos"] for each in steps] == [2000, 2000, 501]
    (whole,) = stock.audit(parts, "collection.erase")[seen[1] :]
    assert (whole["collection"], whole["details"]["photos"]) == ("default", 4501)


def test_a_collection_of_an_engine_that_is_gone_can_be_erased(web_app: App, parts: Parts) -> None:
    stock.photo(parts, None)
    with parts.database.transaction() as session:
        session.execute(text("UPDATE collections SET contract_id = 'another'"))
    assert counts(receipt(web_app, "collections/default")) == {"photos": 1, "faces": 1, "originals": 1}


def test_the_index_of_an_erased_collection_goes_with_the_next_run_of_the_indexer(
    clean: Installation, parts: Parts
) -> None:
    for name in ("default", "other"):
        stock.photo(parts, None, collection=name)
    with parts.database.transaction() as session:
        gone, stays = session.scalars(select(Collection).order_by(Collection.name)).all()
    with parts.database.single_statements() as connection:
        names = [indexes.build(connection, each) for each in (gone, stays)]
    erasure.collection(parts, "default", dry_run=False, by=audit.SERVICE)
    indexer.build_indexes(parts)
    with parts.database.transaction() as session:
        built = session.scalars(
            text("SELECT indexname FROM pg_indexes WHERE indexname = ANY(:names)"), {"names": names}
        ).all()
    assert built == [names[1]]
    with parts.database.single_statements() as connection:
        connection.execute(text(f"DROP INDEX {names[1]}"))


# Whoever may, and what is refused


def test_only_a_key_that_may_erase_and_reaches_the_collection_erases(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    photo_id = stock.photo(parts, anna)
    face_id = stock.faces_of(parts, photo_id)[0]
    before = stock.rows(parts)
    paths = (f"photos/{photo_id}", f"faces/{face_id}", f"persons/{anna}", "collections/default")
    no_eraser = stock.key(parts, "read", "write", "enrol")
    elsewhere = stock.key(parts, "erase", collections=["other"])
    for path, code in zip(
        paths, ("photo_not_found", "face_not_found", "person_not_found", "collection_forbidden"), strict=True
    ):
        refused = erase(web_app, path, headers=no_eraser)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "scope_missing")
        hidden = erase(web_app, path, headers=elsewhere)
        assert hidden.json()["error"]["code"] == code
        assert hidden.status_code == (403 if code == "collection_forbidden" else 404)
        same = erase(web_app, path.replace(path.split("/")[1], str(uuid.uuid4())), headers=elsewhere)
        assert same.status_code == hidden.status_code
    assert stock.rows(parts) == before
    assert receipt(web_app, paths[0], headers=stock.key(parts, "erase", collections=["default"]))


@pytest.mark.parametrize("path", ["photos/{id}", "faces/{id}", "persons/{id}", "collections/default"])
def test_what_might_be_meant_for_a_dry_run_erases_nothing(web_app: App, parts: Parts, path: str) -> None:
    anna = stock.person(parts, "Anna")
    photo_id = stock.photo(parts, anna)
    ids = {"photos": photo_id, "faces": stock.faces_of(parts, photo_id)[0], "persons": anna}
    path = path.format(id=ids.get(path.split("/")[0]))
    for query in (
        "dry_run=1", "dry_run=TRUE", "dry_run=", "dryrun=true", "dry-run", "dry_run=false&dry_run=true",
        "dry_run=%00", "dry_run=true%F0%9F%98%80",
    ):  # fmt: skip
        refused = erase(web_app, f"{path}?{query}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "parameter"), query
    refused = erase(web_app, path, json={"dry_run": True})
    assert refused.json()["error"]["code"] == "parameter"
    assert there(parts, Face) == 1


@pytest.mark.parametrize("what", ["photos", "faces", "persons"])
@pytest.mark.parametrize("identifier", ["none", "%00", "%F0%9F%98%80", "1" * 5000, f"{{{uuid.UUID(int=1)}}}",
                                        str(uuid.UUID(int=1)), str(uuid.UUID(int=0))])  # fmt: skip
def test_an_id_that_is_none_is_not_found(web_app: App, what: str, identifier: str) -> None:
    answer = erase(web_app, f"{what}/{identifier}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, f"{what[:-1]}_not_found")


def test_a_name_that_no_collection_has_is_told(web_app: App) -> None:
    for name in ("Other", "%00", "a" * 5000, "%F0%9F%98%80"):
        assert erase(web_app, f"collections/{name}").json()["error"]["code"] == "collection_name"
    assert erase(web_app, "collections/none").json()["error"]["code"] == "collection_not_found"


def test_the_audit_has_counts_and_no_name(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    photo_id = stock.photo(parts, anna, None)
    face_id = stock.faces_of(parts, photo_id)[1]
    told = {
        str(each): receipt(web_app, f"{what}/{each}")["proof"]["id"]
        for what, each in (("faces", face_id), ("photos", photo_id), ("persons", anna))
    }
    for action, subject, faces in (
        ("face.erase", face_id, 1), ("photo.erase", photo_id, 1), ("person.erase", anna, 0),
    ):  # fmt: skip
        entry = stock.audit(parts, action)[-1]
        assert (entry["subject"], entry["collection"]) == (str(subject), "default")
        assert entry["details"]["faces"] == faces
        assert entry["details"]["receipt"] == told[str(subject)]
        assert "Anna" not in str(entry)


# What happens at the same time, or not at all


def test_a_process_that_dies_before_the_files_go_leaves_them_to_the_sweep(
    clean: Installation, parts: Parts
) -> None:
    photo_id = stock.photo(parts, None)
    name = stock.sha256(parts, photo_id)
    code = f"""{MAKE_PARTS}
import os, signal, uuid
from face_pipeline.actions import erasure, uploads
from face_pipeline.store.audit import SERVICE
from face_pipeline.store.originals import Originals
Originals.remove = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
erasure.photo(parts, uuid.UUID("{photo_id}"), dry_run=False, by=SERVICE)
"""
    ended = subprocess.run([sys.executable, "-c", code], env=clean.environment, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert (there(parts, Photo), there(parts, Face)) == (0, 0), "the rows are committed"
    assert stock.has_file(parts, name)
    assert stock.audit(parts, "photo.erase")[-1]["subject"] == str(photo_id)
    long_ago = time.time() - 7200
    os.utime(parts.originals.path(name), (long_ago, long_ago))
    stock.make_database_old(parts)
    assert indexer.sweep_originals(parts) == 1
    assert stock.files(parts) == []


def test_files_that_a_slow_disk_has_still_are_told_and_go_with_the_next_run_of_the_indexer(
    clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = stock.person(parts, "Anna")
    hashes = [stock.sha256(parts, stock.photo(parts, anna)) for _ in range(3)]
    monkeypatch.setattr(erasure, "FILES_SECONDS", -1)
    told = erasure.person(parts, anna, dry_run=False, by=audit.SERVICE)
    assert (told.rows.photos, told.originals) == (3, 0)
    assert [(each.what, each.why, each.count) for each in told.kept] == [("originals", "removed_soon", 3)]
    assert stock.files(parts) == sorted(hashes)
    # One of them comes in again.
    parts.originals.write({hashes[0]: b"again"})
    with parts.database.transaction() as session:
        collection = collections.open_collection(session, "default", parts.pack)
        again = ledger.NewPhoto(hashes[0], "a.jpg", "image/jpeg", 5, 100, 100)
        ledger.accept(session, collection, [again], person=None, request_id=None)
    assert indexer.remove_originals(parts) == 2
    assert stock.files(parts) == [hashes[0]]
    assert there(parts, Removal) == 0
    erasure.collection(parts, "default", dry_run=False, by=audit.SERVICE)


def test_a_process_that_dies_with_files_put_aside_loses_none_that_is_needed(
    clean: Installation, parts: Parts
) -> None:
    needed = stock.sha256(parts, stock.photo(parts, None))
    parts.originals.write({"a" * 64: b"of nobody"})
    code = f"""{MAKE_PARTS}
import os, signal
def named(names, asked=[]):
    asked.append(names)
    if len(asked) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return []
parts.originals.remove(["{needed}", "{"a" * 64}"], named)
"""
    ended = subprocess.run([sys.executable, "-c", code], env=clean.environment, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert not stock.has_file(parts, needed)
    long_ago = time.time() - 7200
    for path in parts.originals.directory.rglob(".*"):
        os.utime(path, (long_ago, long_ago))
    stock.make_database_old(parts)
    indexer.sweep_originals(parts)
    assert stock.files(parts) == [needed]


def test_a_photo_sent_while_it_is_erased_keeps_its_original(web_app: App, parts: Parts) -> None:
    """Clients send the same photos over and over, to two collections, while others erase them."""
    photos = [(f"{number}.jpg", astronaut_jpeg(number)) for number in range(4)]
    statuses: set[int] = set()
    ended = threading.Event()

    def send(collection: str) -> None:
        while not ended.is_set():
            statuses.add(web_app.upload(*photos, collection=collection, person="Eileen").status_code)

    def remove(seed: int) -> None:
        shuffled = random.Random(seed)
        while not ended.is_set():
            listed = web_app.get("/api/v1/photos").json()["photos"]
            for each in shuffled.sample(listed, len(listed)):
                statuses.add(erase(web_app, f"photos/{each['id']}").status_code)

    with ThreadPoolExecutor(5) as clients:
        tasks = [clients.submit(send, collection) for collection in ("default", "other", "other")]
        tasks += [clients.submit(remove, seed) for seed in (1, 2)]
        time.sleep(6)
        ended.set()
        for task in tasks:
            task.result()
    assert statuses <= {200, 202, 404}
    assert {200, 202} <= statuses
    web_app.upload(*photos)
    stock.check_consistent(parts)
    assert all(not name.startswith(".") for name in stock.files(parts))


@pytest.mark.parametrize("what", ["photo", "face", "person", "collection"])
def test_of_two_who_erase_the_same_one_gets_the_receipt(web_app: App, parts: Parts, what: str) -> None:
    anna = stock.person(parts, "Anna")
    photos = [stock.photo(parts, anna, anna) for _ in range(20)]
    stock.photo(parts, None)
    path = {
        "photo": f"photos/{photos[0]}", "face": f"faces/{stock.faces_of(parts, photos[0])[0]}",
        "person": f"persons/{anna}", "collection": "collections/default",
    }[what]  # fmt: skip
    start = threading.Barrier(4)

    def remove(_: int) -> int:
        start.wait(30)
        return erase(web_app, path).status_code

    with ThreadPoolExecutor(4) as clients:
        assert sorted(clients.map(remove, range(4))) == [200, 404, 404, 404]
    stock.check_consistent(parts)


def test_a_person_is_erased_whole_while_photos_of_theirs_come_in(live_app: App, parts: Parts) -> None:
    """Whatever the order: each photo is the person's who was there then, or of one made anew by the name."""
    ended = threading.Event()
    statuses: set[int] = set()

    def send(client: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            photos = [(f"{n}.jpg", astronaut_jpeg(1000 * client + 10 * number + n)) for n in range(3)]
            statuses.add(live_app.upload(*photos, person="Eileen").status_code)

    with ThreadPoolExecutor(3) as clients:
        tasks = [clients.submit(send, client) for client in range(2)]
        for _ in range(6):
            wait_until(lambda: there(parts, Person), 20, "a person", every=0.02)
            with parts.database.transaction() as session:
                person_id = session.scalars(select(Person.id)).one()
            erased = erase(live_app, f"persons/{person_id}")
            assert erased.status_code == 200, erased.text
            with parts.database.transaction() as session:
                assert session.get(Person, person_id) is None
        ended.set()
        for task in tasks:
            task.result()
    assert statuses == {202}
    wait_until(lambda: not live_app.get("/api/v1/photos?state=queued").json()["photos"], 60, "the photos")
    wait_until(lambda: not live_app.get("/api/v1/photos?state=processing").json()["photos"], 60, "the last")
    stock.check_consistent(parts)
    with parts.database.transaction() as session:
        assert not session.scalars(select(Photo.id).where(Photo.person_id.is_(None))).all(), (
            "none is nobody's"
        )


def test_a_collection_is_erased_while_photos_come_into_it(live_app: App, parts: Parts) -> None:
    ended = threading.Event()
    statuses: set[int] = set()
    details: list[str] = []

    def send(client: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            photos = [(f"{n}.jpg", astronaut_jpeg(1000 * client + 10 * number + n)) for n in range(3)]
            answer = live_app.upload(*photos, person=f"Eileen {client}")
            statuses.add(answer.status_code)
            if not answer.ok:
                details.append(answer.text)

    with ThreadPoolExecutor(3) as clients:
        tasks = [clients.submit(send, client) for client in range(2)]
        for _ in range(5):
            time.sleep(0.3)
            erased = erase(live_app, "collections/default")
            assert erased.status_code in (200, 404), erased.text
        ended.set()
        for task in tasks:
            task.result()
    assert statuses == {202}, details
    stock.check_consistent(parts)


# One after the other, in the orders that matter


def _send(parts: Parts, data: bytes, **named: str) -> uuid.UUID:
    form: dict[str, Any] = {"collection": "default", "person": None, **named}
    checked = uploads.check_all(parts, [("a.jpg", data)], gone=lambda: False)
    return uploads.accept(parts, checked, by=audit.SERVICE, **form).photos[0].photo_id


def _erase_photo(parts: Parts, photo_id: uuid.UUID) -> None:
    erasure.photo(parts, photo_id, dry_run=False, by=audit.SERVICE)


def _first(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, also: Callable[[], object]) -> None:
    """Let `also` happen right before the next call of a function, once."""
    plain = getattr(where, name)

    def and_also(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(where, name, plain)
        also()
        return plain(*arguments, **options)

    monkeypatch.setattr(where, name, and_also)


def test_a_known_photo_that_is_erased_before_its_upload_commits_gets_its_original_again(
    clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _send(parts, no_face())
    _first(monkeypatch, ledger, "accept", lambda: _erase_photo(parts, known))
    again = _send(parts, no_face())
    assert again != known
    assert there(parts, Photo) == 1
    stock.check_consistent(parts)


def test_a_photo_that_comes_in_before_its_file_goes_keeps_it(
    clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _send(parts, no_face())
    _first(monkeypatch, Originals, "_put_aside", lambda: _send(parts, no_face()))
    told = erasure.photo(parts, known, dry_run=False, by=audit.SERVICE)
    assert (told.originals, [each.why for each in told.kept]) == (0, ["named_elsewhere"])
    assert there(parts, Photo) == 1
    stock.check_consistent(parts)


def test_a_photo_that_an_upload_has_found_is_erased_after_the_upload(
    clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _send(parts, no_face())
    with ThreadPoolExecutor(1) as other:
        erased: list[Future[None]] = []

        def begin() -> None:
            erased.append(other.submit(_erase_photo, parts, known))
            # It waits for the upload, and the upload not for it.
            wait([erased[0]], timeout=1)

        _first(monkeypatch, ledger, "lock", begin)
        assert _send(parts, no_face()) == known
        erased[0].result(timeout=60)
    assert (there(parts, Photo), stock.files(parts)) == (0, [])


def test_an_upload_whose_collection_is_erased_makes_it_again(
    clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _send(parts, no_face())
    _first(
        monkeypatch, ledger, "accept",
        lambda: erasure.collection(parts, "default", dry_run=False, by=audit.SERVICE),
    )  # fmt: skip
    _send(parts, no_face(), person="Anna")
    assert (there(parts, Collection), there(parts, Photo), there(parts, Person)) == (1, 1, 1)
    stock.check_consistent(parts)


def test_a_photo_that_comes_into_an_emptied_collection_goes_too(
    clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _send(parts, no_face())
    _first(monkeypatch, store_erasure, "empty_collection", lambda: _send(parts, astronaut_jpeg()))
    told = erasure.collection(parts, "default", dry_run=False, by=audit.SERVICE)
    assert (told.rows.photos, told.originals, stock.files(parts)) == (2, 2, [])
    assert (there(parts, Collection), there(parts, Photo)) == (0, 0)


def test_a_photo_that_comes_in_as_the_persons_while_they_are_erased_goes_too(
    clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _send(parts, no_face(), person="Anna")
    with parts.database.transaction() as session:
        anna = session.scalars(select(Person.id)).one()
    plain, seen = store_erasure._photos, []

    def and_then(*arguments: Any, **options: Any) -> Any:
        found = plain(*arguments, **options)
        seen.append(len(found))
        if len(seen) == 1:
            _send(parts, astronaut_jpeg(), person="Anna")
        return found

    monkeypatch.setattr(store_erasure, "_photos", and_then)
    told = erasure.person(parts, anna, dry_run=False, by=audit.SERVICE)
    assert seen == [1, 2], "it began again, and locked both"
    assert (told.rows.photos, told.originals, stock.files(parts)) == (2, 2, [])
    assert (there(parts, Person), there(parts, Photo)) == (0, 0)
