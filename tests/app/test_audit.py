"""What the audit tells of each call, who may read it, and that nobody changes it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store import audit
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.app.test_keys_api import KEYS, PHOTOS, by, make, refused
from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg

AUDIT = "/api/v1/audit"


@pytest.fixture
def told(web_app: App) -> Any:
    """Asked with a filter, the entries that this test made, oldest first."""

    def newest() -> int:
        with web_app.installation.parts.database.transaction() as session:
            return int(session.scalar(text("SELECT coalesce(max(id), 0) FROM audit")) or 0)

    before = newest()

    def read(**wanted: str) -> list[dict[str, Any]]:
        answer = web_app.get(AUDIT, params={"limit": 200, **wanted})
        assert answer.status_code == 200, answer.text
        entries = [each for each in answer.json()["entries"] if each["id"] > before]
        return entries[::-1]

    return read


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET action = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DELETE FROM audit WHERE id > 0",
    ],
)
def test_the_database_refuses_to_change_or_remove_an_entry(parts: Parts, statement: str) -> None:
    with parts.database.transaction() as session:
        audit.write(session, audit.SERVICE, "test.keep")
    with pytest.raises(DBAPIError, match="only ever added"), parts.database.transaction() as session:
        session.execute(text(statement))
    with parts.database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM audit WHERE action = 'test.keep'"))


def test_every_look_and_search_and_upload_has_its_entry(live_app: App, told: Any) -> None:
    key = make(live_app, scopes=["read", "write"])
    request_id = f"round-{uuid.uuid4().hex}"
    headers = {**by(key), "X-Request-ID": request_id}
    files = [("photos", ("a.jpg", astronaut_jpeg())), ("photos", ("b.txt", b"no photo"))]
    upload = live_app.request(
        "POST", PHOTOS, files=files, data={"person": "Eileen Collins"}, headers=headers
    ).json()
    photo = upload["photos"][0]["id"]
    live_app.wait_finished(upload["batch_id"])
    face = live_app.get(f"{PHOTOS}/{photo}", headers=headers).json()["faces"][0]["id"]
    for path in (f"{PHOTOS}/{photo}/image", f"{PHOTOS}/{photo}/image?rendition=upright"):
        assert live_app.get(path, headers=headers).status_code == 200
    assert live_app.get(f"/api/v1/faces/{face}/crop", headers=headers).status_code == 200
    for _ in range(2):
        query = {"photo": ("q.jpg", astronaut_again())}
        assert live_app.request("POST", "/api/v1/search", files=query, headers=headers).status_code == 200
    found = [each for each in told() if each["request_id"] == request_id]
    assert [(each["action"], each["subject"]) for each in found] == [
        ("photo.add", upload["batch_id"]), ("photo.look", photo), ("photo.image", photo),
        ("photo.image", photo), ("face.crop", face), ("search.run", None), ("search.run", None),
    ]  # fmt: skip
    assert {(each["actor_kind"], each["actor_name"], each["actor_id"]) for each in found} == {
        ("key", key["name"], key["id"])
    }
    assert {(each["collection"], each["outcome"], each["address"]) for each in found} == {
        ("default", "done", "127.0.0.1")
    }
    assert found[0]["details"] == {"photos": 1, "duplicates": 0, "rejected": 1, "named": True}
    assert [each["details"] for each in found[-2:]] == [
        {"faces": 1, "matched": 1, "cached": False}, {"faces": 1, "matched": 1, "cached": True},
    ]  # fmt: skip


def test_what_was_not_there_or_not_reached_was_not_looked_at(web_app: App, told: Any) -> None:
    upload = web_app.upload(("a.jpg", astronaut_jpeg()), collection="there").json()
    bounded = make(web_app, scopes=["read", "write"], collections=["here"])
    for photo in (upload["photos"][0]["id"], str(uuid.uuid4())):
        assert web_app.get(f"{PHOTOS}/{photo}", headers=by(bounded)).status_code == 404
    web_app.upload(("b.txt", b"no photo"))
    assert [each["action"] for each in told(action="photo.")] == ["photo.add"]
    files = {"photos": ("c.jpg", astronaut_jpeg(1))}
    web_app.request("POST", PHOTOS, files=files, data={"collection": "there"}, headers=by(bounded))
    (refusal,) = told(action="access.", outcome="refused")
    assert (refusal["actor_name"], refusal["collection"]) == (bounded["name"], "there")
    assert refusal["details"] == {"call": "api.photos.upload", "code": "collection_forbidden"}


def test_refusals_name_who_asked_where_that_is_known(web_app: App, told: Any) -> None:
    reader = make(web_app)
    expired = make(web_app)
    with web_app.installation.parts.database.transaction() as session:
        session.execute(
            text("UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = :id"),
            {"id": expired["id"]},
        )
    web_app.request("DELETE", f"{KEYS}/{reader['id']}", headers=by(reader))
    web_app.get(PHOTOS, headers=by(expired))
    web_app.get(PHOTOS, headers={"X-API-Key": "x", "Authorization": "Bearer fp_nobody"})
    requests.post(f"{web_app.url}/session", json={"api_key": "fp_nobody"}, timeout=30)
    requests.get(web_app.url + PHOTOS, timeout=30)
    found = told(action="access.")
    assert [(each["actor_name"], each["details"]["code"]) for each in found] == [
        (reader["name"], "scope_missing"), (expired["name"], "api_key_expired"),
        ("unknown", "api_key_invalid"), ("unknown", "api_key_invalid"),
    ]  # fmt: skip
    assert [each["details"]["call"] for each in found] == [
        "api.keys.revoke", "api.photos.list_photos", "api.photos.list_photos", "session.sign_in",
    ]  # fmt: skip
    assert {each["outcome"] for each in found} == {"refused"}


def test_sessions_are_told_from_sign_in_to_sign_out(web_app: App, told: Any) -> None:
    key = make(web_app)
    browser = requests.Session()
    browser.post(f"{web_app.url}/session", json={"api_key": key["api_key"]}, timeout=30).raise_for_status()
    photo = web_app.upload(("a.jpg", astronaut_jpeg())).json()["photos"][0]["id"]
    assert browser.get(f"{web_app.url}{PHOTOS}/{photo}", timeout=30).status_code == 200
    assert browser.delete(f"{web_app.url}/session", timeout=30).status_code == 204
    assert requests.delete(f"{web_app.url}/session", timeout=30).status_code == 204
    found = told(actor=key["id"])
    assert [each["action"] for each in found] == ["session.open", "photo.look", "session.close"]
    assert {each["actor_kind"] for each in found} == {"session"}


def test_changes_of_keys_are_told_and_failed_ones_are_not(web_app: App, told: Any) -> None:
    made = make(web_app, scopes=["write"], collections=["a", "b"])
    url = f"{KEYS}/{made['id']}"
    web_app.request("PATCH", url, json={"scopes": ["read"], "requests_per_minute": 7})
    web_app.request("POST", f"{url}/rotate", json={"grace_seconds": 60})
    wrong = web_app.request("POST", KEYS, json={"name": made["name"], "scopes": ["read"]})
    assert refused(wrong) == (409, "key_exists")
    web_app.request("DELETE", url)
    web_app.request("DELETE", url)
    found = told(action="key.", subject=made["id"])
    bounds = {"scopes": ["write"], "collections": 2, "expires": False, "requests_per_minute": None}
    changed = {**bounds, "scopes": ["read"], "requests_per_minute": 7}
    assert [(each["action"], each["details"]) for each in found] == [
        ("key.create", bounds),
        ("key.change", {"fields": ["requests_per_minute", "scopes"], **changed}),
        ("key.rotate", {"grace_seconds": 60}), ("key.revoke", {}),
    ]  # fmt: skip
    assert len(told(action="key.")) == 4


def test_the_audit_holds_no_name_key_or_picture(live_app: App, told: Any) -> None:
    person, file_name, key_text = (
        f"Nemo {uuid.uuid4()}",
        f"secret-{uuid.uuid4()}.jpg",
        f"fp_{uuid.uuid4().hex}",
    )
    key = make(live_app, scopes=["read", "write"], collections=["default"])
    upload = live_app.upload((file_name, astronaut_jpeg(9)), person=person).json()
    live_app.wait_finished(upload["batch_id"])
    photo = live_app.get(f"{PHOTOS}/{upload['photos'][0]['id']}").json()
    live_app.get(f"/api/v1/faces/{photo['faces'][0]['id']}/crop")
    live_app.search(astronaut_again())
    live_app.search(astronaut_again(), collection=person[:4].lower())
    rotated = live_app.request("POST", f"{KEYS}/{key['id']}/rotate", json={}).json()
    live_app.get(PHOTOS, headers=by(key_text))
    live_app.get(PHOTOS, params={"collection": person}, headers=by(rotated))
    live_app.request("POST", "/session", json={"api_key": key_text})
    assert len(told()) >= 8
    with live_app.installation.parts.database.transaction() as session:
        table = "\n".join(session.scalars(text("SELECT audit::text FROM audit")))
    for secret in (
        person, file_name, key_text, key["api_key"], rotated["api_key"], live_app.api_key, photo["sha256"],
    ):  # fmt: skip
        assert secret not in table
    for entry in told():
        for value in entry["details"].values():
            assert isinstance(value, int | bool | None) or value in (["read", "write"],) or (
                isinstance(value, str) and value.replace("_", "").replace(".", "").isalpha()
            ), entry  # fmt: skip


def test_the_audit_is_read_by_filter_and_page(web_app: App, told: Any) -> None:
    made = [make(web_app) for _ in range(5)]
    first = web_app.get(AUDIT, params={"action": "key.create", "limit": 3}).json()
    following = web_app.get(
        AUDIT, params={"action": "key.create", "limit": 3, "cursor": first["next_cursor"]}
    ).json()
    subjects = [each["subject"] for each in first["entries"] + following["entries"]]
    assert subjects[:5] == [key["id"] for key in made[::-1]]
    (one,) = told(subject=made[2]["id"])
    assert told(subject=made[2]["id"], since=one["at"])
    assert told(subject=made[2]["id"], until=one["at"]) == []
    assert told(subject=made[2]["id"], actor="admin") == [one]
    assert told(subject=made[2]["id"], actor=one["actor_id"]) == [one]
    assert told(subject=made[2]["id"], actor="somebody else") == []
    assert told(action="key_create") == [], "an underscore is no wildcard"
    assert told(action="%") == []
    assert told(collection="nowhere") == []
    for wrong in (
        {"since": "yesterday"}, {"until": "2026-01-01"}, {"outcome": "good"}, {"limit": "0"},
        {"cursor": "x"}, {"cursor": "WzFdMQ=="}, {"collection": "A B"}, {"actor": "a\0b"},
    ):  # fmt: skip
        answer = web_app.get(AUDIT, params=wrong)
        assert answer.status_code == 400, wrong
    assert web_app.get(AUDIT, params={"action": "x" * 5000, "subject": "💥"}).json()["entries"] == []


def test_to_read_the_audit_leaves_an_entry(web_app: App, told: Any) -> None:
    told()
    assert told(action="audit.read")[0]["actor_name"] == "admin"


def test_an_operator_reads_the_audit_on_the_command_line(web_app: App, told: Any) -> None:
    run = web_app.installation.run
    name = f"cli-{uuid.uuid4()}"
    run("keys", "create", "--name", name, "--scopes", "read")
    run("keys", "revoke", "--name", name)
    created, revoked = told(action="key.")
    assert {created["actor_kind"], revoked["actor_kind"]} == {"command"}
    lines = run("audit", "--since", "1h", "--subject", created["subject"], "--json").stdout.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["key.revoke", "key.create"]
    table = run("audit", "--action", "key.", "--limit", "1").stdout.splitlines()
    assert len(table) == 2
    assert "key.revoke" in table[1]
    assert created["subject"] in table[1]
    assert run("audit", "--actor", "nobody").stdout.count("\n") == 1
