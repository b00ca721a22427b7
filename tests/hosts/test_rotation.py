"""New values for the secrets of an installed host, while clients send photos and search."""

from __future__ import annotations

import json
import re

import pytest
import requests

from tests.hosts.test_host import SUMMARY, Host
from tests.hosts.test_releasing import Clients, words
from tests.hosts.test_scaling import INVENTORY, playbook

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]
CREDENTIALS = "/etc/face-pipeline/credentials"


def credentials(host: Host) -> dict[str, list[str]]:
    """Lines of each credential on the host."""
    lines = f"{{p.name: p.read_text().splitlines() for p in pathlib.Path('{CREDENTIALS}').iterdir()}}"
    program = f"import json, pathlib; print(json.dumps({lines}))"
    found: dict[str, list[str]] = json.loads(host.run(f'python3 -c "{program}"'))
    return found


def signs_in(host: Host, server: str, user: str, password: str) -> bool:
    """Whether PostgreSQL or Redis lets `user` in; the password is in no command line."""
    asked = {
        "postgres": f"PGPASSWORD=$password psql -qAt -h 127.0.0.1 -U {user} face -c 'SELECT 1'",
        "redis": f"REDISCLI_AUTH=$password redis-cli -h 127.0.0.1 --user {user} EXISTS nothing",
    }[server]
    said = host.run(f"read -r password; {asked} 2>&1 || true", stdin=password + "\n")
    refused = re.search("password authentication failed|WRONGPASS|NOAUTH|NOPERM", said)
    assert refused or said.strip() in ("0", "1"), said
    # A user that may not ask this is one that was let in.
    return refused is None or refused[0] == "NOPERM"


@pytest.mark.campaign("it restarts all for minutes; tests/app/test_rotation.py has each step")
def test_every_secret_gets_a_new_value_and_nobody_notices(host: Host) -> None:
    old = credentials(host)
    with Clients(host) as clients:
        done = playbook("rotate", grace="2h")
    assert done.returncode == 0, done.stdout + done.stderr
    clients.check()
    new = credentials(host)
    wanted = {
        name
        for name in old
        if re.match("(database|redis)_password|session_secret|originals_token|admin_api_key", name)
    }
    # The exporter's file holds the password of its user.
    assert {name for name in old if old[name] != new[name]} == wanted | {"redis_exporter.json"}
    assert {name: len(new[name]) for name in wanted} == dict.fromkeys(wanted, 1)
    roles = {"database_password": "face"} | {
        f"database_password_{unit}": f"face_{unit}" for unit in ("web", "worker", "upkeep", "hooks")
    }
    users = {
        name: name.removeprefix("redis_password_") for name in wanted if name.startswith("redis_password_")
    }
    for server, who in (("postgres", roles), ("redis", users)):
        for name, user in who.items():
            lets_in = [signs_in(host, server, user, values[name][0]) for values in (old, new)]
            assert lets_in == [False, True], (server, user)
    for values in (old, new):
        key = {"X-API-Key": values["admin_api_key"][0]}
        answer = requests.get(
            f"{host.url.rstrip('/')}/api/v1/photos", headers=key, verify=host.ca, timeout=300
        )
        assert answer.status_code == 200, answer.text


def test_what_cannot_be_rotated_is_refused_before_anything_changes(host: Host) -> None:
    before = credentials(host)
    done = playbook("rotate", secrets="receipts_key,redis_password_web")
    assert done.returncode != 0
    assert "receipts_key: not a secret that this rotates" in words(done)
    assert playbook("rotate", do="plan").returncode == 0
    assert credentials(host) == before
