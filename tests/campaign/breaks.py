"""What is done to a host and undone again, each as a block: broken until its end.

What is hit is found out when it begins: a unit of the site's inventory, a process of it, a file, a disk.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from random import Random

from tests.campaign.hosts import DATABASES, ORIGINALS, CommandFailed, Guest, Site

# A process that the fault before killed may not be back yet.
FIND_TRIES = 60
THIN_KBIT = 256
# Beyond a fault's time: then what it froze is woken even where the campaign itself was ended.
LEFT_FROZEN = 30


@dataclass
class Place:
    """Where a fault happens, and for how long."""

    site: Site
    guest: Guest
    chance: Random
    seconds: float


# A block: what is broken is so until its end; it gives what was hit, in words.
Break = Callable[[Place], AbstractContextManager[str]]


def _pick(place: Place) -> str:
    """One line of many, by chance; shell."""
    number = place.chance.randrange(10**6)
    return f"awk '{{l[NR] = $0}} END {{if (NR) print l[{number} % NR + 1]}}'"


# A process: shell that sets $unit and $pid.
Process = Callable[[Place], str]


def main_of(pattern: str) -> Process:
    def find(place: Place) -> str:
        listed = (
            f"systemctl list-units --plain --no-legend --state=active --type=service {shlex.quote(pattern)}"
        )
        return (
            f"unit=$({listed} | awk '{{print $1}}' | {_pick(place)})\n"
            'pid=$(systemctl show -P MainPID "$unit")\n'
        )

    return find


def child_of(pattern: str) -> Process:
    """Another process of the unit, of the same program."""

    def find(place: Place) -> str:
        return main_of(pattern)(place) + (
            'main=$pid; group=/sys/fs/cgroup$(systemctl show -P ControlGroup "$unit")\n'
            'pid=$(find "$group" -name cgroup.procs -exec cat {} + | grep -vx "$main" | sort -n'
            " | while read -r each; do cmp -s /proc/$each/comm /proc/$main/comm && echo $each; done"
            f" | {_pick(place)})\n"
        )

    return find


def backend(place: Place) -> str:
    """A process of PostgreSQL that serves a client."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = 'face' AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() ORDER BY pid"
    )
    return f'unit=postgresql\npid=$(runuser -u postgres -- psql -qAt face -c "{query}" | {_pick(place)})\n'


def postmaster(_: Place) -> str:
    """Of PostgreSQL, whoever runs it."""
    return (
        "unit=postgresql; pid=$(head -n 1 /var/lib/postgresql/*/main/postmaster.pid)\n"
        "[ -d /proc/$pid ] || pid=0\n"
    )


def run_of(unit: str) -> Process:
    """A unit that runs for a moment now and then: in its next run, which is asked for."""

    def find(_: Place) -> str:
        return (
            f"unit={unit}; pid=0\n"
            # On a busy machine a run may be over before it was seen: then another.
            "for try in $(seq 500); do pid=$(systemctl show -P MainPID $unit);"
            ' [ "$pid" = 0 ] || break; systemctl start --no-block $unit; sleep 0.01; done\n'
        )

    return find


def found(process: Process, place: Place) -> str:
    """Shell that sets $unit and $pid, and says what they are."""
    return (
        f"look() {{\n{process(place)}}}\n"
        f'for try in $(seq {FIND_TRIES}); do look; [ "${{pid:-0}}" -le 1 ] || break; sleep 1; done\n'
        '[ "${pid:-0}" -gt 1 ] || { echo "no such process of ${unit:-any unit}" >&2; exit 3; }\n'
        'echo "$unit, process $pid ($(cat /proc/$pid/comm))"\n'
    )


def kill(process: Process) -> Break:
    @contextmanager
    def do(place: Place) -> Iterator[str]:
        yield place.guest.run(
            f"{found(process, place)}kill -KILL $pid\n"
            'for try in $(seq 600); do [ -d /proc/$pid ] || exit 0; sleep 0.1; done\n'
            'echo "$pid still lives" >&2; exit 4'
        ).strip()  # fmt: skip

    return do


def kill_run(unit: str) -> Break:
    """And let it run again, which its timer may do minutes later."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        with kill(run_of(unit))(place) as hit:
            yield hit
        place.guest.run(f"systemctl start --no-block {unit}")

    return do


def freeze(process: Process) -> Break:
    @contextmanager
    def do(place: Place) -> Iterator[str]:
        late = round(place.seconds) + LEFT_FROZEN
        said = place.guest.run(
            f"{found(process, place)}kill -STOP $pid; echo $pid\n"
            f"systemd-run --quiet --collect --on-active={late} kill -CONT $pid\n"
            # One that waits for a busy disk stops when it has its answer; one that ended was hit, too.
            "for try in $(seq 600); do [ -d /proc/$pid ] || exit 0;"
            " grep -q '^State:.*T' /proc/$pid/status && exit 0; sleep 0.1; done\n"
            'echo "$pid does not stop" >&2; exit 4'
        )  # fmt: skip
        hit, pid = said.strip().splitlines()
        try:
            yield hit
        finally:
            # What waited for it may have killed it.
            place.guest.run(f"kill -CONT {pid}", check=False)

    return do


def _active(place: Place, patterns: str) -> str:
    """Units of these patterns, which a space parts. Others of them may be there, and are not to run."""
    quoted = " ".join(map(shlex.quote, patterns.split()))
    listed = f"systemctl list-units --plain --no-legend --state=active {quoted}"
    return " ".join(place.guest.run(f"{listed} | awk '{{print $1}}'").split())


def restart(units: str) -> Break:
    @contextmanager
    def do(place: Place) -> Iterator[str]:
        hit = _active(place, units)
        place.guest.run(f"systemctl restart {hit}")
        yield hit

    return do


def stop(units: str) -> Break:
    """As an operator may, and forget it for minutes."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        hit = _active(place, units)
        try:
            place.guest.run(f"systemctl stop {hit}")
            yield hit
        finally:
            place.guest.run(f"systemctl start {hit}")

    return do


def empty(users: str, option: str = "") -> Break:
    """FLUSHALL, which no user of this Redis may: as root does that, with its file of users."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        # Behind an address that moves, this host's own.
        redis = f"face-redis $own {option}"
        size = place.guest.run(
            "set -e; own=$(! face-redis --help | grep -q -- --own || echo --own)\n"
            f"cp -p {users} {users}.campaign\n"
            f"trap 'cat {users}.campaign > {users}; rm {users}.campaign; {redis} ACL LOAD >/dev/null' EXIT\n"
            f"sed -i '/^user operator /s/$/ +flushall/' {users}; {redis} ACL LOAD >/dev/null\n"
            f"{redis} DBSIZE; {redis} FLUSHALL >/dev/null"
        )
        yield f"{size.split()[-1]} keys"

    return do


# flip PATH: the bits of the byte in the middle; twice is as before. A file that is gone stays so.
FLIP = """python3 - {path} <<'END'
import os, sys
try:
    with open(sys.argv[1], "r+b") as file:
        middle = os.fstat(file.fileno()).st_size // 2
        file.seek(middle)
        byte = file.read(1)[0] ^ 255
        file.seek(middle)
        file.write(bytes([byte]))
except FileNotFoundError:
    pass
END
"""


@contextmanager
def spoil_original(place: Place) -> Iterator[str]:
    """Of a photo that has ended: what a worker reads meanwhile is as it was sent."""
    done = "SELECT sha256 FROM photos WHERE state = 'done' AND original_removed_at IS NULL ORDER BY sha256"
    sha256 = place.site.database.run(
        f'runuser -u postgres -- psql -qAt face -c "{done}" | {_pick(place)}'
    ).strip()
    path = f"{ORIGINALS}/{sha256[:2]}/{sha256[2:4]}/{sha256}"
    place.guest.run(FLIP.format(path=path))
    try:
        yield f"original {sha256[:12]}"
    finally:
        # It may have come back from a copy meanwhile.
        place.guest.run(
            f"echo '{sha256}  {path}' | sha256sum --quiet --check 2>/dev/null || {FLIP.format(path=path)}"
        )


@contextmanager
def spoil_model(place: Place) -> Iterator[str]:
    """A file of the models, and a worker that is started again: it must not work with it."""
    said = place.guest.run(
        f"{main_of('celery@*')(place)}echo $unit\n"
        # Without what was made from the pack, a worker computes with the pack itself.
        "find /var/lib/face-pipeline/models -type f -size +100k ! -name descriptor.onnx | sort"
        f" | {_pick(place)}"
    )
    unit, path = said.split()
    place.guest.run(FLIP.format(path=path))
    try:
        # It never becomes active, so that nobody waits for it here. Its end may take as long as a photo.
        state = place.guest.run(
            f"unit={unit}; show() {{ systemctl show -P $1 $unit; }}\n"
            "before=$(show InvocationID); systemctl restart --no-block $unit\n"
            "for try in $(seq 600); do sleep 0.5\n"
            '  [ "$(show InvocationID)" != "$before" ] || continue\n'
            "  case $(show ActiveState)/$(show SubState) in\n"
            "    active/*) echo active; exit ;;\n"
            "    failed/* | */auto-restart*) echo refused; exit ;;\n"
            "  esac\n"
            "done; show ActiveState",
        ).strip()
        if state != "refused":
            raise CommandFailed(f"{unit} is {state} with a damaged {path}")
        yield f"{path}, {unit} refuses to start"
    finally:
        place.guest.run(f"{FLIP.format(path=path)}systemctl reset-failed {unit}; systemctl restart {unit}")


def cut(toward: int = 0, back: int = 0) -> Break:
    @contextmanager
    def do(place: Place) -> Iterator[str]:
        with place.guest.cut_cable(toward, back):
            yield f"{toward} % of the frames to {place.guest.name}, {back} % of those from it"

    return do


@contextmanager
def thin_line(place: Place) -> Iterator[str]:
    """A line on which each photo takes seconds, and each frame waits for those before it."""
    with place.guest.thin_cable(THIN_KBIT, round(place.seconds) + LEFT_FROZEN):
        yield f"{THIN_KBIT} kbit/s to {place.guest.name} and from it"


FILLER = ".campaign"


def fill(directory: str) -> Break:
    """To the last block of its disk."""
    file = f"{directory}/{FILLER}"

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        late = round(place.seconds) + LEFT_FROZEN
        free = f"df --output=avail --block-size=1 {directory} | tail -n 1"
        try:
            said = place.guest.run(
                f"systemd-run --quiet --collect --on-active={late} rm -f {file}\n"
                f"fallocate --length $({free}) {file}; cat /dev/zero >>{file} 2>/dev/null\n"
                f'free=$({free}); echo $free; [ "$free" -lt 1000000 ]'
            )
            yield f"{directory}, {int(said)} bytes are left"
        finally:
            place.guest.run(f"rm -f {file}")

    return do


def stutter(directory: str) -> Break:
    """A disk that takes nothing for nine tenths of each second."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        late = round(place.seconds) + LEFT_FROZEN
        again = (
            f"while fsfreeze --freeze {directory}; do sleep 0.9; fsfreeze --unfreeze {directory}; sleep 0.1;"
            " done"
        )
        place.guest.run(
            f"systemd-run --quiet --collect --unit=campaign-disk -p RuntimeMaxSec={late}"
            f" -p ExecStopPost='-/usr/sbin/fsfreeze --unfreeze {directory}' sh -c {shlex.quote(again)}"
        )
        try:
            yield directory
        finally:
            place.guest.run("systemctl stop campaign-disk; ! systemctl is-active --quiet campaign-disk")

    return do


FAKE_TIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


def shift_clock(pattern: str, seconds: int) -> Break:
    """Of the services of this name alone, which are started again for it, and again for the right one."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        said = f"{pattern}, by {seconds:+d} s"
        directory = f"/run/systemd/system/{pattern.removesuffix('.service').replace('*', '')}.service.d"
        restart_it = f"systemctl daemon-reload && systemctl restart '{pattern}'"
        try:
            place.guest.run(
                f"set -e; mkdir -p '{directory}'; library=$(ls {FAKE_TIME})\n"
                f"cat >'{directory}/campaign.conf' <<END\n"
                f"[Service]\nEnvironment=LD_PRELOAD=$library FAKETIME={seconds:+d}\n"
                "Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1\nEND\n"
                f"{restart_it}"
            )
            yield said
        finally:
            place.guest.run(f"rm -r '{directory}'; {restart_it}")

    return do


def cut_power(silently: bool = False) -> Break:
    @contextmanager
    def do(place: Place) -> Iterator[str]:
        place.guest.cut_power(silently)
        try:
            yield place.guest.name
        finally:
            place.site.start()

    return do


def _on(find: Callable[[Site], Guest], words: str, do: Break) -> Break:
    """On the host that is found when it begins."""

    @contextmanager
    def there(place: Place) -> Iterator[str]:
        guest = find(place.site)
        with do(replace(place, guest=guest)) as hit:
            yield f"{guest.name}, which {words}: {hit}"

    return there


def of_leader(do: Break) -> Break:
    """On the host that leads the database."""
    return _on(lambda site: site.database, "led", do)


def of_holder(do: Break) -> Break:
    """On the host that has the address that moves."""
    return _on(lambda site: site.holder, "had the address", do)


def everywhere(do: Break) -> Break:
    """On each host of the site at once."""

    @contextmanager
    def there(place: Place) -> Iterator[str]:
        with ExitStack() as undone:
            hits = [undone.enter_context(do(replace(place, guest=guest))) for guest in place.site.guests]
            yield ", ".join(hits)

    return there


def and_elsewhere(do: Break, other: Break) -> Break:
    """Two at once, on different hosts; the second is over at once."""

    @contextmanager
    def there(place: Place) -> Iterator[str]:
        elsewhere = [guest for guest in place.site.guests if guest is not place.guest]
        with (
            other(replace(place, guest=place.chance.choice(elsewhere))) as second,
            do(place) as first,
        ):
            yield f"{first}; {second}"

    return there


def part(toward: bool, back: bool) -> Break:
    """From the other hosts of the site alone: clients on this machine still reach it."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        with place.guest.cut_cable(100 * toward, 100 * back, among_guests=True):
            ways = [word for word, is_cut in (("to", toward), ("from", back)) if is_cut]
            yield f"no frame of other hosts {' or '.join(ways)} {place.guest.name}"

    return do


@contextmanager
def switch_over(place: Place) -> Iterator[str]:
    """Another host is to lead, as `playbooks/switchover.yml` asks for it."""
    led = place.site.database
    to = place.chance.choice([guest for guest in place.site.of(DATABASES) if guest is not led])
    led.run(
        f"patronictl -c /etc/patroni/*-main.yml switchover --force --leader {led.name} --candidate {to.name}"
    )
    yield f"from {led.name} to {to.name}"
