"""Names of files as people have them: none loses a photo, and each can be read afterwards.

Forms are made byte by byte here, for every library changes some of these names before it sends them.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from face_pipeline.web.forms import _Boundary
from werkzeug.sansio.multipart import MultipartDecoder

from tests.installation import App
from tests.photos import astronaut_jpeg, no_face

BOUNDARY = b"----a-form-of-the-tests"


def form(*parts: tuple[bytes, bytes]) -> bytes:
    """Parts of (header lines, content)."""
    made = b"".join(
        b"--" + BOUNDARY + b"\r\n" + headers + b"\r\n\r\n" + body + b"\r\n" for headers, body in parts
    )
    return made + b"--" + BOUNDARY + b"--\r\n"


def photo_part(parameters: bytes, body: bytes) -> tuple[bytes, bytes]:
    return (
        b'Content-Disposition: form-data; name="photos"; ' + parameters + b"\r\nContent-Type: image/jpeg",
        body,
    )


def send(app: App, body: bytes, path: str = "/api/v1/photos") -> requests.Response:
    kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return app.request("POST", path, data=body, headers={"Content-Type": kind})


def names(app: App, *parameters: bytes) -> list[str]:
    """What the names of these parts are called afterwards; each photo's bytes have arrived whole."""
    photos = [astronaut_jpeg(number) for number in range(len(parameters))]
    answer = send(app, form(*map(photo_part, parameters, photos)))
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert body["rejected"] == []
    assert [each["sha256"] for each in body["photos"]] == [
        hashlib.sha256(each).hexdigest() for each in photos
    ]
    stored = [app.get(f"/api/v1/photos/{each['id']}").json()["filename"] for each in body["photos"]]
    assert stored == [each["filename"] for each in body["photos"]]
    return stored


@pytest.mark.parametrize(
    ("parameter", "shown"),
    [
        # Bytes that are no UTF-8: Latin-1, Windows-1252, UTF-8 cut off, UTF-8 with one wrong byte, undefined.
        (b'filename="caf\xe9.jpg"', "café.jpg"),
        (b'filename="\x80\x93.jpg"', "€“.jpg"),
        ('filename="café'.encode()[:-1] + b'.jpg"', "cafÃ.jpg"),
        ("filename=\"日本 ".encode() + b'\xff.jpg"', "日本 ÿ.jpg"),
        (b'filename="a\x81b.jpg"', "a\\u0081b.jpg"),
        (b"filename=caf\xe9.jpg", "café.jpg"),
        # Only unusual.
        ('filename="Bildschirmfoto 2026-11-26 um 9.41.00\u202fAM.jpg"'.encode(),
         "Bildschirmfoto 2026-11-26 um 9.41.00\u202fAM.jpg"),
        ('filename="👩‍👩‍👧‍👦 🏳️‍🌈.jpg"'.encode(), "👩‍👩‍👧‍👦 🏳️‍🌈.jpg"),
        ('filename="\u202egpj.nohtyp"'.encode(), "\u202egpj.nohtyp"),
        ('filename="soft\u00adhyphen zero\u200bwidth.jpg"'.encode(), "soft\u00adhyphen zero\u200bwidth.jpg"),
        ('filename="André.jpg"'.encode(), "André.jpg"),
        (b'filename="a;b=c.jpg"', "a;b=c.jpg"),
        (b'filename=" leading and trailing "', " leading and trailing "),
        (b'filename="100%.jpg"', "100%.jpg"),
        (b'filename="a%20b.jpg"', "a%20b.jpg"),
        (b'filename=".."', ".."),
        (b'filename="...."', "...."),
        (b'filename="CON.jpg"', "CON.jpg"),
        # Quotes and backslashes, escaped in each of the ways programs have, or not at all.
        (b'filename="a%22b.jpg"', 'a"b.jpg'),
        (b'filename="a\\"b.jpg"', 'a"b.jpg'),
        (b'filename="a"b".jpg"', 'a"b".jpg'),
        (b'filename="a"; and "b.jpg"', 'a"; and "b.jpg'),
        (b'filename="a\\\\b.jpg"', "a\\b.jpg"),
        (b'filename="a\\b.jpg"', "a\\b.jpg"),
        (b'filename="ends in a backslash\\"', "ends in a backslash\\"),
        (b'filename="no end.jpg', "no end.jpg"),
        # Control characters are shown.
        (b'filename="a\nb.jpg"', "a␊b.jpg"),
        (b'filename="a\n\nb.jpg"', "a␊␊b.jpg"),
        (b'filename="a\rb.jpg"', "a␍b.jpg"),
        (b'filename="a\r\rb.jpg"', "a␍␍b.jpg"),
        (b'filename="a\r\nb.jpg"', "a␍␊b.jpg"),
        (b'filename="a%0D%0Ab.jpg"', "a␍␊b.jpg"),
        (b'filename="a\tb\x1b[31m\x00\x7f.jpg"', "a␉b␛[31m␀␡.jpg"),
        ('filename="a\u2028b\u0085c.jpg"'.encode(), "a\\u2028b\\u0085c.jpg"),
        # RFC 2231, and both forms of a name.
        (b"filename*=UTF-8''na%C3%AFve%20%22%E2%82%AC%22.jpg", 'naïve "€".jpg'),
        (b"filename*=iso-8859-1'en'caf%E9.jpg", "café.jpg"),
        (b"filename*=windows-1251''%EF%F0%E8%E2%E5%F2.jpg", "привет.jpg"),
        (b"filename*=nonsense''caf%E9.jpg", "café.jpg"),
        (b"filename=\"plain.jpg\"; filename*=UTF-8''%C3%A9.jpg", "é.jpg"),
        (b"filename*=UTF-8''%C3%A9.jpg; filename=\"plain.jpg\"", "é.jpg"),
        (b"filename*0*=UTF-8''%C3%A9; filename*1=b.jpg", "éb.jpg"),
        # Directories, of both worlds.
        (b'filename="holiday/2026/a.jpg"', "a.jpg"),
        (b'filename="C:\\Users\\Anna\\a.jpg"', "a.jpg"),
        (b'filename="\\\\\\\\server\\\\share\\\\a.jpg"', "a.jpg"),
        (b'filename="../../etc/passwd"', "passwd"),
        # No name.
        (b'filename=""', "photo"),
        (b'filename="  "', "photo"),
        (b'filename="a/"', "photo"),
        (b"filename=", "photo"),
    ],
)  # fmt: skip
def test_a_name_is_kept_as_it_is_and_its_photo_arrives(web_app: App, parameter: bytes, shown: str) -> None:
    before, found, after = names(web_app, b'filename="before.jpg"', parameter, b'filename="after.jpg"')
    assert (before, found, after) == ("before.jpg", shown, "after.jpg")


def test_a_very_long_name_keeps_its_beginning_and_its_end(web_app: App) -> None:
    letters = ("x", "é", "👩")
    found = names(web_app, *(f'filename="{letter * 5000} 0042.jpg"'.encode() for letter in letters))
    for letter, name in zip(letters, found, strict=True):
        assert len(name) == 255
        assert name.startswith(letter * 100)
        assert name.endswith(" 0042.jpg")
        assert "…" in name


def test_a_name_that_is_too_long_for_any_header_is_refused_with_what_to_do(web_app: App) -> None:
    answer = send(web_app, form(photo_part(b'filename="' + b"x" * 700_000 + b'"', astronaut_jpeg())))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "field_header_too_large")
    assert "shorter name" in answer.json()["error"]["message"]


def test_a_refused_file_is_called_by_its_name(web_app: App) -> None:
    answer = send(
        web_app,
        form(
            photo_part(b'filename="caf\xe9.txt"', b"text"),
            photo_part(b'filename="a\nb.jpg"', b""),
            photo_part(b'filename="good.jpg"', no_face()),
        ),
    )
    assert [each["filename"] for each in answer.json()["rejected"]] == ["café.txt", "a␊b.jpg"]
    assert [each["filename"] for each in answer.json()["photos"]] == ["good.jpg"]


def test_curl_sends_a_name_of_any_bytes(web_app: App, tmp_path: Path) -> None:
    path = bytes(tmp_path) + b'/caf\xe9 \n"\\.jpg'
    Path(path.decode("utf-8", "surrogateescape")).write_bytes(astronaut_jpeg())
    quoted = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    key = f"Authorization: Bearer {web_app.api_key}"
    made = subprocess.run(
        [b"curl", b"-s", b"-H", key.encode(), b"-F", b'photos=@"' + quoted + b'"',
         f"{web_app.url}/api/v1/photos".encode()],
        capture_output=True, check=True,
    )  # fmt: skip
    body = json.loads(made.stdout)
    assert [each["filename"] for each in body["photos"]] == ['café ␊"\\.jpg']


def test_a_form_whose_line_breaks_are_bare_is_read(web_app: App) -> None:
    text = form(photo_part(b'filename="a.jpg"', b"CONTENT")).replace(b"\r\n", b"\n")
    photo = astronaut_jpeg()
    answer = send(web_app, text.replace(b"CONTENT", photo))
    assert answer.json()["photos"][0]["sha256"] == hashlib.sha256(photo).hexdigest()
    mixed = form(photo_part(b'filename="b.jpg"', photo)).replace(
        b'.jpg"\r\nContent-Type', b'.jpg"\nContent-Type'
    )
    assert send(web_app, mixed).json()["photos"][0]["filename"] == "b.jpg"


@pytest.mark.parametrize("number", [61, 79, 80, 81, 120, 400])
def test_too_many_photos_are_called_that_however_many(web_app: App, number: int) -> None:
    for fields in (0, 2):
        texts = [(b'Content-Disposition: form-data; name="collection"', b"default")] * fields
        photos = [photo_part(b'filename="%d.jpg"' % each, b"x") for each in range(number)]
        answer = send(web_app, form(*texts, *photos))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_photos")
        assert "60 photos" in answer.json()["error"]["message"]


def test_too_many_fields_are_no_photos(web_app: App) -> None:
    texts = [(b'Content-Disposition: form-data; name="f%d"' % each, b"x") for each in range(200)]
    answer = send(web_app, form(photo_part(b'filename="a.jpg"', astronaut_jpeg()), *texts))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_fields")


@pytest.mark.parametrize("path", ["/api/v1/photos", "/api/v1/search"])
def test_a_text_field_that_is_too_large_is_named(web_app: App, path: str) -> None:
    name = b"photos" if path.endswith("photos") else b"photo"
    photo = b'Content-Disposition: form-data; name="' + name + b'"; filename="a.jpg"'
    large = (b'Content-Disposition: form-data; name="person"', b"x" * 600_000)
    answer = send(web_app, form(large, (photo, astronaut_jpeg())), path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "field_too_large")
    assert "'person'" in answer.json()["error"]["message"]


def test_a_form_that_breaks_off_is_called_that(web_app: App) -> None:
    whole = form(photo_part(b'filename="a.jpg"', astronaut_jpeg()))
    for body in (whole[: len(whole) // 2], whole[:-10], b"no form at all", whole[:60]):
        answer = send(web_app, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "form_malformed")
    answer = web_app.request(
        "POST", "/api/v1/photos", data=whole, headers={"Content-Type": "multipart/form-data"}
    )
    assert answer.json()["error"]["code"] == "form_malformed"


def test_boundaries_are_found_where_werkzeug_finds_them() -> None:
    chance = random.Random(1)
    found = 0
    for boundary in (b"b", b"--", b"x-y", b"a.b"):
        werkzeug = MultipartDecoder(boundary)
        ours = _Boundary(boundary, on_a_line=False), _Boundary(boundary, on_a_line=True)
        pieces = [b"--" + boundary, boundary, b"--", b"-", b"\r", b"\n", b"\r\n", b" ", b"\t", b"x"]
        for _ in range(2000):
            data = bytearray().join(chance.choices(pieces, k=chance.randrange(14)))
            start = chance.choice([0, chance.randrange(len(data) + 1)])
            for our, their in zip(ours, (werkzeug.preamble_re, werkzeug.boundary_re), strict=True):
                one, other = our.search(data, start), their.search(data, start)
                assert (one is None) == (other is None), (boundary, data, start)
                if one is not None and other is not None:
                    found += 1
                    assert (one.start(), one.end()) == other.span(), (boundary, data, start)
                    assert (one.group(), one.group(1)) == (other[0], other[1]), (boundary, data, start)
    assert found > 1000
