"""Uploads: what is refused and why, without decoding; what decodes is upright, 8 bits and cheap in memory."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from face_pipeline.engine import Budget, PhotoBroken, PhotoInfo, PhotoRejected, inspect
from face_pipeline.engine.decode import decode
from face_pipeline.engine.pictures import face_crop
from PIL import Image, ImageCms

from tests.oddities import png_chunk as chunk
from tests.oddities import saved, with_segment
from tests.photos import LABELLED, ROOT, astronaut, jpeg, labelled

FACE = (170.0, 70.0, 290.0, 200.0)
MEMORY = Budget(2**30)


def check(data: bytes, *, max_bytes: int = 2**24, max_pixels: int = 50_000_000) -> PhotoInfo:
    return inspect(data, max_bytes=max_bytes, max_pixels=max_pixels)


def code(data: bytes, **limits: int) -> str:
    with pytest.raises(PhotoRejected) as refused:
        check(data, **limits)
    assert refused.value.message
    return refused.value.code


def with_preview() -> bytes:
    preview = jpeg(astronaut().resize((160, 160)))
    return with_segment(jpeg(astronaut()), b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + preview)


def png_claiming(width: int, height: int, *, pixels: bool = True) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) if pixels else b""
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_a_whole_photo_is_accepted_with_its_type_and_size(form: str) -> None:
    expected = PhotoInfo(f"image/{'heic' if form == 'HEIF' else form.lower()}", 512, 300, ended=True)
    assert check(saved(astronaut().crop((0, 0, 512, 300)), form)) == expected


def test_the_size_told_is_that_of_the_upright_photo() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(astronaut().crop((0, 0, 512, 300)), "JPEG", exif=exif)
    assert (check(data).width, check(data).height) == (300, 512)


def test_each_fault_has_its_code() -> None:
    assert code(b"") == "empty_file"
    assert code(jpeg(astronaut()), max_bytes=1000) == "too_large"
    assert code(b"hello, this is text") == "unsupported_type"
    assert code(saved(astronaut(), "GIF")) == "unsupported_type"
    assert code(jpeg(astronaut()), max_pixels=512 * 512 - 1) == "too_many_pixels"
    assert code(b"\xff\xd8\xff" + bytes(100)) == "broken_image"


@pytest.mark.parametrize("side", [10_000, 60_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    bomb = png_claiming(side, side)
    assert code(bomb) == "too_many_pixels"
    with pytest.raises(PhotoBroken):
        decode(bomb)
    with pytest.raises((PhotoBroken, PhotoRejected)):
        face_crop(bomb, FACE, 160, MEMORY)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF", "HEIF"])
def test_a_cut_off_photo_is_refused(form: str, share: float) -> None:
    whole = saved(astronaut(), form)
    assert code(whole[: int(len(whole) * share)]) == "truncated"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.995])
def test_a_cut_off_jpeg_is_found_when_it_is_decoded(share: float) -> None:
    whole = saved(astronaut(), "JPEG")
    with pytest.raises(PhotoBroken) as broken:
        decode(whole[: int(len(whole) * share)])
    assert broken.value.code == "truncated"


def test_the_preview_inside_a_photo_does_not_make_up_for_its_missing_end() -> None:
    whole = with_preview()
    check(whole)
    with pytest.raises(PhotoBroken) as broken:
        decode(whole[: len(whole) // 2])
    assert broken.value.code == "truncated"


def test_a_png_without_pixels_is_refused() -> None:
    assert code(png_claiming(10, 10, pixels=False)) == "broken_image"


def test_what_a_camera_appends_behind_the_photo_does_no_harm() -> None:
    check(jpeg(astronaut()) + b"maker notes" * 50)


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 60, b"II*\0\x08", b"II*\0\x08\0\0\0\xff\xff" + bytes(range(80))],
    ids=["no header", "cut off", "random entries"],
)
def test_nonsense_in_exif_leaves_the_photo_as_it_is(content: bytes) -> None:
    photo = with_segment(jpeg(astronaut()), b"Exif\0\0" + content)
    assert check(photo).width == 512
    assert decode(photo).pixels.shape == (512, 512, 3)
    assert face_crop(photo, FACE, 160, MEMORY)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_counts(form: str) -> None:
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = saved(
        astronaut(), form, save_all=True, append_images=[astronaut().rotate(180)], duration=100, **lossless
    )
    check(data)
    first = np.asarray(astronaut())[:, :, ::-1]
    assert np.array_equal(decode(data).pixels, first)


def test_sixteen_bits_become_eight_in_the_engine_and_in_crops() -> None:
    grey = np.asarray(astronaut().convert("L"))
    data = saved(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    pixels = decode(data).pixels
    assert np.array_equal(pixels, np.repeat(grey[:, :, None], 3, axis=2))
    deep = np.asarray(Image.open(io.BytesIO(face_crop(data, FACE, 160, MEMORY))), np.float32)
    shallow = saved(astronaut().convert("L"), "PNG")
    flat = np.asarray(Image.open(io.BytesIO(face_crop(shallow, FACE, 160, MEMORY))))
    assert np.abs(deep - flat).mean() < 2


def test_what_is_transparent_is_white_in_the_engine_and_in_crops() -> None:
    clear = astronaut().convert("RGBA")
    clear.putalpha(0)
    data = saved(clear, "PNG")
    assert decode(data).pixels.min() == 255
    assert np.asarray(Image.open(io.BytesIO(face_crop(data, FACE, 160, MEMORY)))).min() == 255


def test_a_large_transparent_photo_takes_no_more_than_its_pixels_need(tmp_path: Path) -> None:
    side = 4000
    photo = tmp_path / "photo.png"
    Image.new("RGBA", (side, side), (200, 100, 50, 128)).save(photo, compress_level=1)
    program = (
        "import pathlib, resource, sys\n"
        "from face_pipeline.engine.decode import decode\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak()\n"
        "decode(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(photo)],
        env={"PYTHONPATH": str(ROOT / "app")}, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    # Four bytes a pixel as stored and three as laid over white, with room for the decoder's own.
    assert float(done.stdout) < 2 * 7 * side**2 / 2**20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_is_cut_from_the_upright_photo(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = astronaut().crop((0, 0, 512, 300))
    data = saved(wide, "JPEG", exif=exif, quality=95)
    upright = decode(data).pixels[:, :, ::-1]
    box = (100.0, 100.0, 180.0, 180.0)
    crop = np.asarray(Image.open(io.BytesIO(face_crop(data, box, 120, MEMORY))), np.float32)
    expected = np.asarray(Image.fromarray(upright[80:200, 80:200].copy()), np.float32)
    assert crop.shape == expected.shape
    assert np.abs(crop - expected).mean() < 6


@pytest.mark.parametrize(
    "box", [(-50.0, -50.0, 20.0, 20.0), (500.0, 500.0, 900.0, 900.0), (9e3, 9e3, 9e3, 9e3)]
)
def test_a_crop_at_the_edge_stays_inside_the_photo(box: tuple[float, ...]) -> None:
    with Image.open(io.BytesIO(face_crop(jpeg(astronaut()), box, 160, MEMORY))) as crop:
        assert max(crop.size) == 160


def plainly_decoded(data: bytes) -> np.ndarray:
    """RGB by OpenCV alone, as it is: what faces were found in before there were other formats."""
    flag = cv2.IMREAD_COLOR if data[:2] == b"\xff\xd8" else cv2.IMREAD_UNCHANGED
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if found.ndim == 2:
        found = cv2.cvtColor(found, cv2.COLOR_GRAY2BGR)
    if found.shape[2] == 4:
        alpha = found[:, :, 3:].astype(np.float32) / 255
        found = (found[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return found[:, :, ::-1]


ORDINARY: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda photo: saved(photo, "JPEG"),
    "progressive": lambda photo: saved(photo, "JPEG", progressive=True),
    "restarts": lambda photo: saved(photo, "JPEG", restart_marker_rows=1),
    "grey JPEG": lambda photo: saved(photo.convert("L"), "JPEG"),
    "CMYK": lambda photo: saved(photo.convert("CMYK"), "JPEG"),
    "profile": lambda photo: saved(photo, "JPEG", icc_profile=SRGB),
    "PNG": lambda photo: saved(photo, "PNG", icc_profile=SRGB, dpi=(72, 72)),
    "palette": lambda photo: saved(photo.convert("P"), "PNG"),
    "palette with a hole": lambda photo: saved(photo.convert("P"), "PNG", transparency=0),
    "grey with a hole": lambda photo: saved(photo.convert("L"), "PNG", transparency=0),
    "one bit": lambda photo: saved(photo.convert("1"), "PNG"),
    "alpha": lambda photo: saved(Image.merge("RGBA", [*photo.split(), photo.convert("L")]), "PNG"),
    "WebP": lambda photo: saved(photo, "WEBP"),
    "lossless WebP": lambda photo: saved(photo, "WEBP", lossless=True),
    "animated WebP": lambda photo: saved(photo, "WEBP", save_all=True, append_images=[photo.rotate(9)]),
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_photo_is_decoded_to_the_same_pixels_as_ever(kind: str) -> None:
    data = ORDINARY[kind](astronaut())
    assert np.array_equal(decode(data).pixels[:, :, ::-1], plainly_decoded(data))


def test_the_labelled_photos_are_decoded_to_the_same_pixels_as_ever() -> None:
    for name in labelled():
        data = (LABELLED / name).read_bytes()
        found = decode(data).pixels[:, :, ::-1]
        assert np.array_equal(found, plainly_decoded(data)), name


def test_what_is_no_photo_is_not_decoded() -> None:
    with pytest.raises(PhotoBroken):
        decode(saved(astronaut(), "GIF"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_damage_anywhere_is_our_error_and_no_other(form: str) -> None:
    chance = random.Random(f"damage in {form}")
    whole = with_preview() if form == "JPEG" else saved(astronaut().resize((200, 200)), form)
    for number in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(1200 if number % 2 else len(data))] = chance.randrange(256)
        damaged = bytes(data[: chance.randrange(len(data))] if number % 5 == 0 else data)
        for look, own in (
            (check, PhotoRejected),
            (lambda each: decode(each), PhotoBroken),
            (lambda each: face_crop(each, FACE, 64, MEMORY), (PhotoBroken, PhotoRejected)),
        ):
            try:
                look(damaged)
            except own:
                continue
