"""Keys as an administrator makes and ends them, and what each may reach."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import text

from tests.installation import App, Installation, wait_until
from tests.photos import astronaut_jpeg, no_face

KEYS = "/api/v1/keys"
PHOTOS = "/api/v1/photos"
ENSURE = ("keys", "ensure", "--name", "admin", "--scopes", "admin", "--credential", "admin_api_key")


def make(app: App, **wish: Any) -> dict[str, Any]:
    """A new key as the API answers it, with its text as `api_key`."""
    answer = app.request("POST", KEYS, json={"name": f"k-{uuid.uuid4()}", "scopes": ["read"], **wish})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def by(key: dict[str, Any] | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key if isinstance(key, str) else key['api_key']}"}


def refused(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def soon(**how_long: float) -> str:
    return (datetime.now(UTC) + timedelta(**how_long)).isoformat()


@pytest.fixture
def alone(web_app: App) -> Iterator[App]:
    """The installation's own key is the only one of an admin; what else there was ends."""
    leave_alone(web_app)
    yield web_app
    leave_alone(web_app)


def leave_alone(app: App) -> None:
    with app.installation.parts.database.transaction() as session:
        session.execute(
            text("UPDATE api_keys SET revoked_at = now() WHERE name != 'admin' AND revoked_at IS NULL")
        )
    app.installation.run(*ENSURE)


def test_a_key_is_made_used_shown_and_revoked(web_app: App) -> None:
    made = make(web_app, name="door camera", scopes=["write", "read"])
    assert (made["state"], made["scopes"], made["collections"]) == ("active", ["read", "write"], None)
    assert web_app.get(PHOTOS, headers=by(made)).status_code == 200
    shown = web_app.get(f"{KEYS}/{made['id']}")
    assert "api_key" not in shown.json()
    assert made["api_key"] not in shown.text + web_app.get(KEYS).text
    assert web_app.request("DELETE", f"{KEYS}/{made['id']}").status_code == 204
    assert refused(web_app.get(PHOTOS, headers=by(made))) == (401, "api_key_invalid")
    assert web_app.get(f"{KEYS}/{made['id']}").json()["state"] == "revoked"
    assert web_app.request("DELETE", f"{KEYS}/{made['id']}").status_code == 204, "once more does no harm"
    again = make(web_app, name="door camera")
    assert again["id"] != made["id"], "the name of a revoked key is free"
    assert refused(web_app.request("PATCH", f"{KEYS}/{made['id']}", json={"name": "x"})) == (
        409,
        "key_revoked",
    )


def test_a_name_is_in_use_once_also_when_two_ask_at_once(web_app: App) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: web_app.request("POST", KEYS, json={"name": "twice", "scopes": ["read"]}), range(8)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert {refused(answer)[1] for answer in answers if answer.status_code == 409} == {"key_exists"}
    other = make(web_app)
    answer = web_app.request("PATCH", f"{KEYS}/{other['id']}", json={"name": "twice"})
    assert refused(answer) == (409, "key_exists")
    web_app.installation.run("keys", "revoke", "--name", "twice")


def test_what_no_key_can_be_is_refused_with_words(web_app: App) -> None:
    for wrong, code in (
        ({"name": ""}, "key_name"), ({"name": "  "}, "key_name"), ({"name": "x" * 101}, "key_name"),
        ({"name": "x" * 10_000}, "key_name"), ({"name": "a\0b"}, "key_name"), ({"name": "a\nb"}, "key_name"),
        ({"name": "\u202eadmin"}, "key_name"), ({"name": 5}, "parameter"), ({"name": None}, "parameter"),
        ({"scopes": []}, "scope"), ({"scopes": ["root"]}, "scope"), ({"scopes": "admin"}, "parameter"),
        ({"scopes": [1]}, "parameter"), ({"collections": []}, "collection_name"),
        ({"collections": ["A B"]}, "collection_name"), ({"collections": [None]}, "parameter"),
        ({"collections": ["a"] * 1001}, "parameter"), ({"expires_at": "tomorrow"}, "parameter"),
        ({"expires_at": "2999-01-01"}, "parameter"), ({"expires_at": "2999-01-01T00:00:00"}, "parameter"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "parameter"), ({"expires_at": 5}, "parameter"),
        ({"expires_at": soon(seconds=-1)}, "parameter"), ({"requests_per_minute": -1}, "parameter"),
        ({"requests_per_minute": 10**30}, "parameter"), ({"requests_per_minute": True}, "parameter"),
        ({"requests_per_minute": 1.5}, "parameter"), ({"unknown": 1}, "parameter"),
    ):  # fmt: skip
        body = {"name": f"k-{uuid.uuid4()}", "scopes": ["read"], **wrong}
        answer = web_app.request("POST", KEYS, json=body)
        assert refused(answer) == (400, code), wrong
    for raw in (b"", b"[]", b'{"name": "\\ud800", "scopes": ["read"]}', b"\xff", b"null"):
        assert refused(web_app.request("POST", KEYS, data=raw)) == (400, "body_malformed"), raw
    nobody = f"{KEYS}/{uuid.uuid4()}"
    for method, path in (("GET", nobody), ("DELETE", nobody), ("GET", f"{KEYS}/x")):
        assert refused(web_app.request(method, path)) == (404, "key_not_found")
    assert refused(web_app.request("PATCH", nobody, json={"name": "x"})) == (404, "key_not_found")
    assert refused(web_app.request("POST", f"{nobody}/rotate", json={})) == (404, "key_not_found")
    named = make(web_app)
    for change in ({"name": None}, {"scopes": None}, {"scopes": []}, {"expires_at": soon(days=-1)}):
        assert web_app.request("PATCH", f"{KEYS}/{named['id']}", json=change).status_code == 400, change


def test_emoji_and_other_scripts_are_names(web_app: App) -> None:
    made = make(web_app, name=f"Küche 📷 кухня {uuid.uuid4()}")
    assert web_app.get(f"{KEYS}/{made['id']}").json()["name"] == made["name"]


def test_only_an_admin_of_everything_sees_and_changes_keys(web_app: App) -> None:
    made = make(web_app, scopes=["read", "write", "enrol", "erase"])
    bounded = make(web_app, scopes=["admin"], collections=["here"])
    for key, code in ((made, "scope_missing"), (bounded, "collection_forbidden")):
        for method, path, body in (
            ("GET", KEYS, None), ("GET", f"{KEYS}/{made['id']}", None), ("GET", "/api/v1/audit", None),
            ("POST", KEYS, {"name": "more", "scopes": ["admin"]}),
            ("PATCH", f"{KEYS}/{key['id']}", {"collections": None, "scopes": ["admin"]}),
            ("POST", f"{KEYS}/{made['id']}/rotate", {}), ("DELETE", f"{KEYS}/{made['id']}", None),
            ("GET", "/gate", None),
        ):  # fmt: skip
            answer = web_app.request(method, path, json=body, headers=by(key))
            expected = "forbidden" if path == "/gate" and code == "collection_forbidden" else code
            assert refused(answer) == (403, expected), (method, path)


def test_a_scope_allows_its_own_calls_and_no_other(web_app: App) -> None:
    files = {"photos": ("a.jpg", no_face())}
    for scope, status in (
        ("read", (200, 403)), ("write", (403, 202)), ("enrol", (403, 403)), ("erase", (403, 403)),
        ("admin", (200, 202)),
    ):  # fmt: skip
        headers = by(make(web_app, scopes=[scope]))
        seen = web_app.get(PHOTOS, headers=headers).status_code
        sent = web_app.request("POST", PHOTOS, files=files, headers=headers).status_code
        assert (seen, sent) == status, scope


def test_an_expired_key_says_so_and_may_be_given_more_time(web_app: App) -> None:
    made = make(web_app, expires_at=soon(seconds=2))
    assert web_app.get(PHOTOS, headers=by(made)).status_code == 200
    wait_until(
        lambda: web_app.get(PHOTOS, headers=by(made)).status_code == 401, 10, "the key to expire", every=0.5
    )
    assert refused(web_app.get(PHOTOS, headers=by(made))) == (401, "api_key_expired")
    assert web_app.get(f"{KEYS}/{made['id']}").json()["state"] == "expired"
    listed = web_app.get(KEYS, params={"state": "expired"}).json()["keys"]
    assert made["id"] in {key["id"] for key in listed}
    changed = web_app.request("PATCH", f"{KEYS}/{made['id']}", json={"expires_at": None})
    assert (changed.json()["state"], changed.json()["expires_at"]) == ("active", None)
    assert web_app.get(PHOTOS, headers=by(made)).status_code == 200


def test_a_change_holds_from_the_next_request_on(web_app: App) -> None:
    made = make(web_app, scopes=["read"])
    change = {"scopes": ["write"], "collections": ["other"], "name": f"new {uuid.uuid4()}"}
    told = web_app.request("PATCH", f"{KEYS}/{made['id']}", json=change).json()
    assert (told["scopes"], told["collections"]) == (["write"], ["other"])
    assert told["requests_per_minute"] is None, "what is left out stays"
    assert refused(web_app.get(PHOTOS, headers=by(made))) == (403, "scope_missing")


def test_after_a_rotation_both_texts_work_until_the_grace_is_over(web_app: App) -> None:
    made = make(web_app)
    url = f"{KEYS}/{made['id']}/rotate"
    new = web_app.request("POST", url, json={"grace_seconds": 2}).json()
    assert new["id"] == made["id"]
    assert new["api_key"] != made["api_key"]
    for key in (made, new):
        assert web_app.get(PHOTOS, headers=by(key)).status_code == 200
    wait_until(
        lambda: web_app.get(PHOTOS, headers=by(made)).status_code == 401, 10, "the grace to end", every=0.5
    )
    assert web_app.get(PHOTOS, headers=by(new)).status_code == 200
    newest = web_app.request("POST", url, json={}).json()
    assert refused(web_app.get(PHOTOS, headers=by(new))) == (401, "api_key_invalid"), "without grace at once"
    assert web_app.get(PHOTOS, headers=by(newest)).status_code == 200
    for wrong in (-1, 7 * 86400 + 1, "1h", 1.5, None, True):
        answer = web_app.request("POST", url, json={"grace_seconds": wrong})
        assert refused(answer) == (400, "parameter"), wrong


def test_the_last_admin_key_stays_what_it_is(alone: App) -> None:
    (own,) = (key for key in alone.get(KEYS).json()["keys"] if key["name"] == "admin")
    url = f"{KEYS}/{own['id']}"
    for change in ({"scopes": ["read"]}, {"expires_at": soon(days=1)}, {"collections": ["default"]}):
        assert refused(alone.request("PATCH", url, json=change)) == (409, "last_admin_key"), change
    assert refused(alone.request("DELETE", url)) == (409, "last_admin_key")
    make(alone, scopes=["admin"], collections=["here"])
    assert refused(alone.request("DELETE", url)) == (409, "last_admin_key"), "a bounded one is none"
    assert alone.request("PATCH", url, json={"scopes": ["admin", "read"]}).status_code == 200
    other = make(alone, scopes=["admin"])
    assert alone.request("DELETE", url).status_code == 204
    assert refused(alone.request("DELETE", f"{KEYS}/{other['id']}", headers=by(other)))[0] == 409


def test_two_admins_who_revoke_each_other_do_not_both_succeed(alone: App) -> None:
    for _ in range(5):
        leave_alone(alone)
        (own,) = (key for key in alone.get(KEYS).json()["keys"] if key["name"] == "admin")
        other = make(alone, scopes=["admin"])
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(alone.request, "DELETE", f"{KEYS}/{other['id']}")
            second = pool.submit(alone.request, "DELETE", f"{KEYS}/{own['id']}", headers=by(other))
        statuses = sorted((first.result().status_code, second.result().status_code))
        # Who comes second is not asked any more (401), or is the last one (409).
        assert statuses[0] == 204
        assert statuses[1] in (401, 409), statuses


def test_a_session_ends_with_the_text_that_opened_it(web_app: App) -> None:
    made = make(web_app)

    def signed_in(key: str) -> requests.Session:
        browser = requests.Session()
        answer = browser.post(f"{web_app.url}/session", json={"api_key": key}, timeout=30)
        assert answer.status_code == 200
        return browser

    def sees(browser: requests.Session) -> int:
        return browser.get(web_app.url + PHOTOS, timeout=30).status_code

    old = signed_in(made["api_key"])
    url = f"{KEYS}/{made['id']}/rotate"
    new = web_app.request("POST", url, json={"grace_seconds": 600}).json()
    newer = signed_in(new["api_key"])
    assert (sees(old), sees(newer)) == (200, 200)
    web_app.request("POST", url, json={})
    assert (sees(old), sees(newer)) == (401, 401)


def test_the_last_use_is_right_to_a_minute_and_not_written_with_every_request(web_app: App) -> None:
    made = make(web_app)
    assert made["last_used_at"] is None

    def last_use() -> str | None:
        told: str | None = web_app.get(f"{KEYS}/{made['id']}").json()["last_used_at"]
        return told

    web_app.get(PHOTOS, headers=by(made))
    first = wait_until(last_use, 5, "the use to be noted")
    for _ in range(5):
        web_app.get(PHOTOS, headers=by(made))
    assert last_use() == first
    with web_app.installation.parts.database.transaction() as session:
        session.execute(
            text("UPDATE api_keys SET last_used_at = now() - interval '61 s' WHERE id = :id"),
            {"id": made["id"]},
        )
    aged = last_use()

    def noted_again() -> bool:
        web_app.get(PHOTOS, headers=by(made))
        return last_use() != aged

    wait_until(noted_again, 15, "the use to be noted again", every=0.5)


def test_the_list_has_pages_and_states(web_app: App) -> None:
    for _ in range(3):
        make(web_app)
    names: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        body = web_app.get(KEYS, params=params).json()
        names += [key["id"] for key in body["keys"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert len(names) == len(set(names)) >= 4
    assert refused(web_app.get(KEYS, params={"cursor": "x"})) == (400, "parameter")
    assert refused(web_app.get(KEYS, params={"state": "good"})) == (400, "parameter")


@pytest.fixture
def two_collections(web_app: App) -> dict[str, Any]:
    """A photo in each of two collections, and a key that reaches the first."""
    here = web_app.upload(("a.jpg", astronaut_jpeg()), collection="here", person="Eileen Collins").json()
    there = web_app.upload(("b.jpg", astronaut_jpeg(1)), collection="there", person="Somebody").json()
    key = make(web_app, scopes=["read", "write"], collections=["here", "not-yet-there"])
    return {"here": here, "there": there, "key": key}


def test_a_key_reaches_its_collections_and_learns_nothing_of_others(
    live_app: App, two_collections: dict[str, Any]
) -> None:
    here, there, headers = (
        two_collections["here"], two_collections["there"], by(two_collections["key"]),
    )  # fmt: skip
    for each in (here, there):
        live_app.wait_finished(each["batch_id"])
    listed = live_app.get(PHOTOS, headers=headers).json()["photos"]
    assert {photo["collection"] for photo in listed} == {"here"}
    assert len(live_app.get(PHOTOS).json()["photos"]) == 2
    face = {
        name: live_app.get(f"{PHOTOS}/{each['photos'][0]['id']}").json()["faces"][0]["id"]
        for name, each in (("here", here), ("there", there))
    }
    for name, each, status in (("here", here, 200), ("there", there, 404)):
        photo = each["photos"][0]["id"]
        for path in (
            f"{PHOTOS}/{photo}", f"{PHOTOS}/{photo}/image", f"{PHOTOS}/{photo}/image?rendition=upright",
            f"/api/v1/batches/{each['batch_id']}", f"/api/v1/faces/{face[name]}/crop",
        ):  # fmt: skip
            answer = live_app.get(path, headers=headers)
            assert answer.status_code == status, path
            if status == 404:
                nothing = live_app.get(path.replace(photo, str(uuid.uuid4())), headers=headers)
                assert set(answer.json()["error"]) == set(nothing.json()["error"])
    assert live_app.get(f"{PHOTOS}?batch={there['batch_id']}", headers=headers).json()["photos"] == []
    files = {"photos": ("c.jpg", astronaut_jpeg(2))}
    photo = {"photo": ("q.jpg", astronaut_jpeg())}
    for name in ("there", "nowhere", "default"):
        for answer in (
            live_app.get(PHOTOS, params={"collection": name}, headers=headers),
            live_app.request("POST", PHOTOS, files=files, data={"collection": name}, headers=headers),
            live_app.request(
                "POST", "/api/v1/search", files=photo, data={"collection": name}, headers=headers
            ),
        ):
            assert refused(answer) == (403, "collection_forbidden"), name
    # The default of an upload and of a search is a name like any other.
    answer = live_app.request("POST", "/api/v1/search", files=photo, headers=headers)
    assert refused(answer) == (403, "collection_forbidden")
    for name in ("here", "not-yet-there"):
        answer = live_app.request("POST", PHOTOS, files=files, data={"collection": name}, headers=headers)
        assert answer.status_code == 202
    found = live_app.request(
        "POST", "/api/v1/search", files=photo, data={"collection": "here"}, headers=headers
    )
    assert found.json()["faces"][0]["matches"][0]["person_name"] == "Eileen Collins"


def test_a_session_reaches_what_its_key_reaches(web_app: App, two_collections: dict[str, Any]) -> None:
    browser = requests.Session()
    browser.post(
        f"{web_app.url}/session", json={"api_key": two_collections["key"]["api_key"]}, timeout=30
    ).raise_for_status()
    photos = browser.get(web_app.url + PHOTOS, timeout=30).json()["photos"]
    assert {photo["collection"] for photo in photos} == {"here"}
    other = two_collections["there"]["photos"][0]["id"]
    assert browser.get(f"{web_app.url}{PHOTOS}/{other}", timeout=30).status_code == 404


@pytest.mark.campaign("it starts the command a dozen times; the API has the same bounds")
def test_keys_on_the_command_line_have_bounds(web_app: App) -> None:
    run = web_app.installation.run
    name = f"cli-{uuid.uuid4()}"
    key = run(
        "keys", "create", "--name", name, "--scopes", "read,write", "--collections", "a,b",
        "--expires", "90d", "--limit", "600",
    ).stdout.strip()  # fmt: skip
    shown = json.loads(run("keys", "show", "--name", name).stdout)
    assert (shown["collections"], shown["requests_per_minute"]) == (["a", "b"], 600)
    left = datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert "a,b" in run("keys", "list").stdout
    assert name in {each["name"] for each in json.loads(run("keys", "list", "--json").stdout)}
    assert web_app.get(PHOTOS, headers=by(key)).status_code == 200
    rotated = run("keys", "rotate", "--name", name, "--grace", "1h")
    assert "The old one works until" in rotated.stderr
    for each in (key, rotated.stdout.strip()):
        assert web_app.get(PHOTOS, headers=by(each)).status_code == 200
    run("keys", "revoke", "--name", name)
    assert web_app.get(PHOTOS, headers=by(rotated.stdout.strip())).status_code == 401
    for arguments, words in (
        (("create", "--name", "x", "--scopes", "root"), "scopes are read"),
        (("create", "--name", "x", "--scopes", "read", "--collections", ""), "collection"),
        (("create", "--name", "x", "--scopes", "read", "--limit", "-1"), "limit"),
        (("create", "--name", "\x1b", "--scopes", "read"), "name"),
        (("rotate", "--name", "admin", "--grace", "8d"), "7 days"),
        (("show", "--name", "nobody"), "no active key"),
    ):
        wrong = run("keys", *arguments, check=False)
        assert wrong.returncode == 1, arguments
        assert words in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1


def test_site_yml_makes_its_own_key_right_again(alone: App) -> None:
    (own,) = (key for key in alone.get(KEYS).json()["keys"] if key["name"] == "admin")
    other = make(alone, scopes=["admin"])
    for spoilt in (
        lambda: alone.request("POST", f"{KEYS}/{own['id']}/rotate", json={}, headers=by(other)),
        lambda: alone.request("PATCH", f"{KEYS}/{own['id']}", json={"collections": ["a"]}, headers=by(other)),
        lambda: alone.request("DELETE", f"{KEYS}/{own['id']}", headers=by(other)),
    ):
        assert spoilt().ok
        assert alone.installation.run(*ENSURE).stdout == "changed\n"
        assert alone.get(KEYS).status_code == 200
        assert alone.installation.run(*ENSURE).stdout == "unchanged\n"


def test_keys_of_the_release_before_keep_working(clean: Installation, web_app: App) -> None:
    """A row as an earlier release writes it: none of the new columns."""
    from face_pipeline.store.keys import hash_key

    key = f"fp_{uuid.uuid4().hex}"
    with clean.parts.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO api_keys (id, name, key_hash, scopes) VALUES (:id, :name, :hash, '{read,write}')"
            ),
            {"id": uuid.uuid4(), "name": f"old-{uuid.uuid4()}", "hash": hash_key(key)},
        )
    files = {"photos": ("a.jpg", no_face())}
    answer = web_app.request("POST", PHOTOS, files=files, data={"person": "Anna"}, headers=by(key))
    assert answer.status_code == 202, "who may put photos in may say who is on them"
    assert web_app.get(PHOTOS, headers=by(key)).status_code == 200
