"""Another release on an installed host by the operator's commands, while clients send photos and search."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.photos import ROOT, astronaut_jpeg

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]
BROKEN = '\nraise RuntimeError("a broken release")\n'


@dataclass
class Clients:
    """One client that sends photos and one that searches, until the block ends; each notes what failed."""

    host: Host
    collection: str = field(default_factory=lambda: f"releases-{uuid.uuid4().hex[:8]}")
    photos: list[str] = field(default_factory=list)
    searches: int = 0
    failures: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Clients:
        for work in (self._send, self._search):
            thread = threading.Thread(target=self._again, args=(work,))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _again(self, work: Callable[[], None]) -> None:
        while not self._end.wait(0.3):
            began = time.time()
            try:
                work()
            except Exception as error:  # whatever a client sees is a failure of the deployment
                self.failures.append(f"{work.__name__} at {began:.1f}: {error!r}")

    def _send(self) -> None:
        photo = astronaut_jpeg(uuid.uuid4().int % 10**8)
        answer = self.host.call(
            "POST",
            "/api/v1/photos",
            files=[("photos", ("a.jpg", photo))],
            data={"collection": self.collection},
        )
        assert answer.status_code == 202, f"{answer.status_code} {answer.text[:200]}"
        self.photos += [each["id"] for each in answer.json()["photos"]]

    def _search(self) -> None:
        answer = self.host.call("POST", "/api/v1/search", files={"photo": ("q.jpg", astronaut_jpeg())})
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}"
        self.searches += 1

    def check(self) -> None:
        """Nobody was refused, and what was accepted is done."""
        assert not self.failures, self.failures
        assert self.photos
        assert self.searches

        def left() -> list[str]:
            states = {
                photo: self.host.call("GET", f"/api/v1/photos/{photo}").json()["state"]
                for photo in self.photos
            }
            return [photo for photo, state in states.items() if state != "done"]

        wait(lambda: not left(), 240, f"{len(self.photos)} photos to be done")


def copy_of_checkout(directory: Path) -> None:
    """For a release of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_file():
            shutil.copy2(source, target)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    copy_of_checkout(tmp_path)
    return tmp_path


def running(host: Host) -> str:
    return Path(host.run("readlink -f /opt/face-pipeline/current").strip()).name


@pytest.fixture
def first(host: Host) -> Iterator[str]:
    """The release that ran before; it runs afterwards, whatever happened."""
    name = running(host)
    yield name
    if running(host) != name:
        host.run(f"face-release back {name} && face-release good")


def words(done: subprocess.CompletedProcess[str]) -> str:
    return re.sub(r"\s+", " ", done.stdout + done.stderr)


@pytest.mark.campaign("each part of a release takes minutes; one that works is deployed and taken back")
@pytest.mark.parametrize(
    ("part", "failed"),
    [
        ("web/__init__.py", "(Start the trial|Wait until the trial is ready)"),
        ("worker/__init__.py", "Restart the workers"),
    ],
    ids=["web", "worker"],
)
def test_a_release_that_does_not_start_is_taken_back_and_nobody_notices(
    host: Host, checkout: Path, first: str, part: str, failed: str
) -> None:
    with (checkout / "app/face_pipeline" / part).open("a") as file:
        file.write(BROKEN)
    with Clients(host) as clients:
        done = playbook("deploy", checkout=checkout)
    assert done.returncode != 0
    assert re.search(f'for "{failed}" failed on', words(done)), done.stdout + done.stderr
    assert f"The release {first} runs with the settings it had" in words(done)
    assert running(host) == first
    clients.check()
    assert "failed" not in host.run("systemctl list-units --plain --no-legend 'face-*' 'celery@*'")


def test_a_release_is_deployed_and_taken_back_while_clients_go_on(
    host: Host, checkout: Path, first: str
) -> None:
    with (checkout / "app/face_pipeline/__init__.py").open("a") as file:
        file.write("\nOTHER = True\n")
    planned = playbook("deploy", checkout=checkout, do="plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert f"release: {first} -> " in words(planned)
    assert running(host) == first
    with Clients(host) as clients:
        # nginx does not have the name yet: the check asks it as it is.
        done = playbook("deploy", checkout=checkout, face_public_host="renamed.example")
        assert done.returncode == 0, done.stdout + done.stderr
        second = running(host)
        assert second != first
        listed = playbook("rollback", checkout=checkout, do="list")
        assert second in listed.stdout
        back = playbook("rollback", checkout=checkout)
        assert back.returncode == 0, back.stdout + back.stderr
    assert running(host) == first
    clients.check()
    again = playbook("rollback", checkout=checkout, release="nonesuch")
    assert again.returncode != 0
    assert "has no release nonesuch; -e do=list shows what there is" in words(again)
    assert running(host) == first
