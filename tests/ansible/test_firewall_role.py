"""The firewall: who reaches what, between network namespaces with the rules that the role makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.programs import ROOT, load
from tests.installation import wait_until

ROLE = ROOT / "roles/firewall"
listeners, trials = (load(f"roles/firewall/files/{name}.py") for name in ("listeners", "trial"))
PORTS: list[int] = list(
    yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"].values()
)
STRANGER, STRANGER6 = "192.0.2.99", "fd00:2::99"
# The addresses of inventory/cluster.example.yml, and of one who is not in it.
ADDRESSES = {
    "app1": "192.0.2.10", "db1": "192.0.2.20", "worker1": "192.0.2.31", "worker2": "192.0.2.32",
    "stranger": STRANGER,
}  # fmt: skip
# Beside what is everybody's: 22 on each host, 80 and 443 on app1.
REACHED = {
    ("app1", "db1"): {5432, 6379, 6380, 6381, 6382, 9090, 9093, 3000, 5601, 5044},
    ("app1", "worker1"): set(),
    ("db1", "app1"): {9100, 9113, 9801},
    ("db1", "worker1"): {9100, 9809, 9811},
    ("worker1", "app1"): {9802},
    ("worker1", "db1"): {5432, 6379, 6380, 6381, 6382, 5044},
    ("worker1", "worker2"): set(),
    ("stranger", "app1"): set(),
    ("stranger", "db1"): set(),
    ("stranger", "worker1"): set(),
}
ALLOWED = {
    "face_firewall_allow": [
        {"port": 10050, "from": [STRANGER, "2001:db8::/64"]},
        {"port": "60000-61000", "protocol": "udp"},
        {"port": 8080, "interface": "elsewhere"},
        {"protocol": "vrrp", "interface": "eth1"},
    ],
    "face_firewall_ssh_from": ["192.0.2.0/27", "fd00:2::/64"],
}
CASES: dict[str, dict[str, Any]] = {"plain": {}, "allowed": ALLOWED}
needs_network = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("ip"),
    reason="rules are loaded in network namespaces: needs root, nft and ip",
)


def render(directory: Path, inventory: str) -> dict[str, dict[str, Path]]:
    """Files with the rules, by case and host."""
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    included = [
        {"ansible.builtin.include_vars": str(ROLE / part / "main.yml")} for part in ("defaults", "vars")
    ]
    written = [
        {
            "ansible.builtin.template": {
                "src": str(ROLE / "templates/firewall.nft.j2"),
                "dest": f"{directory}/{case}-{{{{ inventory_hostname }}}}.nft",
                "mode": "0600",
            },
            "vars": variables,
        }
        for case, variables in CASES.items()
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": [*included, *written]}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    given = {
        "ansible_facts": {"memtotal_mb": 64000},
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "face_firewall_enabled": True,
        "firewall_listeners": {"stdout": '{"ssh": [22]}'},
    }
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", ROOT / "inventory" / inventory]
    done = subprocess.run(
        [*command, directory / "play.yml", "-e", json.dumps(given)],
        cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        case: {path.stem.removeprefix(f"{case}-"): path for path in sorted(directory.glob(f"{case}-*.nft"))}
        for case in CASES
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    return render(tmp_path_factory.mktemp("cluster"), "cluster.example.yml")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    return render(tmp_path_factory.mktemp("single"), "local.yml")


class Network:
    """Hosts as network namespaces behind a bridge that lies in one of its own."""

    numbers = count()

    def __init__(self, *hosts: str) -> None:
        self.prefix = f"face-nft-{os.getpid()}-{next(self.numbers)}-"
        self.hosts = hosts

    def inside(self, host: str, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "check": True, **options}
        return subprocess.run([*self.enter(host), *map(str, command)], **options)

    def enter(self, host: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.prefix}{host}", "--"]

    def __enter__(self) -> Network:
        for host in ("switch", *self.hosts):
            subprocess.run(["ip", "netns", "add", self.prefix + host], check=True)
        self.inside("switch", "ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        self.inside("switch", "ip", "link", "set", "br0", "up")
        for number, host in enumerate(self.hosts):
            port, other = f"p{number}", self.prefix + host
            self.inside(
                "switch", "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", other
            )
            self.inside("switch", "ip", "link", "set", port, "master", "br0", "up")
            self.inside(host, "ip", "link", "set", "lo", "up")
            self.inside(host, "ip", "link", "set", "eth0", "up")
            address = ADDRESSES[host]
            self.inside(host, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            self.inside(host, "ip", "address", "add", self.six(host) + "/64", "dev", "eth0", "nodad")
        return self

    def __exit__(self, *_: object) -> None:
        for host in ("switch", *self.hosts):
            subprocess.run(["ip", "netns", "del", self.prefix + host], check=False)

    @staticmethod
    def six(host: str) -> str:
        return f"fd00:2::{ADDRESSES[host].rpartition('.')[2]}"

    def apply(self, host: str, rules: Path) -> None:
        self.inside(host, "nft", "-f", rules)

    def reached(self, client: str, address: str, ports: list[int]) -> set[int]:
        """By the program with which the role asks: a port at which nobody listens is reached."""
        doors = json.dumps([["", address, port] for port in ports])
        said = self.inside(client, sys.executable, ROLE / "files/reach.py", doors).stdout
        return {int(door.lstrip(":")) for door in json.loads(said)}

    @contextmanager
    def listening(self, host: str, port: int, program: str = "") -> Iterator[subprocess.Popen[str]]:
        """A server that says back what it is told, or `program`; it has begun to listen."""
        code = program or (
            "import socket, sys\n"
            f"server = socket.create_server(('', {port}))\n"
            "print('ready', flush=True)\n"
            "peer = server.accept()[0]\n"
            "while said := peer.recv(99): peer.sendall(said)\n"
        )
        server = subprocess.Popen(
            [*self.enter(host), sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield server
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def network(cluster: dict[str, dict[str, Path]]) -> Iterator[Network]:
    """The cluster of the example, each host with its rules."""
    with Network(*ADDRESSES) as made:
        for host, rules in cluster["plain"].items():
            made.apply(host, rules)
        yield made


@needs_network
@pytest.mark.parametrize("case", CASES)
def test_nft_takes_the_rules_of_every_example(
    cluster: dict[str, dict[str, Path]], single: dict[str, dict[str, Path]], case: str
) -> None:
    assert {*cluster[case], *single[case]} == {"app1", "db1", "worker1", "worker2", "localhost"}
    for rules in (*cluster[case].values(), *single[case].values()):
        # The second time there is a table to replace.
        done = subprocess.run(
            ["unshare", "--net", "sh", "-ec", f"nft -c -f {rules}; nft -f {rules}; nft -f {rules}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), rules.name


@needs_network
@pytest.mark.parametrize(("client", "host"), REACHED, ids=lambda name: str(name))
def test_a_host_reaches_what_it_has_to_ask_and_no_more(network: Network, client: str, host: str) -> None:
    everybodys = {22, 80, 443} if host == "app1" else {22}
    tried = sorted({*PORTS, 9811, 22, 8080})
    assert network.reached(client, ADDRESSES[host], tried) == REACHED[client, host] | everybodys


@needs_network
@pytest.mark.parametrize(("host", "everybodys"), [("app1", {22, 80, 443}), ("db1", {22})])
def test_it_is_the_same_over_ipv6(network: Network, host: str, everybodys: set[int]) -> None:
    assert network.reached("stranger", network.six(host), [22, 80, 443, 5432, 6379, 9100]) == everybodys


@needs_network
def test_a_host_reaches_itself_and_others_at_every_port(network: Network) -> None:
    assert network.reached("db1", ADDRESSES["db1"], PORTS) == set(PORTS)
    assert network.reached("db1", "127.0.0.1", PORTS) == set(PORTS)
    assert network.reached("db1", STRANGER, PORTS) == set(PORTS)


@needs_network
def test_what_is_refused_is_counted(network: Network) -> None:
    def refused() -> int:
        said = network.inside("worker2", "nft", "-j", "list", "counter", "inet", "face", "refused").stdout
        (found,) = [each["counter"] for each in json.loads(said)["nftables"] if "counter" in each]
        return int(found["packets"])

    before = refused()
    assert network.reached("stranger", ADDRESSES["worker2"], [22]) == {22}
    assert refused() == before
    assert network.reached("stranger", ADDRESSES["worker2"], [9100]) == set()
    assert refused() > before


@needs_network
def test_an_operators_own_ports_are_open_to_whom_they_name(cluster: dict[str, dict[str, Path]]) -> None:
    with Network("stranger", "worker1", "app1") as made:
        made.apply("app1", cluster["allowed"]["app1"])
        # 192.0.2.31 is in the network that may use SSH, and .99 is not.
        tried = [22, 443, 8080, 10050]
        assert made.reached("stranger", ADDRESSES["app1"], tried) == {443, 10050}
        assert made.reached("worker1", ADDRESSES["app1"], tried) == {22, 443}


@needs_network
def test_all_of_one_host_is_closed_but_the_page_and_ssh(single: dict[str, dict[str, Path]]) -> None:
    with Network("stranger", "app1") as made:
        made.apply("app1", single["plain"]["localhost"])
        assert made.reached("stranger", ADDRESSES["app1"], [*PORTS, 22]) == {22, 80, 443}
        assert made.reached("app1", "127.0.0.1", PORTS) == set(PORTS)


@needs_network
def test_other_tables_stay(single: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    other = tmp_path / "other.nft"
    other.write_text("table inet others {\n chain input {\n type filter hook input priority 5;\n }\n}\n")
    with Network("app1") as made:
        made.apply("app1", other)
        before = made.inside("app1", "nft", "list", "table", "inet", "others").stdout
        made.apply("app1", single["plain"]["localhost"])
        assert made.inside("app1", "nft", "list", "table", "inet", "others").stdout == before


@needs_network
def test_connections_that_are_open_stay_open(cluster: dict[str, dict[str, Path]]) -> None:
    """One to a port that stays open, and one that the host itself has opened to somewhere else."""
    talk = (
        "import socket, sys\n"
        "peer = socket.create_connection(sys.argv[1:3], 20)\n"
        "for line in sys.stdin:\n"
        "    peer.sendall(line.encode())\n"
        "    print(peer.recv(99).decode(), end='', flush=True)\n"
    )
    with (
        Network("app1", "db1", "stranger") as made,
        made.listening("db1", 5432),
        made.listening("stranger", 9999),
    ):
        talks = [
            subprocess.Popen(
                [*made.enter(client), sys.executable, "-c", talk, ADDRESSES[host], str(port)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for client, host, port in (("app1", "db1", 5432), ("db1", "stranger", 9999))
        ]  # fmt: skip
        try:
            for word in ("before\n", "after\n"):
                for each in talks:
                    assert each.stdin is not None
                    assert each.stdout is not None
                    each.stdin.write(word)
                    each.stdin.flush()
                    assert each.stdout.readline() == word
                made.apply("db1", cluster["plain"]["db1"])
        finally:
            for each in talks:
                each.kill()
                each.wait()


OPEN = (
    "import socket, time\n"
    "held = [socket.create_server(('', 8080)), socket.create_server(('127.0.0.1', 9999)),"
    " socket.create_server(('', 5432)), socket.create_server(('', 1111)), socket.create_server(('', 2222))]\n"
    "for port in (5353, 40000, 68):\n"
    "    held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)); held[-1].bind(('', port))\n"
    "print('ready', flush=True); time.sleep(600)\n"
)


@needs_network
@pytest.mark.skipif(shutil.which("ss") is None, reason="this machine has no ss")
def test_what_would_be_cut_off_is_named_before_anything_changes() -> None:
    """Not loopback, the product's own, what was named, the SSH by which we came, or a client's socket."""
    settings: dict[str, Any] = {
        "allow": [{"port": 1111}], "deny": [], "ssh_from": [], "ours": ["5432", "9811-9820"]
    }  # fmt: skip
    arrived = {**os.environ, "SSH_CONNECTION": "198.51.100.7 50000 192.0.2.10 2222"}

    def ask(**changed: Any) -> Any:
        said = made.inside(
            "app1", sys.executable, ROLE / "files/listeners.py", json.dumps({**settings, **changed}),
            env=arrived,
        )  # fmt: skip
        return json.loads(said.stdout)

    with Network("app1") as made, made.listening("app1", 0, OPEN) as server:
        name = Path(f"/proc/{server.pid}/comm").read_text().strip()
        assert ask() == {"faults": [], "ssh": [2222], "cut": [f"tcp 8080 ({name})", f"udp 5353 ({name})"]}
        assert ask(deny=["8000-9000", 5353])["cut"] == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("allow", [{"port": 10050, "from": ["zabbix.example.org"]}], "a name would be looked up once"),
        ("allow", [{"port": 70000}], "no port from 1 to 65535"),
        ("allow", [{"port": "https"}], "no port"),
        ("allow", [{"ports": [1, 2]}], "is not one of"),
        ("allow", [443], "is not one of"),
        ("allow", [{"protocol": "vrrp", "port": 1}], "other protocols have none"),
        ("allow", [{"protocol": "udp"}], "tcp and udp have a port"),
        ("allow", [{"port": 1, "interface": "eth0 accept"}], "is no name"),
        ("allow", {"port": 1}, "is no list"),
        ("deny", ["ssh"], "no port"),
        ("ssh_from", ["10.0.0.0/33"], "no address or network"),
    ],
)
def test_an_entry_that_is_wrong_is_refused_with_what_is_wrong(name: str, value: object, word: str) -> None:
    settings = {"allow": [], "deny": [], "ssh_from": [], "ours": [], name: value}
    (found,) = listeners.faults(settings)
    assert found.startswith(f"face_firewall_{name}")
    assert word in found


def test_the_entries_of_the_examples_are_right() -> None:
    settings = {"allow": ALLOWED["face_firewall_allow"], "deny": [111, "5000-5010"], "ours": []}
    assert list(listeners.faults({**settings, "ssh_from": ALLOWED["face_firewall_ssh_from"]})) == []


# As systemd does it: a timer is a process here.
STANDINS = {
    "systemd-run": """
for last; do :; done
for each; do case $each in --on-active=*) seconds=${each#*=};; esac; done
(sleep "$seconds"; rm timer; sh -c "$last") >/dev/null 2>&1 &
echo $! >timer
""",
    "systemctl": """
case $1 in
  is-active) [ "$2" != undo-firewall.service ] && [ -e timer ] ;;
  stop) [ ! -e timer ] || { kill "$(cat timer)"; rm timer; } ;;
esac
""",
}


class Trial:
    """The program `trial` on a host of its own, which has rules already."""

    def __init__(self, network: Network, directory: Path, rules: Path) -> None:
        self.network, self.directory = network, directory
        self.kept = directory / "kept.nft"
        self.kept.write_text(rules.read_text())
        network.apply("app1", self.kept)
        for name, text in STANDINS.items():
            (directory / name).write_text(f"#!/bin/sh\ncd {directory}\n{text}")
            (directory / name).chmod(0o755)

    def run(self, verb: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        program = ROLE / "files/trial.py"
        return self.network.inside(
            "app1", sys.executable, program, verb, self.directory, self.kept, str(seconds),
            check=False, env={**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"},
        )  # fmt: skip

    def reached(self) -> set[int]:
        return self.network.reached("stranger", ADDRESSES["app1"], [22, 443, 8080])


BROKEN = "table inet face\ndelete table inet face\n" + (
    "table inet face {\n chain input {\n type filter hook input priority filter; policy drop;\n }\n}\n"
)


@pytest.fixture
def trial(single: dict[str, dict[str, Path]], tmp_path: Path) -> Iterator[Trial]:
    with Network("stranger", "app1") as made:
        yield Trial(made, tmp_path, single["plain"]["localhost"])
        if (tmp_path / "timer").exists():
            os.kill(int((tmp_path / "timer").read_text()), 15)


@needs_network
def test_rules_that_cut_everybody_off_are_taken_back_by_themselves(trial: Trial) -> None:
    before = trial.kept.read_text()
    (trial.directory / "new.nft").write_text(BROKEN)
    done = trial.run("try", seconds=1)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: trial.reached() == {22, 443}, 20, "the rules from before")
    late = trial.run("keep")
    assert late.returncode == 1
    assert "taken back" in late.stderr
    assert trial.kept.read_text() == before


@needs_network
def test_rules_on_trial_hold_and_are_no_hosts_until_they_are_kept(trial: Trial) -> None:
    before = trial.kept.read_text()
    (trial.directory / "new.nft").write_text(before.replace("tcp dport 80 ", "tcp dport 8080 "))
    assert trial.run("try").returncode == 0
    assert trial.reached() == {22, 443, 8080}
    assert trial.kept.read_text() == before
    again = trial.run("try")
    assert (again.returncode, "another run" in again.stderr) == (1, True)
    assert trial.run("keep").returncode == 0
    assert trial.reached() == {22, 443, 8080}
    assert trial.kept.read_text() == (trial.directory / "new.nft").read_text()
    assert not (trial.directory / "timer").exists()


@needs_network
@pytest.mark.parametrize("was", ["rules", "no rules"])
def test_rules_that_were_found_wanting_are_taken_back_at_once(trial: Trial, was: str) -> None:
    if was == "no rules":
        trial.network.inside("app1", "nft", "delete", "table", "inet", "face")
    before = trial.network.inside("app1", "nft", "list", "ruleset").stdout
    (trial.directory / "new.nft").write_text(BROKEN)
    assert trial.run("try").returncode == 0
    assert trial.run("back").returncode == 0
    assert trial.network.inside("app1", "nft", "list", "ruleset").stdout == before
    assert not (trial.directory / "timer").exists()


@needs_network
def test_rules_that_nft_does_not_take_change_nothing(trial: Trial) -> None:
    before = trial.network.inside("app1", "nft", "list", "ruleset").stdout
    (trial.directory / "new.nft").write_text("table inet face { nonsense }\n")
    done = trial.run("try")
    assert done.returncode == 1
    assert "nft does not take" in done.stderr
    assert trial.network.inside("app1", "nft", "list", "ruleset").stdout == before
    assert not (trial.directory / "timer").exists()


def test_the_way_back_is_not_confined_as_the_pipelines_units_are() -> None:
    """face-.service.d holds for every unit that is called face-…, also for one that systemd-run makes."""
    assert not trials.UNIT.startswith("face-")
