"""Hosts that keep copies of photos: what is there when an upload is answered, and what comes back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.hosts.test_cluster import GROUPS, on
from tests.hosts.test_host import SUMMARY, Host
from tests.photos import astronaut_jpeg

COPIES = GROUPS.get("copies", [])
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.campaign("it stops and starts a unit of another host"),
    pytest.mark.skipif(
        not (SUMMARY and COPIES),
        reason="needs an inventory with hosts in the group copies (FACE_HOST_INVENTORY)",
    ),
]


def upload(host: Host) -> tuple[int, dict[str, str]]:
    """Status, and the photo or the error."""
    data = astronaut_jpeg(uuid.uuid4().int % 10**8)
    answer = host.call("POST", "/api/v1/photos", files={"photos": ("a.jpg", data)})
    body = answer.json()
    return answer.status_code, body["photos"][0] if answer.ok else body["error"]


def put(host: Host) -> dict[str, str]:
    status, photo = upload(host)
    assert status == 202, photo
    return photo


def path(photo: dict[str, str]) -> str:
    name = photo["sha256"]
    return f"/var/lib/face-pipeline/originals/{name[:2]}/{name[2:4]}/{name}"


def has(name: str, photo: dict[str, str]) -> bool:
    """Whether this host has the photo, with the bytes that were sent."""
    return photo["sha256"] in on(name, f"sha256sum {path(photo)} | cut -c1-64", check=False).split()


def repaired(host: Host) -> list[dict[str, object]]:
    told: list[dict[str, object]] = json.loads(host.run("face-pipeline copies --repair --json"))
    return told


@pytest.fixture
def away(host: Host) -> Iterator[str]:
    """A host whose copies are not there for a while."""
    name: str = COPIES[0]
    on(name, "systemctl stop face-copies")
    yield name
    on(name, "systemctl start face-copies")
    assert all(each["well"] for each in repaired(host))


def test_an_acknowledged_photo_is_on_every_host_and_a_deleted_one_on_none(host: Host) -> None:
    photo = put(host)
    assert all(has(name, photo) for name in COPIES)
    assert host.call("DELETE", f"/api/v1/photos/{photo['id']}").ok
    assert not any(has(name, photo) for name in [*COPIES, *GROUPS["web"]])


def test_uploads_go_on_without_a_host_as_far_as_is_required(host: Host, away: str) -> None:
    settings = host.run("cat /etc/face-pipeline/face-pipeline.env")
    (required,) = (line for line in settings.splitlines() if line.startswith("FACE_COPIES_REQUIRED="))
    status, said = upload(host)
    if int(required.partition("=")[2]) <= len(COPIES):
        assert status == 202, said
        on(away, "systemctl start face-copies")
        assert all(each["well"] for each in repaired(host))
        assert has(away, said)
    else:
        assert (status, said["code"]) == (503, "copies_away")


def test_what_is_deleted_while_a_host_is_away_goes_when_it_is_back(host: Host) -> None:
    photo, name = put(host), COPIES[0]
    on(name, "systemctl stop face-copies")
    try:
        assert host.call("DELETE", f"/api/v1/photos/{photo['id']}").ok
        assert has(name, photo)
    finally:
        on(name, "systemctl start face-copies")
    host.run("systemctl start face-indexer.service")
    assert not has(name, photo)


def test_a_file_that_the_web_host_loses_comes_back(host: Host) -> None:
    lost, damaged = put(host), put(host)
    sent = host.call("GET", f"/api/v1/photos/{lost['id']}/image").content
    host.run(f"rm {path(lost)}")
    assert host.call("GET", f"/api/v1/photos/{lost['id']}/image").content == sent
    host.run(
        f"printf x >>{path(damaged)}; runuser -u postgres -- psql -q face -c 'DELETE FROM original_rounds'"
    )
    repaired(host)
    assert has(GROUPS["web"][0], lost)
    host.run("systemctl start face-indexer.service")
    assert has(GROUPS["web"][0], damaged)


def test_nobody_but_the_web_host_reaches_the_copies(host: Host) -> None:
    address = f"https://{on(COPIES[0], 'hostname -I').split()[0]}:9803"
    code = "curl -sk -o /dev/null -m 5 -w '%{http_code}'"
    assert host.run(f"{code} {address}/health") == "200"
    assert host.run(f"{code} '{address}/copies?prefix=00'") == "401"
