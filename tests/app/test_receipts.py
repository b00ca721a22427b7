"""A receipt can be checked by whoever gets it, with the service or without."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from face_pipeline.parts import Parts

from tests.app import stock
from tests.app.cli import Person
from tests.installation import App


@pytest.fixture
def erased(anna: Person, parts: Parts) -> Path:
    """The receipt of a person's erasure, as the command line writes it."""
    person = stock.person(parts, "Änne Berg")
    stock.photo(parts, person)
    # One that stays: the receipt tells of it in words.
    stock.photo(parts, person, None)
    done = anna.types("persons", "delete", str(person), "--yes", "--json")
    assert done.returncode == 0, done.stderr
    file = anna.home / "receipt.json"
    file.write_text(done.stdout)
    return file


def changed(file: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    document = json.loads(file.read_text())
    change(document)
    other = file.with_name("changed.json")
    other.write_text(json.dumps(document))
    return other


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_receipt_is_checked_with_the_service_and_without(
    web_app: App, anna: Person, erased: Path, parts: Parts
) -> None:
    done = anna.types("receipt", "verify", erased)
    assert (done.returncode, done.stderr) == (0, "")
    proof = json.loads(erased.read_text())["proof"]
    said = f"receipt {proof['id']} is genuine: 1 photo, 2 faces, 1 person, 1 original erased at {proof['at']}"
    assert done.stdout.startswith(said)
    assert stock.audit(parts, "person.erase")[-1]["details"]["receipt"] == proof["id"]
    keys = anna.home / "keys.json"
    keys.write_bytes(web_app.get("/api/v1/receipts/keys").content)
    alone = anna.types("receipt", "verify", erased, "--keys", keys, FACE_URL="https://nobody.invalid")
    assert (alone.returncode, alone.stdout) == (0, done.stdout)


def test_a_receipt_is_checked_by_the_standards_alone(web_app: App, erased: Path) -> None:
    (key,) = web_app.get("/api/v1/receipts/keys").json()["keys"]
    thumbprint = json.dumps({each: key[each] for each in ("crv", "kty", "x")}, separators=(",", ":"))
    assert decoded(key["kid"]) == hashlib.sha256(thumbprint.encode()).digest()
    document = json.loads(erased.read_text())
    signature = decoded(document["proof"].pop("signature"))
    public = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))

    def check() -> None:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        public.verify(signature, text.encode())

    check()
    document["faces"] += 1
    with pytest.raises(InvalidSignature):
        check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it.update(photos=2), "it was changed after it was signed"),
        (lambda it: it["kept"].clear(), "it was changed after it was signed"),
        (lambda it: it["proof"].update(by="somebody"), "it was changed after it was signed"),
        (lambda it: it["proof"].update(signature="?"), "it was changed after it was signed"),
        (lambda it: it["proof"].update(key_id="other"), "the key other, which is not one of those given"),
        (lambda it: it.update(proof=None), "it is not signed"),
    ],
)
def test_what_was_changed_is_no_receipt(
    anna: Person, erased: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    done = anna.types("receipt", "verify", changed(erased, change))
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr


def test_what_is_no_receipt_at_all_is_said(anna: Person) -> None:
    (anna.home / "photo.jpg").write_bytes(b"\xff\xd8")
    done = anna.types("receipt", "verify", "photo.jpg")
    assert done.returncode == 1
    assert "photo.jpg is not a receipt: it holds no object of JSON" in done.stderr


def test_receipts_of_many_photos_and_of_failed_ones_are_signed(
    web_app: App, anna: Person, parts: Parts
) -> None:
    here, there = stock.photo(parts), stock.photo(parts, collection="other")
    sent = {"photo_ids": [str(here), str(there), "0197c2a4-5b1e-7d30-9a6f-3c5e8b1d2f40"]}
    many = web_app.request("POST", "/api/v1/photos/delete", json=sent).json()
    assert many["proof"]["ids"] == sent["photo_ids"][:2]
    ends = [each["details"]["receipt"] for each in stock.audit(parts, "photo.erase")[-2:]]
    assert ends == [many["proof"]["id"]] * 2
    stock.photo(parts, state="failed")
    failed = web_app.request("DELETE", "/api/v1/failures/engine_error").json()
    for receipt in (many, failed):
        file = anna.home / "receipt.json"
        file.write_text(json.dumps(receipt))
        done = anna.types("receipt", "verify", file)
        assert done.returncode == 0, done.stderr
