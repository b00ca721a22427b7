"""Flower behind nginx: the unit's own command and the roles' own templates, before a real worker."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from face_pipeline.parts import Parts
from kombu import Connection

from tests.installation import App, Installation, wait_until
from tests.photos import ROOT, astronaut_jpeg
from tests.services import Nginx
from tests.services.process import free_port
from tests.services.redis import passwords

# nginx's certificate is made on the spot.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

PASSWORD = "a password of the tests"
WORKER = "worker1@tests"
NOT_A_WEB_SOCKET = "/the-web-service.sock"
ROLES = ROOT / "roles"


def render(directory: Path, **variables: Any) -> dict[str, str]:
    """The templates of the roles flower and nginx, filled in by Ansible itself."""
    names = {
        "face-flower.service": "flower", "flowerconfig.py": "flower", "nginx-flower.conf": "flower",
        "face-pipeline.conf": "nginx", "nginx-monitoring.conf": "nginx",
    }  # fmt: skip
    values = [*(ROOT / "group_vars" / "all").glob("*.yml"), *ROLES.glob("*/defaults/main.yml")]
    values += [ROLES / role / "vars/main.yml" for role in ("flower", "nginx")]
    task = {
        "name": "Fill in",
        "ansible.builtin.template": {"src": "{{ item.src }}", "dest": "{{ item.dest }}"},
        "loop": [
            {"src": str(ROLES / role / f"templates/{name}.j2"), "dest": str(directory / name)}
            for name, role in names.items()
        ],
        # What the installing tasks know by their own names.
        "vars": {
            "flower_password": PASSWORD,
            "nginx_monitoring_password": PASSWORD,
            "nginx_http2_directive": True,
            "nginx_own_names": ["localhost", "faces.example.org", "2001:db8::7"],
        },
    }
    files = [str(path) for path in values]
    play = {
        "hosts": "all", "connection": "local", "gather_facts": False, "vars_files": files, "tasks": [task],
    }  # fmt: skip
    playbook = directory / "render.yml"
    playbook.write_text(json.dumps([play]))
    extra = {
        "face_flower_enabled": True, "face_public_host": "localhost", "face_monitoring_enabled": False,
        "face_logging_enabled": False, "ansible_python_interpreter": sys.executable, **variables,
    }  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", ROOT / "inventory/local.yml",
         "-e", json.dumps(extra), playbook],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (directory / name).read_text() for name in names}


@dataclass
class Monitor:
    """Flower's unit, run by hand, with nginx before it."""

    app: App
    installation: Installation
    port: int
    url: str
    unit: str
    process: subprocess.Popen[bytes] | None = None

    def command(self, setting: str) -> list[str]:
        (line,) = re.findall(rf"^{setting}=-?(.*)$", self.unit, re.MULTILINE)
        return shlex.split(line)

    def start(self) -> None:
        self.process = self.installation.spawn("flower.log", *self.command("ExecStart"))
        wait_until(self.answers, 30, "Flower to answer")

    def stop(self) -> int:
        assert self.process
        return self.installation.end(self.process, signal.SIGTERM)

    def answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.installation.log("flower.log")[-3000:]
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/flower/healthcheck", timeout=5).ok
        except requests.ConnectionError:
            return False

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, self.url + path, verify=False, allow_redirects=False, timeout=30, **options
        )

    def get(self, path: str, key: str = "", **options: Any) -> requests.Response:
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **options.pop("headers", {})}
        return self.request("GET", path, headers=headers, **options)

    def signed_in(self) -> requests.cookies.RequestsCookieJar:
        answer = self.request("POST", "/session", json={"api_key": self.app.api_key})
        assert answer.status_code == 200
        return answer.cookies


@pytest.fixture(scope="module")
def monitor(
    installation: Installation,
    web_url: tuple[str, subprocess.Popen[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Monitor]:
    directory = tmp_path_factory.mktemp("flower")
    (directory / "data" / "flower").mkdir(parents=True)
    (directory / "venv").symlink_to(Path(sys.executable).parents[1])
    port = free_port()
    ports = {"http": free_port(), "https": "{port}", "flower": port}
    shared = {"face_ports": ports, "face_current": str(directory), "face_data_dir": str(directory / "data")}
    unit = render(directory, **shared, face_config_dir=str(directory))["face-flower.service"]
    # nginx sees one directory of this host alone, whose name `{directory}` stands for.
    (directory / "nginx").mkdir()
    files = render(
        directory / "nginx", **shared, face_config_dir="{directory}", face_tls_dir="{directory}",
        face_web_socket=NOT_A_WEB_SOCKET,
    )  # fmt: skip
    url, web = web_url
    site = files["face-pipeline.conf"].replace(f"unix:{NOT_A_WEB_SOCKET}", url.removeprefix("http://"))
    nginx = Nginx(f"events {{}} http {{ {site.replace('/var/log/nginx', '{directory}')} }}")
    nginx.write("nginx-flower.conf", files["nginx-flower.conf"])
    subprocess.run(
        [sys.executable, ROLES / "certificates/files/make_certificate.py", directory / "tls", "localhost"],
        check=True,
    )
    tls = directory / "tls"
    nginx.write("server.pem", (tls / "server.key").read_text() + (tls / "server.crt").read_text())
    (installation.directory / "credentials" / "flower_password").write_text(PASSWORD)

    app = App(installation, url, web)
    app.start_worker()
    made = Monitor(app, installation, port, f"https://localhost:{nginx.port}", unit)
    with nginx:
        made.start()
        yield made
        made.stop()
    for worker in app.workers.values():
        installation.end(worker, signal.SIGKILL)


def test_an_admin_sees_workers_and_queues(monitor: Monitor) -> None:
    key = monitor.app.api_key

    def workers() -> Any:
        return monitor.get("/flower/api/workers", key, params={"refresh": 1}).json()

    found = wait_until(lambda: WORKER in (seen := workers()) and seen, 30, "the worker in Flower")
    assert {queue["name"] for queue in found[WORKER]["active_queues"]} == {"search", "ingest"}
    lengths = monitor.get("/flower/api/queues/length", key).json()["active_queues"]
    assert {queue["name"]: queue["messages"] for queue in lengths} == {"search": 0, "ingest": 0}
    assert monitor.get("/flower/", headers={"X-API-Key": key}).status_code == 200
    assert WORKER in monitor.get(f"/flower/worker/{WORKER}", cookies=monitor.signed_in()).text


def test_nobody_else_sees_anything(monitor: Monitor) -> None:
    name = f"reader-{monitor.port}"
    reader = monitor.installation.run(
        "keys", "create", "--name", name, "--scopes", "read,write"
    ).stdout.strip()
    for path in ("/flower/", "/flower/api/workers", "/flower/metrics", "/flower/static/js/flower.js"):
        without, wrong, refused = (monitor.get(path, key) for key in ("", "fp_wrong", reader))
        assert (without.status_code, wrong.status_code, refused.status_code) == (401, 401, 403), path
        assert without.json()["error"]["code"] == "unauthorized"
        assert refused.json()["error"]["code"] == "scope_missing"
    browser = monitor.get("/flower/tasks", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["Location"]) == (302, "/sign-in?next=/flower/tasks")
    asked = monitor.get("/flower/tasks?limit=5&state=FAILURE", headers={"Accept": "text/html"})
    assert asked.headers["Location"] == "/sign-in?next=/flower/tasks%3Flimit%3D5%26state%3DFAILURE"
    page = monitor.get("/flower/", reader, headers={"Accept": "text/html"})
    assert (page.status_code, "<h1>Not for you</h1>" in page.text) == (403, True)
    # From outside there is no gate to ask.
    assert monitor.get("/gate", monitor.app.api_key).status_code == 404


def test_a_program_on_the_host_needs_the_password(monitor: Monitor) -> None:
    url = f"http://127.0.0.1:{monitor.port}/flower"
    for path in ("/", "/api/workers"):
        answer = requests.get(url + path, timeout=10)
        assert answer.status_code == 401
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert requests.get(url + path, auth=("nginx", PASSWORD), timeout=10).status_code == 200
    assert requests.post(f"{url}/api/worker/shutdown/{WORKER}", timeout=10).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://example.org"}, 403),
        # Another port of the same host: the cookie goes along, SameSite does not see it.
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_only_its_own_page_may_change_something(
    monitor: Monitor, headers: dict[str, str], status: int
) -> None:
    answer = monitor.request(
        "POST", "/flower/api/task/rate-limit/face_pipeline.search", headers=headers,
        cookies=monitor.signed_in(), data={"workername": WORKER, "ratelimit": "1000/s"},
    )  # fmt: skip
    assert answer.status_code == status, answer.text


def test_a_browser_without_fetch_metadata_is_known_by_the_origin(monitor: Monitor) -> None:
    answer = monitor.request(
        "POST", "/flower/api/task/rate-limit/face_pipeline.search", headers={"Origin": monitor.url},
        cookies=monitor.signed_in(), data={"workername": WORKER, "ratelimit": "1000/s"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 204),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 204),
        ("POST", {}, 403),
        ("POST", {"Sec-Fetch-Site": "same-site", "Origin": "https://localhost:9443"}, 403),
        ("DELETE", {"Origin": "https://localhost:9443"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost"}, 204),
        ("POST", {"Origin": "https://localhost"}, 204),
    ],
)
def test_behind_the_gate_a_session_changes_something_from_our_pages_alone(
    monitor: Monitor, method: str, headers: dict[str, str], status: int
) -> None:
    """Prometheus and Alertmanager look at no origin themselves."""
    told = {"X-Gate-Method": method, "X-Gate-Origin": "https://localhost", **headers}
    url, key = f"{monitor.app.url}/gate", {"X-API-Key": monitor.app.api_key}
    session = {"Cookie": f"face_session={monitor.signed_in()['face_session']}"}
    assert requests.get(url, headers={**told, **session}, timeout=30).status_code == status
    assert requests.get(url, headers={**told, **key}, timeout=30).status_code == 204, "a program has its key"


def test_nginx_tells_the_gate_what_is_asked_for(monitor: Monitor) -> None:
    path, cookies = "/flower/nothing", monitor.signed_in()
    assert monitor.request("POST", path, cookies=cookies).status_code == 403
    for headers in ({"Origin": monitor.url}, {"Sec-Fetch-Site": "same-origin"}):
        assert monitor.request("POST", path, cookies=cookies, headers=headers).status_code != 403
    refused = monitor.request("POST", path, cookies=cookies, headers={"Origin": "https://localhost:1"})
    assert refused.json()["error"]["code"] == "scope_missing"


def test_the_pages_policy_lets_its_own_script_run_and_no_other(monitor: Monitor) -> None:
    for path in ("/flower/", "/flower/tasks", "/flower/broker", f"/flower/worker/{WORKER}"):
        page = monitor.get(path, monitor.app.api_key)
        policy = page.headers["Content-Security-Policy"]
        assert "script-src 'self' 'sha256-" in policy
        for script in re.findall(r"<script(?![^>]*src=)[^>]*>(.*?)</script>", page.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy, "nginx_flower_script is that of another version of Flower"
        assert not re.search(r"<[^>]+ on[a-z]+=", page.text)
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in page.headers


def tell_worker(parts: Parts, to_workers: Connection, command: str) -> str:
    (answer,) = parts.celery.control.broadcast(command, reply=True, timeout=3, connection=to_workers)
    return str(answer[WORKER]["ok"])


def wait_for_events(parts: Parts, to_workers: Connection) -> None:
    # Flower asks the workers for them every five seconds.
    wait_until(
        lambda: tell_worker(parts, to_workers, "enable_events") == "task events already enabled",
        30,
        "events to be on",
        0.5,
    )


def test_tasks_are_shown_and_kept_over_a_restart(
    monitor: Monitor, parts: Parts, to_workers: Connection
) -> None:
    key = monitor.app.api_key
    wait_for_events(parts, to_workers)
    upload = monitor.app.upload(("a.jpg", astronaut_jpeg()), collection="flower").json()
    monitor.app.wait_finished(upload["batch_id"])

    def done() -> set[str]:
        tasks = monitor.get("/flower/api/tasks", key).json()
        return {name for name, task in tasks.items() if task["state"] == "SUCCESS"}

    before = wait_until(done, 60, "the task in Flower")
    assert monitor.stop() == 0
    assert monitor.get("/flower/", key).status_code == 503
    monitor.start()
    assert done() == before


def test_workers_send_no_events_once_flower_is_stopped(
    monitor: Monitor, parts: Parts, to_workers: Connection
) -> None:
    wait_for_events(parts, to_workers)
    monitor.stop()

    def told() -> bool:
        # The unit gives it half a minute, which a busy machine may need for Python alone.
        done = subprocess.run(
            monitor.command("ExecStopPost"),
            env={**monitor.installation.environment, "FACE_REDIS_USER": "flower"},
            check=False,
        )
        return done.returncode == 0

    wait_until(told, 150, "the workers to be told")
    assert tell_worker(parts, to_workers, "disable_events") == "task events already disabled"
    monitor.start()


def test_no_password_is_in_its_arguments_environment_or_log(monitor: Monitor) -> None:
    assert monitor.process
    process = Path("/proc") / str(monitor.process.pid)
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    log = monitor.installation.log("flower.log")
    for secret in (PASSWORD, *passwords().values()):
        assert secret.encode() not in shown
        assert secret not in log
    assert all(json.loads(line)["service_name"] == "face-flower" for line in log.splitlines())


def test_switched_off_nginx_knows_nothing_of_it(tmp_path: Path) -> None:
    ports = {"http": 80, "https": 443, "flower": 5555}
    site = render(tmp_path, face_flower_enabled=False, face_ports=ports)["face-pipeline.conf"]
    assert "flower" not in site.lower()
    assert "/gate" not in site
