"""Thumbnails: made by workers, cut to the faces, kept by browsers, made later for photos that have none, and
gone with what they show."""

from __future__ import annotations

import io
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from face_pipeline.engine import Budget, thumbnails
from face_pipeline.engine.types import THUMBNAIL_RECIPE
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store import thumbnails as kept
from face_pipeline.store.models import Face, Photo, Thumbnail
from PIL import Image
from sqlalchemy import func, select, update

from tests.app import stock
from tests.installation import App
from tests.photos import astronaut, astronaut_jpeg, jpeg

pytestmark = pytest.mark.one_worker

YEAR = "private, max-age=31536000, immutable"
BOX = [[60.0, 200.0, 90.0, 240.0]]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def number(parts: Parts) -> int:
    with parts.database.reading() as session:
        return session.scalar(select(func.count()).select_from(Thumbnail)) or 0


def forget(parts: Parts) -> None:
    """As an earlier release leaves it."""
    with parts.database.transaction() as session:
        for each in session.scalars(select(Thumbnail)):
            session.delete(each)


def picture(data: bytes) -> Image.Image:
    found = Image.open(io.BytesIO(data))
    found.load()
    assert found.format == "JPEG"
    return found


# How they are cut


@pytest.mark.parametrize(
    ("size", "boxes", "place"),
    [
        ((300, 100), [], (100, 0, 100)),
        ((300, 100), [[10, 20, 40, 60]], (0, 0, 100)),
        ((300, 100), [[260, 20, 290, 60]], (200, 0, 100)),
        ((100, 300), [[20, 100, 60, 140]], (0, 70, 100)),
        # All fit.
        ((400, 100), [[100, 20, 120, 40], [170, 20, 190, 40]], (95, 0, 100)),
        # They do not: the largest one.
        ((400, 100), [[0, 20, 20, 40], [340, 20, 380, 60]], (300, 0, 100)),
        # Wider than the photo is high.
        ((400, 100), [[100, 0, 300, 100]], (150, 0, 100)),
        # A detector's box may begin outside.
        ((300, 100), [[-50, -10, 20, 60]], (0, 0, 100)),
        ((100, 100), [[0, 0, 100, 100]], (0, 0, 100)),
        ((500, 1), [[3, 0, 9, 1]], (6, 0, 1)),
    ],
)  # fmt: skip
def test_the_faces_are_in_the_middle_of_the_square(size: Any, boxes: Any, place: Any) -> None:
    assert thumbnails.square(*size, boxes) == place


def test_a_picture_that_cannot_be_coded_small_is_small_all_the_same() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (900, 1200, 3), np.uint8)
    made = thumbnails.of_pixels(noise, [])
    assert len(made) <= thumbnails.MOST_BYTES
    assert picture(made).size == (320, 320)
    # A page of 24 of the worst stays under 400 kB.
    assert 24 * thumbnails.MOST_BYTES < 320_000


@pytest.mark.parametrize("side", [640, 960, 1300, 2000])
def test_lines_of_one_pixel_become_grey_and_no_pattern(side: int) -> None:
    lines = np.zeros((side, side, 3), np.uint8)
    lines[::2] = 255
    made = np.asarray(picture(thumbnails.of_pixels(lines, [])))
    assert 120 <= made.min() <= made.max() <= 135


def test_a_small_photo_is_not_made_larger() -> None:
    assert picture(thumbnails.of_pixels(np.zeros((40, 60, 3), np.uint8), [])).size == (40, 40)


def test_colours_and_upright_sides_stay() -> None:
    sides = np.zeros((640, 1280, 3), np.uint8)
    sides[:, :640, 2] = 255
    for data in (jpeg(Image.fromarray(sides[:, :, ::-1])),):
        left = picture(thumbnails.of_file(data, [[100, 100, 200, 200]], Budget(10**9))).convert("RGB")
        right = picture(thumbnails.of_file(data, [[1000, 100, 1100, 200]], Budget(10**9))).convert("RGB")
    red, green, _ = left.getpixel((160, 160))  # type: ignore[misc]
    assert red > 200
    assert green < 60
    assert max(right.getpixel((160, 160))) < 40  # type: ignore[arg-type, type-var]


# Of a worker


def test_a_worker_makes_it_with_the_faces(live_app: App, parts: Parts) -> None:
    # The face is at the right end.
    wide = Image.new("RGB", (1536, 512), (0, 0, 200))
    wide.paste(astronaut(), (1024, 0))
    sent = live_app.upload(("wide.jpg", jpeg(wide))).json()
    live_app.wait_finished(sent["batch_id"])
    assert number(parts) == 1
    (photo,) = live_app.get("/api/v1/photos").json()["photos"]
    assert photo["thumbnail"] == f"/api/v1/photos/{photo['id']}/thumbnail?v=2"
    assert live_app.get(f"/api/v1/photos/{photo['id']}").json()["thumbnail"] == photo["thumbnail"]
    answer = live_app.get(photo["thumbnail"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    shown = picture(answer.content).convert("RGB")
    assert shown.size == (320, 320)
    # The blue beside the face is cut off but for a strip.
    blue = sum(shown.getpixel((x, 200))[2] > 150 > shown.getpixel((x, 200))[0] for x in range(320))  # type: ignore[index]
    assert blue < 200
    # The same as is made later of the file, to the eye.
    with parts.database.reading() as session:
        boxes = [list(face.bbox) for face in session.scalars(select(Face))]
    later = picture(thumbnails.of_file(jpeg(wide), boxes, Budget(10**9))).convert("RGB")
    difference = np.abs(np.asarray(shown, int) - np.asarray(later, int)).mean()
    assert difference < 12


def test_browsers_keep_it_under_its_version_and_each_session_for_itself(live_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    address = f"/api/v1/photos/{photo_id}/thumbnail"
    first = live_app.get(f"{address}?v=2")
    assert first.headers["Cache-Control"] == YEAR
    assert {"Cookie", "Authorization"} <= {each.strip() for each in first.headers["Vary"].split(",")}
    assert live_app.get(address).headers["Cache-Control"] == "private, max-age=300"
    assert live_app.get(f"{address}?v=99").headers["Cache-Control"] == "private, max-age=300"
    again = live_app.request("GET", f"{address}?v=2", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    for bad in ("v=-1", "v=x", "v=99999999"):
        assert code(live_app.get(f"{address}?{bad}")) == (400, "parameter")


def test_a_face_is_kept_as_long_and_not_made_again(live_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    (face_id,) = stock.faces_of(parts, photo_id)
    address = f"/api/v1/faces/{face_id}/crop?size=160&v=2"
    first = live_app.get(address)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, YEAR)
    # Without its original there is nothing to make it of, and whoever has the picture may keep it.
    parts.originals.path(stock.sha256(parts, photo_id)).unlink()
    again = live_app.request("GET", address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, YEAR)
    assert code(live_app.get(address)) == (404, "original_missing")
    other = live_app.request(
        "GET", address.replace("160", "200"), headers={"If-None-Match": first.headers["ETag"]}
    )
    assert code(other) == (404, "original_missing")


# Of photos that have none


def test_one_of_an_earlier_release_is_made_when_somebody_asks_and_kept(live_app: App, parts: Parts) -> None:
    sent = live_app.upload(("a.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(sent["batch_id"])
    photo_id = sent["photos"][0]["id"]
    forget(parts)
    start = threading.Barrier(8)

    def ask(_: int) -> bytes:
        start.wait(30)
        answer = live_app.get(f"/api/v1/photos/{photo_id}/thumbnail")
        assert answer.status_code == 200, answer.text
        return answer.content

    with ThreadPoolExecutor(8) as browsers:
        assert len(set(browsers.map(ask, range(8)))) == 1
    assert number(parts) == 1
    # It is not made again: the original is not asked for any more.
    parts.originals.path(sent["photos"][0]["sha256"]).unlink()
    assert ask_one(live_app, photo_id) == 200


def ask_one(app: App, photo_id: Any) -> int:
    return app.get(f"/api/v1/photos/{photo_id}/thumbnail").status_code


def test_one_of_another_recipe_is_made_anew(live_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    with parts.database.transaction() as session:
        kept.keep(session, photo_id, b"old")
        session.execute(update(Thumbnail).values(recipe=0))
    assert picture(live_app.get(f"/api/v1/photos/{photo_id}/thumbnail").content).width == 320
    with parts.database.reading() as session:
        assert session.scalars(select(Thumbnail.recipe)).all() == [THUMBNAIL_RECIPE]


@pytest.mark.parametrize("state", ["received", "processing", "failed"])
def test_a_photo_that_is_not_done_has_none(live_app: App, parts: Parts, state: str) -> None:
    photo_id = stock.photo(parts, data=astronaut_jpeg(), state=state)
    answer = live_app.get(f"/api/v1/photos/{photo_id}/thumbnail")
    assert code(answer) == (404, "thumbnail_not_there")
    assert answer.json()["error"]["details"] == {"state": state}
    assert live_app.get(f"/api/v1/photos/{photo_id}").json()["thumbnail"] is None
    assert number(parts) == 0


def test_what_cannot_be_shown_is_told(live_app: App, parts: Parts) -> None:
    assert code(live_app.get("/api/v1/photos/none/thumbnail")) == (404, "photo_not_found")
    assert code(live_app.get(f"/api/v1/photos/{uuid.uuid4()}/thumbnail")) == (404, "photo_not_found")
    broken, lost = stock.photo(parts, None), stock.photo(parts, None)
    parts.originals.path(stock.sha256(parts, lost)).unlink()
    assert live_app.get(f"/api/v1/photos/{broken}/thumbnail").status_code == 422
    assert code(live_app.get(f"/api/v1/photos/{lost}/thumbnail")) == (404, "original_missing")
    elsewhere = stock.key(parts, "read", collections=["other"])
    seen = stock.photo(parts, None, data=astronaut_jpeg())
    hidden = live_app.request("GET", f"/api/v1/photos/{seen}/thumbnail", headers=elsewhere)
    assert code(hidden) == (404, "photo_not_found")
    blind = live_app.request("GET", f"/api/v1/photos/{seen}/thumbnail", headers=stock.key(parts, "write"))
    assert code(blind) == (403, "scope_missing")


def test_who_looks_at_one_is_told_in_the_audit(live_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    assert ask_one(live_app, photo_id) == 200
    assert stock.audit(parts, "photo.thumbnail")[-1]["subject"] == str(photo_id)


# What is left


@pytest.mark.parametrize("what", ["photo", "person", "collection"])
def test_an_erasure_leaves_none(live_app: App, parts: Parts, what: str) -> None:
    anna = stock.person(parts, "Anna")
    photo_id = stock.photo(parts, anna, data=astronaut_jpeg())
    other = stock.photo(parts, None, data=astronaut_jpeg(1), collection="other")
    assert [ask_one(live_app, each) for each in (photo_id, other)] == [200, 200]
    path = {"photo": f"photos/{photo_id}", "person": f"persons/{anna}", "collection": "collections/default"}
    assert live_app.request("DELETE", f"/api/v1/{path[what]}").status_code == 200
    with parts.database.reading() as session:
        assert session.scalars(select(Thumbnail.photo_id)).all() == [other]
    assert ask_one(live_app, photo_id) == 404


def test_one_that_is_made_while_its_photo_goes_is_not_kept(live_app: App, parts: Parts) -> None:
    photos = [stock.photo(parts, None, data=astronaut_jpeg(each)) for each in range(8)]

    def look(photo_id: uuid.UUID) -> int:
        return ask_one(live_app, photo_id)

    def erase(photo_id: uuid.UUID) -> int:
        return live_app.request("DELETE", f"/api/v1/photos/{photo_id}").status_code

    with ThreadPoolExecutor(16) as both:
        looks = [both.submit(look, each) for each in photos]
        gone = [both.submit(erase, each) for each in photos]
        assert {each.result() for each in gone} == {200}
        assert {each.result() for each in looks} <= {200, 404}
    assert number(parts) == 0
    with parts.database.transaction() as session:
        kept.keep(session, photos[0], b"late")
    assert number(parts) == 0


def test_a_worker_that_lost_its_photo_leaves_none(clean: Any, parts: Parts) -> None:
    photo_id = stock.photo(parts, state="received")
    with parts.database.single_statements() as connection:
        held = ledger.claim(connection, photo_id, worker="w@tests", lease_seconds=60)
        assert held is not None
        ledger.give_back(connection, held)
        with pytest.raises(ledger.LeaseLost):
            ledger.finish(connection, held, [], b"picture")
        assert number(parts) == 0
        again = ledger.claim(connection, photo_id, worker="w@tests", lease_seconds=60)
        assert again is not None
        ledger.finish(connection, again, [], b"picture")
    with parts.database.reading() as session:
        assert kept.find(session, photo_id) == b"picture"
        assert session.get_one(Photo, photo_id).state == "done"
