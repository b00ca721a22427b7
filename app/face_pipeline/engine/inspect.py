"""Looking at uploaded bytes without decoding a pixel: about a millisecond in a web process.

Type by content, size, pixel count, and a structure that is complete. Damage inside the compressed data is
found when a worker decodes it (PhotoBroken).
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from face_pipeline.engine.types import PhotoBroken
from face_pipeline.errors import FacePipelineError

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
EXIF_ORIENTATION = 0x0112
# Orientations that turn the photo by a quarter: width and height change places.
QUARTER_TURNS = {5, 6, 7, 8}
# What turns the stored photo upright (TIFF 6.0, tag 274).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START_OF_SCAN, JPEG_END = 0xDA, b"\xff\xd9"
# JPEG markers without a length: TEM, RST0 to RST7, SOI.
JPEG_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}
CROP_MARGIN = 0.25
CROP_QUALITY = 85


class PhotoRejected(FacePipelineError):
    """An upload that cannot be used; `code` says why, the message what to do."""

    status = 422


@dataclass(frozen=True)
class PhotoInfo:
    """Type, and size in pixels once the photo is turned upright."""

    media_type: str
    width: int
    height: int


def sniff(data: bytes) -> str | None:
    """Media type by content; None for everything that is not a JPEG, PNG or WebP."""
    if data[:3] == b"\xff\xd8\xff":
        return JPEG
    if data[:8] == PNG_SIGNATURE:
        return PNG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return None


def inspect(data: bytes, *, max_bytes: int, max_pixels: int) -> PhotoInfo:
    """Check an upload; raises PhotoRejected with the code of the first thing wrong."""
    if not data:
        raise PhotoRejected("the file is empty", code="empty_file")
    if len(data) > max_bytes:
        raise PhotoRejected(
            f"the file is larger than {max_bytes} bytes; send a smaller one", code="too_large"
        )
    media_type = sniff(data)
    if media_type is None:
        raise PhotoRejected("only JPEG, PNG and WebP photos are taken", code="unsupported_type")
    width, height = _header_size(data, media_type)
    if width * height > max_pixels:
        raise PhotoRejected(
            f"the photo has {width} x {height} pixels, {max_pixels} are taken; send a smaller one",
            code="too_many_pixels",
        )
    if not _complete(data, media_type):
        raise _broken("the file is cut off or damaged")
    return PhotoInfo(media_type, width, height)


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 when there is none or nonsense. Decodes no pixel."""
    # Pillow would decode a whole PNG to look for an EXIF chunk behind its pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:
        # Pillow's EXIF reader raises whatever nonsense leads it to; the pixels may be fine all the same.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _broken(message: str) -> PhotoRejected:
    return PhotoRejected(f"{message}; send it again", code="broken_image")


def _header_size(data: bytes, media_type: str) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            # Our own limit speaks; Pillow's would raise or warn before it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[media_type.split("/")[1].upper()]) as image:
                width, height = image.size
                turn = orientation(image)
    except Image.DecompressionBombError:
        return _bomb_size(data, media_type)
    except Exception as error:
        # Pillow's readers raise whatever a malformed header leads them to.
        raise _broken("the file has no readable header") from error
    return (height, width) if turn in QUARTER_TURNS else (width, height)


def _bomb_size(data: bytes, media_type: str) -> tuple[int, int]:
    """Size of a photo so large that Pillow refuses to look at it."""
    if media_type == PNG:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    # JPEG and WebP sides are 16 bits or fewer: only the product was too large.
    return 65535, 65535


def _complete(data: bytes, media_type: str) -> bool:
    if media_type == JPEG:
        return _jpeg_complete(data)
    if media_type == PNG:
        return _png_complete(data)
    return bool(len(data) >= 8 + struct.unpack("<I", data[4:8])[0])


def _jpeg_complete(data: bytes) -> bool:
    """A start of scan, and an end of image behind it (cameras may append more after that).

    Segments are stepped over by their length: a preview inside EXIF has a scan and an end of its own.
    """
    position = 2
    while 0 <= position < len(data) - 3:
        marker = data[position + 1]
        if data[position] != 0xFF or marker in (0x00, 0xFF):
            # Fill bytes and strays between segments: decoders look for the next marker, and so do we.
            position = data.find(b"\xff", position + 1)
        elif marker == JPEG_START_OF_SCAN:
            # From the end, where it is: the other way would read the whole photo.
            return data.rfind(JPEG_END, position) > 0
        elif marker in JPEG_BARE_MARKERS:
            position += 2
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return False


def _png_complete(data: bytes) -> bool:
    position, pixels = len(PNG_SIGNATURE), False
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        position += 12 + length
        pixels |= kind == b"IDAT"
        if kind == b"IEND":
            return pixels and bool(position <= len(data))
    return False


def face_crop(data: bytes, bbox: Sequence[float], size: int) -> bytes:
    """A JPEG of the face in `bbox` (x1, y1, x2, y2 of the upright photo), longer side `size` pixels.

    Raises PhotoBroken where the photo cannot be decoded.
    """
    longer = max(bbox[2] - bbox[0], bbox[3] - bbox[1], 1.0)
    try:
        upright, scale = _upright(data, share=min(1.0, size / longer))
        crop = _rgb(upright.crop(_box(upright, bbox, longer * CROP_MARGIN, scale)))
    except Exception as error:
        # Pillow's readers raise whatever damaged data lead them to.
        raise PhotoBroken(f"the photo cannot be decoded ({type(error).__name__}); upload it again") from error
    ratio = size / max(crop.size)
    crop = crop.resize((max(1, round(crop.width * ratio)), max(1, round(crop.height * ratio))))
    buffer = io.BytesIO()
    crop.save(buffer, "JPEG", quality=CROP_QUALITY)
    return buffer.getvalue()


def _upright(data: bytes, share: float) -> tuple[Image.Image, float]:
    """The photo turned upright, and its size divided by the full size. A JPEG is decoded no larger than
    `share` of it asks for; other formats have no such way."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        turn = orientation(image)
        image.draft("RGB", (int(width * share) + 1, int(height * share) + 1))
        image.load()
        scale = image.width / width
        return (image.transpose(TURNS[turn]) if turn in TURNS else image.copy()), scale


def _box(
    upright: Image.Image, bbox: Sequence[float], margin: float, scale: float
) -> tuple[int, int, int, int]:
    """The box with its margin, inside the photo and at least a pixel large."""
    left = min(max(0, round((bbox[0] - margin) * scale)), upright.width - 1)
    top = min(max(0, round((bbox[1] - margin) * scale)), upright.height - 1)
    right = min(upright.width, max(left + 1, round((bbox[2] + margin) * scale)))
    bottom = min(upright.height, max(top + 1, round((bbox[3] + margin) * scale)))
    return left, top, right, bottom


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB as the engines see it: 16 bits divided, alpha laid over white."""
    if image.mode.startswith("I"):
        # Pillow would cut 16 bits off at 255, which leaves a white picture.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return image.convert("RGB")
