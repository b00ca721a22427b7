"""Every kind of file on an installed host, under its units' limits: upload, search, picture and crop.

After the alerts (test_monitoring.py), which wait for the first photo that fails.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
from PIL import Image

from tests.hosts.test_host import Host, _collection, pytestmark, wait
from tests.oddities import saved, turned
from tests.photos import astronaut, case

__all__ = ["pytestmark"]

FORMS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")
# File as users sent it -> whether it is taken; else the code of the refusal, at the upload or by a worker.
CASES: dict[str, str | None] = {
    "apng_default_other.png": None,
    "jpeg_12bit.jpg": "unsupported_jpeg",
    "jpeg_arithmetic.jpg": None,
    "jpeg_exif_5400_bad_tags.jpg": None,
    "jpeg_half_with_eoi.jpg": "truncated",
    "jpeg_no_eoi.jpg": None,
    "jpeg_xmp_only_o6.jpg": None,
    "plain_240.jpg": None,
    "plain_240.png": None,
    "plain_400.jpg": None,
    "png_crc_text.png": None,
    "png_xmp_o6.png": None,
    "png_ztxt_3mb.png": None,
    "ratio_1x641.png": "side_ratio",
    "scanbomb_700.jpg": "too_much_work",
    "webp_exif_o6.webp": None,
}


@pytest.fixture(scope="module", autouse=True)
def began(host: Host) -> str:
    return host.run("date +%s").strip()


def _photo(host: Host, name: str, data: bytes, collection: str) -> dict[str, Any]:
    """The photo once it is finished, or what was said at the upload."""

    def sent() -> list[requests.Response]:
        answer = host.call(
            "POST", "/api/v1/photos", files={"photos": (name, data)}, data={"collection": collection}
        )
        # A busy host may ask to send it again.
        return [] if answer.status_code == 503 else [answer]

    # In a list: a response that tells of an error is not true.
    (answer,) = wait(sent, 60, "an answer to the upload")
    if answer.status_code == 422:
        rejected: dict[str, Any] = answer.json()["error"]["details"]["rejected"][0]
        return {"reason": rejected}
    assert answer.status_code == 202, answer.text
    path = f"/api/v1/photos/{answer.json()['photos'][0]['id']}"
    wait(lambda: host.call("GET", path).json()["state"] in ("done", "failed"), 60, f"{name} to be finished")
    photo: dict[str, Any] = host.call("GET", path).json()
    return photo


def _picture(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize("form", FORMS)
def test_a_photo_of_each_kind_is_found_shown_and_cut_upright(host: Host, form: str) -> None:
    collection = _collection()
    on_its_side = astronaut().crop((0, 0, 512, 400)).rotate(90, expand=True)
    upright = form == "HEIF"
    data = saved(on_its_side.rotate(-90, expand=True) if upright else on_its_side, form, quality=92, **(
        {} if upright else {"exif": turned(6)}
    ))  # fmt: skip
    photo = _photo(host, f"a.{form.lower()}", data, collection)
    assert (photo["state"], photo["width"], photo["height"]) == ("done", 512, 400), photo
    (face,) = photo["faces"]
    shown = _picture(host.call("GET", f"/api/v1/photos/{photo['id']}/image?rendition=upright"))
    assert (shown.format, shown.size) == ("JPEG", (512, 400))
    assert _picture(host.call("GET", f"/api/v1/faces/{face['id']}/crop")).format == "JPEG"
    original = host.call("GET", f"/api/v1/photos/{photo['id']}/image")
    assert original.content == data
    assert original.headers["Content-Security-Policy"]
    assert original.headers["X-Request-ID"]
    searched = host.call(
        "POST", "/api/v1/search", files={"photo": ("q", data)}, data={"collection": collection}
    )
    assert searched.json()["faces"][0]["matches"][0]["similarity"] > 0.99


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_file_as_users_send_it(host: Host, name: str) -> None:
    collection, data, code = _collection(), case(name), CASES[name]
    photo = _photo(host, name, data, collection)
    answer = host.call(
        "POST", "/api/v1/search", files={"photo": (name, data)}, data={"collection": collection}
    )
    if code is not None:
        assert photo["reason"]["code"] == code
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
        return
    assert photo["state"] == "done", photo
    assert answer.status_code == 200, answer.text
    shown = _picture(host.call("GET", f"/api/v1/photos/{photo['id']}/image?rendition=upright"))
    assert shown.size == (photo["width"], photo["height"])
    assert host.call("GET", f"/api/v1/photos/{photo['id']}/image").content == data
    for face in photo["faces"]:
        assert _picture(host.call("GET", f"/api/v1/faces/{face['id']}/crop")).format == "JPEG"
        assert face["bbox"][0] < photo["width"]
        assert face["bbox"][1] < photo["height"]


def test_odd_files_make_no_line_that_is_not_json(host: Host, began: str) -> None:
    """What decoders print of the files above is a line of the log."""
    said = f"journalctl -u 'celery@*' -u face-web -o cat --since @{began} _TRANSPORT=stdout"
    lines = host.run(said).splitlines()
    assert lines
    assert [line for line in lines if line.strip() and not line.startswith("{")] == []
