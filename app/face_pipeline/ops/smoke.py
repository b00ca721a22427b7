"""The smoke test: one photo in, its person found with another, through the public address.

Safe on a live system: it uses a collection of its own, and uploading the same photo again adds nothing.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import requests
from PIL import Image, ImageOps

from face_pipeline.config import get_settings
from face_pipeline.errors import FacePipelineError

COLLECTION = "_smoke"
PERSON = "Eileen Collins"
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.3


class SmokeFailed(FacePipelineError):
    code = "smoke_failed"


def sample_photos() -> tuple[bytes, bytes]:
    """A portrait in the public domain (NASA, from scikit-image), and a mirrored, darker crop of it."""
    import skimage.data

    portrait = Image.open(Path(skimage.data.__file__).parent / "astronaut.png").convert("RGB")
    other = ImageOps.mirror(portrait.crop((60, 0, 420, 360))).point(lambda value: int(value * 0.8))
    return _jpeg(portrait), _jpeg(other)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def smoke(url: str | None, key: str, ca: Path | None) -> str:
    """Run the test; returns one line that says what was found. Raises SmokeFailed."""
    base = (url or get_settings().public_url).rstrip("/") + "/api/v1"
    first, second = sample_photos()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        session.verify = str(ca) if ca else True
        upload = _call(
            session, "POST", f"{base}/photos",
            files={"photos": ("portrait.jpg", first)}, data={"collection": COLLECTION, "person": PERSON},
        )  # fmt: skip
        photo_id = upload["photos"][0]["id"]
        _wait_done(session, f"{base}/photos/{photo_id}")
        answer = _call(
            session, "POST", f"{base}/search",
            files={"photo": ("other.jpg", second)}, data={"collection": COLLECTION},
        )  # fmt: skip
    matches = [match for face in answer["faces"] for match in face["matches"]]
    if not matches or matches[0]["photo_id"] != photo_id:
        raise SmokeFailed(f"the search did not find the uploaded photo: {answer}")
    best = matches[0]
    return (
        f"found {best['person_name']} with similarity {best['similarity']} (threshold {answer['threshold']})"
    )


def _wait_done(session: requests.Session, url: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        photo = _call(session, "GET", url)
        if photo["state"] == "done":
            return
        if photo["state"] == "failed":
            raise SmokeFailed(f"the photo failed: {photo['reason']}")
        time.sleep(POLL_SECONDS)
    raise SmokeFailed(f"the photo was not processed within {WAIT_SECONDS:g} s: are workers running?")


def _call(session: requests.Session, method: str, url: str, **options: Any) -> dict[str, Any]:
    try:
        response = session.request(method, url, timeout=30, **options)
    except requests.RequestException as error:
        raise SmokeFailed(f"{url} cannot be reached: {error}") from error
    if not response.ok:
        raise SmokeFailed(f"{method} {url} answered {response.status_code}: {response.text[:300]}")
    body: dict[str, Any] = response.json()
    return body
