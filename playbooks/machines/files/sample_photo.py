"""sample_photo.py first|second: a JPEG of one person on stdout, from a photo that scikit-image ships.

The photo is NASA's portrait of the astronaut Eileen Collins (public domain). The second is made from it:
mirrored, cropped, scaled down, brightened and compressed harder.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps


def main() -> None:
    package = find_spec("skimage")
    if package is None or package.origin is None:
        sys.exit("scikit-image is not installed here")
    with Image.open(Path(package.origin).parent / "data" / "astronaut.png") as opened:
        photo = opened.convert("RGB")
    quality = 92
    if sys.argv[1] == "second":
        photo = ImageOps.mirror(photo).crop((120, 0, 460, 330)).resize((306, 297))
        photo = ImageEnhance.Brightness(photo).enhance(1.15)
        quality = 75
    else:
        # Without the badges on the suit, in which a detector may see a second face.
        photo = photo.crop((60, 0, 512, 330))
    photo.save(sys.stdout.buffer, "JPEG", quality=quality)


main()
