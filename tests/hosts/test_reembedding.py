"""What an installed host has stored is moved to another model pack and back, by the operator's commands."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.hosts.test_host import SUMMARY, Host, wait
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.packs import insightface_pack
from tests.photos import LABELLED, astronaut_again, astronaut_jpeg, jpeg, labelled

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


# Each picture is stored again and again, each time as another file; the last one of each person is searched.
PEOPLE = {
    "obama": ("obama_1.jpg", "obama_2.jpg", "obama_3.jpg", "obama_4.jpg"),
    "biden": ("biden_1.jpg", "biden_2.jpg"),
    "harington": ("harington_1.jpeg", "harington_2.jpeg", "harington_3.jpg"),
    "lacamoire": ("lacamoire_1.png", "lacamoire_2.jpg", "lacamoire_3.jpg"),
    "leslie": ("leslie_1.jpg", "leslie_2.jpg"),
}


@dataclass
class Searchers:
    """Ask for each of PEOPLE in turn, until the block ends. No answer may name somebody else."""

    host: Host
    collection: str
    every: float = 0.5
    answers: list[tuple[float, float, int, str]] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Searchers:
        self._threads = [threading.Thread(target=self._search, args=(first,)) for first in range(2)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _search(self, number: int) -> None:
        people = list(PEOPLE)
        while not self._end.wait(self.every):
            person = people[number % len(people)]
            photo = picture(PEOPLE[person][-1], f"{self.collection} searched {number}")
            number += 2
            called = time.time()
            try:
                answer = self.host.call(
                    "POST", "/api/v1/search", files={"photo": ("q.jpg", photo)},
                    data={"collection": self.collection},
                )  # fmt: skip
                said = found_in(answer.json()) if answer.ok else answer.json()["error"]["code"]
                if answer.ok:
                    said = (
                        "right" if said == person else ("nobody" if said is None else f"{said} for {person}")
                    )
                elif "Retry-After" not in answer.headers:
                    said += " without Retry-After"
                self.answers.append((called, time.time(), answer.status_code, said))
            except (requests.RequestException, ValueError) as error:
                self.answers.append((called, time.time(), 0, type(error).__name__))

    def between(self, began: float, ended: float) -> Counter[str]:
        return Counter(f"{status} {said}" for at, _, status, said in self.answers if began <= at < ended)

    def longest_without(self, began: float, ended: float) -> float:
        """Seconds in which no search was answered with 200."""
        good = [
            returned for _, returned, status, _ in self.answers if status == 200 and began <= returned < ended
        ]
        times = [began, *good, ended]
        return max(after - before for before, after in itertools.pairwise(times))


def picture(name: str, mark: str) -> bytes:
    """A labelled photo as another file."""
    with Image.open(LABELLED / name) as image:
        image.thumbnail((640, 640))
        return jpeg(image.convert("RGB"), comment=mark.encode())


def found_in(answer: dict[str, Any]) -> str | None:
    matches = answer["faces"][0]["matches"] if answer["faces"] else []
    name: str | None = matches[0]["person_name"] if matches else None
    return name


@pytest.mark.campaign(
    "it stores FACE_REEMBED_PHOTOS photos, 2,000 unless told otherwise, and looks at each twice"
)
def test_many_photos_are_moved_while_people_search(host: Host) -> None:
    pack, collection = insightface_pack(), f"many-{uuid.uuid4().hex[:8]}"
    labelled()
    wanted = int(os.environ.get("FACE_REEMBED_PHOTOS", "2000"))
    told: dict[str, Any] = {"photos": wanted}
    began = time.time()

    def ended(what: str) -> None:
        nonlocal began
        now = time.time()
        told[what] = {
            "seconds": round(now - began, 1),
            "searches": dict(searchers.between(began, now)),
            "longest without an answer": round(searchers.longest_without(began, now), 1),
        }
        print(f"{what}: {told[what]}", flush=True)
        began = now

    stored = itertools.cycle((person, name) for person, names in PEOPLE.items() for name in names[:-1])
    batches = []
    for first in range(0, wanted, 50):
        groups: dict[str, list[bytes]] = {}
        for number in range(first, min(first + 50, wanted)):
            person, name = next(stored)
            groups.setdefault(person, []).append(picture(name, f"{collection} {number}"))
        for person, photos in groups.items():
            files = [("photos", (f"{number}.jpg", data)) for number, data in enumerate(photos)]
            answer = host.call(
                "POST", "/api/v1/photos", files=files, data={"collection": collection, "person": person}
            )
            assert answer.status_code == 202, answer.text
            batches.append(answer.json()["batch_id"])
    for batch in batches:
        wait(lambda batch=batch: (host.batch(batch) or {}).get("finished"), 1200, f"batch {batch}")
    names = "SELECT count(*), count(person_id), sum(('x' || left(md5(id::text), 8))::bit(32)::bigint)"
    query = (
        f"{names} FROM faces WHERE collection_id = (SELECT id FROM collections WHERE name = '{collection}')"
    )
    faces = host.run("runuser -u postgres -- psql -qAt face", stdin=query)

    with Searchers(host, collection) as searchers:
        began = time.time()
        time.sleep(30)
        ended("before")
        move("start", pack=pack, face_accept_model_licence=pack.name)

        def waiting() -> int:
            return int(status(host)["progress"]["waiting"])

        wait(lambda: waiting() < wanted * 3 / 4, 3600, "a quarter to be looked at")
        ended("start, and a quarter")
        restart(host)
        ended("restart of the host in the middle")
        wait(lambda: status(host)["way"]["through"], 3600, "all photos to be looked at")
        ended("the rest, after it")
        move("shadow", percent=50)
        time.sleep(90)
        ended("shadow")
        told["agreement"] = status(host)
        move("switch", leave_behind=ANY, face_model_pack_source=pack, face_accept_model_licence=pack.name)
        ended("switch")
        time.sleep(30)
        ended("with the other pack")
        move("back", leave_behind=ANY)
        ended("back")
        time.sleep(30)
        ended("with the first pack again")
    move("end", for_good="true")

    print(json.dumps(told, indent=1))
    if results := os.environ.get("FACE_RESULTS"):
        Path(results).mkdir(parents=True, exist_ok=True)
        (Path(results) / "reembedding.json").write_text(json.dumps(told, indent=1) + "\n")
    assert host.run("runuser -u postgres -- psql -qAt face", stdin=query) == faces
    quiet = [name for name in told if isinstance(told[name], dict) and "searches" in told[name]]
    for name in quiet:
        # While the host starts again there is no answer at all.
        may = ("200 ", "503 ", "502 ", "0 ") if name.startswith("restart") else ("200 ",)
        if name in {"switch", "back"}:
            may = ("200 ", "503 pack_changing")
        wrong = {
            said: number for said, number in told[name]["searches"].items()
            if not said.startswith(may) or "nobody" in said or " for " in said or "without" in said
        }  # fmt: skip
        assert not wrong, f"{name}: {wrong}"
    assert told["agreement"]["shadowed"]["faces"]


def restart(host: Host) -> None:
    asked = "cat /proc/sys/kernel/random/boot_id"
    boot = host.run(asked)
    host.run("systemd-run --quiet --on-active=1 systemctl reboot")

    def is_back() -> bool:
        try:
            return host.run(asked, check=False) not in {"", boot} and host.call("GET", "/health/ready").ok
        except (requests.RequestException, subprocess.TimeoutExpired):
            return False

    wait(is_back, 120, "the host to be back")
