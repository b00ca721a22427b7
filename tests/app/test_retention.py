"""A collection keeps originals and unknown faces for as long as it is told to, and no longer."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from typing import Any

import pytest
from face_pipeline.actions import retention
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import retention as store
from face_pipeline.store.models import Photo, Thumbnail
from face_pipeline.store.retention import Due
from sqlalchemy import func, select, update

from tests.app import stock
from tests.app.cli import Person
from tests.app.test_contract import _check
from tests.installation import App, Installation
from tests.photos import astronaut_jpeg

PATH = "/api/v1/collections/default/retention"


@pytest.fixture(autouse=True)
def no_files(clean: Installation, parts: Parts) -> None:
    """Other tests leave theirs."""
    shutil.rmtree(parts.originals.directory)
    parts.originals.directory.mkdir()


def change(app: App, **to: object) -> dict[str, Any]:
    answer = app.request("PATCH", PATH, json=to)
    assert answer.status_code == 200, answer.text
    _check(answer.json(), "/api/v1/collections/{collection}/retention", "patch", 200)
    told: dict[str, Any] = answer.json()
    return told


def aged(parts: Parts, photo_id: uuid.UUID, days: int) -> uuid.UUID:
    """The photo, done so long ago."""
    with parts.database.transaction() as session:
        session.execute(
            update(Photo)
            .where(Photo.id == photo_id)
            .values(finished_at=func.now() - func.make_interval(0, 0, 0, days))
        )
    return photo_id


def kept(app: App, photo_id: object) -> tuple[int, str]:
    """Status and code of the photo's image."""
    answer = app.get(f"/api/v1/photos/{photo_id}/image")
    return answer.status_code, "" if answer.ok else answer.json()["error"]["code"]


def test_originals_go_after_their_days_and_their_photos_stay(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    old, new = aged(parts, stock.photo(parts, anna), 31), aged(parts, stock.photo(parts, anna), 29)
    failed = aged(parts, stock.photo(parts, state="failed"), 31)
    elsewhere = aged(parts, stock.photo(parts, anna, collection="other"), 31)
    name = stock.sha256(parts, old)
    with parts.database.transaction() as session:
        session.add(Thumbnail(photo_id=old, recipe=1, picture=b"small"))
    rows = stock.rows(parts)
    dry = change(web_app, originals_days=30, dry_run=True)
    assert (dry["originals_days"], dry["due"]) == (30, {"originals": 1, "faces": 0})
    assert retention.expire(parts) == Due(0, 0), "a dry run changes nothing"
    assert stock.rows(parts) == rows
    assert change(web_app, originals_days=30) == dry
    assert web_app.get(PATH).json() == dry
    assert retention.expire(parts) == Due(1, 0)
    assert not stock.has_file(parts, name)
    assert kept(web_app, old) == (404, "original_expired")
    assert {kept(web_app, each)[0] for each in (new, failed, elsewhere)} == {200}
    for address in (f"photos/{old}/thumbnail", f"faces/{stock.faces_of(parts, old)[0]}/crop"):
        answer = web_app.get(f"/api/v1/{address}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "original_expired")
        assert answer.json()["error"]["details"]["removed_at"]
    with parts.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Thumbnail)) == 0
    assert web_app.get(f"/api/v1/photos/{old}").json()["faces"][0]["person"]["name"] == "Anna"
    entry = stock.audit(parts, "photo.expire")[-1]
    assert (entry["collection"], entry["details"]) == ("default", {"originals": 1})
    assert retention.expire(parts) == Due(0, 0)
    assert web_app.get(PATH).json()["due"] == {"originals": 0, "faces": 0}


def test_with_no_days_an_original_goes_once_its_photo_is_done(live_app: App, parts: Parts) -> None:
    change(live_app, originals_days=0)
    sent = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(sent["batch_id"])
    (photo,) = sent["photos"]
    assert kept(live_app, photo["id"])[0] == 200
    assert retention.expire(parts) == Due(1, 0)
    assert kept(live_app, photo["id"]) == (404, "original_expired")
    assert stock.files(parts) == []
    found = live_app.request("POST", "/api/v1/search", files={"photo": ("b.jpg", astronaut_jpeg())}).json()
    assert found["faces"][0]["matches"][0]["person_name"] == "Eileen Collins"


def test_a_file_stays_while_another_collection_keeps_it(web_app: App, parts: Parts) -> None:
    here = stock.photo(parts, None, data=b"the same")
    there = stock.photo(parts, None, data=b"the same", collection="other")
    change(web_app, originals_days=0)
    assert retention.expire(parts) == Due(1, 0)
    assert (kept(web_app, here), kept(web_app, there)) == ((404, "original_expired"), (200, ""))
    told = web_app.request("DELETE", f"/api/v1/photos/{there}").json()
    assert told["originals"] == 1, "the photo whose original expired names it no more"
    assert stock.files(parts) == []


def test_a_file_that_comes_again_does_not_come_back(web_app: App, parts: Parts) -> None:
    data = astronaut_jpeg()
    photo = stock.photo(parts, None, data=data)
    change(web_app, originals_days=0)
    retention.expire(parts)
    assert web_app.upload(("a.jpg", data)).json()["photos"][0]["duplicate"] is True
    assert kept(web_app, photo) == (404, "original_expired")
    long_ago = time.time() - 7200
    for name in stock.files(parts):
        os.utime(parts.originals.path(name), (long_ago, long_ago))
    stock.make_database_old(parts)
    indexer.sweep_originals(parts)
    assert stock.files(parts) == []


def test_unknown_faces_go_after_their_days_and_known_ones_stay(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    old, new = aged(parts, stock.photo(parts, anna, None, None), 8), aged(parts, stock.photo(parts, None), 6)
    known = stock.faces_of(parts, old)[0]
    version = stock.version(parts)
    told = change(web_app, unknown_faces_days=7)
    assert told["due"] == {"originals": 0, "faces": 2}
    assert retention.expire(parts) == Due(0, 2)
    assert stock.faces_of(parts, old) == [known]
    assert len(stock.faces_of(parts, new)) == 1
    assert stock.version(parts) > version, "no cached answer is found any more"
    assert kept(web_app, old) == (200, "")
    assert stock.audit(parts, "face.expire")[-1]["details"] == {"faces": 2}
    stock.check_consistent(parts)


def test_more_than_one_step_is_taken(web_app: App, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "AT_ONCE", 2)
    for _ in range(5):
        stock.photo(parts, None)
    change(web_app, originals_days=0, unknown_faces_days=0)
    assert retention.expire(parts) == Due(5, 5)
    stock.check_consistent(parts)


def test_who_changes_it_and_how_is_told_and_checked(web_app: App, parts: Parts) -> None:
    stock.photo(parts, None)
    change(web_app, originals_days=30, unknown_faces_days=7)
    told = change(web_app, originals_days=None)
    assert (told["originals_days"], told["unknown_faces_days"]) == (None, 7)
    entry = stock.audit(parts, "collection.retention")[-1]
    assert (entry["subject"], entry["details"]) == ("default", {"originals_days": None})
    for body in ({}, {"dry_run": True}, {"originals_days": -1}, {"originals_days": "30"}, {"days": 1}):
        answer = web_app.request("PATCH", PATH, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter"), body
    gone = web_app.request("PATCH", PATH.replace("default", "nobody"), json={"originals_days": 1})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "collection_not_found")
    key = web_app.request(
        "POST", "/api/v1/keys", json={"name": str(uuid.uuid4()), "scopes": ["erase"]}
    ).json()
    headers = {"Authorization": f"Bearer {key['api_key']}"}
    assert web_app.request("PATCH", PATH, json={"originals_days": 0}, headers=headers).status_code == 403


def test_it_is_said_at_a_shell(anna: Person, parts: Parts) -> None:
    aged(parts, stock.photo(parts, None), 40)
    shown = anna.types("collections", "retention", "default")
    assert shown.stdout == (
        "default keeps originals for good, unknown faces for good\n0 originals and 0 unknown faces due\n"
    )
    dry = anna.types("collections", "retention", "default", "--originals", "30", "--dry-run")
    assert dry.stdout == (
        "default would keep originals 30 days, unknown faces for good\n1 original and 0 unknown faces due\n"
    )
    done = anna.types("collections", "retention", "default", "--originals", "30", "--unknown-faces", "7")
    assert (
        done.stdout
        == "default keeps originals 30 days, unknown faces 7 days\n1 original and 1 unknown face due\n"
    )
    back = anna.types("collections", "retention", "default", "--originals", "keep")
    assert back.stdout.startswith("default keeps originals for good, unknown faces 7 days\n")
    wrong = anna.types("collections", "retention", "default", "--originals", "soon")
    assert wrong.returncode == 2
    assert "write a number of days, 0 for at once, or keep" in wrong.stderr


def test_a_metric_counts_what_has_gone(web_app: App, parts: Parts) -> None:
    def removed() -> dict[str, float]:
        lines = web_app.get("/metrics").text.splitlines()
        found = [each for each in lines if each.startswith("face_recognition_retention_removed_total{")]
        return {each.split('what="')[1].split('"')[0]: float(each.split()[-1]) for each in found}

    for days in (40, 50, 1):
        aged(parts, stock.photo(parts, None, None), days)
    assert removed() == {}, "everything is kept"
    change(web_app, originals_days=30, unknown_faces_days=45)
    assert removed() == {"originals": 0, "faces": 0}, "so that the first increase is seen"
    retention.expire(parts)
    assert removed() == {"originals": 2, "faces": 2}
    retention.expire(parts)
    change(web_app, originals_days=None, unknown_faces_days=None)
    assert removed() == {"originals": 2, "faces": 2}
