"""What a client notices when it uploads photos."""

from __future__ import annotations

import io
import struct
import uuid
import zlib

import pytest
import requests
from face_pipeline.parts import Parts
from PIL import Image

from tests.installation import App
from tests.photos import astronaut, astronaut_jpeg, no_face

pytestmark = pytest.mark.one_worker


def test_a_photo_is_accepted_and_its_face_found(live_app: App) -> None:
    answer = live_app.upload(("eileen.jpg", astronaut_jpeg()))
    assert answer.status_code == 202
    body = answer.json()
    assert body["rejected"] == []
    assert body["photos"][0]["duplicate"] is False
    live_app.wait_finished(body["batch_id"])
    photo = live_app.get(f"/api/v1/photos/{body['photos'][0]['id']}").json()
    assert (photo["state"], photo["reason"], photo["attempts"]) == ("done", None, 1)
    assert (photo["width"], photo["height"], photo["filename"]) == (512, 512, "eileen.jpg")
    (face,) = photo["faces"]
    x1, y1, x2, y2 = face["bbox"]
    assert x1 < 225 < x2, "the face is in the middle of the portrait"
    assert y1 < 120 < y2
    assert 0 < face["quality"] <= 1


def test_bad_files_are_named_with_a_code_and_the_others_go_on(live_app: App) -> None:
    good = astronaut_jpeg()
    answer = live_app.upload(
        ("empty.jpg", b""),
        ("notes.txt", b"this is no picture at all"),
        ("cut.jpg", good[: len(good) // 2]),
        ("big.jpg", good + b"\0" * (5 * 1024**2)),
        ("bomb.png", _png_header(40_000, 40_000)),
        ("good.jpg", good),
    )
    assert answer.status_code == 202
    body = answer.json()
    assert {each["filename"]: each["code"] for each in body["rejected"]} == {
        "empty.jpg": "empty_file",
        "notes.txt": "unsupported_type",
        "cut.jpg": "truncated",
        "big.jpg": "too_large",
        "bomb.png": "too_many_pixels",
    }
    assert all(each["message"] for each in body["rejected"])
    assert [each["filename"] for each in body["photos"]] == ["good.jpg"]
    assert live_app.wait_finished(body["batch_id"])["states"]["done"] == 1


def test_a_jpeg_without_its_end_mark_alone_is_taken(live_app: App) -> None:
    body = live_app.upload(("whole.jpg", astronaut_jpeg()[:-2])).json()
    assert live_app.wait_finished(body["batch_id"])["states"]["done"] == 1


def test_a_jpeg_that_is_cut_off_fails_later_where_no_worker_can_tell_now(web_app: App) -> None:
    answer = web_app.upload(("cut.jpg", astronaut_jpeg()[:9000]))
    assert answer.status_code == 202
    web_app.start_worker()
    web_app.wait_finished(answer.json()["batch_id"])
    photo = web_app.get(f"/api/v1/photos/{answer.json()['photos'][0]['id']}").json()
    assert (photo["state"], photo["reason"]["code"]) == ("failed", "truncated")


def test_a_request_with_no_usable_file_is_refused(web_app: App) -> None:
    answer = web_app.upload(("notes.txt", b"text"))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "photos_rejected"
    assert error["details"]["rejected"][0]["code"] == "unsupported_type"


def test_damage_that_only_decoding_finds_fails_the_photo_with_its_reason(live_app: App) -> None:
    data = bytearray(_png(astronaut()))
    start = data.index(b"IDAT") + 4
    data[start + 2 : start + 2000] = b"\xff" * 1998
    # A right checksum over wrong data passes every check that does not decode.
    length = struct.unpack(">I", data[start - 8 : start - 4])[0]
    data[start + length : start + length + 4] = struct.pack(
        ">I", zlib.crc32(data[start - 4 : start + length])
    )
    body = live_app.upload(("damaged.png", bytes(data))).json()
    live_app.wait_finished(body["batch_id"])
    photo = live_app.get(f"/api/v1/photos/{body['photos'][0]['id']}").json()
    assert photo["state"] == "failed"
    assert photo["reason"]["code"] == "broken_image"
    assert photo["reason"]["message"]


def test_formats_and_colour_modes_are_taken(live_app: App) -> None:
    person = astronaut()
    alpha = person.convert("RGBA")
    buffers = {}
    for name, image, form in (
        ("a.png", alpha, "PNG"), ("b.webp", person, "WEBP"), ("c.jpg", person.convert("L"), "JPEG"),
        ("d.jpg", person.convert("CMYK"), "JPEG"),
        ("e.png", person.convert("L").point(lambda value: value * 256, "I").convert("I;16"), "PNG"),
    ):  # fmt: skip
        buffer = io.BytesIO()
        image.save(buffer, form)
        buffers[name] = buffer.getvalue()
    body = live_app.upload(*buffers.items()).json()
    assert body["rejected"] == []
    live_app.wait_finished(body["batch_id"])
    counts = {
        photo["filename"]: len(live_app.get(f"/api/v1/photos/{photo['id']}").json()["faces"])
        for photo in body["photos"]
    }
    assert counts == dict.fromkeys(buffers, 1)


def test_a_photo_uploaded_twice_is_processed_once(live_app: App) -> None:
    first = live_app.upload(("one.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(first["batch_id"])
    second = live_app.upload(("two.jpg", astronaut_jpeg())).json()
    assert second["photos"][0]["duplicate"] is True
    assert second["photos"][0]["id"] == first["photos"][0]["id"]
    assert second["photos"][0]["state"] == "done"
    assert live_app.wait_finished(second["batch_id"])["total"] == 1
    assert live_app.get(f"/api/v1/photos/{first['photos'][0]['id']}").json()["attempts"] == 1


def test_the_same_photo_twice_in_one_request_is_one_photo(live_app: App) -> None:
    body = live_app.upload(("one.jpg", astronaut_jpeg()), ("two.jpg", astronaut_jpeg())).json()
    assert len({photo["id"] for photo in body["photos"]}) == 1
    assert live_app.wait_finished(body["batch_id"])["total"] == 1


def test_a_person_is_given_to_the_only_face(live_app: App) -> None:
    body = live_app.upload(("a.jpg", astronaut_jpeg()), ("b.jpg", no_face()), person="Eileen Collins").json()
    live_app.wait_finished(body["batch_id"])
    named, faceless = (live_app.get(f"/api/v1/photos/{photo['id']}").json() for photo in body["photos"])
    assert named["faces"][0]["person"]["name"] == "Eileen Collins"
    assert faceless["reason"]["code"] == "person_not_assigned"


def test_photos_are_listed_newest_first_in_pages(live_app: App) -> None:
    body = live_app.upload(*((f"{n}.jpg", astronaut_jpeg(n)) for n in range(5))).json()
    live_app.wait_finished(body["batch_id"])
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = live_app.get("/api/v1/photos", params={"limit": "2", "state": "done", **cursor}).json()
        seen += [photo["id"] for photo in page["photos"]]
        assert all(photo["face_count"] == 1 for photo in page["photos"])
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(seen) == sorted(photo["id"] for photo in body["photos"])
    batch = live_app.get("/api/v1/photos", params={"batch": body["batch_id"]}).json()
    assert len(batch["photos"]) == 5
    for wrong in ({"limit": "many"}, {"state": "lost"}, {"cursor": "???"}):
        assert live_app.get("/api/v1/photos", params=wrong).status_code == 400


def test_the_original_and_a_crop_of_the_face_come_back(live_app: App) -> None:
    original = astronaut_jpeg()
    body = live_app.upload(("a.jpg", original)).json()
    live_app.wait_finished(body["batch_id"])
    photo_id = body["photos"][0]["id"]
    assert live_app.get(f"/api/v1/photos/{photo_id}/image").content == original
    face = live_app.get(f"/api/v1/photos/{photo_id}").json()["faces"][0]
    crop = live_app.get(f"/api/v1/faces/{face['id']}/crop", params={"size": 96})
    assert crop.headers["Content-Type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(crop.content)).size) == 96


def test_a_lost_original_is_told_and_comes_back_with_the_same_file(live_app: App, parts: Parts) -> None:
    original = astronaut_jpeg()
    body = live_app.upload(("a.jpg", original)).json()
    live_app.wait_finished(body["batch_id"])
    photo = live_app.get(f"/api/v1/photos/{body['photos'][0]['id']}").json()
    calls = (
        f"/api/v1/photos/{photo['id']}/image",
        f"/api/v1/photos/{photo['id']}/image?rendition=upright",
        f"/api/v1/faces/{photo['faces'][0]['id']}/crop",
    )
    parts.originals.path(photo["sha256"]).unlink()
    for path in calls:
        answer = live_app.get(path)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (404, "original_missing"), path
        assert "upload the same file again" in error["message"]
    assert live_app.get(f"/api/v1/photos/{photo['id']}").json() == photo, "all but the file is there"
    assert live_app.upload(("a.jpg", original)).json()["photos"][0]["duplicate"]
    for path in calls:
        assert live_app.get(path).status_code == 200, path


def test_without_a_valid_key_nothing_is_taken_or_shown(web_app: App) -> None:
    url = f"{web_app.url}/api/v1/photos"
    photo = {"photos": ("a.jpg", astronaut_jpeg())}
    for headers, code in (
        ({}, "api_key_missing"),
        ({"Authorization": "Bearer fp_wrong"}, "api_key_invalid"),
        ({"X-API-Key": "fp_wrong"}, "api_key_invalid"),
    ):
        answer = requests.post(url, files=photo, headers=headers, timeout=10)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == code
    assert web_app.get("/api/v1/photos").json()["photos"] == []


def test_a_key_of_any_text_is_refused_and_is_no_fault_of_the_server(web_app: App) -> None:
    for text in (r'"\ud800"', r'"fp_\u0000"', '"\N{ELEPHANT}"', '"' + "x" * 10_000 + '"'):
        answer = requests.post(
            f"{web_app.url}/session", data=f'{{"api_key": {text}}}'.encode(), timeout=10,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "api_key_invalid"), text


def test_a_key_can_do_what_its_scopes_say_until_it_is_revoked(web_app: App) -> None:
    name = f"reader {uuid.uuid4()}"
    key = web_app.installation.run("keys", "create", "--name", name, "--scopes", "read").stdout.strip()
    headers = {"Authorization": f"Bearer {key}"}
    assert web_app.get("/api/v1/photos", headers=headers).status_code == 200
    refused = web_app.request(
        "POST", "/api/v1/photos", files={"photos": ("a.jpg", astronaut_jpeg())}, headers=headers
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "scope_missing")
    web_app.installation.run("keys", "revoke", "--name", name)
    assert web_app.get("/api/v1/photos", headers=headers).status_code == 401


def test_the_request_id_is_taken_echoed_and_in_errors(web_app: App) -> None:
    given = web_app.get("/api/v1/photos/none", headers={"X-Request-ID": "my-request-1"})
    assert given.headers["X-Request-ID"] == given.json()["request_id"] == "my-request-1"
    made = web_app.get("/api/v1/photos/none", headers={"X-Request-ID": "no spaces allowed"})
    assert made.headers["X-Request-ID"] == made.json()["request_id"] != "no spaces allowed"


def test_unknown_things_and_wrong_parameters_answer_in_the_envelope(web_app: App) -> None:
    unknown = str(uuid.uuid4())
    for path, code in (
        (f"/api/v1/photos/{unknown}", "photo_not_found"),
        (f"/api/v1/photos/{unknown}/image", "photo_not_found"),
        (f"/api/v1/batches/{unknown}", "batch_not_found"),
        (f"/api/v1/faces/{unknown}/crop", "face_not_found"),
        ("/api/v1/nothing", "not_found"),
    ):
        answer = web_app.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == code
    assert web_app.upload().status_code == 400
    assert web_app.upload(("a.jpg", astronaut_jpeg()), collection="No Such!").status_code == 400
    assert (
        web_app.upload(*((f"{n}.jpg", b"x") for n in range(61))).json()["error"]["code"] == "too_many_photos"
    )
    assert web_app.request("PUT", "/api/v1/photos").status_code == 405


def test_a_collection_of_another_engine_is_a_conflict(web_app: App, parts: Parts) -> None:
    from face_pipeline.store.models import Collection
    from sqlalchemy import insert

    with parts.database.transaction() as session:
        session.execute(
            insert(Collection).values(name="old", contract_id="insightface-0000", dimension=512, version=0)
        )
    answer = web_app.upload(("a.jpg", astronaut_jpeg()), collection="old")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "contract_mismatch")
    assert web_app.search(astronaut_jpeg(), collection="old").status_code == 409


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _png_header(width: int, height: int) -> bytes:
    """A small PNG whose header claims many pixels."""
    small = bytearray(_png(Image.new("1", (8, 8))))
    small[16:24] = struct.pack(">II", width, height)
    small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    return bytes(small)
