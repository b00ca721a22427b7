"""Pictures of photos and faces: workers alone decode pixels, and what is seen where no worker answers."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from face_pipeline.parts import Parts
from face_pipeline.store.models import Thumbnail
from face_pipeline.web.ui.pages import PAGES
from PIL import Image
from sqlalchemy import delete

from tests.app import stock
from tests.installation import App, wait_until
from tests.oddities import saved
from tests.photos import astronaut, astronaut_again, astronaut_jpeg

# Files of libraries that decode pictures, as wheels and distributions name them.
CODECS = re.compile(
    r"/(cv2|PIL|pillow[^/]*|pillow_heif[^/]*|opencv[^/]*)/"
    r"|lib(jpeg|turbojpeg|png|webp|heif|avif|dav1d|aom|de265|tiff|openjp2|jxl|avcodec)[^/]*\.so"
)
FORMS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")


def processes_of(web: Any) -> list[int]:
    """gunicorn and those it forked."""
    children = Path(f"/proc/{web.pid}/task/{web.pid}/children").read_text().split()
    return [web.pid, *map(int, children)]


def loaded(pid: int) -> set[str]:
    """The files of codecs that a process has in memory."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {line.split()[-1] for line in maps.splitlines() if CODECS.search(line)}


def call_everything(app: App, parts: Parts) -> None:
    """All that takes or shows a photo, with each kind of file."""
    photos = [(f"{form}.img", saved(astronaut(), form)) for form in FORMS]
    sent = app.upload(*photos, ("cut.jpg", astronaut_jpeg()[:9000]), person="Eileen Collins").json()
    assert [each["code"] for each in sent["rejected"]] == ["truncated"]
    app.wait_finished(sent["batch_id"])
    shown = [app.get(f"/api/v1/photos/{each['id']}").json() for each in sent["photos"]]
    done = [each for each in shown if each["state"] == "done"]
    assert len(done) == len(FORMS)
    person = done[0]["faces"][0]["person"]["id"]
    with parts.database.transaction() as session:
        # As an earlier release leaves them.
        session.execute(delete(Thumbnail))
    for each in done:
        for path in (
            f"photos/{each['id']}/thumbnail", f"photos/{each['id']}/image",
            f"photos/{each['id']}/image?rendition=upright&size=200",
            f"faces/{each['faces'][0]['id']}/crop?size=64", f"faces/{each['faces'][0]['id']}/crop?size=320",
        ):  # fmt: skip
            answer = app.get(f"/api/v1/{path}")
            assert answer.status_code == 200, (path, answer.text)
    for name, data in photos:
        made = app.request("POST", "/api/v1/renditions", files={"photo": (name, data)}, data={"size": "100"})
        assert max(Image.open(io.BytesIO(made.content)).size) == 100
        found = app.request("POST", "/api/v1/detect", files={"photo": (name, data)})
        assert found.json()["faces"]
    for call, form in (("search", {}), ("verify", {"person_id": person})):
        assert app.request("POST", f"/api/v1/{call}", files={"photo": astronaut_again()}, data=form).ok
    assert app.request(
        "POST", f"/api/v1/persons/{person}/photos", files=[("photos", ("a.jpg", astronaut_jpeg(3)))]
    ).ok
    for page in PAGES:
        assert app.get(page.path).status_code == 200, page
    key = app.request(
        "POST", "/api/v1/keys",
        json={
            "name": "fork", "scopes": ["read"], "collections": ["default"],
            "service": "recognition",
        },
    )  # fmt: skip
    assert key.status_code == 201, key.text
    recognised = requests.post(
        f"{app.url}/api/v1/recognition/recognize", headers={"x-api-key": key.json()["api_key"]},
        json={"file": base64.b64encode(astronaut_again()).decode()}, timeout=60,
    )  # fmt: skip
    assert recognised.status_code == 200, recognised.text


def test_no_web_process_loads_a_library_that_decodes_pictures(live_app: App, parts: Parts) -> None:
    call_everything(live_app, parts)
    # That they would be seen.
    (worker,) = live_app.workers.values()
    assert loaded(worker.pid)
    web = processes_of(live_app.web)
    assert len(web) > 1
    assert {pid: loaded(pid) for pid in web} == {pid: set() for pid in web}


# Where no worker answers


def test_without_a_worker_a_picture_is_not_ready_and_says_when_to_come_again(
    hasty_app: App, parts: Parts
) -> None:
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    (face_id,) = stock.faces_of(parts, photo_id)
    began = time.monotonic()
    answers = [
        hasty_app.get(f"/api/v1/photos/{photo_id}/thumbnail"),
        hasty_app.get(f"/api/v1/photos/{photo_id}/image?rendition=upright"),
        hasty_app.get(f"/api/v1/faces/{face_id}/crop"),
        hasty_app.request("POST", "/api/v1/renditions", files={"photo": ("a.jpg", astronaut_jpeg())}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "picture_not_ready")
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Cache-Control"] == "no-store"
    # Not one of them hung; the bound is loose.
    assert time.monotonic() - began < 60
    # What is there needs no worker.
    assert hasty_app.get(f"/api/v1/photos/{photo_id}/image").content == astronaut_jpeg()
    assert list(parts.scratch.scan_iter("face:search:picture:*:photo")) == [], "nothing of it stays"


def test_who_comes_while_no_worker_runs_has_the_picture_once_one_does(hasty_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    address = f"/api/v1/photos/{photo_id}/thumbnail"
    assert hasty_app.get(address).status_code == 503
    worker = hasty_app.start_worker()
    try:
        assert hasty_app.get(address).status_code == 200
    finally:
        hasty_app.installation.end(worker)
    assert hasty_app.get(address).status_code == 200, "it is kept"


def test_a_crop_that_many_ask_for_at_once_is_made_once(live_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None, data=astronaut_jpeg())
    (face_id,) = stock.faces_of(parts, photo_id)
    log = live_app.installation.log
    before = log("worker1.log").count("picture answered")
    os.kill(live_app.workers[1].pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(6) as browsers:
            asked = [browsers.submit(live_app.get, f"/api/v1/faces/{face_id}/crop") for _ in range(6)]
            time.sleep(1)
            os.kill(live_app.workers[1].pid, signal.SIGCONT)
            assert len({each.result().content for each in asked}) == 1
            assert {each.result().status_code for each in asked} == {200}
    finally:
        os.kill(live_app.workers[1].pid, signal.SIGCONT)
    # It writes the line once it has answered.
    wait_until(lambda: log("worker1.log").count("picture answered") > before, 10, "the worker to tell of it")
    assert log("worker1.log").count("picture answered") == before + 1
