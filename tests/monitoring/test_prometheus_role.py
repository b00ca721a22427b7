"""The role `prometheus` and the workers' list: what they write, as promtool and a real Prometheus take it."""

from __future__ import annotations

import os
import re
import shlex
import socketserver
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
import yaml
from face_pipeline.ops import workers

from tests.monitoring.rendering import ONE_HOST, PLACE, ROOT, THREE_HOSTS, certified, play, told
from tests.services.prometheus import Prometheus

MADE = TemporaryDirectory(prefix="prometheus-role-")
PLACES = {
    "prometheus_config_dir": f"{PLACE}/etc",
    "prometheus_unit_dir": f"{PLACE}/unit",
    "prometheus_arguments": f"{PLACE}/default",
    "face_metrics_dir": f"{PLACE}/metrics",
}
# With a third Alertmanager, beside no Prometheus.
TWO_THAT_ASK = {**THREE_HOSTS, "monitoring": ["data", "front"], "alertmanagers": ["compute"]}
REMOTE = {"url": "https://elsewhere.example/write", "basic_auth": {"username": "u", "password": "hidden"}}
MORE = {"job_name": "more", "static_configs": [{"targets": ["192.0.2.9:80"]}]}
SCENARIOS: dict[str, tuple[dict[str, list[str]], dict[str, Any]]] = {
    "one host": (ONE_HOST, {}),
    "three hosts": (THREE_HOSTS, {}),
    "two that ask": (TWO_THAT_ASK, {}),
    "no workers": ({**ONE_HOST, "workers": []}, {}),
    "no Grafana": (ONE_HOST, {"face_grafana_enabled": False}),
    "autoscaler": (THREE_HOSTS, {"face_autoscale_enabled": True}),
    "extra settings": (
        ONE_HOST,
        {
            "face_remote_write": [REMOTE],
            "face_extra_scrape_configs": [MORE],
            "face_external_labels": {"site": "north"},
            "face_metrics_retention": "7d",
            "face_metrics_retention_size": "20GB",
            "face_scrape_interval": "5s",
        },
    ),
}
EVERYWHERE = {"node": 9100, "prometheus": 9090, "alertmanager": 9093, "blackbox": 9115}
JOBS = {**EVERYWHERE, "web": 9801, "redis": 9121, "postgres": 9187, "nginx": 9113, "grafana": 3000}


@cache
def rendered(scenario: str) -> tuple[Path, str]:
    """Directory of a run, which promtool let pass, and what it printed."""
    groups, variables = SCENARIOS[scenario]
    directory = Path(MADE.name) / scenario.replace(" ", "-")
    done = play("prometheus", directory, groups, **PLACES, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory, done.stdout


def configuration(scenario: str, host: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((rendered(scenario)[0] / host / "etc/prometheus.yml").read_text())
    return read


def jobs(scenario: str, host: str) -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in configuration(scenario, host)["scrape_configs"]}


def targets(job: dict[str, Any]) -> dict[str, str]:
    """instance -> address."""
    found = {}
    for group in job["static_configs"]:
        (address,) = group["targets"]
        assert group["labels"]["instance"].startswith((group["labels"]["host"] + ":", "https://"))
        found[group["labels"]["instance"]] = address
    return found


def arguments(scenario: str, host: str) -> list[str]:
    text = (rendered(scenario)[0] / host / "default").read_text()
    (line,) = re.findall(r'^ARGS="(.*)"$', text, re.MULTILINE)
    return str(line).split()


def test_one_host_is_asked_over_loopback_and_named_as_in_the_inventory() -> None:
    found = jobs("one host", "one")
    assert set(found) == {*JOBS, "redis_scratch", "celery", "probe"}
    for name, port in JOBS.items():
        assert targets(found[name]) == {f"one:{port}": f"127.0.0.1:{port}"}
    assert found["celery"]["file_sd_configs"] == [{"files": ["/var/lib/face-pipeline/targets/*.json"]}]
    assert "http_sd_configs" not in found["celery"]


def test_the_redis_of_the_searches_is_asked_through_the_same_exporter_and_told_apart() -> None:
    found = jobs("three hosts", "data")["redis_scratch"]
    assert targets(found) == {"data:6380": "10.0.0.2:9121"}
    assert (found["metrics_path"], found["params"]) == ("/scrape", {"target": ["rediss://127.0.0.1:6382"]})


def test_several_hosts_are_asked_at_their_private_addresses_and_say_which_workers_they_run() -> None:
    found = jobs("three hosts", "data")
    assert targets(found["node"]) == {
        "compute:9100": "10.0.0.1:9100",
        "data:9100": "10.0.0.2:9100",
        "front:9100": "10.0.0.3:9100",
    }
    assert targets(found["web"]) == {"front:9801": "10.0.0.3:9801"}
    assert targets(found["postgres"]) == {"data:9187": "10.0.0.2:9187"}
    assert len(found["celery"]["file_sd_configs"]) == 1
    assert [each["url"] for each in found["celery"]["http_sd_configs"]] == ["https://10.0.0.1:9809/"]
    probes = [group["labels"] for group in found["probe"]["static_configs"]]
    assert [each["target"] for each in probes] == ["/health/ready", "/health/live"]
    for each in probes:
        assert each["instance"] == each["__param_target"] == f"https://10.0.0.3{each['target']}"
        assert each["host"] == "front"


def test_each_of_two_prometheus_asks_all_hosts_and_tells_all_alertmanagers() -> None:
    for host, file_sd, remote in (("data", True, ["10.0.0.1"]), ("front", False, ["10.0.0.1", "10.0.0.2"])):
        found = jobs("two that ask", host)
        assert set(targets(found["prometheus"])) == {"data:9090", "front:9090"}
        assert set(targets(found["alertmanager"])) == {"data:9093", "front:9093", "compute:9093"}
        assert set(targets(found["grafana"])) == {"data:3000"}
        asked = [each["url"] for each in found["celery"]["http_sd_configs"]]
        assert asked == [f"https://{address}:9809/" for address in remote]
        assert ("file_sd_configs" in found["celery"]) == file_sd
        told_of = configuration("two that ask", host)["alerting"]["alertmanagers"][0]["static_configs"]
        assert [each["targets"] for each in told_of] == [
            ["10.0.0.2:9093"], ["10.0.0.3:9093"], ["10.0.0.1:9093"],
        ]  # fmt: skip


def test_whichever_prometheus_finds_an_alert_it_is_the_same_one() -> None:
    for host in ("data", "front"):
        read = configuration("two that ask", host)
        assert read["global"]["external_labels"] == {"replica": host}
        assert read["alerting"]["alert_relabel_configs"] == [{"regex": "replica", "action": "labeldrop"}]
    read = configuration("three hosts", "data")
    assert read["global"]["external_labels"] == {}
    assert "alert_relabel_configs" not in read["alerting"]


def test_where_prometheus_goes_an_alertmanager_that_stays_still_knows_who_may_ask(tmp_path: Path) -> None:
    (block,) = (
        task
        for task in yaml.safe_load((ROOT / "roles/prometheus/tasks/remove.yml").read_text())
        if "block" in task
    )
    tasks = [task for task in block["block"] if "ansible.builtin.file" in task]
    names = ("prometheus.yml", "prometheus-password", "web.yml", "operator.json")
    for host in ("compute", "front"):
        (tmp_path / host / "etc").mkdir(parents=True)
        for name in names:
            (tmp_path / host / "etc" / name).touch()
    # It was of the group monitoring, as the other one was, and has an Alertmanager alone now.
    groups = {**THREE_HOSTS, "alertmanagers": ["compute"]}
    done = play("prometheus", tmp_path, groups, tasks, "compute:front", **PLACES)
    assert done.returncode == 0, done.stdout + done.stderr
    left = {
        host: {path.name for path in (tmp_path / host / "etc").iterdir()} for host in ("compute", "front")
    }
    assert left == {"compute": {"web.yml", "operator.json"}, "front": set()}


def test_what_other_hosts_have_proves_by_tls_who_it_is() -> None:
    proof = {"ca_file": certified()["face_authority"], "min_version": "TLS13"}
    for scenario, host, asked in (
        ("three hosts", "data", ("https", proof)),
        ("one host", "one", ("http", None)),
    ):
        found = jobs(scenario, host)
        for name in {*JOBS, "redis_scratch", "celery", "probe"}:
            job = found[name]
            assert (job.get("scheme", "http"), job.get("tls_config")) == asked, name
        (told_of,) = configuration(scenario, host)["alerting"]["alertmanagers"]
        assert (told_of.get("scheme", "http"), told_of.get("tls_config")) == asked


def test_what_is_not_there_is_not_asked() -> None:
    assert "celery" not in jobs("no workers", "one")
    assert "grafana" not in jobs("no Grafana", "one")
    assert "autoscaler" not in jobs("three hosts", "data")
    asked = targets(jobs("autoscaler", "data")["autoscaler"])
    assert asked == {"compute:9810": "10.0.0.1:9810", "data:9810": "10.0.0.2:9810"}


def test_settings_of_the_operators_own_reach_prometheus_and_its_passwords_no_diff() -> None:
    read = configuration("extra settings", "one")
    assert read["global"]["external_labels"] == {"site": "north"}
    assert read["global"]["scrape_interval"] == "5s"
    assert read["remote_write"] == [REMOTE]
    assert jobs("extra settings", "one")["more"] == MORE
    directory, output = rendered("extra settings")
    assert "hidden" not in output
    assert stat.S_IMODE((directory / "one/etc/prometheus.yml").stat().st_mode) == 0o640
    given = arguments("extra settings", "one")
    assert "--storage.tsdb.retention.time=7d" in given
    assert "--storage.tsdb.retention.size=20GB" in given


def test_it_listens_on_one_address_and_has_no_api_that_changes_anything() -> None:
    given = arguments("three hosts", "data")
    assert "--web.listen-address=10.0.0.2:9090" in given
    assert "--web.external-url=https://10.0.0.3/prometheus/" in given
    assert "--web.route-prefix=/" in given
    assert not [each for each in given if "admin" in each or "lifecycle" in each or "size" in each]
    assert "--web.listen-address=127.0.0.1:9090" in arguments("one host", "one")


@pytest.mark.campaign("the scenarios run it twice on hosts")
def test_a_second_run_changes_nothing() -> None:
    groups, variables = SCENARIOS["two that ask"]
    done = play("prometheus", rendered("two that ask")[0], groups, **PLACES, **variables)
    assert re.findall(r"changed=(\d+)", done.stdout) == ["0", "0"], done.stdout


RULE = """groups:
  - name: own
    rules:
      - alert: Own
        expr: up == 0
        annotations: {summary: "{{ $labels.host }} is away", runbook_url: runbooks/Own.md}
"""


def test_rules_of_ones_own_stand_beside_ours_and_go_when_they_are_taken_out(tmp_path: Path) -> None:
    own = tmp_path / "disks.rules"
    own.write_text(RULE)
    installed = tmp_path / "role/one/etc/rules"
    for files in ([str(own)], []):
        done = play("prometheus", tmp_path / "role", ONE_HOST, **PLACES, face_extra_rule_files=files)
        assert done.returncode == 0, done.stdout
        names = {path.name for path in installed.iterdir()}
        ours = {path.name for path in (ROOT / "files/prometheus/rules").glob("*.yml")}
        assert names == ours | ({"own-disks.yml"} if files else set())
        for path in installed.iterdir():
            if "alert:" not in path.read_text():
                continue
            links = re.findall(r"runbook_url: [\"']?([^\"'\s}]+)", path.read_text())
            assert links
            assert {link.rpartition("/")[0] for link in links} == {"https://10.0.0.1/runbooks"}
        if files:
            assert "{{ $labels.host }} is away" in (installed / "own-disks.yml").read_text()


def test_a_rule_that_prometheus_would_refuse_is_refused_before_it_is_written(tmp_path: Path) -> None:
    own = tmp_path / "bad.yml"
    own.write_text(RULE.replace("up == 0", "up = 0"))
    done = play("prometheus", tmp_path / "role", ONE_HOST, **PLACES, face_extra_rule_files=[str(own)])
    assert done.returncode == 2
    assert "could not parse expression" in told(done)
    assert not (tmp_path / "role/one/etc/rules/own-bad.yml").exists()
    twice = [{"job_name": "web"}]
    done = play("prometheus", tmp_path / "role", ONE_HOST, **PLACES, face_extra_scrape_configs=twice)
    assert done.returncode == 2
    assert "multiple scrape configs with job name" in told(done)
    assert not (tmp_path / "role/one/etc/prometheus.yml").exists()


def test_an_alerts_settings_are_installed_and_a_switched_off_one_is_not(tmp_path: Path) -> None:
    settings = {"HighCPUUsage": {"threshold": 0.95, "for": "1h"}, "LowCacheHitRate": {"enabled": False}}
    done = play("prometheus", tmp_path, ONE_HOST, **PLACES, face_alerts=settings)
    assert done.returncode == 0, done.stdout
    hosts = (tmp_path / "one/etc/rules/hosts.yml").read_text()
    found = {rule["alert"]: rule for rule in yaml.safe_load(hosts)["groups"][0]["rules"]}
    assert (found["HighCPUUsage"]["expr"], found["HighCPUUsage"]["for"]) == (
        "host:cpu_used_ratio:rate5m > 0.95",
        "1h",
    )
    assert "for an hour (over 95 %)" in found["HighCPUUsage"]["annotations"]["description"]
    assert "LowCacheHitRate" not in (tmp_path / "one/etc/rules/pipeline.yml").read_text()
    again = play("prometheus", tmp_path, ONE_HOST, **PLACES, face_alerts=settings)
    assert re.findall(r"changed=(\d+)", again.stdout) == ["0"], again.stdout


def test_an_alert_that_does_not_exist_is_named_before_anything_changes(tmp_path: Path) -> None:
    assert play("prometheus", tmp_path / "good", ONE_HOST, "check").returncode == 0
    wrong = {"HighCpuUsage": {"threshold": 0.9}, "HostDown": {"level": "critical"}}
    done = play("prometheus", tmp_path / "wrong", ONE_HOST, "check", face_alerts=wrong)
    assert done.returncode == 2
    assert "no alert is called HighCpuUsage (meant is HighCPUUsage?); there are Alertmanager" in told(done)
    assert "HostDown: it has no level; an alert takes enabled, threshold, for, severity" in told(done)
    assert "nothing was changed" in told(done)


WORKER_FILES = (
    "face-workers",
    "face-worker-targets",
    "face-worker-targets.socket",
    "face-worker-targets@.service",
)


def worker(directory: Path, groups: dict[str, list[str]], **variables: Any) -> Path:
    """What the role `worker` writes for Prometheus, for the host `compute` or `one`."""
    tasks = [
        {
            "ansible.builtin.template": {
                "src": f"{name}.j2",
                "dest": f"{PLACE}/{name}",
                "mode": "0755" if "." not in name else "0644",
            }
        }
        for name in WORKER_FILES
    ]
    tasks.insert(0, {"ansible.builtin.file": {"path": PLACE, "state": "directory", "mode": "0755"}})
    done = play("worker", directory, groups, tasks, "workers",
                worker_targets_dir=f"{PLACE}/targets", **variables)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    place = directory / ("one" if groups["workers"] == ["one"] else "compute")
    (place / "targets").mkdir()
    return place


def publish(place: Path, *numbers: int) -> None:
    """As face-workers does, with the options that the role gives it."""
    script = (place / "face-workers").read_text().replace("\\\n", "")
    words = shlex.split(script, comments=True)
    host, _ = workers.parse(words[words.index("-I") + 2 : words.index("--")])
    workers.publish(host, [f"celery@{number}.service" for number in numbers])


@cache
def credentials() -> Path:
    """What systemd shows to the answer: a certificate and its key."""
    directory = Path(MADE.name) / "credentials"
    directory.mkdir()
    for name in ("certificate", "key"):
        (directory / name).write_text(Path(certified()[f"face_observed_{name}"]).read_text())
    return directory


class _AsSystemd(socketserver.ThreadingTCPServer):
    """In the place of face-worker-targets.socket: a process for each connection, its in- and output."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, program: Path, peer: str = "") -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                environment = {
                    **os.environ,
                    "REMOTE_ADDR": peer or self.client_address[0],
                    "CREDENTIALS_DIRECTORY": str(credentials()),
                }
                subprocess.run(
                    [program], stdin=self.request, stdout=self.request, env=environment, check=True
                )

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    with_options = Prometheus("--web.route-prefix=/", "--web.external-url=https://one/prometheus/")
    yield with_options
    with_options.close()


@pytest.mark.campaign("molecule/cluster has such hosts")
def test_a_real_prometheus_follows_the_workers_of_another_host(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    plain = {"face_private_address": "127.0.0.1", "face_tls_between_hosts": False}
    place = worker(tmp_path / "worker", THREE_HOSTS, **plain)
    publish(place, 1, 3)
    server = _AsSystemd(place / "face-worker-targets")
    ports = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    ports |= {"worker_targets": server.server_address[1], "prometheus": prometheus.port}
    done = play("prometheus", tmp_path / "role", THREE_HOSTS, **{**PLACES, "face_ports": ports},
                face_scrape_interval="1s", **plain)  # fmt: skip
    assert done.returncode == 0, done.stdout
    text = (tmp_path / "role/data/etc/prometheus.yml").read_text()
    text = text.replace("refresh_interval: 15s", "refresh_interval: 1s").replace(
        str(tmp_path / "role/data/etc/rules"), str(prometheus.directory / "rules")
    )
    place_of_password = tmp_path / "role/data/etc/prometheus-password"
    password = prometheus.write("password", place_of_password.read_text())
    prometheus.write("prometheus.yml", text.replace(str(place_of_password), str(password)))
    prometheus.start()

    def workers() -> dict[str, dict[str, str]]:
        return {
            each["labels"]["worker"]: each["labels"]
            for each in prometheus.targets()
            if each["labels"]["job"] == "celery"
        }

    wait(lambda: set(workers()) == {"1", "3"}, 30, "both workers to be asked")
    assert workers()["3"] == {
        "host": "compute", "instance": "compute:9813", "job": "celery", "worker": "3",
    }  # fmt: skip
    itself = {"host": "data", "instance": f"data:{prometheus.port}", "job": "prometheus"}
    wait(lambda: any(each["metric"].items() >= itself.items() and each["value"][1] == "1"
                     for each in prometheus.query("up")), 30, "Prometheus to have asked itself")  # fmt: skip
    probes = {each["labels"]["instance"]: each["scrapeUrl"] for each in prometheus.targets()
              if each["labels"]["job"] == "probe"}  # fmt: skip
    assert set(probes) == {"https://10.0.0.3/health/ready", "https://10.0.0.3/health/live"}
    assert all("module=face_http_2xx" in url and "target=https" in url for url in probes.values())
    publish(place, 1)
    wait(lambda: set(workers()) == {"1"}, 30, "the worker that was scaled away to be forgotten")
    publish(place)
    wait(lambda: workers() == {}, 30, "no worker to be asked")
    server.shutdown()


def test_the_list_of_workers_is_for_monitoring_hosts_alone(tmp_path: Path) -> None:
    place = worker(tmp_path, THREE_HOSTS)
    (place / "targets/workers.json").write_text('[{"targets": ["10.0.0.1:9811"]}]')
    for peer, answered in (("10.0.0.2", True), ("10.0.0.3", False)):
        server = _AsSystemd(place / "face-worker-targets", peer)
        address = f"127.0.0.1:{server.server_address[1]}"
        trusted = certified()["face_authority"]
        if answered:
            answer = requests.get(f"https://{address}/", verify=trusted, timeout=10)
            assert answer.json() == [{"targets": ["10.0.0.1:9811"]}]
            assert answer.headers["Content-Type"] == "application/json"
        for url in [f"http://{address}/"] if answered else [f"http://{address}/", f"https://{address}/"]:
            with pytest.raises(requests.ConnectionError):
                requests.get(url, verify=trusted, timeout=10)
        server.shutdown()
    unit = (place / "face-worker-targets.socket").read_text()
    assert "ListenStream=10.0.0.1:9809\n" in unit
    filters = re.findall(r"^IPAddress(\w+=.*)$", unit, re.MULTILINE)
    assert filters == ["Deny=any", "Allow=10.0.0.2"]


def test_the_list_of_workers_is_json_whatever_their_number(tmp_path: Path) -> None:
    place = worker(tmp_path, ONE_HOST)
    for numbers in ((), (1,), (1, 2, 10)):
        publish(place, *numbers)
        listed = yaml.safe_load((place / "targets/workers.json").read_text())
        assert [each["targets"] for each in listed] == [[f"127.0.0.1:{9810 + number}"] for number in numbers]
        assert [each["labels"] for each in listed] == [
            {"host": "one", "instance": f"one:{9810 + number}", "worker": str(number)} for number in numbers
        ]
