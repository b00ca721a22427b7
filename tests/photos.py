"""Photos for tests: from installed packages, and the labelled set beside the checkout if it is there."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
LABELLED = SHARED / "photos"
CASES = SHARED / "cases"
SHARED_PACK = SHARED / "models" / "scrfd2.5g_mobilefacenet"
SHARED_YUNET = SHARED / "models" / "yunet" / "face_detection_yunet_2026may.onnx"


def astronaut() -> Image.Image:
    """A public-domain NASA portrait of Eileen Collins (one face), 512 x 512, from scikit-image's wheel."""
    import skimage.data

    return Image.open(Path(skimage.data.__file__).parent / "astronaut.png").convert("RGB")


def jpeg(image: Image.Image, *, comment: bytes = b"", quality: int = 92) -> bytes:
    """`comment` makes a different file of the same picture."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, comment=comment)
    return buffer.getvalue()


def astronaut_jpeg(number: int = 0) -> bytes:
    return jpeg(astronaut(), comment=f"copy {number}".encode())


def astronaut_again() -> bytes:
    """Another picture of the same person: mirrored, cropped, darker."""
    image = ImageOps.mirror(astronaut().crop((60, 0, 420, 360)))
    return jpeg(Image.eval(image, lambda value: int(value * 0.8)))


def no_face() -> bytes:
    return jpeg(Image.linear_gradient("L").resize((640, 480)).convert("RGB"))


def labelled() -> dict[str, list[str | None]]:
    """File name -> who is on it, of the labelled set; skips the test where the set is absent."""
    if not (LABELLED / "labels.json").exists():
        pytest.skip(f"needs the labelled photos, which are not beside this checkout ({LABELLED.name})")
    photos: dict[str, list[str | None]] = json.loads((LABELLED / "labels.json").read_text())["photos"]
    return photos


def case(name: str) -> bytes:
    """A file as users sent it, of the set beside the checkout; skips the test where the set is absent."""
    if not (CASES / name).exists():
        pytest.skip(f"needs {name} of the files as users sent them, which are not beside this checkout")
    return (CASES / name).read_bytes()
