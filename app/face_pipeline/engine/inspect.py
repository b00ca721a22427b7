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

from PIL import Image, ImageOps

from face_pipeline.errors import FacePipelineError

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
EXIF_ORIENTATION = 0x0112
# Orientations that turn the photo by a quarter: width and height change places.
QUARTER_TURNS = {5, 6, 7, 8}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
    value = image.getexif().get(EXIF_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


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
    """A start of scan, and an end of image behind it (cameras may append more after that)."""
    scan = data.find(b"\xff\xda")
    return scan > 0 and data.rfind(b"\xff\xd9") > scan


def _png_complete(data: bytes) -> bool:
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        position += 12 + length
        if kind == b"IEND":
            return bool(position <= len(data))
    return False


def face_crop(data: bytes, bbox: Sequence[float], size: int) -> bytes:
    """A JPEG of the face in `bbox` (x1, y1, x2, y2 of the upright photo), longer side `size` pixels."""
    with Image.open(io.BytesIO(data)) as image:
        full = image.size
        turned = orientation(image) in QUARTER_TURNS
        longer = max(bbox[2] - bbox[0], bbox[3] - bbox[1], 1.0)
        # Decode no more of a JPEG than the crop needs; other formats ignore it.
        share = min(1.0, size / longer)
        image.draft("RGB", (int(full[0] * share) + 1, int(full[1] * share) + 1))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    scale = upright.width / (full[1] if turned else full[0])
    margin = longer * CROP_MARGIN
    box = (
        max(0, round((bbox[0] - margin) * scale)),
        max(0, round((bbox[1] - margin) * scale)),
        min(upright.width, round((bbox[2] + margin) * scale)),
        min(upright.height, round((bbox[3] + margin) * scale)),
    )
    crop = upright.crop(box)
    ratio = size / max(crop.size)
    crop = crop.resize((max(1, round(crop.width * ratio)), max(1, round(crop.height * ratio))))
    buffer = io.BytesIO()
    crop.save(buffer, "JPEG", quality=CROP_QUALITY)
    return buffer.getvalue()
