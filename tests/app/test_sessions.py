"""Sessions of browsers: kept on the server, ended there, listed, and known by a cookie that tells nothing."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests
from face_pipeline.config import get_settings
from face_pipeline.ops.indexer import forget_sessions
from face_pipeline.parts import Parts
from face_pipeline.web import create_app
from sqlalchemy import text

from tests.app.test_keys_api import by, make, refused
from tests.installation import App, wait_until

SESSIONS, KEYS, PHOTOS = "/api/v1/sessions", "/api/v1/keys", "/api/v1/photos"
COOKIE = "face_session"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Browser:
    """Signed in with a key."""

    def __init__(self, app: App, key: dict[str, Any] | str, **headers: str) -> None:
        self.app, self.http = app, requests.Session()
        self.http.headers.update(headers)
        self.sign_in(key)

    def sign_in(self, key: dict[str, Any] | str) -> None:
        body = {"api_key": key if isinstance(key, str) else key["api_key"]}
        answer = self.http.post(f"{self.app.url}/session", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        self.told: dict[str, Any] = answer.json()
        self.token = self.http.cookies[COOKIE]

    def sees(self, token: str | None = None) -> int:
        """Status of a look, by the cookie of now or that of before."""
        cookies = {COOKIE: token or self.token}
        return requests.get(self.app.url + PHOTOS, cookies=cookies, timeout=30).status_code

    def send(self, method: str, path: str, csrf: str | None = None) -> requests.Response:
        headers = {"X-CSRF-Token": csrf or self.told["csrf_token"]}
        return self.http.request(method, self.app.url + path, headers=headers, timeout=30)


def change(app: App, session_id: str, to: str) -> None:
    with app.installation.parts.database.transaction() as session:
        session.execute(text(f"UPDATE sessions SET {to} WHERE id = :id"), {"id": session_id})


def row(app: App, session_id: str) -> Any:
    with app.installation.parts.database.transaction() as session:
        return session.execute(
            text("SELECT * FROM sessions WHERE id = :id"), {"id": session_id}
        ).one_or_none()


def listed(app: App, key: dict[str, Any]) -> list[dict[str, Any]]:
    answer = app.get(f"{SESSIONS}?key_id={key['id']}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


@pytest.mark.parametrize(
    ("url", "name", "secure"),
    [("https://faces.example.org", "__Host-face_session", True), ("http://127.0.0.1", COOKIE, False)],
)
def test_over_https_the_cookie_is_of_this_host_alone(
    web_app: App, monkeypatch: pytest.MonkeyPatch, url: str, name: str, secure: bool
) -> None:
    monkeypatch.setenv("FACE_PUBLIC_URL", url)
    client = create_app(Parts(get_settings())).test_client()
    opened = client.post("/session", json={"api_key": web_app.api_key}, base_url=url)
    first, *flags = opened.headers["Set-Cookie"].split("; ")
    assert first.partition("=")[0] == name
    assert set(flags) == {"HttpOnly", "Path=/", "SameSite=Strict", *(["Secure"] if secure else [])}
    assert client.get(PHOTOS, base_url=url).status_code == 200
    closed = client.delete("/session", base_url=url)
    assert closed.headers["Set-Cookie"].startswith(f"{name}=;")
    assert ("Secure" in closed.headers["Set-Cookie"]) is secure
    assert client.get(PHOTOS, base_url=url).status_code == 401


def test_a_signed_out_session_is_over_also_for_who_has_a_copy_of_its_cookie(web_app: App) -> None:
    key = make(web_app)
    browser = Browser(web_app, key)
    assert browser.sees() == 200
    assert browser.http.delete(f"{web_app.url}/session", timeout=30).status_code == 204
    assert COOKIE not in browser.http.cookies
    assert browser.sees() == 401
    assert listed(web_app, key) == []


def test_a_sign_in_ends_what_the_browser_had_before(web_app: App) -> None:
    browser = Browser(web_app, make(web_app))
    before = browser.token
    browser.sign_in(make(web_app))
    assert (browser.sees(before), browser.sees()) == (401, 200)


def test_a_session_ends_by_its_age_and_by_rest(web_app: App) -> None:
    settings = web_app.installation.parts.settings
    assert (settings.session_hours, settings.session_idle_minutes) == (12, 60)
    key = make(web_app)
    old, idle = Browser(web_app, key), Browser(web_app, key)
    found = row(web_app, old.told["id"])
    assert (found.expires_at - found.created_at).total_seconds() == 12 * 3600
    change(web_app, old.told["id"], "expires_at = now()")
    change(web_app, idle.told["id"], "last_used_at = now() - interval '61 minutes'")
    assert (old.sees(), idle.sees()) == (401, 401)
    assert listed(web_app, key) == []
    change(web_app, idle.told["id"], "last_used_at = now() - interval '59 minutes'")
    assert idle.sees() == 200


def test_use_is_noted_but_a_look_within_a_minute_writes_nothing(web_app: App) -> None:
    browser = Browser(web_app, make(web_app))

    def version() -> str:
        # PostgreSQL gives each written row another.
        with web_app.installation.parts.database.transaction() as session:
            return str(
                session.scalar(
                    text("SELECT xmin::text FROM sessions WHERE id = :id"), {"id": browser.told["id"]}
                )
            )

    before = version()
    assert [browser.sees() for _ in range(3)] == [200] * 3
    assert version() == before
    change(web_app, browser.told["id"], "last_used_at = now() - interval '2 minutes'")
    before = version()
    assert browser.sees() == 200
    wait_until(lambda: version() != before, 10, "the use to be noted")
    used = row(web_app, browser.told["id"]).last_used_at
    assert [browser.sees() for _ in range(3)] == [200] * 3
    assert row(web_app, browser.told["id"]).last_used_at == used


def test_a_revoked_key_ends_its_sessions_for_good(web_app: App) -> None:
    key = make(web_app)
    browser = Browser(web_app, key)
    assert web_app.request("DELETE", f"{KEYS}/{key['id']}").status_code == 204
    assert browser.sees() == 401
    assert row(web_app, browser.told["id"]).ended_at is not None
    with web_app.installation.parts.database.transaction() as session:
        session.execute(text("UPDATE api_keys SET revoked_at = NULL WHERE id = :id"), {"id": key["id"]})
    assert browser.sees() == 401


def test_a_session_of_the_text_before_ends_when_that_text_does(web_app: App) -> None:
    key = make(web_app)
    early = Browser(web_app, key)
    rotated = web_app.request("POST", f"{KEYS}/{key['id']}/rotate", json={"grace_seconds": 600}).json()
    late, new = Browser(web_app, key), Browser(web_app, rotated)
    assert [each.sees() for each in (early, late, new)] == [200, 200, 200]
    with web_app.installation.parts.database.transaction() as session:
        session.execute(text("UPDATE api_keys SET previous_until = now() WHERE id = :id"), {"id": key["id"]})
    assert [each.sees() for each in (early, late, new)] == [401, 401, 200]
    assert [each["id"] for each in listed(web_app, key)] == [new.told["id"]]


def test_a_session_of_an_expired_key_says_so(web_app: App) -> None:
    key = make(web_app)
    browser = Browser(web_app, key)
    with web_app.installation.parts.database.transaction() as session:
        session.execute(text("UPDATE api_keys SET expires_at = now() WHERE id = :id"), {"id": key["id"]})
    assert refused(browser.http.get(web_app.url + PHOTOS, timeout=30)) == (401, "api_key_expired")
    assert listed(web_app, key) == []


def test_sessions_are_listed_and_ended_one_by_one(web_app: App) -> None:
    key, other = make(web_app), make(web_app)
    first = Browser(web_app, key, **{"User-Agent": FIREFOX + "x" * 1000, "X-Real-IP": "192.0.2.7"})
    second, third = Browser(web_app, key), Browser(web_app, other)
    shown = listed(web_app, key)
    assert [each["id"] for each in shown] == [second.told["id"], first.told["id"]]
    told = shown[1]
    assert (told["key_id"], told["key_name"], told["address"]) == (key["id"], key["name"], "192.0.2.7")
    assert told["user_agent"].startswith(FIREFOX)
    assert len(told["user_agent"]) == 200
    assert told["current"] is False
    pages = [web_app.get(f"{SESSIONS}?key_id={key['id']}&limit=1").json()]
    pages.append(
        web_app.get(f"{SESSIONS}?key_id={key['id']}&limit=1&cursor={pages[0]['next_cursor']}").json()
    )
    assert [each["id"] for page in pages for each in page["sessions"]] == [each["id"] for each in shown]
    assert pages[1]["next_cursor"] is None

    assert web_app.request("DELETE", f"{SESSIONS}/{first.told['id']}").status_code == 204
    assert [each.sees() for each in (first, second, third)] == [401, 200, 200]
    again = web_app.request("DELETE", f"{SESSIONS}/{first.told['id']}")
    assert refused(again) == (404, "session_not_found")
    assert web_app.request("DELETE", f"{KEYS}/{key['id']}/sessions").status_code == 204
    assert [each.sees() for each in (second, third)] == [401, 200]
    assert web_app.get(PHOTOS, headers=by(key)).status_code == 200, "the key itself works on"
    for path in (f"{SESSIONS}/{uuid.uuid4()}", f"{SESSIONS}/x"):
        assert refused(web_app.request("DELETE", path)) == (404, "session_not_found")
    for path in (f"{KEYS}/{uuid.uuid4()}/sessions", f"{KEYS}/x/sessions"):
        assert refused(web_app.request("DELETE", path)) == (404, "key_not_found")
    entries = web_app.get(f"/api/v1/audit?action=session.end&subject={key['id']}").json()["entries"]
    assert [(each["actor_name"], each["details"]) for each in entries] == [("admin", {"sessions": 1})] * 2


def test_an_admin_sees_which_session_is_their_own(web_app: App) -> None:
    key = make(web_app, scopes=["admin"])
    browser, other = Browser(web_app, key), Browser(web_app, key)
    shown = browser.send("GET", f"{SESSIONS}?key_id={key['id']}").json()["sessions"]
    assert {each["id"]: each["current"] for each in shown} == {
        browser.told["id"]: True,
        other.told["id"]: False,
    }
    assert browser.send("GET", "/session").json() == browser.told


def test_only_an_admin_of_everything_sees_and_ends_sessions(web_app: App) -> None:
    key = make(web_app, scopes=["read", "write", "enrol", "erase"])
    bounded = make(web_app, scopes=["admin"], collections=["here"])
    browser = Browser(web_app, key)
    for each, code in ((key, "scope_missing"), (bounded, "collection_forbidden")):
        for method, path in (
            ("GET", SESSIONS), ("DELETE", f"{SESSIONS}/{browser.told['id']}"),
            ("DELETE", f"{KEYS}/{key['id']}/sessions"),
        ):  # fmt: skip
            assert refused(web_app.request(method, path, headers=by(each))) == (403, code)
    assert browser.sees() == 200


def test_the_token_of_another_session_changes_nothing(web_app: App) -> None:
    key = make(web_app, scopes=["admin"])
    browser, other = Browser(web_app, key), Browser(web_app, key)
    path = f"{SESSIONS}/{other.told['id']}"
    assert browser.told["csrf_token"] != other.told["csrf_token"]
    assert refused(browser.send("DELETE", path, other.told["csrf_token"])) == (403, "csrf_token")
    assert other.sees() == 200
    assert browser.send("DELETE", path).status_code == 204
    assert other.sees() == 401


def test_no_cookie_can_be_made_of_what_the_database_holds(web_app: App) -> None:
    browser = Browser(web_app, make(web_app))
    kept = row(web_app, browser.told["id"])
    assert browser.token not in str(kept)
    for guess in (kept.token_hash, str(kept.id), browser.told["csrf_token"], "", "é"):
        headers = {"Cookie": f"{COOKIE}={guess}".encode()}
        assert requests.get(web_app.url + PHOTOS, headers=headers, timeout=30).status_code == 401, guess


def test_sessions_that_are_over_are_forgotten(web_app: App) -> None:
    key = make(web_app)
    ended, old, idle, live = (Browser(web_app, key).told["id"] for _ in range(4))
    change(web_app, ended, "ended_at = now()")
    change(web_app, old, "expires_at = now()")
    change(web_app, idle, "last_used_at = now() - interval '1 hour'")
    assert forget_sessions(web_app.installation.parts) >= 3
    assert [row(web_app, each) is not None for each in (ended, old, idle, live)] == [False] * 3 + [True]
