"""What was erased stays erased when a backup from before is restored."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.parts import Parts
from face_pipeline.store.models import Erasure, Face, Person, Photo
from sqlalchemy import delete, func, select, text

from tests.app import stock
from tests.installation import App, Installation

KEPT = ("collections", "batches", "persons", "photos", "batch_photos", "faces")


@pytest.fixture(autouse=True)
def no_list(clean: Installation, parts: Parts) -> None:
    """Other tests leave theirs."""
    with parts.database.transaction() as session:
        session.execute(delete(Erasure))


def backup(parts: Parts) -> None:
    with parts.database.transaction() as session:
        session.execute(text("CREATE SCHEMA backup"))
        for table in KEPT:
            session.execute(text(f"CREATE TABLE backup.{table} AS TABLE public.{table}"))


def restore(parts: Parts) -> None:
    """All is as it was when the backup was made; the list of a newer time is not in it."""
    with parts.database.transaction() as session:
        session.execute(text("TRUNCATE collections, batches, photos, faces, persons, erasures CASCADE"))
        for table in KEPT:
            value = "OVERRIDING SYSTEM VALUE" if table == "collections" else ""
            session.execute(text(f"INSERT INTO public.{table} {value} TABLE backup.{table}"))
        session.execute(text("DROP SCHEMA backup CASCADE"))


def exported(installation: Installation) -> list[dict[str, Any]]:
    lines = installation.run("erasures", "export").stdout.splitlines()
    return [json.loads(line) for line in lines]


def there(parts: Parts) -> tuple[int, ...]:
    with parts.database.transaction() as session:
        return tuple(
            session.scalar(select(func.count()).select_from(each)) or 0 for each in (Photo, Face, Person)
        )


def test_what_was_erased_is_erased_again_after_a_restore(web_app: App, parts: Parts, tmp_path: Path) -> None:
    installation = web_app.installation
    anna, ben = stock.person(parts, "Anna"), stock.person(parts, "Ben")
    alone, both = stock.photo(parts, anna), stock.photo(parts, anna, ben)
    other, loose = stock.photo(parts, None), stock.photo(parts, None, None)
    (face, _) = stock.faces_of(parts, loose)
    (hers, _) = stock.faces_of(parts, both)
    stock.photo(parts, stock.person(parts, "Cora", "guests"), collection="guests")
    backup(parts)
    for path in (f"persons/{anna}", f"photos/{other}", f"faces/{face}", "collections/guests"):
        assert web_app.request("DELETE", f"/api/v1/{path}").ok
    after = there(parts)
    lines = exported(installation)
    assert {(each["what"], each["id"]) for each in lines} >= {
        ("person", str(anna)), ("photo", str(alone)), ("face", str(hers)), ("photo", str(other)),
        ("face", str(face)),
    }  # fmt: skip
    assert "Anna" not in json.dumps(lines)
    file = tmp_path / "erasures.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    restore(parts)
    assert there(parts) != after
    back = there(parts)
    dry = installation.run("erasures", "apply", str(file), "--dry-run").stdout
    assert (there(parts), "would be erased again" in dry) == (back, True)
    said = installation.run("erasures", "apply", str(file)).stdout
    assert said == f"{len(lines)} lines: 3 photos, 5 faces, 2 persons erased again\n"
    assert there(parts) == after
    assert stock.audit(parts, "person.erase")[-1]["collection"] in ("default", "guests")
    again = installation.run("erasures", "apply", str(file)).stdout
    assert again == f"{len(lines)} lines: nothing erased again\n"
    assert {each["id"] for each in exported(installation)} >= {str(anna), str(alone), str(other), str(face)}


def test_what_somebody_put_in_again_is_on_no_list(web_app: App, parts: Parts) -> None:
    before = exported(web_app.installation)
    anna = stock.person(parts, "Anna")
    assert web_app.request("DELETE", f"/api/v1/persons/{anna}").ok
    assert [each["id"] for each in exported(web_app.installation) if each not in before] == [str(anna)]
    ben = stock.person(parts, "Ben")
    with parts.database.transaction() as session:
        session.get_one(Person, ben).id = anna
    assert exported(web_app.installation) == before


@pytest.mark.parametrize("line", ["", "[]", "{", '{"what": "photo"}', '{"what": "album", "id": "%s"}'])
def test_a_list_that_is_damaged_erases_nothing(
    clean: Installation, parts: Parts, tmp_path: Path, line: str
) -> None:
    photo = stock.photo(parts, None)
    file = tmp_path / "erasures.jsonl"
    good = json.dumps({"what": "photo", "id": str(photo)})
    file.write_text(f"{good}\n{line.replace('%s', str(uuid.uuid4()))}\n")
    done = clean.run("erasures", "apply", str(file), check=False)
    assert done.returncode == 1
    assert "line 2 is not from `face-pipeline erasures export`; nothing was erased" in done.stderr
    assert there(parts)[0] == 1


def test_a_key_that_was_revoked_is_revoked_again(web_app: App, parts: Parts, tmp_path: Path) -> None:
    installation = web_app.installation
    installation.run("keys", "create", "--name", "gone", "--scopes", "read")
    with parts.database.transaction() as session:
        before = session.execute(text("SELECT id FROM api_keys WHERE name = 'gone'")).scalar_one()
    installation.run("keys", "revoke", "--name", "gone")
    lines = exported(installation)
    assert {"what": "key", "id": str(before)}.items() <= lines[-1].items()
    file = tmp_path / "erasures.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    with parts.database.transaction() as session:
        session.execute(text("UPDATE api_keys SET revoked_at = NULL WHERE name = 'gone'"))
    try:
        said = installation.run("erasures", "apply", str(file)).stdout
        assert "1 key erased again" in said
        assert installation.run("keys", "show", "--name", "gone", check=False).returncode == 1
    finally:
        with parts.database.transaction() as session:
            session.execute(text("DELETE FROM api_keys WHERE name = 'gone'"))
