"""The hosts of a site as the campaign reaches them: commands by SSH, what is there, and is all whole?"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.campaign.clients import Api
from tests.campaign.evidence import ROWS, Alert, Row, rows
from tests.hosts.test_host import Host
from tests.patience import PATIENCE
from tests.photos import ROOT

ORIGINALS = "/var/lib/face-pipeline/originals"
# Units of ours that stay up once they are: what is up at the start has to be up again after each fault.
UNITS = (
    "face-*", "celery@*", "postgresql@*", "patroni@*", "etcd.service", "redis-server*", "nginx.service",
    "prometheus*",
)  # fmt: skip
# Of those: nobody who uses the site waits for them.
BESIDE = ("prometheus", "face-flower")
# From the machine on which the guests run: of each the machinery of roles/machine.
MACHINES = Path("/run/face-machines")
CUT = "face_campaign"
STEP = 15
# Hosts that hold the database, whoever leads it.
DATABASES = "postgres:standbys"
MEMBERS = "patronictl -c /etc/patroni/*-main.yml list --format json"
ADDRESS = "cat /run/face-keepalived/state.json"
# Whether this host's own member reads what most agree to.
AGREES = (
    "etcdctl --cacert=/etc/face-pipeline/ca.crt --cert=/etc/face-pipeline/etcd.crt"
    " --key=/etc/face-pipeline/etcd.key --endpoints=https://127.0.0.1:2379 --command-timeout=2s"
    " endpoint health >/dev/null 2>&1 && echo yes"
)


class CommandFailed(Exception):
    """A command on a host, or on this machine, that did not do what it should."""


@dataclass
class Guest:
    """A host of the site, by its name in the inventory."""

    name: str
    groups: frozenset[str]
    host: Host

    def run(self, command: str, check: bool = True, stdin: str = "") -> str:
        try:
            return self.host.run(command, check=check, stdin=stdin)
        except pytest.fail.Exception as error:
            raise CommandFailed(f"{self.name}: {error}") from None
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{self.name}: no end after {error.timeout:.0f} s: {command}") from None

    def sql(self, query: str) -> str:
        return self.run("runuser -u postgres -- psql -qAt -v ON_ERROR_STOP=1 face", stdin=query)

    @property
    def is_here(self) -> bool:
        """Whether it is a guest of this machine, whose power and cable can be pulled."""
        return (MACHINES / self.name).is_dir()

    def has(self, condition: str) -> bool:
        """Whether a condition of the shell holds on it."""
        return self.run(f"{{ {condition}; }} >/dev/null 2>&1 && echo yes", check=False).strip() == "yes"

    @property
    def has_power(self) -> bool:
        running = [str(ROOT / "roles/machine/files/running"), self.name, str(MACHINES / self.name)]
        return subprocess.run(running, check=False, stdin=subprocess.DEVNULL).returncode == 0

    def cut_power(self, silently: bool = False) -> None:
        """Every process of it ends at once. What its kernel has, which is this machine's, stays.

        That kernel tells those who are connected. `silently`: as a host does that cannot say good-bye.
        """
        if silently:
            here("ip", "link", "set", f"vb-{self.name}", "down")
        if Path("/run/systemd/system").is_dir():
            here("systemctl", "kill", "--signal=KILL", f"face-machine-{self.name}")
        else:
            group = next(Path("/sys/fs/cgroup").glob(f"**/face-machines/{self.name}/payload/cgroup.kill"))
            group.write_text("1")
        for _ in range(300):
            if not self.has_power:
                return
            time.sleep(0.1)
        raise CommandFailed(f"{self.name} still runs after its power was cut")

    @contextmanager
    def cut_cable(self, toward: int = 0, back: int = 0, among_guests: bool = False) -> Iterator[None]:
        """So many of a hundred frames to it and from it are lost, for the block.

        `among_guests`: of those from and to other guests alone; this machine still reaches it.
        """
        self.mend()
        here("nft", "-f", "-", stdin=cut_rules(self.name, toward, back, among_guests))
        try:
            yield
        finally:
            self.mend()

    @contextmanager
    def thin_cable(self, kbit: int, late: int) -> Iterator[None]:
        """So many bits pass in each direction, for the block, and for `late` seconds at most on the guest."""
        limit = f"root tbf rate {kbit}kbit burst 16kb latency 3s"
        here("tc", "qdisc", "replace", "dev", f"vb-{self.name}", *limit.split())
        try:
            self.run(
                f"systemd-run --quiet --collect --on-active={late} tc qdisc del dev host0 root\n"
                f"tc qdisc replace dev host0 {limit}"
            )
            yield
        finally:
            self.mend()
            self.run("tc qdisc del dev host0 root", check=False)

    def mend(self) -> None:
        """Undo what `cut_cable` and `thin_cable` did, also in a campaign that was ended in the middle."""
        if " tbf " in here("tc", "qdisc", "show", "dev", f"vb-{self.name}"):
            here("tc", "qdisc", "del", "dev", f"vb-{self.name}", "root")
        if f"table bridge {CUT}_{self.name}" in here("nft", "list", "tables").splitlines():
            here("nft", "delete", "table", "bridge", f"{CUT}_{self.name}")


def cut_rules(name: str, toward: int, back: int, among_guests: bool = False) -> str:
    """Of nft: so many of a hundred frames that go to this guest, and come from it, are lost."""
    port = f"vb-{name}"
    # nft takes no comparison that is always or never true.
    lost = {0: "counter", 100: "drop"}
    some = "numgen random mod 100 < {} drop"
    to = f"oifname {port} {lost.get(toward) or some.format(toward)}"
    of = f"iifname {port} {lost.get(back) or some.format(back)}"
    hooks = {"forward": (to, of)} if among_guests else {"output": (to,), "input": (of,), "forward": (to, of)}
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; policy accept; {'; '.join(rules)}; }}\n"
        for hook, rules in hooks.items()
    )
    return f"table bridge {CUT}_{name} {{\n{chains}}}\n"


def here(*command: str, stdin: str = "", seconds: float = 60) -> str:
    """On this machine."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=seconds * PATIENCE, check=False,
        cwd=ROOT,
        # As an operator types it, with the project's own ansible.cfg: a tool around this one has another.
        env={name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        | {"ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    if done.returncode:
        raise CommandFailed(f"{shlex.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def ansible(tool: str = "ansible-playbook") -> str:
    return str(Path(sys.executable).parent / tool)


@dataclass
class Site:
    api: Api
    inventory: Path
    guests: list[Guest]
    # Of each guest the units that were up at the start.
    units: dict[str, list[str]] = field(default_factory=dict)
    # What was wrong before all was whole.
    waited_for: list[str] = field(default_factory=list)
    # Who led the database when it was asked last.
    _led: Guest | None = None

    def of(self, groups: str) -> list[Guest]:
        """Those in one of these groups, which a colon parts."""
        wanted = set(groups.split(":"))
        return [guest for guest in self.guests if groups == "all" or wanted & guest.groups]

    @property
    def chooses(self) -> bool:
        """Whether hosts choose by themselves who leads the database."""
        return bool(self.of("etcd"))

    @property
    def database(self) -> Guest:
        """The host whose PostgreSQL takes changes."""
        if not self.chooses:
            return self.of("postgres")[0]
        for guest in sorted(self.of(DATABASES), key=lambda guest: guest is not self._led):
            leads = "SELECT NOT pg_is_in_recovery()"
            if guest.run(f'runuser -u postgres -- psql -qAtc "{leads}"', check=False).strip() == "t":
                self._led = guest
                return guest
        raise CommandFailed("nobody leads the database")

    @property
    def holder(self) -> Guest:
        """The host that has the address that moves."""
        for guest in self.of("keepalived"):
            if '"held": true' in guest.run(ADDRESS, check=False):
                return guest
        raise CommandFailed("no host has the address that moves")

    def start(self) -> None:
        """Give guests without power theirs back; those that run stay as they are."""
        try:
            here(ansible(), "-i", str(self.inventory), "playbooks/machines/create.yml", seconds=180)
        except CommandFailed:
            # Its last play waits for their boot, too short a while on a busy machine.
            if not all(guest.has_power for guest in self.guests if guest.is_here):
                raise

    def remember_units(self) -> None:
        patterns = " ".join(map(shlex.quote, UNITS))
        for guest in self.guests:
            said = guest.run(
                "for unit in $(systemctl list-units --plain --no-legend --state=active"
                f" --type=service,socket,timer,target {patterns} | awk '{{print $1}}'); do"
                ' [ "$(systemctl show -P Type $unit)" = oneshot ] || echo $unit; done'
            )
            self.units[guest.name] = said.split()

    def unwell(self, sent_until: float | None = None, serving: bool = False) -> list[str]:
        """Why the site is not whole: it answers, its units are up, and what was sent by then has ended.

        `serving`: what is beside it may still come back.
        """
        wrong = []
        try:
            answer = self.api.call("GET", "/health/ready")
            if answer.status_code != 200:
                wrong.append(f"not ready: {answer.status_code}")
        except requests.RequestException as error:
            wrong.append(f"no answer: {type(error).__name__}")
        with ThreadPoolExecutor(len(self.guests)) as each_at_once:
            for guest, down in zip(self.guests, each_at_once.map(self._units_down, self.guests), strict=True):
                wrong += [
                    f"{guest.name}: {each}" for each in down if not (serving and each.startswith(BESIDE))
                ]
        if not wrong:
            wrong += self._apart()
        if not wrong:
            wrong += self._without_end(time.time() if sent_until is None else sent_until)
        return wrong

    def _apart(self) -> list[str]:
        """Why a further loss could be one too many: hosts that do not follow, an address that cannot move."""
        wrong = []
        if self.chooses:
            said = self.of(DATABASES)[0].run(MEMBERS, check=False)
            try:
                members = {each["Member"]: each for each in json.loads(said)}
            except ValueError:
                return [f"Patroni does not say how its hosts are: {said.strip()[:200] or 'nothing'}"]
            states = {name: each["State"] for name, each in members.items()}
            wrong += [
                f"{guest.name} does not follow: {states.get(guest.name, 'not a member')}"
                for guest in self.of(DATABASES)
                # The one that leads is running, and says so.
                if states.get(guest.name) not in {"running", "streaming"}
            ]
            if "running" not in states.values():
                wrong.append("nobody leads the database")
            # While the leader waits for nobody, no other one may take its place.
            wrong += [
                f"the leader does not wait for {name}"
                for name, each in members.items()
                if each["Role"] == "Replica"
            ]
            # One that was parted is back in etcd only half a minute later.
            wrong += [
                f"etcd on {guest.name} is not back among the others"
                for guest in self.of("etcd")
                if guest.run(AGREES, check=False).strip() != "yes"
            ]
        told = {guest.name: guest.run(ADDRESS, check=False) for guest in self.of("keepalived")}
        wrong += [
            f"{name} cannot have the address" for name, state in told.items() if '"able": true' not in state
        ]
        held = sum('"held": true' in state for state in told.values())
        return wrong + ([f"{held} hosts have the address"] if told and held != 1 else [])

    def _units_down(self, guest: Guest) -> list[str]:
        units = self.units[guest.name]
        try:
            said = guest.run(
                f"systemctl is-active {' '.join(map(shlex.quote, units))}; echo --;"
                " systemctl list-units --plain --no-legend --state=failed | awk '{print $1}'",
                check=False,
            )
        except CommandFailed as error:
            return [str(error)]
        states, _, failed = said.partition("--\n")
        if len(states.split()) != len(units):
            return ["does not answer to SSH, or has not booted"]
        pairs = zip(units, states.split(), strict=True)
        down = [f"{unit} is {state}" for unit, state in pairs if state != "active"]
        return down + [f"{unit} failed" for unit in failed.split()]

    def _without_end(self, sent_until: float) -> list[str]:
        query = (
            "SELECT count(*) FROM photos WHERE state NOT IN ('done', 'failed')"
            f" AND received_at <= to_timestamp({sent_until})"
        )
        try:
            number = int(self.database.sql(query))
        except (CommandFailed, ValueError) as error:
            return [f"the ledger cannot be read: {error}"]
        return [f"{number} photos have not ended"] if number else []

    def wait_whole(self, seconds: float, sent_until: float | None = None, serving: bool = False) -> list[str]:
        """What is still wrong when the time is over; nothing as soon as all is whole."""
        until = time.monotonic() + seconds
        self.waited_for = []
        while wrong := self.unwell(sent_until, serving):
            self.waited_for = wrong
            if time.monotonic() > until:
                return wrong
            time.sleep(1)
        return []

    def rows(self, collection: str) -> list[Row]:
        return rows(json.loads(self.database.sql(ROWS.format(collection=collection))))

    def originals(self) -> dict[str, str]:
        """The SHA-256 of each original by its name, of all web hosts."""
        return {name: sha256 for guest in self.of("web") for name, sha256 in _files_of(guest).items()}

    def copies(self) -> dict[str, dict[str, str]]:
        """The same of each host that keeps copies, several web hosts among them, after they were compared."""
        web = self.of("web")
        keeping = self.of("copies") if len(web) == 1 else web
        if keeping:
            web[0].run("face-pipeline copies --repair")
        return {guest.name: _files_of(guest) for guest in keeping}

    def chain_fault(self) -> str | None:
        said = self.of("web")[0].run("face-pipeline audit verify 2>&1 || echo broken")
        return said.strip() if said.rstrip().endswith("broken") else None

    def alerts(self, began: float, ended: float) -> list[Alert]:
        """Those that began to fire in this time."""
        query = {"query": 'ALERTS{alertstate="firing"}', "start": began, "end": ended, "step": STEP}
        answer = self.api.call("GET", "/prometheus/api/v1/query_range", params=query)
        answer.raise_for_status()
        return alerts(answer.json()["data"]["result"], began)


def _files_of(guest: Guest) -> dict[str, str]:
    said = guest.run(f"find {ORIGINALS} -type f -exec sha256sum {{}} +")
    pairs = (line.partition("  ") for line in said.splitlines())
    return {Path(path).name: sha256 for sha256, _, path in pairs}


def alerts(series: list[dict[str, Any]], began: float) -> list[Alert]:
    """From the answer of Prometheus. One that fired before does not count."""
    found = []
    for each in series:
        times = [float(at) for at, _ in each["values"]]
        starts = [at for number, at in enumerate(times) if not number or at - times[number - 1] > 2 * STEP]
        for start, following in zip(starts, [*starts[1:], float("inf")], strict=True):
            if start > began + STEP:
                end = max(at for at in times if at < following)
                found.append(Alert(each["metric"]["alertname"], start, end))
    return sorted(found, key=lambda alert: (alert.began, alert.name))


def read(summary: Path, inventory: Path) -> Site:
    """The site of an inventory; how it is called is in the summary, as ./quickstart writes it."""
    said = json.loads(summary.read_text(encoding="utf-8"))
    key = said.get("api_key") or Path(said["api_key_file"]).read_text(encoding="utf-8").strip()
    known = json.loads(here(ansible("ansible-inventory"), "-i", str(inventory.absolute()), "--list"))
    groups = {name: set(group.get("hosts", [])) for name, group in known.items() if name != "_meta"}
    guests = []
    for name, told in known["_meta"]["hostvars"].items():
        # Ansible shows its templates as they are written.
        settings = json.loads(json.dumps(told).replace("{{ inventory_hostname }}", name))
        ssh = [
            "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10",
            # A connection that is shared outlives the guest, and hangs where its network is cut.
            "-o", "ControlMaster=no", "-o", "ControlPath=none",
            *shlex.split(settings.get("ansible_ssh_common_args", "")),
        ]  # fmt: skip
        if "ansible_ssh_private_key_file" in settings:
            ssh += ["-i", settings["ansible_ssh_private_key_file"]]
        ssh.append(f"{settings.get('ansible_user', 'root')}@{settings.get('ansible_host', name)}")
        member = frozenset(group for group, hosts in groups.items() if name in hosts)
        guests.append(Guest(name, member, Host(said["url"], ssh, said["ca_file"], key)))
    return Site(Api(said["url"], key, said["ca_file"]), inventory.absolute(), guests)
