"""What an installed host has stored is moved to another model pack and back, by the operator's commands."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import Any

import pytest

from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.packs import insightface_pack
from tests.photos import astronaut_again, astronaut_jpeg

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]
UNIT = "face-reembed.service"
# Of photos of other tests, whose faces the small pack may not find.
ANY = 100_000


def move(verb: str, **options: object) -> subprocess.CompletedProcess[str]:
    done = playbook("reembed", do=verb, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def status(host: Host) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(host.run("face-pipeline reembed status --format json"))
    return told


def finds(host: Host, collection: str, photo: bytes | None = None) -> Any:
    answer = host.call(
        "POST", "/api/v1/search", files={"photo": ("q.jpg", photo or astronaut_again())},
        data={"collection": collection},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.json()["faces"][0]["matches"][0]["person_name"]


@pytest.mark.campaign("it installs two packs, for minutes; tests/app/test_reembedding.py has each step")
def test_all_is_moved_to_another_pack_and_back(host: Host) -> None:
    pack, collection = insightface_pack(), f"moved-{uuid.uuid4().hex[:8]}"
    for number in range(2):
        marker = uuid.uuid4().int % 10**8
        answer = host.call(
            "POST", "/api/v1/photos", files=[("photos", (f"{number}.jpg", astronaut_jpeg(marker)))],
            data={"collection": collection, "person": "Eileen Collins"},
        )  # fmt: skip
        batch = answer.json()["batch_id"]
        wait(lambda batch=batch: (host.batch(batch) or {}).get("finished"), 240, f"batch {batch}")
    other = {"face_model_pack_source": pack, "face_accept_model_licence": pack.name}

    move("start", pack=pack, face_accept_model_licence=pack.name)
    assert host.run(f"systemctl is-enabled {UNIT}").strip() == "enabled"
    shown = dict(
        line.split("=", 1)
        for line in host.run(
            f"systemctl show -p ControlGroup,CPUWeight,Nice,User,MainPID {UNIT}"
        ).splitlines()
    )
    assert shown["ControlGroup"].endswith(f"/{UNIT}")
    assert "system.slice" not in shown["ControlGroup"]
    assert (shown["CPUWeight"], shown["Nice"], shown["User"]) == ("1", "19", "face")
    given = host.run(f"ls /run/credentials/{UNIT}").split()
    assert given == ["database_password"]
    # As by a power cut: it goes on.
    host.run(f"kill -9 {shown['MainPID']}")
    wait(lambda: status(host)["way"]["through"], 600, "all photos to be looked at")
    assert move("start", pack=pack, face_accept_model_licence=pack.name)
    assert "photos: " in move("status").stdout
    move("shadow", percent=100)

    def compared() -> bool:
        # Each time another photo: an answer that was kept is asked of nobody.
        assert finds(host, collection, astronaut_jpeg(uuid.uuid4().int % 10**8)) == "Eileen Collins"
        return bool(status(host)["shadowed"]["faces"])

    wait(compared, 120, "a search to be asked of both packs")
    refused = playbook("reembed", do="switch", leave_behind=ANY)
    assert refused.returncode != 0
    assert "name that one now" in " ".join(refused.stdout.split())
    assert finds(host, collection) == "Eileen Collins"

    move("switch", leave_behind=ANY, **other)
    assert status(host)["progress"]["collections"] == []
    assert finds(host, collection) == "Eileen Collins"
    move("back", leave_behind=ANY)
    assert finds(host, collection) == "Eileen Collins"
    move("end", for_good="true")
    assert "disabled" in host.run(f"systemctl is-enabled {UNIT}", check=False)
    wait(lambda: host.run(f"systemctl is-active {UNIT}", check=False).strip() == "inactive", 60, "its end")
    assert host.run("systemctl --failed --plain --no-legend") == ""
