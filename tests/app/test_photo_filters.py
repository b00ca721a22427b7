"""Filters and order of the list of photos: whatever they are, pages put together are what fits."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from face_pipeline.parts import Parts
from face_pipeline.store.models import Photo
from sqlalchemy import text, update

from tests.app import stock
from tests.installation import App

START = datetime(2027, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Made:
    """A photo as this test knows it; `shown`: whose faces are on it, None: nobody's."""

    id: str
    at: datetime
    state: str
    collection: str
    filename: str
    reason: str | None
    shown: tuple[uuid.UUID | None, ...]


def add(
    parts: Parts,
    *shown: uuid.UUID | None,
    minutes: int,
    state: str = "done",
    collection: str = "default",
    filename: str = "a.jpg",
    reason: str | None = None,
) -> Made:
    photo_id = stock.photo(parts, *shown, state=state, collection=collection)
    at = START + timedelta(minutes=minutes)
    with parts.database.transaction() as session:
        session.execute(
            update(Photo)
            .where(Photo.id == photo_id)
            .values(received_at=at, filename=filename, reason_code=reason)
        )
    return Made(str(photo_id), at, state, collection, filename, reason, shown)


@pytest.fixture
def anna(web_app: App, parts: Parts) -> uuid.UUID:
    return stock.person(parts, "Anna")


@pytest.fixture
def made(anna: uuid.UUID, parts: Parts) -> list[Made]:
    """Several of them were received in the same moment."""
    return [
        add(parts, anna, minutes=0, filename="IMG_0001.JPG"),
        add(parts, anna, None, minutes=0, filename="img_0002.jpg"),
        add(parts, None, minutes=0, filename="100%.jpg"),
        add(parts, minutes=1, filename="Straße_ä.jpg"),
        add(parts, minutes=1, filename="a\\b.jpg"),
        add(parts, minutes=2, state="failed", reason="broken_image"),
        add(parts, minutes=2, state="failed", reason="engine_error"),
        add(parts, minutes=2, state="failed", reason="engine_error", collection="other"),
        add(parts, minutes=3, state="received"),
        add(parts, minutes=3, state="processing", filename="IMG_0003.png"),
        add(parts, anna, anna, minutes=3, collection="default", filename="img"),
        add(parts, None, None, minutes=4, collection="other"),
        add(parts, minutes=4, collection="other"),
    ]


def ask(app: App, query: str, limit: int, **options: Any) -> list[str]:
    """Ids of all pages, each of at most `limit`."""
    found: list[str] = []
    cursor = None
    for _ in range(100):
        address = f"/api/v1/photos?limit={limit}&{query}" + (f"&cursor={cursor}" if cursor else "")
        answer = app.request("GET", address, **options)
        assert answer.status_code == 200, answer.text
        page = [each["id"] for each in answer.json()["photos"]]
        assert len(page) <= limit
        found += page
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


Fits = Callable[[Made, uuid.UUID], bool]


def of(moment: datetime) -> str:
    return quote(moment.isoformat())


FILTERS: dict[str, Fits] = {
    "": lambda _, __: True,
    "state=": lambda _, __: True,
    "state=failed": lambda photo, _: photo.state == "failed",
    "state=failed&state=received": lambda photo, _: photo.state in ("failed", "received"),
    "state=received&state=queued&state=processing": lambda p, _: p.state in ("received", "processing"),
    "state=done&state=done": lambda photo, _: photo.state == "done",
    "reason=engine_error": lambda photo, _: photo.reason == "engine_error",
    "reason=engine": lambda _, __: False,
    "faces=some": lambda photo, _: bool(photo.shown),
    "faces=none": lambda photo, _: photo.state == "done" and not photo.shown,
    "faces=unknown": lambda photo, _: None in photo.shown,
    "person_id=ANNA": lambda photo, anna: anna in photo.shown,
    "person_id=ANNA&faces=unknown": lambda photo, anna: anna in photo.shown and None in photo.shown,
    "filename=img": lambda photo, _: "img" in photo.filename.lower(),
    "filename=STRA%C3%9FE_%C3%84": lambda photo, _: photo.filename.startswith("Straße"),
    "filename=%25": lambda photo, _: "%" in photo.filename,
    "filename=_": lambda photo, _: "_" in photo.filename,
    "filename=%5C": lambda photo, _: "\\" in photo.filename,
    f"since={of(START + timedelta(minutes=2))}": lambda p, _: p.at >= START + timedelta(minutes=2),
    f"until={of(START + timedelta(minutes=2))}": lambda p, _: p.at < START + timedelta(minutes=2),
    f"since={of(START)}&until={of(START + timedelta(minutes=1))}": lambda photo, _: photo.at == START,
    "collection=other": lambda photo, _: photo.collection == "other",
    "collection=other&state=done&faces=none": lambda photo, _: (
        photo.collection == "other" and photo.state == "done" and not photo.shown
    ),
    "collection=none": lambda _, __: False,
}


@pytest.mark.parametrize("query", FILTERS)
def test_pages_put_together_are_what_fits(
    web_app: App, anna: uuid.UUID, made: list[Made], query: str
) -> None:
    fits = [each for each in made if FILTERS[query](each, anna)]
    asked = query.replace("ANNA", str(anna))
    for sort, limit in itertools.product(("newest", "oldest"), (1, 2, 200)):
        found = ask(web_app, f"{asked}&sort={sort}", limit)
        expected = sorted(fits, key=lambda each: (each.at, each.id), reverse=sort == "newest")
        assert found == [each.id for each in expected], (sort, limit)
    assert ask(web_app, asked, 3) == ask(web_app, f"{asked}&sort=newest", 3)


def test_what_comes_between_two_pages_moves_none(web_app: App, made: list[Made], parts: Parts) -> None:
    del made
    for sort, ahead in (("newest", 99), ("oldest", -99)):
        first = web_app.get(f"/api/v1/photos?limit=5&sort={sort}").json()
        whole = ask(web_app, f"sort={sort}", 200)
        add(parts, minutes=ahead)
        rest = web_app.get(f"/api/v1/photos?limit=200&sort={sort}&cursor={first['next_cursor']}").json()
        assert [each["id"] for each in first["photos"] + rest["photos"]] == whole


def test_a_key_sees_with_each_filter_what_it_reaches(web_app: App, made: list[Made], parts: Parts) -> None:
    headers = stock.key(parts, "read", collections=["other"])
    reached = {each.id for each in made if each.collection == "other"}
    assert set(ask(web_app, "", 2, headers=headers)) == reached
    assert len(ask(web_app, "state=failed&state=done", 1, headers=headers)) == 3
    assert len(ask(web_app, "faces=unknown&sort=oldest", 1, headers=headers)) == 1
    refused = web_app.request("GET", "/api/v1/photos?collection=default&faces=none", headers=headers)
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("state=gone", "parameter"), ("state=done&state=gone", "parameter"), ("faces=many", "parameter"),
        ("sort=size", "parameter"), ("since=yesterday", "parameter"), ("until=2027-03-01", "parameter"),
        ("since=2027-03-01T12:00:00", "parameter"), ("person_id=anna", "person_not_found"),
        ("filename=%00", "parameter"), ("reason=%00", "parameter"),
    ],
)  # fmt: skip
def test_a_filter_that_is_none_is_told(web_app: App, query: str, code: str) -> None:
    answer = web_app.get(f"/api/v1/photos?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) in ((400, code), (404, code))
    if query.startswith("state"):
        assert "received, queued, processing, done, failed" in answer.json()["error"]["message"]


def test_a_list_of_many_reads_no_more_than_its_page(web_app: App, made: list[Made], parts: Parts) -> None:
    """Each common filter has an index that gives its order: nothing is sorted, whatever the number."""
    del made
    with parts.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO photos (id, collection_id, batch_id, sha256, filename, media_type, byte_size,"
                " width, height, state, received_at) SELECT gen_random_uuid(), collection_id, batch_id,"
                " lpad(to_hex(n), 64, '0'), 'b.jpg', media_type, byte_size, width, height, 'done',"
                " received_at - n * interval '1 second' FROM (SELECT * FROM photos LIMIT 1) p,"
                " generate_series(1, 20000) n"
            )
        )
    with parts.database.single_statements() as connection:
        connection.execute(text("ANALYZE photos"))
    for where in ("", "WHERE collection_id = (SELECT id FROM collections WHERE name = 'default')"):
        with parts.database.reading() as session:
            plan = "\n".join(
                session.scalars(
                    text(f"EXPLAIN SELECT id FROM photos {where} ORDER BY received_at DESC, id DESC LIMIT 50")
                )
            )
        assert "Sort" not in plan, plan
    answer = web_app.get("/api/v1/photos?filename=b.jpg&limit=200&sort=oldest")
    assert len(answer.json()["photos"]) == 200
