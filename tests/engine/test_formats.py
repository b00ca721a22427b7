"""Files that users send and cameras do not make: what is taken is read as browsers show it, what is refused
says why, before a pixel is decoded."""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from face_pipeline.engine import Budget, PhotoBroken, PhotoInfo, PhotoRejected, inspect
from face_pipeline.engine.decode import decode
from face_pipeline.engine.pictures import face_crop, upright
from PIL import Image

from tests import oddities
from tests.oddities import saved, turned, with_segment
from tests.photos import astronaut, jpeg

FACE = (170.0, 70.0, 290.0, 200.0)
MEMORY = Budget(2**30)
MAX_PIXELS = 50_000_000
MAX_DECODE_BYTES = 640 * 2**20


def check(data: bytes) -> PhotoInfo:
    return inspect(data, max_bytes=2**25, max_pixels=MAX_PIXELS, max_decode_bytes=MAX_DECODE_BYTES)


def refusal(data: bytes) -> PhotoRejected:
    with pytest.raises(PhotoRejected) as refused:
        check(data)
    return refused.value


def pixels(data: bytes) -> np.ndarray:
    check(data)
    return decode(data).pixels[:, :, ::-1]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


# -- work ----------------------------------------------------------------------------------------------------


def test_a_photo_of_endless_scans_is_refused() -> None:
    assert refusal(oddities.with_many_scans(astronaut(), 700)).code == "too_much_work"


def test_scans_count_by_the_pixels_they_go_over() -> None:
    """What is nothing for a small photo is minutes for a large one."""
    few = oddities.with_many_scans(astronaut(), 30)
    check(few)
    large = oddities.with_many_scans(Image.new("L", (6900, 6900)), 30)
    assert refusal(large).code == "too_much_work"


def test_an_ordinary_progressive_photo_of_the_largest_size_is_taken() -> None:
    check(saved(Image.new("RGB", (7000, 7000)), "JPEG", progressive=True))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_file_of_endless_parts_is_refused(form: str) -> None:
    whole = saved(astronaut(), form)
    if form == "JPEG":
        made = whole[:2] + b"\xff\xfe\0\2" * 1_000_000 + whole[2:]
    elif form == "PNG":
        made = whole[:33] + oddities.png_chunk(b"teXt", b"") * 500_000 + whole[33:]
    else:
        made = whole[:12] + b"JUNK\0\0\0\0" * 500_000 + whole[12:]
        made = made[:4] + struct.pack("<I", len(made) - 8) + made[8:]
    assert refusal(made).code == "too_much_work"


def test_a_file_of_nothing_but_fill_bytes_is_refused_at_once() -> None:
    assert refusal(b"\xff\xd8\xff" + b"\xff" * 20_000_000).code == "broken_image"


def test_what_comes_behind_the_last_pixel_of_a_png_is_not_decompressed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Ten megabytes of it took half a minute; a decoder that reads it says that it is too much."""
    data = oddities.flat_png((100, 100))
    at = data.index(b"IDAT") - 4
    rest = zlib.compress(bytes(2**24), 9)
    bomb = data[:at] + oddities.png_chunk(b"IDAT", rest) + oddities.png_chunk(b"IEND", b"")
    assert pixels(bomb).max() == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("size", [(1, 641), (641, 1), (20, 5000)])
def test_a_strip_is_refused_in_every_format(form: str, size: tuple[int, int]) -> None:
    refused = refusal(saved(Image.new("RGB", size), form))
    assert refused.code == "side_ratio"
    assert "cut it" in refused.message


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_a_panorama_is_taken(form: str) -> None:
    assert check(saved(Image.new("RGB", (2000, 64)), form)).width == 2000


# -- memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_sixteen_bits_are_their_upper_eight(mode: str) -> None:
    photo = astronaut()
    if mode in ("LA", "RGBA"):
        photo.putalpha(photo.convert("L"))
    deep = pixels(oddities.deep_png(photo, mode))
    assert np.array_equal(deep, pixels(saved(photo.convert(mode), "PNG")))


def test_a_photo_that_needs_more_than_all_memory_for_decoding_is_refused() -> None:
    bomb = oddities.flat_png((7000, 7000), depth=16, kind=6)
    check(bomb)
    with pytest.raises(PhotoRejected) as refused:
        inspect(bomb, max_bytes=2**25, max_pixels=MAX_PIXELS, max_decode_bytes=200 * 2**20)
    assert refused.value.code == "too_much_memory"
    assert "200 MB" in refused.value.message


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_a_phones_file_that_says_it_is_small_is_measured_by_what_is_in_it(form: str) -> None:
    size = struct.pack(">II", 1500, 1500)
    whole = saved(Image.new("RGB", (1500, 1500)), form)
    assert size in whole
    with pytest.raises(PhotoRejected) as refused:
        inspect(
            whole.replace(size, struct.pack(">II", 64, 64)),
            max_bytes=2**25,
            max_pixels=MAX_PIXELS,
            max_decode_bytes=5 * 2**20,
        )
    assert refused.value.code == "too_much_memory"


# -- what decoders cannot ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": 12, "marker": 0xC1}, "12-bit JPEG is not supported"),
        ({"precision": 16}, "16-bit JPEG is not supported"),
        ({"marker": 0xC3}, "lossless JPEG is not supported"),
        ({"marker": 0xCB}, "lossless JPEG is not supported"),
        ({"marker": 0xC5}, "hierarchical JPEG is not supported"),
        ({"marker": 0xCF}, "hierarchical JPEG is not supported"),
        ({"components": 2}, "2 components"),
        ({"height": 0}, "height"),
    ],
)
def test_a_kind_of_jpeg_that_is_not_supported_is_named(changes: dict[str, int], words: str) -> None:
    refused = refusal(oddities.with_frame_header(jpeg(astronaut()), **changes))
    assert refused.code == "unsupported_jpeg"
    assert words in refused.message
    assert "save it" in refused.message


# -- metadata ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content", "sound"),
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)), True),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(3_000_000)), True),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(9_000_000)), True),
        (b"tEXt", b"Comment\0hello", False),
        (b"tEXt", b"x" * 2_000_000, True),
        (b"eXIf", b"II*\0nonsense", True),
        (b"gAMA", b"\0", False),
        (b"quIz", b"unknown", False),
    ],
)
def test_metadata_of_a_png_do_no_harm(
    kind: bytes, content: bytes, sound: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = saved(astronaut(), "PNG")
    data = oddities.with_chunk(plain, kind, content, sound=sound)
    assert np.array_equal(pixels(data), np.asarray(astronaut()))
    assert face_crop(data, FACE, 160, MEMORY) == face_crop(plain, FACE, 160, MEMORY)
    assert capfd.readouterr().err == ""


def test_thousands_of_bad_tags_print_nothing(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    exif = oddities.EXIF_PREFIX + oddities.exif_of_bad_tags(5000, orientation=6)
    data = with_segment(jpeg(astronaut().crop((0, 0, 512, 300))), exif)
    assert pixels(data).shape == (512, 300, 3)
    face_crop(data, FACE, 160, MEMORY)
    assert capfd.readouterr().err == ""
    assert not recwarn.list


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_bad_tags_of_other_formats_print_nothing(
    form: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    data = saved(astronaut(), form, exif=oddities.exif_of_bad_tags(3000))
    recwarn.clear()
    pixels(data)
    face_crop(data, FACE, 160, MEMORY)
    assert capfd.readouterr().err == ""
    assert not recwarn.list


# -- cut off -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "size", "options"),
    [
        (mode, size, options)
        for mode, size, options in itertools.product(
            ("RGB", "L", "CMYK"),
            ((512, 512), (211, 100), (37, 61), (8, 8)),
            ({}, {"subsampling": 0}, {"restart_marker_blocks": 2}, {"progressive": True}, {"quality": 20}),
        )
    ],
)
def test_a_jpeg_that_lacks_nothing_but_its_end_mark_is_taken(
    mode: str, size: tuple[int, int], options: dict[str, int]
) -> None:
    whole = saved(astronaut().resize(size).convert(mode), "JPEG", **options)
    assert np.array_equal(pixels(whole[:-2]), pixels(whole))
    assert np.array_equal(pixels(whole[:-1]), pixels(whole))


def test_a_white_jpeg_without_end_mark_is_whole() -> None:
    """Nothing but one colour, which is also what a decoder fills up with."""
    assert pixels(saved(Image.new("RGB", (640, 480), "white"), "JPEG")[:-2]).min() == 255
    assert pixels(saved(Image.new("RGB", (640, 480), "white"), "JPEG")).min() == 255


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 4}], ids=str)
def test_half_a_jpeg_with_an_end_mark_is_cut_off(share: float, options: dict[str, int]) -> None:
    whole = saved(astronaut(), "JPEG", **options)
    with pytest.raises(PhotoBroken) as broken:
        decode(whole[: int(len(whole) * share)] + b"\xff\xd9")
    assert broken.value.code == "truncated"
    assert "cut off" in broken.value.message


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_progressive_jpeg_without_its_last_scans_is_cut_off(end: bytes) -> None:
    whole = saved(astronaut(), "JPEG", progressive=True)
    for share in (0.1, 0.3, 0.5):
        assert refusal(whole[: int(len(whole) * share)] + end).code == "truncated"


def test_a_progressive_jpeg_that_lacks_its_finest_details_is_taken() -> None:
    whole = saved(astronaut(), "JPEG", progressive=True)
    cut = whole[: int(len(whole) * 0.95)] + b"\xff\xd9"
    assert difference(pixels(cut), pixels(whole)) < 3


def test_a_png_that_lacks_nothing_but_its_end_mark_is_taken() -> None:
    assert np.array_equal(pixels(saved(astronaut(), "PNG")[:-12]), np.asarray(astronaut()))


# -- one picture, turned one way -----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_every_format_is_turned_alike(form: str, orientation: int) -> None:
    wide = astronaut().crop((0, 0, 512, 300))
    data = saved(wide, form, exif=turned(orientation), quality=95)
    expected = pixels(saved(wide, "JPEG", exif=turned(orientation), quality=95))
    info = check(data)
    assert (info.height, info.width) == expected.shape[:2]
    assert difference(pixels(data), expected) < 6
    with Image.open(io.BytesIO(upright(data, 4096, MEMORY))) as shown:
        assert difference(np.asarray(shown), expected) < 8


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("quarters", [None, 0, 1, 2, 3])
def test_a_heic_is_turned_as_its_boxes_say(quarters: int | None, axis: int | None) -> None:
    plain = saved(astronaut().crop((0, 0, 512, 300)), "HEIF", quality=90)
    data = oddities.heic_turned(plain, quarters, axis)
    expected = np.rot90(pixels(plain), quarters or 0)
    if axis is not None:
        expected = expected[::-1] if axis == 0 else expected[:, ::-1]
    info = check(data)
    assert (info.height, info.width) == expected.shape[:2]
    assert difference(pixels(data), expected) < 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_xmp_turns_nothing(form: str) -> None:
    xmp = oddities.xmp_orientation(6)
    wide = astronaut().crop((0, 0, 512, 300))
    if form == "JPEG":
        data = with_segment(jpeg(wide), b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    elif form == "PNG":
        data = oddities.with_chunk(saved(wide, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    else:
        data = saved(wide, "WEBP", xmp=xmp)
    assert pixels(data).shape == (300, 512, 3)
    with Image.open(io.BytesIO(upright(data, 4096, MEMORY))) as shown:
        assert shown.size == (512, 300)


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<HHIHH", 0x0112, 3, 1, 0, 0),
        struct.pack("<HHIHH", 0x0112, 3, 1, 9, 0),
        struct.pack("<HHIHH", 0x0112, 3, 2, 6, 6),
        struct.pack("<HHIBBBB", 0x0112, 1, 1, 6, 0, 0, 0),
        struct.pack("<HHI4s", 0x0112, 2, 2, b"6\0\0\0"),
    ],
)
def test_an_orientation_that_is_none_turns_nothing(entry: bytes) -> None:
    exif = oddities.EXIF_PREFIX + b"II*\0\x08\0\0\0\1\0" + entry + bytes(4)
    assert pixels(with_segment(jpeg(astronaut().crop((0, 0, 512, 300))), exif)).shape == (300, 512, 3)


@pytest.mark.parametrize("offset", [(0, 0), (40, 20)])
def test_of_an_animation_beside_its_default_picture_the_animation_counts(offset: tuple[int, int]) -> None:
    """Browsers play it; face, crop and picture are of its first frame, where that lies."""
    default = Image.new("RGB", (512, 512), "black")
    frame = astronaut().crop((0, 0, 512 - offset[0], 512 - offset[1]))
    data = oddities.animation_beside_default(default, frame, offset)
    expected = np.full((512, 512, 3), 255, np.uint8)
    expected[offset[1] :, offset[0] :] = np.asarray(frame)
    assert np.array_equal(pixels(data), expected)
    still = saved(Image.fromarray(expected), "PNG")
    assert face_crop(data, FACE, 160, MEMORY) == face_crop(still, FACE, 160, MEMORY)
    assert upright(data, 512, MEMORY) == upright(still, 512, MEMORY)


def test_a_frame_outside_its_animation_is_our_error() -> None:
    data = oddities.animation_beside_default(astronaut(), astronaut(), (1, 0))
    with pytest.raises(PhotoBroken):
        decode(data)


def test_of_several_pictures_in_a_jpeg_the_first_counts() -> None:
    data = saved(astronaut(), "MPO", save_all=True, append_images=[astronaut().rotate(180)], quality=92)
    assert np.array_equal(pixels(data), pixels(saved(astronaut(), "JPEG", quality=92)))


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_of_several_pictures_in_a_phones_file_the_first_counts(form: str) -> None:
    data = saved(astronaut(), form, save_all=True, append_images=[astronaut().rotate(180)], quality=95)
    assert difference(pixels(data), np.asarray(astronaut())) < 6


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA"])
@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_what_is_transparent_in_a_phones_file_is_white(form: str, mode: str) -> None:
    photo = astronaut().convert(mode)
    if mode != "L":
        photo.putalpha(0)
    data = saved(photo, form, quality=95)
    assert (pixels(data).min() == 255) == (mode != "L")


def test_a_file_that_is_no_photo_names_what_is_taken() -> None:
    refused = refusal(saved(astronaut(), "GIF"))
    assert refused.code == "unsupported_type"
    for kind in ("JPEG", "PNG", "WebP", "HEIC", "AVIF"):
        assert kind in refused.message
