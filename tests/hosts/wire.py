"""What a machine container of this machine sends to elsewhere than its own bridge, counted at two places.

- the way out: in the container's own network, by the unit (its cgroup) whose socket sends; before systemd's
  filter of addresses and any firewall, so that an attempt counts as well
- the cable: on this machine, what came out of the container, whoever sent it and by whatever kind of socket

Not counted as elsewhere, because no router passes it on: the bridge's own network, ARP, IPv6's discovery of
neighbours and routers (link-local addresses, ff02::/16), multicast of the link (224.0.0.0/24), and
broadcasts, which DHCP uses.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.hosts.test_host import Host

# Of a host's cgroups, counted from its root: a unit of a slice, or the slice of a template's instances.
UNIT = "socket cgroupv2 level 2 . "
NOBODY = ""
KEYS = {
    "ports": ("meta l4proto { tcp, udp }", "ip daddr . meta l4proto . th dport"),
    "others": ("meta l4proto != { tcp, udp }", "ip daddr . meta l4proto"),
    "ports6": ("meta l4proto { tcp, udp }", "ip6 daddr . meta l4proto . th dport"),
    "others6": ("meta l4proto != { tcp, udp }", "ip6 daddr . meta l4proto"),
}
# The container's view of cgroups: levels count from its root. Without their files: ids stay ids.
APART = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
# The table goes with whoever holds the other end of this program's input, however that ends.
HOLD = 'printf %s "$1" | nft -f - && echo made && cat >/dev/null; nft delete table $2'
SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Sent:
    """Packets to one destination. `unit`: who sent them; "": no unit is known, or it was not asked."""

    unit: str
    to: str
    protocol: str = ""
    port: int | None = None
    packets: int = field(default=0, compare=False)


@dataclass
class Wire:
    """Counts from `__enter__` to `__exit__`; to an address of `sunk` nothing leaves this machine."""

    # The container's first process, by its number here; its end on the bridge; the bridge's own network.
    process: int
    port: str
    network: str
    sunk: tuple[str, ...] = ()
    units: dict[int, str] = field(default_factory=dict)
    _held: list[subprocess.Popen[str]] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, host: Host, *sunk: str) -> Self | None:
        """None where the host is no machine container of this machine, or this is not its root."""
        namespace = host.run("readlink /proc/1/ns/net").strip()
        process = next((pid for pid in _first_processes() if _namespace(pid) == namespace), 1)
        if process == 1:
            return None
        way_out = "$(ip -o route get 192.0.2.1 | sed 's/.* dev //; s/ .*//')"
        other_end = host.run(f"cat /sys/class/net/{way_out}/iflink")
        port = next(
            path.parent for path in Path("/sys/class/net").glob("*/ifindex") if path.read_text() == other_end
        )
        bridge = (port / "master").resolve().name
        routes = json.loads(_output("ip", "-j", "route", "show", "dev", bridge, "scope", "link"))
        return cls(process, port.name, routes[0]["dst"], sunk)

    def __enter__(self) -> Self:
        try:
            self._hold(self._apart, self._way_out, self._rules_of_the_way_out())
            self._hold([], self._cable, self._rules_of_the_cable())
        except BaseException:
            self.__exit__()
            raise
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for held in self._held:
            held.communicate()

    def attempted(self) -> list[Sent]:
        """By unit, what was to be sent elsewhere, whether it got out or not."""
        return list(self._read(self._apart, self._way_out))

    def left(self) -> list[Sent]:
        """What came out of the container for elsewhere."""
        return list(self._read([], self._cable))

    @property
    def _apart(self) -> list[str]:
        own = f"/proc/{self.process}/ns"
        enter = ["nsenter", f"--net={own}/net", f"--cgroup={own}/cgroup", "unshare", "--mount"]
        return [*enter, "sh", "-c", APART, "sh"]

    @property
    def _way_out(self) -> str:
        return "inet face_egress"

    @property
    def _cable(self) -> str:
        return f"bridge face_egress_{self.port.replace('-', '_')}"

    def _rules_of_the_way_out(self) -> str:
        # Where no unit's socket is to be seen, a rule of units does not match, and those of nobody count.
        rules = ['oifname "lo" accept', *self._not_routed(), *_counts(UNIT, " accept"), *_counts(NOBODY)]
        return _table(self._way_out, "output", _sets(UNIT) + _sets(NOBODY), rules)

    def _rules_of_the_cable(self) -> str:
        sinks = [f"ip daddr {address} drop" for address in self.sunk]
        frames = ["set frames {\ntypeof meta protocol\nflags dynamic\ncounter\n}"]
        rules = [
            f'iifname != "{self.port}" accept', "ether type arp accept", *self._not_routed(),
            *_counts(NOBODY), "meta protocol != { ip, ip6 } update @frames { meta protocol }", *sinks,
        ]  # fmt: skip
        return _table(self._cable, "prerouting", _sets(NOBODY) + frames, rules)

    def _not_routed(self) -> list[str]:
        return [
            f"ip daddr {{ {self.network}, 224.0.0.0/24, 255.255.255.255 }} accept",
            "ip6 daddr { fe80::/10, ff02::/16 } accept",
        ]

    def _hold(self, where: list[str], table: str, rules: str) -> None:
        held = subprocess.Popen(
            [*where, "sh", "-c", HOLD, "sh", rules, table],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._held.append(held)
        assert held.stdout
        if held.stdout.readline() != "made\n":
            raise RuntimeError(f"nft refused the table {table}: {held.communicate()[1]}")

    def _look(self) -> None:
        """Note the names of units: an id is not used twice, and a name is gone with its unit."""
        while not self._end.wait(SECONDS_BETWEEN_LOOKS):
            for above in _directories(f"/proc/{self.process}/root/sys/fs/cgroup"):
                for unit in _directories(above.path):
                    self.units.setdefault(unit.inode(), unit.name)

    def _read(self, where: list[str], table: str) -> Iterator[Sent]:
        listed = json.loads(_output(*where, "nft", "-j", "list", "table", *table.split()))
        for entries in (part["set"] for part in listed["nftables"] if "set" in part):
            for entry in (each["elem"] for each in entries.get("elem", [])):
                key = entry["val"]["concat"] if isinstance(entry["val"], dict) else [entry["val"]]
                unit = ""
                if entries["name"].startswith("unit"):
                    unit, *key = self.units.get(int(key[0]), f"cgroup {key[0]}"), *key[1:]
                yield Sent(unit, *key, packets=entry["counter"]["packets"])


def _first_processes() -> Iterator[int]:
    """Processes that are process 1 of where they run."""
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in lines):
            yield int(path.parent.name)


def _namespace(process: int) -> str:
    try:
        return str(Path(f"/proc/{process}/ns/net").readlink())
    except OSError:
        return ""


def _directories(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _name(who: str, key: str) -> str:
    return f"{'unit' if who else 'nobody'}_{key}"


def _sets(who: str) -> list[str]:
    return [
        f"set {_name(who, key)} {{\ntypeof {who}{value}\nflags dynamic\ncounter\nsize 8192\n}}"
        for key, (_, value) in KEYS.items()
    ]


def _counts(who: str, verdict: str = "") -> list[str]:
    return [
        f"{match} update @{_name(who, key)} {{ {who}{value} }}{verdict}"
        for key, (match, value) in KEYS.items()
    ]


def _table(table: str, hook: str, sets: list[str], rules: list[str]) -> str:
    """Before the host's own rules and its notes of connections; one that is there already is made anew."""
    lines = [
        f"table {table}", f"delete table {table}", f"table {table} {{", *sets, "chain seen {",
        f"type filter hook {hook} priority -300; policy accept;", *rules, "}", "}", "",
    ]  # fmt: skip
    return "\n".join(lines)
