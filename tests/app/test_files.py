"""Odd files through the whole pipeline: what is found, what is refused, what faces and pictures are of."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from celery import Celery
from face_pipeline.broker import names
from face_pipeline.broker.messages import Kind, Wanted
from face_pipeline.engine import pictures
from face_pipeline.parts import Parts
from face_pipeline.store.models import Face
from face_pipeline.worker import tasks
from face_pipeline.worker.runtime import Leases, runtime
from PIL import Image

from tests import oddities
from tests.app import stock
from tests.installation import App, start_web, wait_until
from tests.oddities import saved, turned
from tests.photos import astronaut, astronaut_jpeg, case, jpeg

pytestmark = pytest.mark.one_worker

# File -> the plain one it was made of.
FOUND = {
    "jpeg_xmp_only_o6.jpg": "plain_400.jpg",
    "webp_exif_o6.webp": "plain_400.jpg",
    "jpeg_arithmetic.jpg": "plain_400.jpg",
    "jpeg_no_eoi.jpg": "plain_400.jpg",
    "png_ztxt_3mb.png": "plain_240.png",
    "png_crc_text.png": "plain_240.png",
}
REFUSED = {
    "scanbomb_700.jpg": "too_much_work",
    "ratio_1x641.png": "side_ratio",
    "jpeg_12bit.jpg": "unsupported_jpeg",
}
FORMS: dict[str, dict[str, int]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "AVIF": {"quality": 90},
    "HEIF": {"quality": 90},
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_file_as_users_send_it_is_refused_without_a_worker(web_app: App, name: str) -> None:
    answer = web_app.search(case(name))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, REFUSED[name])


def test_half_a_file_as_users_send_it_is_refused(live_app: App) -> None:
    answer = live_app.search(case("jpeg_half_with_eoi.jpg"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "truncated")


def test_files_as_users_send_them_are_found(live_app: App) -> None:
    """Each shows the person of the plain file, at the same place."""
    for plain in sorted(set(FOUND.values())):
        live_app.wait_finished(live_app.upload((plain, case(plain)), person="somebody").json()["batch_id"])
    for name, plain in FOUND.items():
        (expected,) = live_app.search(case(plain)).json()["faces"]
        found = live_app.search(case(name))
        assert found.status_code == 200, f"{name}: {found.text}"
        (face,) = found.json()["faces"]
        assert np.allclose(face["bbox"], expected["bbox"], atol=8), name
        assert face["matches"][0]["person_name"] == "somebody", name
        assert face["matches"][0]["similarity"] >= 0.9, name


def test_what_only_xmp_turns_is_shown_and_searched_as_browsers_do(live_app: App) -> None:
    data = case("png_xmp_o6.png")
    assert live_app.search(data).status_code == 200
    picture = live_app.request("POST", "/api/v1/renditions", files={"photo": ("a.png", data)})
    with Image.open(io.BytesIO(picture.content)) as shown:
        assert shown.size == (292, 240)


def uploaded(app: App, data: bytes, name: str = "photo.jpg") -> dict[str, Any]:
    """The photo as the API tells of it once it is finished."""
    body = app.upload((name, data)).json()
    app.wait_finished(body["batch_id"])
    photo: dict[str, Any] = app.get(f"/api/v1/photos/{body['photos'][0]['id']}").json()
    return photo


def test_face_crop_and_picture_are_of_one_upright_picture(live_app: App) -> None:
    for form, options in FORMS.items():
        stored = astronaut().crop((0, 0, 512, 400)).rotate(90, expand=True)
        exif = {} if form == "HEIF" else {"exif": turned(6)}
        data = saved(stored, form, **exif, **options)
        assert_all_of_one_picture(live_app, oddities.heic_turned(data, 3) if form == "HEIF" else data)


def assert_all_of_one_picture(app: App, data: bytes) -> None:
    photo = uploaded(app, data)
    assert photo["state"] == "done", photo
    assert (photo["width"], photo["height"]) == (512, 400)
    (face,) = photo["faces"]
    shown = app.get(f"/api/v1/photos/{photo['id']}/image?rendition=upright")
    assert shown.headers["Content-Type"] == "image/jpeg"
    assert "private" in shown.headers["Cache-Control"]
    upright = np.asarray(Image.open(io.BytesIO(shown.content)), np.float32)
    expected = np.asarray(astronaut().crop((0, 0, 512, 400)), np.float32)
    assert upright.shape == expected.shape
    assert np.abs(upright - expected).mean() < 8
    crop = app.get(f"/api/v1/faces/{face['id']}/crop?size=160")
    assert crop.headers["Content-Type"] == "image/jpeg"
    x1, y1, x2, y2 = face["bbox"]
    margin = 0.25 * max(x2 - x1, y2 - y1)
    box = tuple(max(0, round(value)) for value in (x1 - margin, y1 - margin, x2 + margin, y2 + margin))
    around = Image.fromarray(upright.astype(np.uint8)).crop(box)
    cut = Image.open(io.BytesIO(crop.content))
    difference = np.asarray(cut, np.float32) - np.asarray(around.resize(cut.size), np.float32)
    assert np.abs(difference).mean() < 12


def test_an_arithmetic_jpeg_has_a_crop(live_app: App) -> None:
    photo = uploaded(live_app, case("jpeg_arithmetic.jpg"))
    assert live_app.get(f"/api/v1/faces/{photo['faces'][0]['id']}/crop").status_code == 200


def test_half_a_jpeg_fails_with_words_that_fit(live_app: App) -> None:
    whole = astronaut_jpeg()
    photo = uploaded(live_app, whole[: len(whole) // 2] + b"\xff\xd9")
    assert photo["state"] == "failed"
    assert photo["reason"]["code"] == "truncated"
    assert "cut off" in photo["reason"]["message"]


def test_bad_files_are_refused_at_the_upload_each_with_its_code(web_app: App) -> None:
    answer = web_app.upload(
        ("scans.jpg", oddities.with_many_scans(astronaut().resize((64, 64)), 700)),
        ("strip.png", saved(Image.new("RGB", (1, 641)), "PNG")),
        ("12bit.jpg", oddities.with_frame_header(jpeg(astronaut()), marker=0xC1, precision=12)),
        ("good.jpg", astronaut_jpeg()),
    )
    assert {each["filename"]: each["code"] for each in answer.json()["rejected"]} == {
        "scans.jpg": "too_much_work",
        "strip.png": "side_ratio",
        "12bit.jpg": "unsupported_jpeg",
    }


def test_a_wrong_rendition_is_named(live_app: App) -> None:
    photo = uploaded(live_app, astronaut_jpeg())
    for query in ("rendition=sideways", "rendition=upright&size=9", "rendition=upright&size=x"):
        answer = live_app.get(f"/api/v1/photos/{photo['id']}/image?{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter")
    plain = live_app.get(f"/api/v1/photos/{photo['id']}/image")
    assert plain.content == astronaut_jpeg()
    assert live_app.request("POST", "/api/v1/renditions").json()["error"]["code"] == "photo_missing"
    broken = live_app.request("POST", "/api/v1/renditions", files={"photo": ("a", b"text")})
    assert (broken.status_code, broken.json()["error"]["code"]) == (415, "unsupported_type")


@pytest.fixture
def patient_app(web_app: App) -> Iterator[App]:
    """A web service that waits for a worker for as long as a busy machine may make it take."""
    url, web = start_web(web_app.installation, "web-patient.log", FACE_SEARCH_TIMEOUT_SECONDS="120")
    yield App(web_app.installation, url, web, web_app.workers)
    web_app.installation.end(web)


def test_four_large_photos_searched_and_shown_at_once_all_answer(patient_app: App) -> None:
    """Each needs so much memory to decode that the worker has to take one after the other."""
    patient_app.start_worker(concurrency=4, FACE_DECODE_MEMORY_MB="200")
    photo = oddities.deep_png(astronaut().resize((4096, 4096), Image.Resampling.NEAREST), "RGBA")
    assert len(photo) < 4 * 1024**2

    def search(number: int) -> int:
        return patient_app.search(oddities.with_chunk(photo, b"tEXt", b"Copy\0%d" % number)).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(search, range(4))) == [200] * 4
    (face,) = uploaded(patient_app, photo, "large.png")["faces"]

    def crop(size: int) -> int:
        return patient_app.get(f"/api/v1/faces/{face['id']}/crop?size={size}").status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(crop, (64, 96, 128, 160))) == [200] * 4


def test_a_crop_that_waits_too_long_for_memory_says_when_to_come_again(
    web_app: App, monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """The worker's task, run in here, while others take all its memory."""
    monkeypatch.setattr(pictures, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(runtime, "parts", parts, raising=False)
    monkeypatch.setattr(runtime, "leases", Leases(parts.database, 15, 300), raising=False)
    app = Celery(set_as_current=False)
    tasks.register(app)
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    (face_id,) = stock.faces_of(parts, photo_id)
    with parts.database.reading() as session:
        box = session.get_one(Face, face_id).bbox
    wanted = Wanted(Kind.CROP, stock.sha256(parts, photo_id), 160, [box])

    def asked_for() -> bool:
        return bool(parts.scratch.exists(names.SEARCH.format(search=wanted.id, part="photo")))

    with ThreadPoolExecutor(1) as browser:
        answer = browser.submit(web_app.get, f"/api/v1/faces/{face_id}/crop")
        wait_until(asked_for, 20, "the crop to be asked for")
        with parts.memory.hold(parts.memory.limit, patience=0):
            app.tasks[names.TASK_PICTURE].apply(args=[wanted.id, wanted.kind, wanted.size, wanted.boxes])
        busy = answer.result()
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "decoding_busy")
    assert int(busy.headers["Retry-After"]) > 0


def test_one_odd_file_writes_no_more_than_a_line(live_app: App) -> None:
    before = live_app.installation.log("worker1.log").count("\n")
    exif = oddities.EXIF_PREFIX + oddities.exif_of_bad_tags(5000)
    photo = uploaded(live_app, oddities.with_segment(astronaut_jpeg(), exif))
    assert len(photo["faces"]) == 1
    live_app.get(f"/api/v1/faces/{photo['faces'][0]['id']}/crop")
    written = live_app.installation.log("worker1.log").splitlines()[before:]
    assert len([line for line in written if "Tag data" in line or "warn" in line]) == 0
    assert "Tag data" not in live_app.installation.log("web.log")
