"""Bytes to pixels: upright, BGR, 8 bits. Of an animation, the picture that browsers show first."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from face_pipeline.engine.formats import AVIF, HEIC, JPEG, PNG, Header, jpeg, png, read_header
from face_pipeline.engine.formats.header import truncated
from face_pipeline.engine.memory import Budget
from face_pipeline.engine.types import Image, PhotoBroken, PhotoRejected

# Threads are ours: a worker runs one task on each.
cv2.setNumThreads(1)
# A damaged photo is our error to report, not a line of OpenCV's between the logs.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow warns of each oddity in metadata that nobody reads here; sizes were checked before.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=PillowImage.DecompressionBombWarning)

# Whoever waits for a search has gone by then; a photo of the ledger has no such hurry.
PROMPT_PATIENCE_SECONDS, PATIENCE_SECONDS = 30.0, 240.0
WHITE = 255
# Rows that alpha is laid over white in at once: floats of a whole photo would take many times its memory.
STRIP_ROWS = 64
REDUCED_JPEG = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# A JPEG decoder fills what is missing with one colour, at least in this many last rows.
FLAT_ROWS = 4
# A decoder reads so much further than the last pixel needs; it is enough for a few blocks at most.
READ_AHEAD = bytes(12)
# What decoders raise for damaged data; Pillow's readers raise whatever that leads them to.
DECODER_ERRORS = (
    cv2.error, ArithmeticError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, struct.error, PillowImage.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8, shape (height, width, 3), BGR, upright. `scale`: full size divided by decoded size."""

    pixels: Image
    scale: float
    width: int
    height: int


def decode(data: bytes, *, halved_from: int | None = None) -> Decoded:
    """Decode a photo. `halved_from`: a JPEG whose longer side has so many pixels is decoded at half its size,
    for a quarter of the memory and less time. Where faces are small, embeddings pay for it.

    Raises PhotoBroken, also for what was refused as an upload; MemoryError.
    """
    header = _header(data)
    upright = upright_pixels(data, header, _reduction(header, halved_from))
    width, height = header.upright_size
    return Decoded(upright, width / upright.shape[1], width, height)


@contextmanager
def room_for(
    data: bytes, memory: Budget, *, halved_from: int | None = None, promptly: bool = False
) -> Iterator[None]:
    """Hold what `decode` takes, for as long as its pixels are in use; raises PhotoBroken, PhotoRejected,
    MemoryBusy."""
    header = _header(data)
    needed = header.decode_bytes(_reduction(header, halved_from))
    patience = PROMPT_PATIENCE_SECONDS if promptly else PATIENCE_SECONDS
    with memory.hold(needed, patience=patience, promptly=promptly):
        yield


def upright_pixels(data: bytes, header: Header, reduction: int = 1) -> Image:
    """uint8, shape (height, width, 3), BGR. `reduction` (1, 2, 4, 8) divides the sides of a JPEG; other
    formats have no such way. Raises PhotoBroken, MemoryError."""
    try:
        return _turn(_pixels(data, header, reduction), header.turn)
    except PhotoRejected as error:
        raise PhotoBroken(error.message, code=error.code) from error
    except DECODER_ERRORS as error:
        if getattr(error, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise PhotoBroken(
            f"the photo cannot be decoded ({type(error).__name__}): it is damaged; copy or export it again"
        ) from error


def _header(data: bytes) -> Header:
    try:
        return read_header(data)
    except PhotoRejected as error:
        raise PhotoBroken(error.message, code=error.code) from error


def _reduction(header: Header, halved_from: int | None) -> int:
    large = halved_from is not None and max(header.width, header.height) >= halved_from
    return 2 if large and header.media_type == JPEG else 1


def _pixels(data: bytes, header: Header, reduction: int) -> Image:
    if header.media_type == JPEG:
        return _jpeg_pixels(data, header, reduction)
    if header.media_type == PNG:
        return _png_pixels(data, header)
    if header.media_type == HEIC:
        return _heic_pixels(data, header)
    if header.media_type == AVIF:
        with PillowImage.open(io.BytesIO(data), formats=["AVIF"]) as image:
            return _pillow_pixels(image)
    return _opencv_pixels(data, cv2.IMREAD_UNCHANGED)


def _opencv_pixels(data: bytes, flag: int) -> Image:
    # Turning is ours, so that every format is turned alike.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("no image")
    return _to_bgr(pixels)


def _jpeg_pixels(data: bytes, header: Header, reduction: int) -> Image:
    # CMYK and greyscale become BGR.
    pixels = _opencv_pixels(data if header.ended else data + jpeg.END, REDUCED_JPEG[reduction])
    suspect = not header.ended or (pixels[-FLAT_ROWS:] == pixels[-1, -1]).all()
    if suspect and not jpeg_is_whole(data):
        raise truncated()
    return pixels


def jpeg_is_whole(data: bytes) -> bool:
    """Whether the one scan of a JPEG has all its pixels, at about half the cost of decoding it.

    Pillow's decoder waits for more where data end too early, as they do once the end mark is taken off;
    libjpeg alone fills up and says nothing. True also where it cannot tell: several scans, arithmetic coding.
    """
    scan = jpeg.single_scan(data)
    if scan is None:
        return True
    try:
        with PillowImage.open(io.BytesIO(scan + READ_AHEAD), formats=["JPEG"]) as image:
            image.draft(None, (1, 1))
            image.load()
    except UnidentifiedImageError:
        return False
    except OSError as error:
        return "truncated" not in str(error)
    except DECODER_ERRORS:
        return True
    return True


def _png_pixels(data: bytes, header: Header) -> Image:
    still = png.first_picture(data)
    # OpenCV would decompress what comes behind the last pixel, which may be gigabytes, and keep 16 bits.
    with PillowImage.open(io.BytesIO(still.data), formats=["PNG"]) as image:
        pixels = _pillow_pixels(image)
    if (still.width, still.height) == (header.width, header.height):
        return pixels
    canvas = np.full((header.height, header.width, 3), WHITE, np.uint8)
    canvas[still.top : still.top + still.height, still.left : still.left + still.width] = pixels
    return canvas


def _heic_pixels(data: bytes, header: Header) -> Image:
    # Takes 20 MB, which a process without such photos does without.
    import pillow_heif

    found = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True, bgr_mode=True)
    pixels = _to_bgr(np.asarray(found))
    if (pixels.shape[1], pixels.shape[0]) != (header.width, header.height):
        raise ValueError("another size than its header says")
    return pixels


def _pillow_pixels(image: PillowImage.Image) -> Image:
    """The first frame, strip by strip, so that no second whole copy is made."""
    image.load()
    if image.mode.startswith("I"):
        return _to_bgr(np.asarray(image).astype(np.uint16))
    flat = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + STRIP_ROWS, image.height)))
        rows = np.asarray(strip.convert("RGBA" if image.has_transparency_data else "RGB"))
        bgr = cv2.cvtColor(rows, cv2.COLOR_RGBA2BGRA if rows.shape[2] == 4 else cv2.COLOR_RGB2BGR)
        flat[top : top + STRIP_ROWS] = _to_bgr(bgr)
    return flat


def _to_bgr(pixels: Any) -> Image:
    if pixels.dtype == np.uint16:
        pixels = np.right_shift(pixels, 8, out=pixels if pixels.flags.writeable else None).astype(np.uint8)
    if pixels.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    if pixels.shape[2] == 4:
        return _over_white(pixels)
    return np.ascontiguousarray(pixels, np.uint8)


def _over_white(pixels: Image) -> Image:
    flat = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, pixels.shape[0], STRIP_ROWS):
        strip = pixels[top : top + STRIP_ROWS]
        alpha = strip[:, :, 3:].astype(np.float32) / 255
        flat[top : top + STRIP_ROWS] = strip[:, :, :3] * alpha + WHITE * (1 - alpha)
    return flat


def _turn(pixels: Image, turn: int) -> Image:
    """Apply an EXIF orientation (TIFF 6.0, tag 274)."""
    if turn in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)  # type: ignore[assignment]
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(turn)
    return pixels if flip is None else np.asarray(cv2.flip(pixels, flip), np.uint8)
