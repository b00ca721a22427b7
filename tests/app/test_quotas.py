"""A quota bounds what a collection holds and a key puts in, whoever comes at the same moment."""

from __future__ import annotations

import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from alembic import command
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import collections, ledger, quotas, schema
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import ActorKind, PhotoUsage
from sqlalchemy import func, select, text

from tests.app import stock
from tests.app.cli import Person
from tests.app.test_audit_chain import database  # noqa: F401 (a fixture)
from tests.app.test_keys_api import KEYS, by, make
from tests.app.test_transfer import exported, put
from tests.installation import App, Installation, wait_until
from tests.photos import astronaut_jpeg

DEFAULT = "/api/v1/collections/default"
PHOTOS = [astronaut_jpeg(number) for number in range(500, 506)]


@pytest.fixture(autouse=True)
def no_files(clean: Installation, parts: Parts) -> None:
    """Other tests leave theirs."""
    shutil.rmtree(parts.originals.directory)
    parts.originals.directory.mkdir()


def bound(app: App, collection: str = "default", **to: int | None) -> Any:
    answer = app.request("PATCH", f"/api/v1/collections/{collection}/quota", json=to)
    assert answer.status_code == 200, answer.text
    return answer.json()


def used(app: App, path: str = DEFAULT) -> tuple[int, int]:
    told = app.get(path).json()["used"]
    return told["photos"], told["bytes"]


def send(app: App, *numbers: int, headers: dict[str, str] | None = None, **form: str) -> requests.Response:
    files = [("photos", (f"{number}.jpg", PHOTOS[number])) for number in numbers]
    return app.request("POST", "/api/v1/photos", files=files, data=form, headers=headers or {})


def outcome(answer: requests.Response) -> tuple[list[str], list[tuple[str, str]]]:
    assert answer.status_code == 202, answer.text
    told = answer.json()
    return (
        [each["filename"] for each in told["photos"]],
        [(each["filename"], each["code"]) for each in told["rejected"]],
    )


def refused(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_photos_that_have_no_room_are_rejected_and_the_others_kept(web_app: App, parts: Parts) -> None:
    told = bound(web_app, photos=2)
    assert told == {
        "collection": "default", "quota": {"photos": 2, "bytes": None}, "used": {"photos": 0, "bytes": 0}
    }  # fmt: skip
    # One that comes twice is one.
    kept, rejected = outcome(send(web_app, 0, 0, 1, 2))
    assert (kept, rejected) == (["0.jpg", "0.jpg", "1.jpg"], [("2.jpg", "quota_exceeded")])
    assert used(web_app) == (2, len(PHOTOS[0]) + len(PHOTOS[1]))
    full = send(web_app, 2)
    assert refused(full) == (403, "quota_exceeded")
    error = full.json()["error"]
    assert "raise the quota" in error["message"]
    assert error["details"]["used"]["photos"] == error["details"]["photos"] == 2
    assert len(stock.files(parts)) == 2, "nothing is left of it"
    assert outcome(send(web_app, 1, 0)) == (["1.jpg", "0.jpg"], []), "what is there needs no room"
    # Bounds may be under what there is: that stays.
    bound(web_app, photos=1)
    assert used(web_app)[0] == 2
    bound(web_app, photos=None)
    assert outcome(send(web_app, 2)) == (["2.jpg"], [])
    bound(web_app, bytes=sum(map(len, PHOTOS[:4])))
    assert outcome(send(web_app, 3, 4)) == (["3.jpg"], [("4.jpg", "quota_exceeded")])
    stock.check_consistent(parts)


def test_room_that_an_erasure_made_is_there_at_once(web_app: App, parts: Parts) -> None:
    bound(web_app, photos=2)
    first, _ = (each["id"] for each in send(web_app, 0, 1).json()["photos"])
    assert refused(send(web_app, 2)) == (403, "quota_exceeded")
    assert web_app.request("DELETE", f"/api/v1/photos/{first}").status_code == 200
    indexer.fold_usage(parts)
    assert used(web_app) == (1, len(PHOTOS[1]))
    assert outcome(send(web_app, 2, 3)) == (["2.jpg"], [("3.jpg", "quota_exceeded")])
    anna = stock.person(parts, "Anna", "other")
    theirs = stock.photo(parts, anna, collection="other")
    moved = web_app.request("POST", f"/api/v1/photos/{theirs}/move", json={"collection": "default"})
    assert refused(moved) == (403, "quota_exceeded")
    photo = web_app.get("/api/v1/photos?collection=default").json()["photos"][0]["id"]
    answer = web_app.request("POST", f"/api/v1/photos/{photo}/move", json={"collection": "other"})
    assert answer.status_code == 200
    assert (used(web_app)[0], used(web_app, "/api/v1/collections/other")[0]) == (1, 2)
    assert web_app.request("DELETE", "/api/v1/collections/other").status_code == 200
    assert web_app.request("DELETE", DEFAULT).status_code == 200
    indexer.fold_usage(parts)
    with parts.database.transaction() as session:
        assert not session.scalar(select(func.count()).select_from(PhotoUsage)), "nothing is told of it"


def test_a_key_has_a_quota_of_its_own_wherever_it_puts_photos(web_app: App, parts: Parts) -> None:
    key = make(web_app, scopes=["write"], quota_photos=2)
    path = f"{KEYS}/{key['id']}"
    assert outcome(send(web_app, 0, headers=by(key)))[0] == ["0.jpg"]
    assert outcome(send(web_app, 1, headers=by(key), collection="other"))[0] == ["1.jpg"]
    full = send(web_app, 2, headers=by(key), collection="third")
    assert refused(full) == (403, "quota_exceeded")
    assert full.json()["error"]["details"]["quota"] == "key"
    assert web_app.get("/api/v1/collections/third").status_code == 404, "what was refused makes none"
    assert outcome(send(web_app, 2))[0] == ["2.jpg"], "of another key"
    assert used(web_app, path) == (2, len(PHOTOS[0]) + len(PHOTOS[1]))
    assert web_app.request("DELETE", "/api/v1/collections/other").status_code == 200
    assert used(web_app, path)[0] == 1
    changed = web_app.request("PATCH", path, json={"quota_photos": None, "quota_bytes": len(PHOTOS[0])})
    assert (changed.json()["quota_photos"], changed.json()["quota_bytes"]) == (None, len(PHOTOS[0]))
    assert refused(send(web_app, 3, headers=by(key))) == (403, "quota_exceeded")
    told = stock.audit(parts, "key.change")[-1]["details"]
    assert (told["fields"], told["quota_bytes"]) == (["quota_bytes", "quota_photos"], len(PHOTOS[0]))


def test_many_at_once_take_the_room_that_there_is_and_no_more(web_app: App, parts: Parts) -> None:
    key = make(web_app, scopes=["write"], quota_photos=7)
    bound(web_app, photos=9)
    photos = [astronaut_jpeg(number) for number in range(600, 616)]

    def one(number: int) -> requests.Response:
        files = [("photos", (f"{number}-{at}.jpg", photos[number * 2 + at])) for at in (0, 1)]
        # Half of them come with the key.
        headers = by(key) if number % 2 else None
        return requests.post(
            f"{web_app.url}/api/v1/photos", files=files, timeout=120,
            headers=headers or {"Authorization": f"Bearer {web_app.installation.api_key}"},
        )  # fmt: skip

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    assert {each.status_code for each in answers} <= {202, 403}
    kept = sum(len(each.json()["photos"]) for each in answers if each.status_code == 202)
    assert kept == used(web_app)[0] == 9
    assert used(web_app, f"{KEYS}/{key['id']}")[0] <= 7
    stock.check_consistent(parts)


def test_two_transactions_never_both_take_the_last_place(web_app: App, parts: Parts) -> None:
    bound(web_app, photos=1)
    actor = Actor(ActorKind.COMMAND, "tests")

    def add(session: Any) -> None:
        found = collections.open_collection(session, "default", parts.pack)
        new = ledger.NewPhoto(uuid.uuid4().hex * 2, "a.jpg", "image/jpeg", 1, 1, 1)
        ledger.accept(session, found, [new], person=None, request_id=None, by=actor)

    def in_a_thread() -> bool:
        try:
            parts.database.in_transaction(add)
        except quotas.QuotaExceeded:
            return False
        return True

    def waits() -> bool:
        ungranted = text("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with parts.database.transaction() as session:
            return session.scalar(ungranted) is not None

    with ThreadPoolExecutor(1) as pool:
        with parts.database.transaction() as session:
            add(session)
            other = pool.submit(in_a_thread)
            wait_until(lambda: other.done() or waits(), 30, "the other to get there")
        assert not other.result(), "it waited, and saw what the first has committed"
    assert used(web_app) == (1, 1)


def test_an_enrolment_and_an_import_beyond_it_are_refused(live_app: App, parts: Parts) -> None:
    person = live_app.request("POST", "/api/v1/persons", json={"name": "Anna", "collection": "staff"}).json()
    bound(live_app, "staff", photos=0)
    path = f"/api/v1/persons/{person['id']}/photos"
    files = [("photos", ("a.jpg", astronaut_jpeg(1)))]
    assert refused(live_app.request("POST", path, files=files)) == (403, "quota_exceeded")
    assert stock.files(parts) == []
    bound(live_app, "staff", photos=1)
    assert live_app.request("POST", path, files=files).json()["enrolled"]
    assert used(live_app, "/api/v1/collections/staff")[0] == 1
    assert live_app.request("POST", path, files=files).json()["enrolled"], "it is there already"

    records = exported(live_app, "staff")
    originals = {each["sha256"]: astronaut_jpeg(1) for each in records if each["kind"] == "photo"}
    bound(live_app, photos=0)
    assert refused(put(live_app, records, originals, "default")) == (403, "quota_exceeded")
    assert used(live_app) == (0, 0)


def test_quotas_are_set_at_a_shell(web_app: App, anna: Person) -> None:
    done = anna.types("collections", "quota", "default", "--photos", "5000", "--bytes", "20GB")
    assert done.returncode == 0, done.stderr
    assert "default may keep 5000 photos and 20000000000 bytes, and has 0 photos of 0 bytes" in done.stdout
    assert anna.types("collections", "quota", "default", "--bytes", "any").returncode == 0
    assert "5000 photos and any number of bytes" in anna.types("collections", "show", "default").stdout
    name = f"k-{uuid.uuid4()}"
    made = anna.types("keys", "create", "--name", name, "--scopes", "write", "--quota-photos", "10")
    assert made.returncode == 0, made.stderr
    assert anna.types("keys", "change", "--name", name, "--quota-bytes", "1MB").returncode == 0
    shown = anna.types("keys", "show", "--name", name).stdout
    assert "may keep 10 photos and 1000000 bytes, and has 0 photos of 0 bytes" in shown
    for wrong in (("--photos", "many"), ("--bytes", "1XB"), ()):
        assert anna.types("collections", "quota", "default", *wrong).returncode == 2
    assert anna.types("collections", "quota", "nowhere", "--photos", "1").returncode == 1


@pytest.mark.parametrize("body", [{}, {"photos": -1}, {"bytes": "1"}, {"photos": 10**16}, {"photos": True}])
def test_a_quota_that_is_none_is_refused(web_app: App, body: dict[str, Any]) -> None:
    answer = web_app.request("PATCH", f"{DEFAULT}/quota", json=body)
    assert refused(answer) == (400, "parameter")


def test_photos_of_before_the_upgrade_count(database: Parts) -> None:  # noqa: F811
    stock.photo(database, None, data=PHOTOS[0])
    config = schema._config()
    config.attributes["engine"] = database.database.engine
    command.downgrade(config, "0018")
    done = schema.migrate(database.database)
    assert (done.before, done.after) == ("0018", schema.head_revision())
    with database.database.transaction() as session:
        found = collections.by_name(session, "default")
        assert quotas.used(session, collection_id=found.id) == quotas.Amount(1, len(PHOTOS[0]))
