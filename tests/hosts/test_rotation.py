"""New values for the secrets of an installed host, while clients send photos and search."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

import pytest
import requests

from tests.hosts.test_cluster import GROUPS, PYTHON, way
from tests.hosts.test_host import SUMMARY, Host
from tests.hosts.test_releasing import Clients, words
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.patience import PATIENCE
from tests.photos import ROOT

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]
CREDENTIALS = "/etc/face-pipeline/credentials"
ROTATED = "(database|redis)_password|session_secret|originals_token|copies_token|admin_api_key"


# Standard input: server, user and password of each that signs in, so that no password is in a command line.
# Printed is whether it was let in, or null where PostgreSQL lets nobody of that name in from this host.
SIGN_IN = """\
import json, sys
import psycopg2, redis
lines = open("/etc/face-pipeline/face-pipeline.env").read().splitlines()
told = dict(line.split("=", 1) for line in lines if line.startswith("FACE_"))
ca = told["FACE_TLS_CA"]
by_tls = {"sslmode": "verify-full", "sslrootcert": ca} if ca else {}
def postgres(user, password):
    try:
        psycopg2.connect(
            host=told["FACE_DATABASE_HOST"], port=told["FACE_DATABASE_PORT"], dbname="face", user=user,
            password=password, connect_timeout=60, **by_tls,
        ).close()
    except psycopg2.OperationalError as error:
        if "pg_hba.conf rejects connection" in str(error):
            return None
        if "password authentication failed" not in str(error):
            raise
        return False
    return True
def queue(user, password):
    asked = redis.Redis(
        told["FACE_REDIS_HOST"], int(told["FACE_REDIS_PORT"]), username=user, password=password,
        **({"ssl": True, "ssl_ca_certs": ca} if ca else {}),
    )
    try:
        asked.exists("nothing")
    except redis.exceptions.NoPermissionError:
        return True  # A user that may not ask this is one that was let in.
    except redis.exceptions.AuthenticationError:
        return False
    return True
servers = {"postgres": postgres, "redis": queue}
print(json.dumps([servers[server](user, password) for server, user, password in json.load(sys.stdin)]))
"""
Credentials = dict[str, list[str]]


def hosts() -> list[str]:
    """All that keep passwords of the pipeline."""
    return list(dict.fromkeys(GROUPS["web"] + GROUPS["workers"]))


def run(name: str, program: str, stdin: str = "") -> Any:
    """What a program of Python prints on a host, as JSON."""
    done = subprocess.run(
        [*way(name), f"{PYTHON} -c {shlex.quote(program)}"],
        input=stdin, cwd=ROOT, capture_output=True, text=True, timeout=180 * PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def credentials(name: str) -> Credentials:
    """Lines of each credential on the host."""
    lines = f"{{p.name: p.read_text().splitlines() for p in pathlib.Path('{CREDENTIALS}').iterdir()}}"
    found: Credentials = run(name, f"import json, pathlib; print(json.dumps({lines}))")
    return found


def signs_in(name: str, kept: Credentials) -> dict[str, bool]:
    """For each password of those credentials that this host may show, whether its server lets its user in."""
    asked = {}
    for file, (password, *_) in kept.items():
        if file.startswith("database_password"):
            asked[file] = ("postgres", file.replace("database_password", "face"), password)
        elif file.startswith("redis_password_"):
            asked[file] = ("redis", file.removeprefix("redis_password_"), password)
    told = zip(asked, run(name, SIGN_IN, json.dumps(list(asked.values()))), strict=True)
    return {file: let_in for file, let_in in told if let_in is not None}


@pytest.mark.campaign("it restarts all for minutes; tests/app/test_rotation.py has each step")
def test_every_secret_gets_a_new_value_and_nobody_notices(host: Host) -> None:
    old = {name: credentials(name) for name in hosts()}
    with Clients(host) as clients:
        done = playbook("rotate", grace="2h")
    assert done.returncode == 0, done.stdout + done.stderr
    clients.check()
    new = {name: credentials(name) for name in old}
    shown: set[str] = set()
    for name, kept in old.items():
        wanted = {file for file in kept if re.match(ROTATED, file)}
        # The exporter's file holds the password of its user.
        changed = {file for file in kept if kept[file] != new[name][file]}
        assert changed - {"redis_exporter.json"} == wanted, name
        assert {file: len(new[name][file]) for file in wanted} == dict.fromkeys(wanted, 1), name
        refused, taken = signs_in(name, kept), signs_in(name, new[name])
        assert refused == dict.fromkeys(refused, False), name
        assert taken == dict.fromkeys(refused, True), name
        shown |= set(taken)
    assert {
        f"{server}_password_{unit}" for server in ("database", "redis") for unit in ("web", "worker")
    } <= shown
    web = GROUPS["web"][0]
    for values in (old[web], new[web]):
        key = {"X-API-Key": values["admin_api_key"][0]}
        answer = requests.get(
            f"{host.url.rstrip('/')}/api/v1/photos", headers=key, verify=host.ca, timeout=300
        )
        assert answer.status_code == 200, answer.text


def test_what_cannot_be_rotated_is_refused_before_anything_changes() -> None:
    before = {name: credentials(name) for name in hosts()}
    done = playbook("rotate", secrets="receipts_key,redis_password_web")
    assert done.returncode != 0
    assert "receipts_key: not a secret that this rotates" in words(done)
    assert playbook("rotate", do="plan").returncode == 0
    assert {name: credentials(name) for name in before} == before
