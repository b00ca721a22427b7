"""Every unit of the product on an installed host: what it may do, and what its crash leaves of a photo."""

from __future__ import annotations

import io
import re
import threading
import time
import uuid

import pytest
import requests
from PIL import Image

from tests.hardening import LIMIT
from tests.hosts.test_host import Host, pytestmark, wait  # noqa: F401
from tests.photos import astronaut_again, astronaut_jpeg

# Those of face.target, what their timers start, and what stands by for a failure.
SERVICES = (
    "{ face-units list; systemctl list-unit-files --plain --no-legend 'face-*.service'; "
    "systemctl list-units --all --plain --no-legend 'celery@*.service' 'postgresql@*.service'; } "
    "| cut -d' ' -f1 | grep '[.]service$' | grep -v '@[.]service$' | sort -u"
)
# Where nothing of a photo belongs: the originals are what was uploaded.
SEARCHED = "/tmp /var /run /etc /root /home /core* --exclude-dir=originals --devices=skip"


@pytest.fixture(scope="module")
def services(host: Host) -> list[str]:
    found = host.run(SERVICES).split()
    expected = {"face-web.service", "face-stop.service", "nginx.service", "redis-server.service"}
    assert expected <= set(found), found
    return found


def test_every_unit_is_confined(host: Host, services: list[str]) -> None:
    said = host.run(f"systemd-analyze security --no-pager {' '.join(services)} | grep 'Overall exposure'")
    scores = {unit: float(score) for unit, score in re.findall(r"level for (\S+): (\S+)", said)}
    assert scores.keys() == set(services), said
    assert {unit: score for unit, score in scores.items() if score > LIMIT} == {}, (
        "systemd-analyze security UNIT names the lines"
    )


def test_no_unit_writes_a_core_file_or_shares_temporary_files(host: Host, services: list[str]) -> None:
    said = host.run(
        f"for unit in {' '.join(services)}; do echo $unit $(systemctl show -P LimitCORE $unit) "
        "$(systemctl show -P PrivateTmp $unit); done"
    )
    shown = {unit: (core, tmp) for unit, core, tmp in map(str.split, said.splitlines())}
    assert shown.keys() == set(services)
    # It shows the host's file systems as they are, and has no file of its own.
    own = {"prometheus-node-exporter.service": ("0", "no")}
    assert {unit: found for unit, found in shown.items() if found != own.get(unit, ("0", "yes"))} == {}
    limits = host.run(
        f"for unit in {' '.join(services)}; do pid=$(systemctl show -P MainPID $unit); "
        "[ $pid = 0 ] || grep '^Max core file size' /proc/$pid/limits; done; true"
    )
    assert {" ".join(line.split()) for line in limits.splitlines()} == {"Max core file size 0 0 bytes"}


@pytest.mark.parametrize(
    "signal", ["SEGV", pytest.param("ABRT", marks=pytest.mark.campaign("SEGV is tested"))]
)
def test_a_crash_leaves_nothing_of_a_photo(host: Host, signal: str) -> None:
    """Web processes and workers crash while photos are uploaded and searched; each is started again."""
    mark = f"face-mark-{uuid.uuid4().hex}"
    picture = io.BytesIO()
    Image.open(io.BytesIO(astronaut_again())).resize((4600, 4600)).save(
        picture, "JPEG", quality=97, comment=(mark * 40).encode()
    )
    collection = f"crash-{uuid.uuid4().hex[:8]}"
    end = threading.Event()

    def send(path: str, name: str) -> None:
        while not end.is_set():
            files = {name: ("q.jpg", picture.getvalue())}
            try:
                host.call("POST", path, files=files, data={"collection": collection})
            except requests.RequestException:
                time.sleep(0.2)

    host.call(
        "POST", "/api/v1/photos", files={"photos": ("a.jpg", astronaut_jpeg(uuid.uuid4().int % 10**6))},
        data={"collection": collection},
    )  # fmt: skip
    senders = [
        threading.Thread(target=send, args=each)
        for each in (("/api/v1/search", "photo"), ("/api/v1/photos", "photos"))
    ]
    for sender in senders:
        sender.start()
    try:
        for _ in range(3):
            time.sleep(2)
            host.run(f"systemctl kill --signal {signal} face-web 'celery@*'")
            time.sleep(3)
    finally:
        end.set()
        for sender in senders:
            sender.join()
    host.run("systemctl reset-failed face-web 'celery@*'; systemctl start face.target", check=False)
    wait(lambda: host.call("GET", "/health/ready").ok, 120, "the service to be ready")
    assert host.run(f"grep -rlaF {mark} {SEARCHED} 2>/dev/null", check=False) == ""
    assert host.run(f"journalctl -b -o cat | grep -c {mark}", check=False).strip() == "0"
