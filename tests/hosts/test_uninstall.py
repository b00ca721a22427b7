"""Uninstalling, and installing again, on a host that is thrown away afterwards: FACE_HOST_THROWN_AWAY=1."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.hosts.test_host import SUMMARY, Host
from tests.hosts.test_scaling import INVENTORY
from tests.photos import ROOT

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY and os.environ.get("FACE_HOST_THROWN_AWAY") == "1"),
        reason="removes the installation: needs FACE_HOST_THROWN_AWAY=1, beside what names the host",
    ),
]
OURS = (
    "find /etc /usr/local /opt /run /var/log -name '*face*' -not -path '*/typeface*' | sort; "
    "systemctl list-unit-files --plain --no-legend | grep -E '^(face|celery)' ; "
    "ls /var/lib/face-pipeline | sort"
)


def playbook(name: str, *options: str) -> str:
    done = subprocess.run(
        ["./face-ansible", name, "-i", INVENTORY, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def photos(host: Host) -> set[tuple[str, str]]:
    answer = host.call("GET", "/api/v1/photos?limit=100")
    assert answer.status_code == 200, answer.text[:200]
    return {(photo["id"], photo["sha256"]) for photo in answer.json()["photos"]}


def test_a_host_is_as_before_but_for_its_data_and_comes_back_with_all_photos(host: Host) -> None:
    host.upload_many("kept")
    before = photos(host)
    assert before
    told = playbook("playbooks/uninstall.yml", "-e", "yes=true")
    assert "stays: data: /var/lib/face-pipeline/originals" in told
    assert host.run(OURS, check=False).split() == ["before.json", "models", "originals"]
    assert "changed=0" in playbook("playbooks/uninstall.yml", "-e", "yes=true")

    playbook("site.yml")
    assert photos(host) >= before

    playbook("playbooks/uninstall.yml", "-e", "yes=true", "-e", "data=remove")
    assert not host.run("ls -d /var/lib/face-pipeline /var/lib/postgresql 2>/dev/null", check=False).split()
    assert not host.run("getent passwd face postgres redis prometheus", check=False).split()
