"""An original whose bytes changed on its disk: nothing is computed with it, and the same photo mends it."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from face_pipeline.parts import Parts
from face_pipeline.store.originals import OriginalDamaged, RemoteOriginals

from tests.installation import App, wait_until
from tests.photos import astronaut_jpeg

PHOTO = b"a photo"
NAME = hashlib.sha256(PHOTO).hexdigest()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_worker_does_not_compute_with_it_and_the_same_photo_mends_it(web_app: App, parts: Parts) -> None:
    original = astronaut_jpeg()
    sent = web_app.upload(("a.jpg", original)).json()
    photo = f"/api/v1/photos/{sent['photos'][0]['id']}"
    damage(parts.originals.path(sent["photos"][0]["sha256"]))
    web_app.start_worker()
    web_app.installation.run("reconcile")
    wait_until(lambda: web_app.get(photo).json()["state"] == "failed", 60, "the photo to fail")
    told = web_app.get(photo).json()
    assert (told["reason"]["code"], told["faces"]) == ("original_damaged", [])
    assert "upload the photo again" in told["reason"]["message"]
    (group,) = web_app.get("/api/v1/failures").json()["failures"]
    assert (group["reason"], group["retry_helps"]) == ("original_damaged", False)

    again = web_app.upload(("a.jpg", original)).json()
    web_app.wait_finished(again["batch_id"])
    assert web_app.get(photo).json()["state"] == "done"
    assert len(web_app.get(photo).json()["faces"]) == 1


def test_no_picture_is_made_of_it(live_app: App, parts: Parts) -> None:
    sent = live_app.upload(("a.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(sent["batch_id"])
    photo = live_app.get(f"/api/v1/photos/{sent['photos'][0]['id']}").json()
    damage(parts.originals.path(photo["sha256"]))
    for path in (
        f"/api/v1/photos/{photo['id']}/image?rendition=upright",
        f"/api/v1/faces/{photo['faces'][0]['id']}/crop",
    ):
        answer = live_app.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "original_damaged"), path


@contextmanager
def sends(*answers: bytes) -> Iterator[tuple[str, list[str]]]:
    """A host of originals that sends these, one after the other; its address and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers[len(asked)]
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_what_was_damaged_on_its_way_is_asked_for_again() -> None:
    with sends(b"a phota", PHOTO) as (url, asked):
        assert RemoteOriginals(url, "token").read(NAME) == PHOTO
    assert len(asked) == 2


def test_what_comes_damaged_twice_is_damaged_on_its_disk() -> None:
    with sends(b"a phota", b"a phota") as (url, _), pytest.raises(OriginalDamaged, match="other bytes"):
        RemoteOriginals(url, "token").read(NAME)
