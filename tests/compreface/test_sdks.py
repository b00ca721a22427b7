"""CompreFace's own SDKs, from PyPI and npm, before the running service: each call that they have."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.parts import Parts
from PIL import Image, ImageOps

from tests.app.test_compreface import new_key
from tests.compreface import sdks
from tests.installation import App
from tests.photos import LABELLED, jpeg, labelled, no_face

HERE = Path(__file__).parent
SIDE = 800
PHOTOS = {
    "a1": "obama_1.jpg", "a2": "obama_2.jpg", "b1": "biden_1.jpg", "group": "obama_and_biden.jpg",
}  # fmt: skip
# Detectors here are less sure of themselves than those of CompreFace.
DET_PROB_THRESHOLD = 0.5


@pytest.fixture
def told(live_app: App, parts: Parts, tmp_path: Path) -> dict[str, Any]:
    """What a program of an SDK is told; the photos are files beside it."""
    labelled()
    files = {name: jpeg(_small(LABELLED / file)) for name, file in PHOTOS.items()}
    files["none"] = no_face()
    for name, data in files.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    services = ("recognition", "detection", "verification")
    return {
        "photos": {name: f"./{name}.jpg" for name in files},
        "keys": {service: new_key(live_app.installation, service) for service in services},
        "det_prob_threshold": DET_PROB_THRESHOLD,
        "dimension": parts.pack.dimension,
    }


def _small(path: Path) -> Image.Image:
    photo = ImageOps.exif_transpose(Image.open(io.BytesIO(path.read_bytes())))
    photo.thumbnail((SIDE, SIDE))
    return photo.convert("RGB")


def _run(directory: Path, told: dict[str, Any], *command: str, url: str) -> list[str]:
    """Run a program of an SDK beside the photos; returns what it got through."""
    (directory / "told.json").write_text(json.dumps(told))
    done = subprocess.run(
        [*command, url, "told.json"], cwd=directory, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


@pytest.mark.campaign("tests/app/test_compreface.py makes the calls without the SDK")
def test_the_python_sdk_makes_all_its_calls(live_app: App, told: dict[str, Any], tmp_path: Path) -> None:
    python = sdks.python()
    through = _run(tmp_path, told, str(python), str(HERE / "calls.py"), url=live_app.url)
    assert through == [
        "subjects", "add", "refused", "list", "recognize", "bytes", "limit", "verify", "detect",
        "verification", "update", "delete", "keys",
    ]  # fmt: skip


@pytest.mark.campaign("tests/app/test_compreface.py makes the calls without the SDK")
def test_the_javascript_sdk_makes_all_its_calls(live_app: App, told: dict[str, Any], tmp_path: Path) -> None:
    sdk = sdks.javascript()
    (tmp_path / "node_modules").symlink_to(sdk / "node_modules")
    shutil.copy(HERE / "calls.mjs", tmp_path)
    node = shutil.which("node")
    assert node
    through = _run(tmp_path, told, node, "calls.mjs", url=live_app.url)
    assert [each for each in through if each in ("add", "recognize", "verify", "delete")] == [
        "add", "recognize", "verify", "delete",
    ]  # fmt: skip
