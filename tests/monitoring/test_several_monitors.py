"""Several hosts observe: who may ask whom, whom nginx asks, and what a receiver hears when one is lost."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2
import pytest
import requests
import yaml

from tests.monitoring.passing import TEMPLATES
from tests.monitoring.rendering import PLACE, ROOT, THREE_HOSTS, certificates, play
from tests.services.nginx import Nginx
from tests.services.process import ServicesMissing, free_port
from tests.services.prometheus import Alertmanager, Prometheus

GROUPS = {**THREE_HOSTS, "monitoring": ["data", "front"], "alertmanagers": ["compute"]}
ADDRESSES = {"data": "127.0.0.22", "front": "127.0.0.23", "compute": "127.0.0.21"}
PROMETHEUS, ALERTMANAGER = GROUPS["monitoring"], ["data", "front", "compute"]


def wait(condition: Callable[[], Any], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


# What follows from the groups


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What roles make of the groups, by host."""
    directory = tmp_path_factory.mktemp("decided")
    included = [
        {"ansible.builtin.include_vars": str(ROOT / f"roles/{role}/vars/main.yml")}
        for role in ("firewall", "exporters", "status", "worker")
    ]
    names = ["firewall_opened", "exporters_names", "face_authority_permits_all", "worker_asked_from"]
    told = ", ".join([*(f"{name}={name}" for name in names), "alertmanager=status_asked.alertmanager"])
    written = {"content": f"{{{{ dict({told}) | to_json }}}}", "dest": f"{PLACE}.json", "mode": "0600"}
    given = {"ansible_facts": {"memtotal_mb": 64000}, "firewall_listeners": {"stdout": '{"ssh": [22]}'}}
    done = play(
        "prometheus", directory, GROUPS, [*included, {"ansible.builtin.copy": written}], "all", **given
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((directory / f"{name}.json").read_text()) for name in ADDRESSES}


def asking(decided: dict[str, dict[str, Any]], host: str, port: int) -> set[str]:
    """Hosts that the firewall lets in."""
    numbers = {f"10.0.0.{number}": name for number, name in enumerate(sorted(ADDRESSES), start=1)}
    opened = [each for each in decided[host]["firewall_opened"] if each["port"] == str(port)]
    return {numbers[address] for each in opened for address in each["from"]}


def test_the_firewall_lets_those_in_who_ask(decided: dict[str, dict[str, Any]]) -> None:
    for host in ALERTMANAGER:
        others = set(ALERTMANAGER) - {host}
        assert asking(decided, host, 9094) == others
        assert asking(decided, host, 9093) == set(PROMETHEUS) - {host}
        assert asking(decided, host, 9100) == set(PROMETHEUS) - {host}
    assert asking(decided, "data", 9090) == {"front"}
    assert asking(decided, "front", 9090) == {"data"}
    assert asking(decided, "compute", 9090) == set()
    assert asking(decided, "front", 9801) == {"data"}
    assert set(decided["compute"]["worker_asked_from"]) == {"10.0.0.2", "10.0.0.3"}


def test_each_of_them_can_prove_what_it_is(decided: dict[str, dict[str, Any]]) -> None:
    for host in ALERTMANAGER:
        assert "monitoring.localhost" in decided[host]["exporters_names"]
        assert set(ADDRESSES) <= set(decided[host]["face_authority_permits_all"])


def test_the_page_of_the_site_asks_every_alertmanager(decided: dict[str, dict[str, Any]]) -> None:
    asked = {host: decided[host]["alertmanager"] for host in ADDRESSES}
    assert asked == {
        "compute": "https://10.0.0.1:9093",
        "data": "https://10.0.0.2:9093",
        "front": "https://10.0.0.3:9093",
    }


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (GROUPS, ""),
        (
            {**GROUPS, "monitoring": []},
            "compute: an Alertmanager tells what Prometheus finds; name a host in",
        ),
    ],
    ids=["beside Prometheus", "alone"],
)
def test_an_alertmanager_without_any_prometheus_is_refused(
    tmp_path: Path, groups: dict[str, list[str]], words: str
) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    (task,) = (each for each in tasks if each["name"] == "Check that an Alertmanager has something to tell")
    done = play("preflight", tmp_path, groups, [task], "all")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == (2 if words else 0), said
    assert words in said


# Whom nginx asks


class Backend:
    """An HTTP server on an address of its own that says who it is; it counts what it was sent."""

    def __init__(self, address: str, port: int) -> None:
        asked: Counter[str] = Counter()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked[self.command] += 1
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(address.encode())

            do_POST = do_GET

            def log_message(self, format: str, *_: object) -> None:
                pass

        self.asked = asked
        self.server = ThreadingHTTPServer((address, port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_nginx_goes_to_the_first_that_answers() -> None:
    port = free_port()
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True)
    known = {name: {"face_observed_address": address} for name, address in ADDRESSES.items()}
    text = (
        "{% from 'passing.j2' import face_several, face_goes_on with context %}"
        "{{ face_several('some', hosts, port) }} server { listen 127.0.0.1:{port};"
        " location / { proxy_pass http://some/; {{ face_goes_on(hosts, true) }} } }"
    )
    site = environment.from_string(text, {"hostvars": known, "hosts": ALERTMANAGER, "port": port}).render()
    first, second, third = (Backend(ADDRESSES[name], port) for name in ALERTMANAGER)
    with ExitStack() as open_:
        open_.callback(third.close)
        nginx = open_.enter_context(Nginx(f"events {{}} http {{ {site} }}"))
        url = f"http://127.0.0.1:{nginx.port}/"
        assert {requests.get(url, timeout=10).text for _ in range(6)} == {ADDRESSES["data"]}
        first.close()
        assert requests.post(url, data="query=up", timeout=10).text in (
            ADDRESSES["front"],
            ADDRESSES["compute"],
        )
        second.close()
        assert {requests.get(url, timeout=10).text for _ in range(6)} == {ADDRESSES["compute"]}
        assert third.asked["POST"] <= 1


# What a receiver hears


@dataclass
class Told:
    """A web hook, and beside it a target of Prometheus: what is in `flags` is wrong."""

    flags: set[str] = field(default_factory=set)
    heard: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.heard += [(each["labels"]["host"], each["status"]) for each in body["alerts"]]
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                lines = [f'flag{{host="{each}"}} 1\n' for each in sorted(told.flags)]
                self.wfile.write("".join(["# TYPE flag gauge\n", *lines]).encode())

            def log_message(self, format: str, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


RULE = {"alert": "Flag", "expr": "flag == 1", "labels": {"severity": "critical"}}
# Two that might tell again have had their turn: each waits one more of these than the one before.
PEER_SECONDS = 1
AFTERWARDS = 3 * PEER_SECONDS + 2


@dataclass
class Site:
    """Two Prometheus, three Alertmanagers and nginx, with what the roles wrote for their addresses."""

    told: Told
    prometheus: dict[str, Prometheus]
    alertmanagers: dict[str, Alertmanager]
    nginx: Nginx
    password: Callable[[str], str]
    observing: str

    def members(self, name: str) -> int:
        return len(self.alertmanagers[name].get("/api/v2/status")["cluster"].get("peers", []))

    def ask(self, path: str) -> Any:
        answer = requests.get(
            self.observing + path,
            auth=("grafana", self.password("grafana")),
            timeout=10,
            verify=self.authority,
        )
        answer.raise_for_status()
        return answer.json()

    @property
    def authority(self) -> str:
        return str(self.nginx.directory / "ca.crt")


def by_host(directories: dict[str, Path], name: str = "") -> str:
    """A variable of Ansible's: a path in the directory of each host's server."""
    paths = {host: str(directory / name) for host, directory in directories.items()}
    return f"{{{{ {json.dumps(paths)}[inventory_hostname] | default('/none') }}}}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory, told = tmp_path_factory.mktemp("site"), Told()
    with ExitStack() as open_:
        open_.callback(told.server.server_close)
        open_.callback(told.server.shutdown)
        try:
            prometheus = {host: Prometheus() for host in PROMETHEUS}
            alertmanagers = {host: Alertmanager() for host in ALERTMANAGER}
            nginx = Nginx("events {} http { include {directory}/metrics.conf; }")
        except ServicesMissing as error:
            pytest.skip(str(error))
        ports = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
        ports |= {name: free_port() for name in ("prometheus", "alertmanager", "alertmanager_cluster")}
        ports["web_metrics"] = nginx.port
        (directory / "own.yml").write_text(yaml.safe_dump({"groups": [{"name": "own", "rules": [RULE]}]}))
        every = [*prometheus.items(), *alertmanagers.items()]
        for host, server in every:
            server.host, server.port = ADDRESSES[host], ports[server.name]
            open_.callback(server.close)
        nginx.host = ADDRESSES["front"]
        open_.callback(nginx.close)
        names = [certificates.general_name(name) for name in (*ADDRESSES.values(), "monitoring.localhost")]
        certificates.make(directory, certificates.Leaf(directory, names, client=True), datetime.now(UTC))
        shared = {
            "face_private_address": f"{{{{ {json.dumps(ADDRESSES)}[inventory_hostname] }}}}",
            "face_ports": ports,
            "face_secrets_dir": str(directory / "secrets"),
            "face_scrape_interval": "1s",
            "face_alert_group_wait": "0s",
            # Far longer than one waits for the other, as it is on hosts: else one would tell as news what it
            # saw before it waited, and the other told as over meanwhile.
            "face_alert_group_interval": "6s",
            "face_alert_receivers": [{"type": "webhook", "url": f"http://{told.address}/"}],
            "face_extra_rule_files": [str(directory / "own.yml")],
            "face_extra_scrape_configs": [
                {"job_name": "flags", "static_configs": [{"targets": [told.address]}]}
            ],
        }
        for role, servers, on in (
            ("alertmanager", alertmanagers, "monitoring:alertmanagers"),
            ("prometheus", prometheus, "monitoring"),
        ):
            places = {host: server.directory for host, server in servers.items()}
            for server in servers.values():
                for name in ("ca.crt", "server.crt", "server.key"):
                    server.write(name, (directory / name).read_text())
                server.authority = server.directory / "ca.crt"
            given = {
                "face_authority": by_host(places, "ca.crt"),
                "face_observed_certificate": by_host(places, "server.crt"),
                "face_observed_key": by_host(places, "server.key"),
                f"{role}_config_dir": by_host(places),
                f"{role}_unit_dir": by_host(places, "unit"),
                f"{role}_arguments": by_host(places, "arguments"),
                f"{'face_metrics' if role == 'prometheus' else 'alertmanager_data'}_dir": by_host(
                    places, "data"
                ),
            }
            done = play(role, directory / role, GROUPS, on=on, **shared, **given)
            assert done.returncode == 0, done.stdout + done.stderr
        for name in ("ca.crt", "server.crt", "server.key"):
            nginx.write(name, (directory / name).read_text())
        metrics = {"src": "face-metrics.conf.j2", "dest": f"{nginx.directory}/metrics.conf"}
        done = play(
            "nginx", directory / "nginx", GROUPS, [{"ansible.builtin.template": metrics}],
            "proxy", **shared,
            face_authority=f"{nginx.directory}/ca.crt",
            nginx_originals_certificate=f"{nginx.directory}/server.crt",
            nginx_originals_key=f"{nginx.directory}/server.key",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

        def password(user: str) -> str:
            return (directory / f"secrets/monitoring_{user}_password").read_text().strip()

        for server in (*alertmanagers.values(), *prometheus.values()):
            (line,) = re.findall(r'^ARGS="(.*)"$', (server.directory / "arguments").read_text(), re.MULTILINE)
            server.options = tuple(
                each for each in line.split() if not each.startswith(("--storage.", "--web.listen-address"))
            )
            if isinstance(server, Alertmanager):
                server.options += (f"--cluster.peer-timeout={PEER_SECONDS}s",)
            server.known = ("operator", password("operator"))
            for path in server.directory.rglob("*"):
                server._own(path)
        for server in (*alertmanagers.values(), *prometheus.values(), nginx):
            server.start()
        yield Site(
            told, prometheus, alertmanagers, nginx, password,
            f"https://{nginx.host}:{nginx.port}",
        )  # fmt: skip


@pytest.mark.campaign("five servers of the roles' own files, for a minute")
def test_an_event_is_told_once_by_all_and_once_by_those_that_are_left(site: Site) -> None:
    told = site.told

    def happens(event: str, status: str, seconds: float = 30) -> None:
        wait(lambda: (event, status) in told.heard, seconds, f"{event} {status}: {told.heard}")
        time.sleep(AFTERWARDS)
        assert Counter(told.heard)[(event, status)] == 1, told.heard

    wait(lambda: {site.members(each) for each in ALERTMANAGER} == {3}, 30, "three to know each other")
    told.flags.add("first")
    happens("first", "firing")
    for alertmanager in site.alertmanagers.values():
        (alert,) = (each for each in alertmanager.get("/api/v2/alerts") if each["labels"]["host"] == "first")
        assert "replica" not in alert["labels"]
    told.flags.remove("first")
    happens("first", "resolved")

    # What one is told by a silence, all know.
    now = datetime.now(UTC)
    matcher = {"name": "host", "value": "quiet", "isRegex": False, "isEqual": True}
    site.alertmanagers["data"].post(
        "/api/v2/silences",
        {"matchers": [matcher], "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
         "createdBy": "test", "comment": "all of them"},
    )  # fmt: skip
    wait(lambda: site.alertmanagers["compute"].get("/api/v2/silences"), 10, "the silence on another one")
    told.flags |= {"quiet", "second"}
    happens("second", "firing")
    assert not [event for event, _ in told.heard if event == "quiet"]

    # A Prometheus and an Alertmanager are gone, those that nginx asks first.
    assert site.ask("/prometheus/api/v1/query?query=flag")["data"]["result"]
    site.prometheus["data"].kill()
    site.alertmanagers["data"].kill()
    began = time.monotonic()
    assert site.ask("/prometheus/api/v1/query?query=flag")["data"]["result"]
    assert {each["labels"]["host"] for each in site.ask("/alertmanager/api/v2/alerts")} >= {"second", "quiet"}
    assert time.monotonic() - began < 5
    wait(lambda: {site.members(each) for each in ("front", "compute")} == {2}, 30, "both to miss the third")
    told.flags |= {"third"}
    happens("third", "firing")
    told.flags -= {"second", "third"}
    for event in ("second", "third"):
        happens(event, "resolved", 60)
    assert not [event for event, _ in told.heard if event == "quiet"]
    assert {status for event, status in told.heard if event == "third"} == {"firing", "resolved"}

    # They come back, and know again what the others know.
    site.alertmanagers["data"].start()
    wait(lambda: site.members("data") == 3, 30, "the one that was away to know the others")
    assert site.alertmanagers["data"].get("/api/v2/silences")
