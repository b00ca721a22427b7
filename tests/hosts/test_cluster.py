"""Several hosts: workers far from the photos, and a host of them that goes away under work."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.hosts.test_host import PHOTOS, SUMMARY, Host, wait
from tests.hosts.test_releasing import BROKEN, Clients, checkout, words  # noqa: F401
from tests.hosts.test_scaling import INVENTORY, playbook, scale
from tests.patience import PATIENCE
from tests.photos import ROOT, astronaut_jpeg

BIN = Path(sys.executable).parent
PYTHON = "/opt/face-pipeline/current/venv/bin/python"
# A lease lapses after 15 s, the reconciler looks every 10 s: what a lost host had begun is back by then.
TAKEN_OVER_SECONDS = 120
# systemd's words on a worker that did not end by itself. That a photo was begun twice says less: on a busy
# machine leases lapse.
KILLED = "Killing process|Failed with result"


def _groups() -> dict[str, list[str]]:
    if not INVENTORY:
        return {}
    listed = subprocess.run(
        [str(BIN / "ansible-inventory"), "-i", INVENTORY, "--list"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name: group.get("hosts", []) for name, group in json.loads(listed.stdout).items()}


GROUPS = _groups()
# Machine containers of this host: their cable can be pulled from outside.
GUESTS = all(Path(f"/sys/class/net/vb-{name}").exists() for name in GROUPS.get("redis", []))
REMOTE = [name for name in GROUPS.get("workers", []) if name not in GROUPS.get("web", [])]
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not SUMMARY or len(REMOTE) < 2,
        reason="needs an inventory with two worker hosts apart from the web host (FACE_HOST_INVENTORY)",
    ),
]
long = pytest.mark.campaign("it installs and deploys for minutes")

# Of curl: trust the installation's authority alone.
CA = "--cacert /etc/face-pipeline/ca.crt"


@cache
def way(name: str) -> list[str]:
    """What runs a command on a host: ssh, where its inventory asks for no more; else Ansible, which takes
    seconds of computing to start.
    """
    shown = subprocess.run(
        [str(BIN / "ansible-inventory"), "-i", str(INVENTORY), "--host", name],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(shown.stdout.replace("{{ inventory_hostname }}", name))
    key, options = (told.get(f"ansible_ssh_{what}", "") for what in ("private_key_file", "common_args"))
    if told.get("ansible_user") != "root" or not key or "{{" in key + options:
        return [str(BIN / "ansible"), name, "-i", str(INVENTORY), "-m", "ansible.builtin.shell", "-a"]
    # A connection of its own: who takes a host's power would leave a shared one behind.
    alone = ["-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "BatchMode=yes"]
    alone += ["-o", "ConnectTimeout=60", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6"]
    return ["ssh", *alone, *shlex.split(options), "-i", key, f"root@{told.get('ansible_host', name)}"]


def on(name: str, command: str, check: bool = True) -> str:
    """What a command in a host's shell says."""
    reached = way(name)
    by_ssh = reached[0] == "ssh"
    done = subprocess.run(
        [*reached, f"sh -c {shlex.quote(command)}" if by_ssh else command],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120 * PATIENCE, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout if by_ssh else done.stdout.partition(">>\n")[2]


def status(tmp_path: Path) -> dict[str, Any]:
    output = tmp_path / "status.json"
    done = playbook("workers", output=output)
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.fixture(scope="module")
def four_workers() -> Iterator[None]:
    """For all tests behind the first that wants them: each change of the number is a playbook."""
    scale(4)
    yield
    scale(2)


def begin(host: Host, number: int = 3) -> list[str]:
    batches = [host.upload_many("cluster") for _ in range(number)]
    wait(lambda: (host.batch(batches[0]) or {}).get("states", {}).get("done", 0) > 2, 120, "the first photos")
    return batches


def all_done_once(host: Host, batches: list[str], seconds: float) -> list[dict[str, Any]]:
    photos: list[dict[str, Any]] = []
    for batch in batches:
        wait(lambda batch=batch: (host.batch(batch) or {}).get("finished"), seconds, f"batch {batch}")
        photos += host.call("GET", f"/api/v1/photos?batch={batch}&limit=200").json()["photos"]
    assert len(photos) == PHOTOS * len(batches)
    assert {photo["state"] for photo in photos} == {"done"}
    assert {photo["face_count"] for photo in photos} == {1}
    return photos


def under_way(host: Host, name: str) -> set[str]:
    """Claims on photos that workers of `name` hold, as the ledger says."""
    return _claims(host, f"worker LIKE '%@{name}'")


def _one_more(host: Host, batches: list[str]) -> set[str]:
    """Between two photos a worker holds none, and quick ones have done all before anybody looks."""
    if (host.batch(batches[-1]) or {}).get("finished"):
        batches.append(host.upload_many("cluster"))
    return set()


def _stopped_with_photos(host: Host, name: str, batches: list[str]) -> set[str]:
    """Claims that workers of `name` hold and cannot end, as quick ones would before the host is lost."""
    on(name, "systemctl kill --signal=STOP 'celery@*'")
    if held := under_way(host, name):
        return held
    on(name, "systemctl kill --signal=CONT 'celery@*'")
    return _one_more(host, batches)


def _claims(host: Host, where: str) -> set[str]:
    query = f"SELECT claim FROM photos WHERE state = 'processing' AND {where}"
    return set(host.run(f'runuser -u postgres -- psql -qAt face -c "{query}"').split())


def test_workers_are_spread_and_each_host_processes_photos(host: Host, tmp_path: Path) -> None:
    scale(3)
    assert [len(workers) for workers in status(tmp_path)["hosts"].values()] == [2, 1]
    scale(4)
    before = status(tmp_path)
    assert [len(workers) for workers in before["hosts"].values()] == [2, 2]
    all_done_once(host, begin(host), 180)
    for name, workers in status(tmp_path)["hosts"].items():
        done = sum(each["processed"] for each in workers)
        assert done > sum(each["processed"] for each in before["hosts"][name]), name


@pytest.mark.campaign("on one host test_scaling.py does it")
def test_scaling_under_load_loses_no_photo_and_ends_none_twice(host: Host, tmp_path: Path) -> None:
    began = host.run("date +%s").strip()
    batches = begin(host)
    for workers in (8, 1, 2):
        scale(workers)
        found = [each for many in status(tmp_path)["hosts"].values() for each in many]
        assert [each["state"] for each in found] == ["active"] * workers
    all_done_once(host, batches, 240)
    for name in REMOTE:
        assert not re.search(KILLED, on(name, f"journalctl -u 'celery@*' -o cat --no-pager --since @{began}"))


@pytest.mark.usefixtures("four_workers")
def test_a_power_cut_of_a_worker_host_loses_no_photo(host: Host) -> None:
    lost = REMOTE[-1]
    batches = begin(host)
    held = wait(lambda: _stopped_with_photos(host, lost, batches), 60, f"photos under way at {lost}")
    on(lost, "systemctl reboot --force --force", check=False)
    # Those claims, and not any of the host: it may be back by then and have new ones.
    wait(lambda: not held & _claims(host, "true"), TAKEN_OVER_SECONDS, "its photos to be taken back")
    photos = all_done_once(host, batches, 180)
    assert any(photo["attempts"] > 1 for photo in photos), "the host had photos under way"
    units = "systemctl is-active celery@1 celery@2"
    wait(lambda: on(lost, units, check=False).split() == ["active"] * 2, 90, f"the workers of {lost}")


@pytest.mark.usefixtures("four_workers")
def test_a_host_cut_off_the_network_loses_no_photo_and_joins_again(host: Host, tmp_path: Path) -> None:
    lost = REMOTE[-1]
    batches = begin(host)
    on(
        lost,
        "nohup sh -c 'sleep 1; ip link set host0 down; sleep 40; ip link set host0 up' >/dev/null 2>&1 &",
    )
    all_done_once(host, batches, 180)
    # The photos may be done before the network is back.
    wait(lambda: playbook("workers").returncode == 0, 90, f"{lost} to answer again")
    before = sum(each["processed"] for each in status(tmp_path)["hosts"][lost])
    wait(lambda: _processed_more(host, lost, before, tmp_path), 60, f"{lost} to process photos again")


def _processed_more(host: Host, name: str, before: int, tmp_path: Path) -> bool:
    all_done_once(host, begin(host, 1), 180)
    return sum(each["processed"] or 0 for each in status(tmp_path)["hosts"].get(name, [])) > before


def _without(name: str, tmp_path: Path) -> Path:
    """The inventory as an operator leaves it when a host is gone."""

    def rest(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                key: {n: v for n, v in value.items() if n != name} if key == "hosts" else rest(value)
                for key, value in node.items()
            }
        return node

    path = tmp_path / "without.yml"
    path.write_text(yaml.safe_dump(rest(yaml.safe_load(Path(str(INVENTORY)).read_text())), sort_keys=False))
    return path


def _nothing_changes(inventory: Path) -> None:
    same = playbook("../site", inventory=inventory)
    assert same.returncode == 0, same.stdout + same.stderr
    assert not re.search(r"changed=[1-9]", same.stdout), same.stdout


def _asked(host: Host) -> set[str]:
    """Hosts that Prometheus asks."""
    targets = host.call("GET", "/prometheus/api/v1/targets?state=active").json()["data"]["activeTargets"]
    return {target["labels"].get("host") for target in targets}


@long
@pytest.mark.usefixtures("four_workers")
@pytest.mark.parametrize("name", ["add_host", "remove_host"])
@pytest.mark.parametrize("how", [{"do": "plan"}, {"check": True}], ids=["plan", "check"])
def test_what_would_change_with_a_worker_host_is_shown_and_nothing_changes(
    name: str, how: dict[str, Any]
) -> None:
    asked = (
        "cat /etc/face-pipeline/workers.json; systemctl list-units --plain --no-legend 'celery@*' face.target"
    )
    asked += "; cat /etc/postgresql/*/main/pg_hba.conf /etc/face-pipeline/*.env 2>/dev/null | sha256sum"
    before = {each: on(each, asked) for each in (*GROUPS["web"], *REMOTE)}
    shown = playbook(name, host=REMOTE[-1], **how)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "workers that are installed then: " in words(shown)
    assert "nothing was changed" in words(shown)
    assert {each: on(each, asked) for each in before} == before


@long
@pytest.mark.usefixtures("four_workers")
def test_a_worker_host_leaves_under_work_and_comes_back(host: Host, tmp_path: Path) -> None:
    leaving, web = REMOTE[-1], GROUPS["web"][0]
    began = host.run("date +%s").strip()
    address = on(leaving, "hostname -I").split()[0]
    token = "$(cat /etc/face-pipeline/credentials/originals_token)"
    url = on(leaving, "sed -n s/^FACE_ORIGINALS_URL=//p /etc/face-pipeline/face-pipeline.env").strip()
    batches = begin(host)
    photo = host.call("GET", "/api/v1/photos?limit=1").json()["photos"][0]["sha256"]
    asks = f"curl -s {CA} -m 9 -o /dev/null -w '%{{http_code}}' -H \"Authorization: Bearer {token}\""
    asks += f" {url}/{photo[:2]}/{photo[2:4]}/{photo}"
    assert on(leaving, asks).strip() == "200"
    wait(
        lambda: under_way(host, leaving) or _one_more(host, batches),
        60,
        f"photos that {leaving} has under way",
    )

    done = playbook("remove_host", host=leaving)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{leaving} left. Take it out of the inventory now" in " ".join(done.stdout.split())
    all_done_once(host, batches, 180)
    assert not re.search(KILLED, on(leaving, f"journalctl -u 'celery@*' -o cat --no-pager --since @{began}"))
    enabled = "systemctl list-unit-files --state=enabled -q 'celery@*' 'face*.target' || true"
    assert on(leaving, enabled).split() == []
    wait(lambda: leaving not in _asked(host), 60, f"Prometheus to forget {leaving}")
    # The firewall of the web host answers it no more; where there is none, nginx refuses it.
    filtered = on(web, "systemctl is-active face-firewall || true").strip() == "active"
    assert on(leaving, f"{asks} || true").strip() == ("000" if filtered else "403")
    assert address not in on(web, "cat /etc/postgresql/*/main/pg_hba.conf")

    _nothing_changes(_without(leaving, tmp_path))

    done = playbook("add_host", host=leaving)
    assert done.returncode == 0, done.stdout + done.stderr
    wait(lambda: leaving in _asked(host), 60, f"Prometheus to ask {leaving}")
    wait(lambda: _processed_more(host, leaving, 0, tmp_path), 60, f"{leaving} to process photos again")
    _nothing_changes(Path(str(INVENTORY)))
    scale(4)


def test_the_photos_are_given_to_workers_with_the_token_alone(host: Host) -> None:
    url = on(REMOTE[0], "sed -n s/^FACE_ORIGINALS_URL=//p /etc/face-pipeline/face-pipeline.env").strip()
    photo = host.call("GET", "/api/v1/photos?limit=1").json()["photos"][0]["sha256"]
    path = f"{url}/{photo[:2]}/{photo[2:4]}/{photo}"
    assert path.startswith("https://")
    code = f"curl -s {CA} -o /dev/null -w '%{{http_code}}'"
    assert on(REMOTE[0], f"{code} {path}").strip() == "401"
    token = '-H "Authorization: Bearer $(cat /etc/face-pipeline/credentials/originals_token)"'
    assert on(REMOTE[0], f"{code} {token} {path}").strip() == "200"
    assert on(GROUPS["web"][0], f"{code} {token} {path}").strip() == "403"
    assert on(REMOTE[0], f"{code} {token} {url}/../etc/passwd --path-as-is").strip() in ("400", "404")
    unknown = code.replace(CA, "")
    assert on(REMOTE[0], f"{unknown} {token} {path} || true").strip() == "000", "of an authority of the world"
    plain = path.replace("https://", "http://")
    assert on(REMOTE[0], f"{code} {token} {plain}").strip() == "400"
    # A firewall lets who asks there wait.
    former = f"{code} --connect-timeout 5 {token} {plain.replace(':9802', ':9800')} || true"
    assert on(REMOTE[0], former).strip() == "000"


def test_the_database_is_asked_by_tls_alone(host: Host) -> None:
    asked = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_port > 0"
    assert host.run(f'runuser -u postgres -- psql -qAt -c "{asked}"').split() == ["t"]
    address = on(REMOTE[0], "sed -n s/^FACE_DATABASE_HOST=//p /etc/face-pipeline/face-pipeline.env").strip()

    def signs_in(how: str) -> str:
        """What a worker's host hears that comes with its unit's password."""
        wanted = f"host={address} dbname=face user=face_worker connect_timeout=60 {how}"
        program = f"import psycopg2; print(psycopg2.connect('{wanted}').info.ssl_in_use)"
        password = "PGPASSWORD=$(cat /etc/face-pipeline/credentials/database_password_worker)"
        return on(REMOTE[0], f'{password} {PYTHON} -c "{program}" 2>&1', check=False)

    assert signs_in("sslmode=verify-full sslrootcert=/etc/face-pipeline/ca.crt").strip() == "True"
    assert "no encryption" in signs_in("sslmode=disable")
    others = signs_in("sslmode=verify-full sslrootcert=/etc/ssl/certs/ca-certificates.crt")
    assert "certificate verify failed" in others


def test_both_redises_are_asked_by_tls_alone(host: Host) -> None:
    data, away = GROUPS["redis"][0], REMOTE[0]
    file = "/etc/face-pipeline/face-pipeline.env"
    address, *ports = (
        on(away, f"sed -n s/^FACE_{name}=//p {file}").strip()
        for name in ("REDIS_HOST", "REDIS_PORT", "SCRATCH_REDIS_PORT")
    )
    # What workers are connected with, and where from.
    for port, option in zip(ports, ("", "--scratch"), strict=True):
        clients = on(data, f"face-redis {option} CLIENT LIST").splitlines()
        found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in clients if " laddr=" in line]
        assert {each["laddr"].rpartition(":")[2] for each in found} == {port}
        assert {each["addr"].partition(":")[0] for each in found if each["user"] == "worker"} or option
        assert "PONG" in on(away, f"face-redis {option} PING")
    before = [each["addr"] for each in found]
    assert before

    def hears(port: str, how: str = "") -> str:
        return on(away, f"redis-cli -h {address} -p {port} {how} PING 2>&1", check=False)

    for port in ("6379", "6380"):
        assert "refused" in hears(port)
        assert "refused" in on(data, f"redis-cli -p {port} PING 2>&1", check=False)
    for port in ports:
        assert "NOAUTH" in hears(port, f"--tls {CA}"), "who shows no password is nobody"
        assert "NOAUTH" not in hears(port), "without TLS there is no answer"
        assert "certificate verify failed" in hears(port, "--tls --cacert /etc/ssl/certs/ca-certificates.crt")


def test_what_hosts_tell_of_themselves_is_asked_by_tls_alone(host: Host) -> None:
    targets = host.call("GET", "/prometheus/api/v1/targets?state=active").json()["data"]["activeTargets"]
    urls = {target["labels"]["job"]: target["scrapeUrl"] for target in targets}
    assert {job for job, url in urls.items() if not url.startswith("https://")} == set()
    watching = GROUPS["monitoring"][0]
    # Where they are installed. Kibana is nginx's to ask, which is on the same host as Prometheus.
    asked = ["node", "redis", "postgres", "nginx", "web", "celery", "prometheus", "alertmanager"]
    asked += [job for job in ("grafana",) if job in urls]
    if host.call("GET", "/kibana/api/status").status_code != 404:
        shows = on(GROUPS["logging"][0], "sed -n 's/^server.host: //p' /etc/kibana/kibana.yml").strip()
        urls["kibana"] = f"https://{shows}:5601/kibana/api/status"
        asked.append("kibana")
    # All in one call: each of Ansible's takes seconds.
    lines = [
        f"echo {job} $(curl -s {CA} -o /dev/null -w '%{{http_code}}' '{url}')"
        f" $(curl -s -o /dev/null -w '%{{http_code}}' '{url}')"
        f" $(curl -s {url.replace('https:', 'http:')} | grep -Ec '_total|_info|available')"
        for job, url in ((job, urls[job]) for job in asked)
    ]
    told = {job: answers for job, *answers in map(str.split, on(watching, "; ".join(lines)).splitlines())}
    assert set(told) == set(asked)
    for job, (trusted, untrusted, plain) in told.items():
        assert trusted in ("200", "401"), job
        assert untrusted == "000", f"{job}: without the authority there is no answer"
        assert plain == "0", f"{job}: without TLS nothing is told"


def test_a_host_refuses_what_another_has_no_reason_to_ask(host: Host) -> None:
    data, away = GROUPS["redis"][0], REMOTE[-1]
    if on(data, "systemctl is-active face-firewall || true").strip() != "active":
        pytest.skip("the firewall is off (face_firewall_enabled)")
    address = on(away, "sed -n s/^FACE_REDIS_HOST=//p /etc/face-pipeline/face-pipeline.env").strip()

    def reaches(name: str, port: int) -> bool:
        opened = f"timeout 4 bash -c ': </dev/tcp/{address}/{port}' 2>/dev/null && echo yes || true"
        return "yes" in on(name, opened)

    assert away not in GROUPS["proxy"] + GROUPS["web"] + GROUPS["monitoring"]
    assert [port for port in (22, 443, 5432, 6381) if not reaches(away, port)] == []
    assert [port for port in (9090, 9100) if reaches(away, port) or not reaches(data, port)] == []


def _lose_silently(name: str) -> None:
    """Pull a guest's cable, and take its power then: its kernel can tell nobody that its connections end."""
    on(name, "nohup sh -c 'sleep 4; systemctl reboot --force --force' >/dev/null 2>&1 &")
    subprocess.run(["ip", "link", "set", f"vb-{name}", "down"], check=True)
    # Nor is Ansible's own connection told: the next command makes another one.
    for connection in Path(f"/run/face-machines/{name}").glob("ssh-*"):
        connection.unlink()


def _answers(host: Host, path: str) -> bool:
    try:
        return host.call("GET", path).ok
    except requests.RequestException:
        return False


def release(name: str) -> str:
    return on(name, "basename $(readlink -f /opt/face-pipeline/current)").strip()


@long
def test_a_release_that_no_worker_starts_is_taken_back_on_every_host(
    host: Host,
    checkout: Path,  # noqa: F811
) -> None:
    hosts = sorted({*GROUPS["web"], *GROUPS["workers"]})
    before = {name: release(name) for name in hosts}
    with (checkout / "app/face_pipeline/worker/__init__.py").open("a") as file:
        file.write(BROKEN)
    with Clients(host) as clients:
        done = playbook("deploy", checkout=checkout)
    assert done.returncode != 0
    assert 'for "Restart the workers' in words(done), done.stdout + done.stderr
    assert {name: release(name) for name in hosts} == before
    clients.check()
    for name in hosts:
        assert (
            on(name, "systemctl list-units --plain --no-legend --state=failed 'face-*' 'celery@*'").strip()
            == ""
        )


@pytest.mark.campaign("tests/app/test_silent_death.py does it with servers of its own")
@pytest.mark.skipif(os.geteuid() != 0 or not GUESTS, reason="needs root on the machine of the guests")
@pytest.mark.usefixtures("four_workers")
def test_workers_go_on_after_the_host_of_the_data_died_without_a_word(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL and both Redises at once. Workers that were not restarted take photos and searches again."""
    data = GROUPS["redis"][0]
    assert [data] == GROUPS["postgres"] == GROUPS["web"]
    same = "systemctl show --value -P MainPID -P NRestarts celery@1 celery@2"
    before = {name: on(name, same) for name in REMOTE}
    began = time.monotonic()
    batches = begin(host)
    boot = host.run("cat /proc/sys/kernel/random/boot_id")
    _lose_silently(data)
    wait(lambda: host.run("cat /proc/sys/kernel/random/boot_id", check=False) not in ("", boot), 180, data)
    wait(lambda: _answers(host, "/health/ready"), 120, "the web service to be ready")
    back = time.monotonic()
    photos = all_done_once(host, batches, 240)
    taken = time.monotonic()
    assert photos
    query = astronaut_jpeg(uuid.uuid4().int % 10**6)
    wait(lambda: host.call("POST", "/api/v1/search", files={"photo": ("q.jpg", query)}).ok, 120, "a search")
    for name in REMOTE:
        count = sum(each["processed"] or 0 for each in status(tmp_path)["hosts"][name])
        wait(lambda n=name, c=count: _processed_more(host, n, c, tmp_path), 180, f"{name} to process photos")
    assert {name: on(name, same) for name in REMOTE} == before, "no worker was ended"
    with capsys.disabled():
        print(
            f"\nsilent loss of {data}: away {back - began:.0f} s (its boot included),"
            f" all photos done {taken - back:.0f} s after its return"
        )
