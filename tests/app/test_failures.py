"""Why photos failed, by reason: told, given out as CSV, erased; and the audit as CSV."""

from __future__ import annotations

import csv
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.actions import audit as audit_action
from face_pipeline.actions import failures as actions
from face_pipeline.parts import Parts
from face_pipeline.store import audit as audit_store
from face_pipeline.store.models import Photo, Reason
from face_pipeline.web.contract.answers import REJECTIONS
from sqlalchemy import text, update

from tests.app import stock
from tests.app.test_keys_api import by, make
from tests.installation import App

FAILURES = "/api/v1/failures"
RUNBOOKS = Path(__file__).resolve().parents[2] / "docs/runbooks"


def failed(parts: Parts, reason: str | None, collection: str = "default", **values: Any) -> uuid.UUID:
    photo_id = stock.photo(parts, state="failed", collection=collection)
    with parts.database.transaction() as session:
        session.execute(update(Photo).where(Photo.id == photo_id).values(reason_code=reason, **values))
    return photo_id


def rows(answer: Any) -> list[dict[str, str]]:
    """Of a CSV answer, as a spreadsheet reads it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(b"\xef\xbb\xbf"), "a spreadsheet would not know it as UTF-8"
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_failures_are_told_by_reason_that_of_most_photos_first(web_app: App, parts: Parts) -> None:
    lost = [failed(parts, "worker_lost") for _ in range(2)]
    failed(parts, "broken_image", "other")
    stock.photo(parts, None)
    told = web_app.get(FAILURES).json()
    assert told["total"] == 3
    first, second = told["failures"]
    assert (first["reason"], first["photos"], first["retry_helps"]) == ("worker_lost", 2, True)
    assert first["example_photo_id"] == str(lost[-1])
    assert first["first_at"] <= first["last_at"]
    assert (second["reason"], second["photos"], second["retry_helps"]) == ("broken_image", 1, False)
    assert "cannot be decoded" in second["words"]
    only = web_app.get(FAILURES, params={"collection": "other"}).json()
    assert [each["reason"] for each in only["failures"]] == ["broken_image"]


def test_where_nothing_failed_there_is_nothing_to_tell(web_app: App, parts: Parts) -> None:
    stock.photo(parts, None)
    assert web_app.get(FAILURES).json() == {"total": 0, "failures": []}
    assert rows(web_app.get(f"{FAILURES}.csv")) == []


def test_a_photo_without_a_reason_has_one_that_can_be_named(web_app: App, parts: Parts) -> None:
    failed(parts, None, reason_message=None)
    (told,) = web_app.get(FAILURES).json()["failures"]
    assert (told["reason"], told["words"]) == ("unknown", "no reason was kept")
    assert len(rows(web_app.get(f"{FAILURES}.csv", params={"reason": "unknown"}))) == 1
    assert web_app.request("DELETE", f"{FAILURES}/unknown").json()["photos"] == 1


def test_every_reason_that_a_photo_can_have_is_told_in_words() -> None:
    names = {Reason.PERSON_NOT_ASSIGNED, Reason.PERSON_DIFFERS, Reason.PERSON_NOT_THERE}
    assert set(actions.MEANINGS) == {*Reason, *REJECTIONS, "original_missing", "original_damaged"} - names


def test_the_runbook_of_failing_photos_names_every_reason() -> None:
    text = (RUNBOOKS / "HighFileProcessingErrorRate.md").read_text()
    assert [reason for reason in actions.MEANINGS if f"`{reason}`" not in text] == []


def test_a_key_of_one_collection_sees_and_erases_no_failure_of_another(web_app: App, parts: Parts) -> None:
    failed(parts, "worker_lost")
    mine = failed(parts, "worker_lost", "other")
    key = by(make(web_app, scopes=["read", "erase"], collections=["other"]))
    assert web_app.get(FAILURES, headers=key).json()["total"] == 1
    assert [each["photo_id"] for each in rows(web_app.get(f"{FAILURES}.csv", headers=key))] == [str(mine)]
    assert code(web_app.get(FAILURES, params={"collection": "default"}, headers=key)) == (
        403, "collection_forbidden",
    )  # fmt: skip
    receipt = web_app.request("DELETE", f"{FAILURES}/worker_lost", headers=key).json()
    assert (receipt["photos"], receipt["collections"]) == (1, ["other"])
    assert web_app.get(FAILURES).json()["total"] == 1


def test_no_cell_is_a_formula_and_no_name_breaks_a_row(web_app: App, parts: Parts) -> None:
    for name in ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1"):
        failed(parts, "broken_image", filename=name)
    odd = 'مرحبا "Ж", \r\n;é.jpg'
    failed(parts, "broken_image", filename=odd)
    found = [each["filename"] for each in rows(web_app.get(f"{FAILURES}.csv"))]
    assert found[:5] == ["'=cmd|' /C calc'!A0", "'+1", "'-1", "'@SUM(A1)", "'\t=1"]
    assert found[5] == odd


def test_the_table_has_every_photo_once_and_what_is_known_of_it(
    web_app: App, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [str(failed(parts, "worker_lost" if number % 2 else "broken_image")) for number in range(7)]
    answer = web_app.get(f"{FAILURES}.csv")
    assert [each["photo_id"] for each in rows(answer)] == ids
    assert "failures.csv" in answer.headers["Content-Disposition"]
    first = rows(answer)[0]
    assert (first["collection"], first["filename"], first["reason"]) == ("default", "a.jpg", "broken_image")
    assert (first["attempts"], first["width"], first["media_type"]) == ("1", "100", "image/jpeg")
    only = rows(web_app.get(f"{FAILURES}.csv", params={"reason": "worker_lost"}))
    assert [each["photo_id"] for each in only] == ids[1::2]
    # Pages smaller than what there is.
    monkeypatch.setattr(actions, "ROWS_AT_ONCE", 2)
    asked = actions.wanted(parts, collection=None, reason=None, by=audit_store.SERVICE)
    assert [str(each.id) for each in actions.rows(parts, asked, by=audit_store.SERVICE)] == ids


def test_the_photos_of_a_reason_are_erased_with_their_files(web_app: App, parts: Parts) -> None:
    gone = [failed(parts, "broken_image"), failed(parts, "broken_image", "other")]
    stays = [failed(parts, "worker_lost"), stock.photo(parts, None)]
    hashes = [stock.sha256(parts, each) for each in gone]
    wanted = web_app.request("DELETE", f"{FAILURES}/broken_image", params={"dry_run": "true"}).json()
    assert all(stock.has_file(parts, each) for each in hashes)
    receipt = web_app.request("DELETE", f"{FAILURES}/broken_image").json()
    assert (receipt.pop("proof")["ids"], wanted.pop("proof")) == ([], None)
    assert receipt == {**wanted, "dry_run": False}
    assert receipt == {
        "dry_run": False, "reason": "broken_image", "collections": ["default", "other"], "photos": 2,
        "faces": 0, "originals": 2, "kept": [],
    }  # fmt: skip
    assert not any(stock.has_file(parts, each) for each in hashes)
    assert [web_app.get(f"/api/v1/photos/{each}").status_code for each in gone] == [404, 404]
    assert [web_app.get(f"/api/v1/photos/{each}").status_code for each in stays] == [200, 200]
    entries = stock.audit(parts, "photo.erase")[-2:]
    assert [(each["collection"], each["details"]["photos"]) for each in entries] == [
        ("default", 1), ("other", 1),
    ]  # fmt: skip
    stock.check_consistent(parts)
    assert web_app.request("DELETE", f"{FAILURES}/broken_image").json()["photos"] == 0


def test_an_erasure_of_one_collection_leaves_the_others(web_app: App, parts: Parts) -> None:
    failed(parts, "broken_image")
    failed(parts, "broken_image", "other")
    answer = web_app.request("DELETE", f"{FAILURES}/broken_image", params={"collection": "other"})
    assert (answer.json()["photos"], answer.json()["collections"]) == (1, ["other"])
    assert web_app.get(FAILURES).json()["total"] == 1


def test_many_are_erased_in_steps(web_app: App, parts: Parts) -> None:
    failed(parts, "broken_image")
    with parts.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO photos (id, collection_id, batch_id, sha256, filename, media_type, byte_size,"
                " width, height, state, reason_code) SELECT gen_random_uuid(), collection_id, batch_id,"
                " lpad(to_hex(n), 64, '0'), filename, media_type, byte_size, width, height, state,"
                " reason_code FROM photos, generate_series(1, 2400) n"
            )
        )
    before = len(stock.audit(parts, "photo.erase"))
    assert web_app.request("DELETE", f"{FAILURES}/broken_image").json()["photos"] == 2401
    steps = [each["details"]["photos"] for each in stock.audit(parts, "photo.erase")[before:]]
    assert sum(steps) == 2401
    assert max(steps) <= 2000


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/Broken Image", {}, (400, "parameter")),
        ("/=1", {}, (400, "parameter")),
        (f"/{'a' * 200}", {}, (400, "parameter")),
        ("/broken_image", {"collecton": "other"}, (400, "parameter")),
        ("/broken_image", {"dry_run": "yes"}, (400, "parameter")),
        ("/broken_image", {"dry_run": ["true", "false"]}, (400, "parameter")),
        ("/broken_image", {"collection": ["a", "b"]}, (400, "parameter")),
        ("/broken_image", {"collection": "A B"}, (400, "collection_name")),
        ("/broken_image", {"collection": "none"}, (404, "collection_not_found")),
    ],
)
def test_nobody_erases_by_accident(
    web_app: App, parts: Parts, path: str, query: dict[str, Any], expected: tuple[int, str]
) -> None:
    failed(parts, "broken_image")
    assert code(web_app.request("DELETE", f"{FAILURES}{path}", params=query)) == expected
    assert web_app.get(FAILURES).json()["total"] == 1


def test_the_table_takes_no_other_reason_than_a_code(web_app: App) -> None:
    assert code(web_app.get(f"{FAILURES}.csv", params={"reason": "\0"})) == (400, "parameter")
    assert code(web_app.get(f"{FAILURES}.csv", params={"collection": "none"})) == (
        404, "collection_not_found",
    )  # fmt: skip


# The audit


def test_the_audit_as_a_table_is_what_the_call_tells(web_app: App, parts: Parts) -> None:
    with parts.database.transaction() as session:
        for number in range(3):
            audit_store.write(
                session, audit_store.SERVICE, "test.table", subject=f"=s{number}", details={"number": number}
            )
    query = {"action": "test.table"}
    told = web_app.get("/api/v1/audit", params=query).json()["entries"]
    found = rows(web_app.get("/api/v1/audit.csv", params=query))
    assert [each["id"] for each in found] == [str(each["id"]) for each in told]
    assert list(found[0]) == list(told[0])
    assert [json.loads(each["details"]) for each in found] == [each["details"] for each in told]
    assert [each["subject"] for each in found][-1] == "'=s0"
    assert stock.audit(parts, "audit.read")[-1]["details"] == {"as": "csv"}
    assert rows(web_app.get("/api/v1/audit.csv", params={**query, "until": "2001-01-01T00:00:00Z"})) == []


def test_the_whole_audit_comes_in_pages_and_each_entry_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parts.database.transaction() as session:
        for _ in range(5):
            audit_store.write(session, audit_store.SERVICE, "test.pages")
    wanted = audit_store.Wanted(action="test.pages")
    monkeypatch.setattr(audit_action, "ROWS_AT_ONCE", 2)
    found = []
    for entry in audit_action.rows(parts, wanted, by=audit_store.SERVICE):
        found.append(entry.id)
        # Those that come meanwhile are not among them.
        with parts.database.transaction() as session:
            audit_store.write(session, audit_store.SERVICE, "test.pages")
    assert len(found) == len(set(found)) >= 5
    assert found == sorted(found, reverse=True)


def test_the_audit_as_a_table_is_for_admins_of_all_collections(web_app: App) -> None:
    reader = by(make(web_app, scopes=["read"]))
    bound = by(make(web_app, scopes=["admin"], collections=["default"]))
    assert code(web_app.get("/api/v1/audit.csv", headers=reader)) == (403, "scope_missing")
    assert code(web_app.get("/api/v1/audit.csv", headers=bound)) == (403, "collection_forbidden")
    assert code(web_app.get("/api/v1/audit.csv", params={"since": "yesterday"})) == (400, "parameter")
