"""How often a key may ask, how many wrong keys an address may send, and what a client is told of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
import requests
from sqlalchemy import text

from tests.app.test_keys_api import KEYS, PHOTOS, by, make, refused
from tests.installation import App, Installation, start_web
from tests.photos import no_face
from tests.services.process import free_port

WRONG = {"Authorization": "Bearer fp_wrong"}
MOST = 5


@pytest.fixture(scope="module")
def strict_web(installation: Installation) -> Iterator[App]:
    """A web service that takes few wrong keys, and few requests of a key that has no limit of its own."""
    url, web = start_web(
        installation, "strict.log",
        FACE_LIMIT_FAILED_SIGN_INS_PER_MINUTE=str(MOST), FACE_LIMIT_REQUESTS_PER_MINUTE="40",
    )  # fmt: skip
    yield App(installation, url, web)
    installation.end(web)


@pytest.fixture
def strict(clean: Installation, strict_web: App) -> App:
    del clean
    return strict_web


def an_address() -> str:
    number = uuid.uuid4().bytes
    return f"10.{number[0]}.{number[1]}.{number[2]}"


def says_how_it_stands(answer: requests.Response, policy: str, limit: int) -> int:
    """Checks the headers; returns what is left."""
    assert answer.headers["RateLimit-Policy"] == f'"{policy}";q={limit};w=60'
    found = re.fullmatch(rf'"{policy}";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found
    assert 0 < int(found[2]) <= 60
    return int(found[1])


def test_a_key_makes_as_many_requests_as_it_may_and_is_told_when_to_go_on(strict: App) -> None:
    made, other = make(strict, requests_per_minute=3), make(strict)
    left = []
    for _ in range(3):
        answer = strict.get(PHOTOS, headers=by(made))
        assert answer.status_code == 200
        left.append(says_how_it_stands(answer, "requests", 3))
    assert left == [2, 1, 0]
    answer = strict.get(PHOTOS, headers=by(made))
    assert refused(answer) == (429, "too_many_requests")
    assert says_how_it_stands(answer, "requests", 3) == 0
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert "3 requests a minute" in answer.json()["error"]["message"]
    assert says_how_it_stands(strict.get(PHOTOS, headers=by(other)), "requests", 40) == 39
    changed = strict.request("PATCH", f"{KEYS}/{made['id']}", json={"requests_per_minute": 0})
    assert changed.status_code == 200
    for _ in range(50):
        answer = strict.get(PHOTOS, headers=by(made))
        assert answer.status_code == 200
    assert "RateLimit" not in answer.headers


def test_an_installation_without_a_limit_counts_nothing(web_app: App) -> None:
    made = make(web_app)
    answer = web_app.get(PHOTOS, headers=by(made))
    assert (answer.status_code, "RateLimit" in answer.headers) == (200, False)
    assert web_app.installation.parts.scratch.keys("face:limits*") == []


def test_too_many_wrong_keys_from_an_address_are_not_looked_at(strict: App) -> None:
    here, elsewhere = {"X-Real-IP": an_address()}, {"X-Real-IP": an_address()}
    for _ in range(MOST):
        assert refused(strict.get(PHOTOS, headers={**WRONG, **here})) == (401, "api_key_invalid")
    answer = strict.get(PHOTOS, headers={**WRONG, **here})
    assert refused(answer) == (429, "too_many_requests")
    assert says_how_it_stands(answer, "failures", MOST) == 0
    assert int(answer.headers["Retry-After"]) >= 1
    sign_in = {"url": f"{strict.url}/session", "json": {"api_key": "fp_wrong"}, "timeout": 30}
    assert refused(requests.post(**sign_in, headers=here)) == (429, "too_many_requests")  # type: ignore[arg-type]
    assert refused(requests.post(**sign_in, headers=elsewhere))[0] == 401  # type: ignore[arg-type]
    assert refused(strict.get(PHOTOS, headers={**WRONG, **elsewhere}))[0] == 401
    assert strict.get(PHOTOS, headers=here).status_code == 200, "a right key beside wrong ones goes through"
    with strict.installation.parts.database.transaction() as session:
        told = session.execute(
            text("SELECT actor_name, action, outcome FROM audit WHERE address = :address"),
            {"address": here["X-Real-IP"]},
        ).all()
    refusals = [tuple(row) for row in told if row.action == "access.refuse"]
    assert refusals == [("unknown", "access.refuse", "refused")] * MOST, "the audit is not drowned"


def test_a_request_without_a_key_is_no_guess(strict: App) -> None:
    address = {"X-Real-IP": an_address()}
    for _ in range(MOST + 2):
        answer = requests.get(strict.url + PHOTOS, headers=address, timeout=30)
        assert refused(answer) == (401, "api_key_missing")


def test_addresses_of_one_ipv6_network_are_one(strict: App) -> None:
    network = f"2001:db8:{uuid.uuid4().hex[:4]}"
    for number in range(MOST):
        wrong = strict.get(PHOTOS, headers={**WRONG, "X-Real-IP": f"{network}::{number}"})
        assert wrong.status_code == 401
    assert strict.get(PHOTOS, headers={**WRONG, "X-Real-IP": f"{network}::ffff"}).status_code == 429
    assert strict.get(PHOTOS, headers={**WRONG, "X-Real-IP": f"{network}:1::1"}).status_code == 401


def test_without_the_redis_that_counts_nobody_is_refused(clean: Installation) -> None:
    url, web = start_web(
        clean, "uncounted.log",
        FACE_SCRATCH_REDIS_PORT=str(free_port()), FACE_LIMIT_FAILED_SIGN_INS_PER_MINUTE="2",
    )  # fmt: skip
    app = App(clean, url, web)
    try:
        made = make(app, requests_per_minute=1)
        for _ in range(5):
            assert app.get(PHOTOS, headers=by(made)).status_code == 200
            assert refused(app.get(PHOTOS, headers=WRONG)) == (401, "api_key_invalid")
    finally:
        clean.end(web)
    processes = clean.parts.settings.web_processes
    assert 1 <= clean.log("uncounted.log").count("requests are not counted") <= processes


def test_an_upload_is_counted_once(strict: App) -> None:
    made = make(strict, scopes=["write"], requests_per_minute=2)
    for number in range(3):
        files = {"photos": ("a.jpg", no_face() + bytes([number]))}
        answer = strict.request("POST", PHOTOS, files=files, headers=by(made))
        assert answer.status_code == (202 if number < 2 else 429)
