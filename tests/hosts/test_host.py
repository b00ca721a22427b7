"""An installed host, from outside: through nginx, over SSH, with parts killed under work.

FACE_HOST_SUMMARY names a JSON file with `url`, `ssh` (a command), `ca_file` and `api_key_file`, as
./quickstart writes it. These tests kill and reboot what they are pointed at: give them a test host.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from PIL import Image

from tests.patience import PATIENCE
from tests.photos import astronaut_again, astronaut_jpeg

SUMMARY = os.environ.get("FACE_HOST_SUMMARY")
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(not SUMMARY, reason="needs an installed host (FACE_HOST_SUMMARY, see ./quickstart)"),
]

PHOTOS = 50


@dataclass
class Host:
    url: str
    ssh: list[str]
    ca: str
    key: str

    def run(self, command: str, check: bool = True, stdin: str = "") -> str:
        result = subprocess.run(
            [*self.ssh, command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180 * PATIENCE,
            check=False,
        )
        if check and result.returncode:
            pytest.fail(f"{command}: {result.stdout}{result.stderr}")
        return result.stdout

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        address = self.url.rstrip("/") + path
        return requests.request(
            method, address, headers=headers, verify=self.ca, timeout=60 * PATIENCE, **options
        )

    def upload_many(self, collection: str) -> str:
        marker = uuid.uuid4().int % 10**6 * 100
        files = [("photos", (f"{n}.jpg", astronaut_jpeg(marker + n))) for n in range(PHOTOS)]
        answer = self.call("POST", "/api/v1/photos", files=files, data={"collection": collection})
        assert answer.status_code == 202, answer.text
        assert len(answer.json()["photos"]) == PHOTOS
        return str(answer.json()["batch_id"])

    def batch(self, batch_id: str) -> dict[str, Any] | None:
        try:
            answer = self.call("GET", f"/api/v1/batches/{batch_id}")
        except requests.ConnectionError:
            return None
        return answer.json() if answer.ok else None


def wait(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll `condition` until it is truthy; `seconds` is what a quiet machine may need."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.5)
    pytest.fail(f"waited {seconds:g} s for {what}")


def _all_done_once(host: Host, batch_id: str, collection: str, seconds: float) -> None:
    def finished() -> Any:
        batch = host.batch(batch_id)
        return batch if batch and batch["finished"] else None

    batch = wait(finished, seconds, f"{PHOTOS} photos to be done")
    assert batch["states"]["done"] == PHOTOS
    query = (
        "SELECT count(*), count(DISTINCT photo_id)"
        " FROM faces JOIN collections c ON c.id = faces.collection_id"
        f" WHERE c.name = '{collection}'"
    )
    rows = host.run(f'runuser -u postgres -- psql -qAt face -c "{query}"')
    assert rows.strip() == f"{PHOTOS}|{PHOTOS}", "each photo has one face, written once"


def _collection() -> str:
    return f"faults-{uuid.uuid4().hex[:8]}"


def test_a_photo_goes_in_and_the_person_is_found(host: Host) -> None:
    collection = _collection()
    answer = host.call(
        "POST", "/api/v1/photos",
        files=[("photos", ("a.jpg", astronaut_jpeg())), ("photos", ("b.txt", b"no"))],
        data={"collection": collection, "person": "Eileen Collins"}, headers={"X-Request-ID": "host-test-1"},
    )  # fmt: skip
    assert answer.status_code == 202
    assert answer.headers["X-Request-ID"] == "host-test-1"
    body = answer.json()
    assert [each["code"] for each in body["rejected"]] == ["unsupported_type"]
    photo_id = body["photos"][0]["id"]
    wait(lambda: host.call("GET", f"/api/v1/photos/{photo_id}").json()["state"] == "done", 120, "the photo")
    search = host.call(
        "POST",
        "/api/v1/search",
        files={"photo": ("q.jpg", astronaut_again())},
        data={"collection": collection},
    ).json()
    assert search["faces"][0]["matches"][0]["person_name"] == "Eileen Collins"
    image = host.call("GET", f"/api/v1/photos/{photo_id}/image")
    assert image.content == astronaut_jpeg(), "nginx sends the original"
    journal = host.run("journalctl -u 'celery@*' -u face-web -o cat --since -5min | grep host-test-1")
    operations = {json.loads(line)["operation"] for line in journal.splitlines()}
    assert {"api.photos.upload", "ingest"} <= operations, "one id from the request to the task"


def test_the_page_and_all_its_files_are_served(host: Host) -> None:
    page = requests.get(f"{host.url}/", verify=host.ca, timeout=60)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    assert files
    for file in files:
        assert requests.get(host.url + file, verify=host.ca, timeout=60).status_code == 200, file


def test_what_is_not_for_everybody_is_closed(host: Host) -> None:
    assert requests.get(f"{host.url}/api/v1/photos", verify=host.ca, timeout=60).status_code == 401
    assert host.call("GET", "/metrics").status_code == 403
    assert host.call("GET", "/_originals/ab/cd/x").status_code == 404
    listening = host.run("ss -Hltn")
    open_to_all = {
        int(line.split()[3].rsplit(":", 1)[1])
        for line in listening.splitlines()
        if not re.match(r"127\.|\[::1\]", line.split()[3])
    }
    assert open_to_all == {22, 80, 443}


def test_no_unit_failed(host: Host) -> None:
    assert host.run("systemctl --failed --plain --no-legend") == ""


def test_no_secret_is_in_a_command_line_environment_or_log(host: Host) -> None:
    found = host.run(
        "cd /etc/face-pipeline/credentials; for name in *; do secret=$(cat $name); "
        "for pid in $(pgrep -u face); do "
        "tr '\\0' '\\n' < /proc/$pid/cmdline | grep -qF -- \"$secret\" && echo cmdline $name; "
        "tr '\\0' '\\n' < /proc/$pid/environ | grep -qF -- \"$secret\" && echo environ $name; done; "
        'journalctl -b -o cat | grep -qF -- "$secret" && echo journal $name; done; true'
    )
    assert found == ""


def test_each_unit_has_the_password_of_its_own_role_alone(host: Host) -> None:
    """Units that run all the time; each is signed in to PostgreSQL as its role."""
    for unit, role in (
        ("face-web", "web"), ("celery@1", "worker"), ("face-reconciler", "upkeep"), ("face-hooks", "hooks"),
    ):  # fmt: skip
        own = f"/etc/face-pipeline/credentials/database_password_{role}"
        given = f"/run/credentials/{unit}.service"
        host.run(f"cmp {given}/database_password {own}")
        passwords = host.run(f"ls {given} | grep database")
        assert passwords == "database_password\n", (unit, passwords)
    query = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'face' ORDER BY 1"
    roles = host.run(f'runuser -u postgres -- psql -qAt face -c "{query}"').split()
    assert {"face_web", "face_worker", "face_upkeep", "face_hooks"} <= set(roles)


def test_a_role_of_a_unit_is_let_in_with_its_password_alone(host: Host) -> None:
    def signs_in(role: str, password: str, how: str = "-h 127.0.0.1") -> str:
        secret = f"PGPASSWORD=$(cat /etc/face-pipeline/credentials/{password})"
        return host.run(f"{secret} psql -qAt {how} -U {role} face -c 'SELECT 1' 2>&1 || true").strip()

    assert signs_in("face_worker", "database_password_worker") == "1"
    assert "password authentication failed" in signs_in("face_web", "database_password_worker")
    assert "pg_hba.conf rejects connection" in signs_in("face_web", "database_password_web", how="")


def test_photos_survive_a_killed_worker(host: Host) -> None:
    collection = _collection()
    batch_id = host.upload_many(collection)
    wait(lambda: (host.batch(batch_id) or {"states": {"done": 0}})["states"]["done"] >= 3, 60, "some photos")
    host.run("systemctl kill --signal KILL 'celery@*'")
    _all_done_once(host, batch_id, collection, 120)


@pytest.mark.campaign("tests/app/test_faults.py takes a real Redis away and gives it back")
def test_photos_survive_a_minute_without_redis(host: Host) -> None:
    collection = _collection()
    batch_id = host.upload_many(collection)
    host.run("systemctl stop redis-server")
    try:
        during = host.call(
            "POST", "/api/v1/photos", files={"photos": ("late.jpg", astronaut_jpeg(7))},
            data={"collection": _collection()},
        )  # fmt: skip
        assert during.status_code == 202, "accepted and kept"
        search = host.call("POST", "/api/v1/search", files={"photo": ("q.jpg", astronaut_jpeg(8))})
        assert (search.status_code, "Retry-After" in search.headers) == (503, True)
        time.sleep(60)
    finally:
        # systemd gives a start 90 seconds, which a busy machine may exceed.
        start = "systemctl start redis-server && echo started"
        wait(lambda: "started" in host.run(start, check=False), 120, "Redis to start")
    _all_done_once(host, batch_id, collection, 120)
    late = during.json()["batch_id"]
    wait(lambda: (host.batch(late) or {"finished": False})["finished"], 60, "the photo of the outage")


def test_photos_survive_a_reboot(host: Host) -> None:
    collection = _collection()
    batch_id = host.upload_many(collection)
    before = host.run("cat /proc/sys/kernel/random/boot_id")
    host.run("systemctl reboot", check=False)

    def back() -> bool:
        now = host.run("cat /proc/sys/kernel/random/boot_id", check=False)
        return now not in ("", before)

    wait(back, 120, "the host to come back")
    _all_done_once(host, batch_id, collection, 180)
    # What a timer starts may have met a database that was not there yet; its next run mends it.
    wait(
        lambda: host.run("systemctl is-system-running --wait", check=False).strip() == "running",
        180,
        "every unit to be well",
    )


def test_a_searched_photo_its_vector_and_its_answer_are_in_no_file_below_var(host: Host) -> None:
    """With a person's name from an upload, which no log has either."""
    mark, name = f"face-mark-{uuid.uuid4().hex}", f"Name{uuid.uuid4().hex}"
    collection = _collection()
    uploaded = host.call(
        "POST", "/api/v1/photos", files={"photos": ("a.jpg", astronaut_jpeg(uuid.uuid4().int % 10**6))},
        data={"collection": collection, "person": name},
    ).json()  # fmt: skip
    wait(lambda: (host.batch(uploaded["batch_id"]) or {}).get("finished"), 60, "the photo")
    picture = io.BytesIO()
    Image.open(io.BytesIO(astronaut_again())).resize((4600, 4600)).save(
        picture, "JPEG", quality=97, comment=(mark * 40).encode()
    )
    assert len(picture.getvalue()) > 2 * 1024**2, "larger than what nginx and the web service hold at first"
    answer = host.call(
        "POST",
        "/api/v1/search",
        files={"photo": ("q.jpg", picture.getvalue())},
        data={"collection": collection},
    ).json()
    match = answer["faces"][0]["matches"][0]
    assert match["person_name"] == name
    time.sleep(2)  # an append-only file is synced each second
    where = "/var --exclude-dir=base --exclude-dir=pg_wal --devices=skip"
    assert host.run(f"grep -rlaF {mark} /var /etc --devices=skip", check=False) == ""
    # The database has the name, as it must; nothing else has.
    assert host.run(f"grep -rlaF {name} {where}", check=False) == ""
    # The queue's file may name no search, and the scratch Redis has no file at all.
    assert host.run("grep -rlaF face:search: /var/lib/redis", check=False) == ""
    assert host.run("ls -A /run/redis-scratch").split() == ["redis-server.pid"]


def test_redis_lets_in_users_alone_and_each_to_its_work(host: Host) -> None:
    for port, option in ((6379, ""), (6380, "--scratch")):
        assert "NOAUTH" in host.run(f"redis-cli -p {port} PING", check=False)
        assert "NOPERM" in host.run(f"face-redis {option} FLUSHALL 2>&1", check=False)
    said = host.run("face-redis ACL LOG; face-redis --scratch ACL LOG")
    assert not {"web", "worker", "upkeep", "autoscaler", "hooks", "flower"} & set(said.splitlines()), said


def test_uploads_wait_on_a_disk_of_the_web_service_alone(host: Host) -> None:
    main = host.run("systemctl show --value -P MainPID face-web").strip()
    environment = host.run(f"tr '\\0' '\\n' </proc/{main}/environ")
    assert "TMPDIR=/var/tmp" in environment.split()
    assert host.run(f"nsenter -m -t {main} stat -f -c %T /var/tmp").strip() != "tmpfs"
    units = host.run("systemctl show --value -P MemoryMax face-web celery@1").split()
    assert "infinity" not in units, "each has a limit"
