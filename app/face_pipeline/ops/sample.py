"""Two photos of one person, for those who try an installation.

`python -m face_pipeline.ops.sample first|second` writes one of them. They are made from NASA's portrait of
the astronaut Eileen Collins (public domain), which scikit-image ships.
"""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

PERSON = "Eileen Collins"


def first() -> bytes:
    """A JPEG of her."""
    # Without the badges on the suit, in which a detector may see a second face.
    return _jpeg(_portrait().crop((60, 0, 512, 330)), 92)


def second() -> bytes:
    """The same photo mirrored, cropped, scaled down, brightened and compressed harder."""
    photo = ImageOps.mirror(_portrait()).crop((120, 0, 460, 330)).resize((306, 297))
    return _jpeg(ImageEnhance.Brightness(photo).enhance(1.15), 75)


def _portrait() -> Image.Image:
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise FileNotFoundError("scikit-image is not installed here")
    with Image.open(Path(package.origin).parent / "data" / "astronaut.png") as opened:
        return opened.convert("RGB")


def _jpeg(photo: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    photo.save(data, "JPEG", quality=quality)
    return data.getvalue()


if __name__ == "__main__":
    sys.stdout.buffer.write({"first": first, "second": second}[sys.argv[1]]())
