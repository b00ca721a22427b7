"""A host that an earlier release installed and filled, after this release's site.yml; and the way back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.given import PERSON, check, found, put_in
from tests.hosts.test_host import Host
from tests.hosts.test_releasing import Clients, running
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.photos import astronaut_jpeg

# A file of tests/hosts/given.py, and the tree of the release that ran when it was written.
GIVEN, EARLIER = os.environ.get("FACE_HOST_GIVEN"), os.environ.get("FACE_HOST_EARLIER")
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (GIVEN and EARLIER and INVENTORY),
        reason="needs a host that an earlier release filled (FACE_HOST_GIVEN), as molecule/update has one",
    ),
]


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(str(GIVEN)).read_text())
    return told


def releases(host: Host) -> dict[str, dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(host.run("face-release list --json"))
    return {each["id"]: each for each in listed}


def takes_and_finds(host: Host, collection: str, number: int) -> str:
    photo = put_in(host, collection, astronaut_jpeg(number), PERSON)
    assert found(host, collection) == PERSON
    return photo


def changes(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"changed=([1-9]\d*)", done.stdout)


def test_all_that_the_earlier_release_was_given_is_there(host: Host, given: dict[str, Any]) -> None:
    check(host, given)
    takes_and_finds(host, "updated", 1)
    assert host.run("systemctl list-units --plain --no-legend --state=failed") == ""
    schema = json.loads(host.run("face-pipeline migrate --show"))
    assert (schema["current"], schema["pending"]) == (schema["head"], [])


def test_the_way_back_and_forward_again_loses_nothing(host: Host, given: dict[str, Any]) -> None:
    """Back by rollback.yml under clients, forward by deploy.yml, and a second site.yml changes nothing."""
    this = running(host)
    (earlier,) = set(releases(host)) - {this}
    with Clients(host) as clients:
        back = playbook("rollback")
    assert back.returncode == 0, back.stdout + back.stderr
    assert running(host) == earlier
    clients.check()
    check(host, given)
    taken = takes_and_finds(host, "taken-back", 2)
    assert "of a later release" in host.run("face-pipeline doctor 2>&1", check=False)

    with Clients(host) as clients:
        forward = playbook("deploy")
    assert forward.returncode == 0, forward.stdout + forward.stderr
    assert running(host) == this
    clients.check()
    check(host, given)
    assert host.call("GET", f"/api/v1/photos/{taken}").json()["state"] == "done"
    assert found(host, "taken-back") == PERSON
    assert changes(playbook("../site")) == []


def test_one_can_stay_with_the_earlier_release(host: Host, given: dict[str, Any]) -> None:
    """Its own site.yml, as after checking it out again, and then this release's."""
    this = running(host)
    (earlier,) = set(releases(host)) - {this}
    stayed = playbook("../site", checkout=Path(str(EARLIER)))
    assert stayed.returncode == 0, stayed.stdout + stayed.stderr
    assert running(host) == earlier
    check(host, given)
    taken = takes_and_finds(host, "stayed", 3)
    again = playbook("../site")
    assert again.returncode == 0, again.stdout + again.stderr
    assert running(host) == this
    check(host, given)
    assert host.call("GET", f"/api/v1/photos/{taken}").json()["state"] == "done"
