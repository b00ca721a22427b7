"""The calls on web hooks: what they take, and what they never tell."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from face_pipeline.actions import hooks as actions
from face_pipeline.ops import hooks as sending
from face_pipeline.parts import Parts
from face_pipeline.store import deliveries, keys
from face_pipeline.store import hooks as store
from face_pipeline.store.audit import SERVICE
from face_pipeline.store.models import ApiKey, AuditEntry, Hook
from sqlalchemy import delete, func, select, text, update

from tests.installation import App

URL = "https://events.example.org/in"


def make(app: App, **body: Any) -> dict[str, Any]:
    answer = app.request("POST", "/api/v1/hooks", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def signed_with(parts: Parts, hook_id: str) -> list[str]:
    """The secrets that sign for the hook now."""
    with parts.database.transaction() as session:
        row = store.add_test(session, uuid.UUID(hook_id), SERVICE)
        job = deliveries.take(session, row.hook_id)
        assert job is not None
        headers = sending.headers_of(job, b"{}", "a key of the tests", job.created_at)
        assert len(headers["webhook-signature"].split()) == len(job.salts)
        return [
            actions.shown(actions.secret_of("a key of the tests", row.hook_id, salt)) for salt in job.salts
        ]


def test_a_secret_is_shown_once_and_kept_nowhere(web_app: App, parts: Parts) -> None:
    made = make(web_app)
    secret = made["secret"]
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    path = f"/api/v1/hooks/{made['id']}"
    told = [web_app.get(path).text, web_app.get("/api/v1/hooks").text]
    told.append(web_app.request("PATCH", path, json={"enabled": False}).text)
    with parts.database.reading() as session:
        told += map(str, session.execute(text("SELECT hooks::text FROM hooks")).all())
    assert [each for each in told if "whsec" in each or secret.removeprefix("whsec_") in each] == []
    assert signed_with(parts, made["id"]) == [secret]


def test_a_new_secret_and_the_old_one_sign_for_a_day(web_app: App, parts: Parts) -> None:
    made = make(web_app)
    rotated = web_app.request("PATCH", f"/api/v1/hooks/{made['id']}", json={"rotate_secret": True}).json()
    assert rotated["secret"] != made["secret"]
    assert signed_with(parts, made["id"]) == [rotated["secret"], made["secret"]]
    with parts.database.transaction() as session:
        session.execute(update(Hook).values(old_until=func.now()))
    assert signed_with(parts, made["id"]) == [rotated["secret"]]


def test_two_hooks_have_nothing_in_common(web_app: App) -> None:
    assert make(web_app)["secret"] != make(web_app)["secret"]


def test_what_is_not_said_stays_as_it_is(web_app: App) -> None:
    made = make(web_app, kinds=["photo.done"], collections=["b", "a", "b"])
    assert (made["kinds"], made["collections"], made["enabled"]) == (["photo.done"], ["a", "b"], True)
    path = f"/api/v1/hooks/{made['id']}"
    changed = web_app.request("PATCH", path, json={"collections": None}).json()
    assert (changed["kinds"], changed["collections"], changed["url"]) == (["photo.done"], None, URL)
    changed = web_app.request("PATCH", path, json={"url": URL + "2", "kinds": ["person.seen"]}).json()
    assert (changed["kinds"], changed["url"]) == (["person.seen"], URL + "2")
    assert web_app.get(path).json() == changed
    assert make(web_app)["kinds"] == sorted(["photo.done", "photo.failed", "person.seen", "face.unknown"])


def test_a_change_of_what_somebody_else_changed_is_refused(web_app: App) -> None:
    path = f"/api/v1/hooks/{make(web_app)['id']}"
    seen = web_app.get(path).headers["ETag"]
    first = web_app.request("PATCH", path, json={"enabled": False}, headers={"If-Match": seen})
    assert (first.status_code, first.headers["ETag"] == seen) == (200, False)
    second = web_app.request("PATCH", path, json={"enabled": True}, headers={"If-Match": seen})
    assert (second.status_code, second.json()["error"]["code"]) == (412, "precondition_failed")
    assert web_app.get(path).json()["enabled"] is False


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "parameter"), ({"url": 5}, "parameter"), ({"url": None}, "parameter"),
        ({"url": "x" * 10_000}, "hook_url"),
        ({"url": "https://127.0.0.1/"}, "hook_url"), ({"url": "https://e.example.org/\0"}, "hook_url"),
        ({"url": URL, "kinds": []}, "parameter"), ({"url": URL, "kinds": ["test"]}, "parameter"),
        ({"url": URL, "kinds": "photo.done"}, "parameter"), ({"url": URL, "collections": []}, "parameter"),
        ({"url": URL, "collections": ["No"]}, "collection_name"),
        ({"url": URL, "collections": ["a\0"]}, "collection_name"),
        ({"url": URL, "collections": ["a"] * 101}, "parameter"),
        ({"url": URL, "collections": [7]}, "parameter"),
        ({"url": URL, "enabled": "yes"}, "parameter"), ({"url": URL, "enabled": None}, "parameter"),
        ({"url": URL, "secret": "whsec_mine"}, "parameter"), ([], "body_malformed"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_hook_is_refused_with_what_to_do(web_app: App, body: Any, code: str) -> None:
    answer = web_app.request("POST", "/api/v1/hooks", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    path = f"/api/v1/hooks/{make(web_app)['id']}"
    before = web_app.get(path).json()
    if body not in ({}, []):
        assert web_app.request("PATCH", path, json=body).status_code == 400
    assert web_app.get(path).json() == before


@pytest.mark.parametrize("hook_id", [str(uuid.UUID(int=5)), "none", "%00", "\N{GRINNING FACE}", "a" * 300])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/test")],
)
def test_a_hook_that_is_not_there_is_not_found(web_app: App, method: str, path: str, hook_id: str) -> None:
    answer = web_app.request(method, f"/api/v1/hooks/{hook_id}{path}", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) in (
        (404, "hook_not_found"),
        (404, "not_found"),
    )


def test_a_hook_that_is_removed_is_gone(web_app: App) -> None:
    made = make(web_app)
    web_app.request("POST", f"/api/v1/hooks/{made['id']}/test")
    assert web_app.request("DELETE", f"/api/v1/hooks/{made['id']}").status_code == 204
    assert web_app.request("DELETE", f"/api/v1/hooks/{made['id']}").status_code == 404
    assert web_app.get("/api/v1/hooks").json()["hooks"] == []


def test_there_are_no_more_hooks_than_the_sender_has_threads(web_app: App) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: web_app.request("POST", "/api/v1/hooks", json={"url": URL}), range(40))
        )
    assert sorted(each.status_code for each in answers) == [201] * store.HOOKS_MOST + [409] * 8
    refused = next(each for each in answers if each.status_code == 409)
    assert refused.json()["error"]["code"] == "too_many_hooks"
    pages, cursor = [], None
    while True:
        page = web_app.get(
            "/api/v1/hooks", params={"limit": "20", **({"cursor": cursor} if cursor else {})}
        ).json()
        pages.append([each["id"] for each in page["hooks"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [20, 12]
    assert len({each for page in pages for each in page}) == store.HOOKS_MOST


def test_tests_that_nobody_sends_do_not_pile_up(web_app: App) -> None:
    path = f"/api/v1/hooks/{make(web_app)['id']}"
    codes = [web_app.request("POST", f"{path}/test").status_code for _ in range(store.TESTS_MOST + 1)]
    assert codes == [202] * store.TESTS_MOST + [409]
    first = web_app.get(f"{path}/deliveries?limit=6").json()
    second = web_app.get(f"{path}/deliveries", params={"cursor": first["next_cursor"]}).json()
    assert [len(each["deliveries"]) for each in (first, second)] == [6, 4]
    assert second["next_cursor"] is None


@pytest.fixture
def narrow_key(parts: Parts) -> Iterator[str]:
    """A key that administers the collection `open` alone."""
    with parts.database.transaction() as session:
        _, key = keys.create(session, "narrow", ["admin"])
        session.execute(update(ApiKey).where(ApiKey.name == "narrow").values(collections=["open"]))
    yield key
    with parts.database.transaction() as session:
        session.execute(delete(ApiKey).where(ApiKey.name == "narrow"))


def test_a_key_has_hooks_for_its_own_collections_alone(web_app: App, narrow_key: str) -> None:
    other, every = make(web_app, collections=["open", "shut"]), make(web_app)
    own = {"Authorization": f"Bearer {narrow_key}"}
    for wanted in (None, ["open", "shut"], ["shut"]):
        refused = web_app.request(
            "POST", "/api/v1/hooks", json={"url": URL, "collections": wanted}, headers=own
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "collection_forbidden")
    made = web_app.request(
        "POST", "/api/v1/hooks", json={"url": URL, "collections": ["open"]}, headers=own
    ).json()
    listed = web_app.get("/api/v1/hooks", headers=own).json()["hooks"]
    assert [each["id"] for each in listed] == [made["id"]]
    for each in (other, every):
        path = f"/api/v1/hooks/{each['id']}"
        for method in ("GET", "PATCH", "DELETE"):
            assert web_app.request(method, path, json={}, headers=own).status_code == 404
        assert web_app.get(f"{path}/deliveries", headers=own).status_code == 404
        assert web_app.request("POST", f"{path}/test", headers=own).status_code == 404
    widened = web_app.request("PATCH", f"/api/v1/hooks/{made['id']}", json={"collections": None}, headers=own)
    assert widened.status_code == 403


def test_hooks_are_for_admins(web_app: App, parts: Parts) -> None:
    with parts.database.transaction() as session:
        _, key = keys.create(session, "writer", ["read", "write", "enrol", "erase"])
    try:
        headers = {"Authorization": f"Bearer {key}"}
        assert web_app.get("/api/v1/hooks", headers=headers).status_code == 403
        assert web_app.request("POST", "/api/v1/hooks", json={"url": URL}, headers=headers).status_code == 403
    finally:
        with parts.database.transaction() as session:
            session.execute(delete(ApiKey).where(ApiKey.name == "writer"))


def test_the_audit_says_who_did_what_with_a_hook(web_app: App, parts: Parts) -> None:
    with parts.database.reading() as session:
        before = session.scalar(select(func.max(AuditEntry.id))) or 0
    made = make(web_app)
    path = f"/api/v1/hooks/{made['id']}"
    web_app.request("PATCH", path, json={"enabled": False, "rotate_secret": True})
    web_app.request("PATCH", path, json={"url": "https://10.0.0.1/"})
    web_app.request("POST", f"{path}/test")
    web_app.request("DELETE", path)
    with parts.database.reading() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.id > before).order_by(AuditEntry.id)).all()
    told = [row for row in rows if row.subject == made["id"]]
    assert [row.action for row in told] == ["hook.create", "hook.change", "hook.test", "hook.delete"]
    assert {row.actor_name for row in told} == {"admin"}
    assert told[1].details == {"fields": ["enabled", "secret"]}
