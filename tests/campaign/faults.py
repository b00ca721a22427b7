"""The faults: where each happens, what it does and undoes, and which alerts it may or has to raise.

What a fault hits is found out when it begins: a unit of the site's inventory, a process of it, a file.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random

from tests.campaign.hosts import ORIGINALS, CommandFailed, Guest, Site

# With so many faults, what looks at rates and restarts over minutes may notice any of them.
ANY = (
    "SystemdUnitFailed", "SystemdUnitRestarts", "TargetDown", "HighHttpErrorRate", "HighHttpLatency",
    "SlowTaskProcessing", "LongFileProcessingTime", "OldestPhotoWaitsTooLong", "DatabaseConflicts",
)  # fmt: skip
# Of a machine that others use too, and of clients that send all the time and search for nothing twice.
MACHINE = (
    "HighCPUUsage", "HighDiskUsage", "DiskFullIn4Hours", "HighMemoryUsage", "LowCacheHitRate",
    "BackupMissing", "BackupTooOld", "KeyUsedFromNewAddress",
)  # fmt: skip
# Such a rate of losses in each direction, in percent.
LOSSY = 20
# A process that the fault before killed may not be back yet.
FIND_TRIES = 60
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


@dataclass(frozen=True)
class Fault:
    """`group`: of the inventory, on one host of which it happens. `seconds`: how long, from and to.

    `users`: what they may notice; the judge holds the rest. `machine`: where the host is a guest of it alone.
    """

    group: str
    do: Break
    users: str
    seconds: tuple[float, float] = (0.0, 0.0)
    may: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    machine: bool = False


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
        place.guest.run(f"systemctl start {unit}")

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


def restart(unit: str) -> Break:
    @contextmanager
    def do(place: Place) -> Iterator[str]:
        place.guest.run(f"systemctl restart {shlex.quote(unit)}")
        yield unit

    return do


def stop(unit: str) -> Break:
    """As an operator may, and forget it for minutes."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        listed = f"systemctl list-units --plain --no-legend --state=active {shlex.quote(unit)}"
        units = " ".join(place.guest.run(f"{listed} | awk '{{print $1}}'").split())
        try:
            place.guest.run(f"systemctl stop {units}")
            yield units
        finally:
            place.guest.run(f"systemctl start {units}")

    return do


def empty(users: str, option: str = "") -> Break:
    """FLUSHALL, which no user of this Redis may: as root does that, with its file of users."""

    @contextmanager
    def do(place: Place) -> Iterator[str]:
        redis = f"face-redis {option}"
        size = place.guest.run(
            f"set -e; cp -p {users} {users}.campaign\n"
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
        place.guest.run(FLIP.format(path=path))


@contextmanager
def spoil_model(place: Place) -> Iterator[str]:
    """A file of the models, and a worker that is started again: it must not work with it."""
    said = place.guest.run(
        f"{main_of('celery@*')(place)}echo $unit\n"
        f"find /var/lib/face-pipeline/models -type f -size +100k | sort | {_pick(place)}"
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
def cut_power(place: Place) -> Iterator[str]:
    place.guest.cut_power()
    try:
        yield place.guest.name
    finally:
        place.site.start()


FROZEN = (1.0, 25.0)
CUT_SECONDS = (2.0, 15.0)
# Longer than the alert's own wait, and a scrape and an evaluation before it.
STOPPED = (130.0, 150.0)

POSTGRES, WORKERS = "postgresql@*", "celery@*"
REDIS, SCRATCH = "redis-server.service", "redis-server@scratch.service"

OF_WORKERS = ("CeleryWorkerDown", "CeleryNoWorkers", "HighCeleryQueueLength")
OF_DATA = (
    *OF_WORKERS, "PostgreSQLDown", "RedisDown", "PublicUrlDown", "AuditNotSealed", "WebHookFails",
)  # fmt: skip
OF_MONITORING = (
    "AlertmanagerDown", "PrometheusNotificationsFail", "AlertmanagerNotificationsFail",
    "PrometheusRuleFailures",
)  # fmt: skip
OF_NGINX = ("PublicUrlDown",)

NOTHING = "nothing"
LATER = "answers that come later, or 5xx with `Retry-After` for some seconds"
UNAVAILABLE = "503 with `Retry-After` until it is back"
SEARCHES = "searches are answered 503 with `Retry-After`; uploads are taken"
CHARTS = "nothing; the charts have a gap"


@dataclass(frozen=True)
class Target:
    """A process that is killed and frozen."""

    group: str
    process: Process
    users: str
    may: tuple[str, ...] = ()


def _exporter(group: str, name: str, *may: str) -> Target:
    return Target(group, main_of(f"prometheus-{name}-exporter.service"), CHARTS, may)


STAY: Mapping[str, Target] = {
    "gunicorn master": Target("web", main_of("face-web.service"), LATER, OF_NGINX),
    "gunicorn worker": Target("web", child_of("face-web.service"), LATER, OF_NGINX),
    "celery worker": Target("workers", main_of(WORKERS), LATER, OF_WORKERS),
    "redis": Target("redis", main_of(REDIS), SEARCHES, OF_DATA),
    "scratch redis": Target("redis", main_of(SCRATCH), SEARCHES, OF_DATA),
    "postmaster": Target("postgres", main_of(POSTGRES), UNAVAILABLE, OF_DATA),
    "postgres backend": Target("postgres", backend, UNAVAILABLE, OF_DATA),
    "nginx": Target("proxy", main_of("nginx.service"), "connections are refused", OF_NGINX),
    "nginx worker": Target("proxy", child_of("nginx.service"), "its connections end", OF_NGINX),
    "hooks": Target("web", main_of("face-hooks.service"), "web hooks come later", ("WebHookFails",)),
    "reconciler": Target("web", main_of("face-reconciler.service"), NOTHING, ("AuditNotSealed",)),
    "flower": Target("web", main_of("face-flower.service"), "Flower's page is away"),
    "prometheus": Target("monitoring", main_of("prometheus.service"), CHARTS, OF_MONITORING),
    "alertmanager": Target(
        "monitoring", main_of("prometheus-alertmanager.service"), NOTHING, OF_MONITORING
    ),
    "node exporter": _exporter("all", "node", "HostDown"),
    "redis exporter": _exporter("redis", "redis", "RedisDown"),
    "postgres exporter": _exporter("postgres", "postgres", "PostgreSQLDown"),
    "nginx exporter": _exporter("proxy", "nginx"),
    "blackbox exporter": _exporter("monitoring", "blackbox", "PublicUrlDown"),
}  # fmt: skip


def _cut(toward: int, back: int, users: str) -> Fault:
    return Fault("proxy", cut(toward, back), users, CUT_SECONDS, OF_DATA, machine=True)


FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "kill": {
        name: Fault(each.group, kill(each.process), each.users, may=each.may)
        for name, each in STAY.items()
    } | {
        # They are over before anybody would miss them: not to be frozen.
        "clusterer run": Fault("web", kill_run("face-clusterer.service"), NOTHING),
        "indexer run": Fault("web", kill_run("face-indexer.service"), NOTHING),
    },
    "freeze": {
        name: Fault(each.group, freeze(each.process), each.users, FROZEN, each.may)
        for name, each in STAY.items()
    },
    "restart": {
        "postgres": Fault("postgres", restart(POSTGRES), UNAVAILABLE, may=OF_DATA),
        "redis": Fault("redis", restart(REDIS), SEARCHES, may=OF_DATA),
        "scratch redis": Fault("redis", restart(SCRATCH), SEARCHES, may=OF_DATA),
        "web": Fault("web", restart("face-web.service"), NOTHING, may=OF_NGINX),
        "workers": Fault("workers", restart(WORKERS), "searches wait for a worker", may=OF_WORKERS),
    },
    "empty": {
        "redis": Fault("redis", empty("/etc/redis/users.acl"), "photos that waited end later"),
        "scratch redis": Fault(
            "redis", empty("/etc/redis/users-scratch.acl", "--scratch"), "searches under way come later"
        ),
    },
    "stop": {
        "postgres": Fault("postgres", stop(POSTGRES), UNAVAILABLE, STOPPED, OF_DATA, ("PostgreSQLDown",)),
        "redis": Fault("redis", stop(REDIS), SEARCHES, STOPPED, OF_DATA, ("RedisDown",)),
        "nginx": Fault("proxy", stop("nginx.service"), "connections are refused", STOPPED, must=OF_NGINX),
    },
    "spoil": {
        "original": Fault("web", spoil_original, "who looks at it gets other bytes", (5.0, 10.0)),
        "model": Fault(
            "workers", spoil_model, "fewer workers; none works with a damaged model", (5.0, 10.0), OF_WORKERS
        ),
    },
    "network": {
        "both ways": _cut(100, 100, "no answer"),
        "to the host": _cut(100, 0, "no answer"),
        "from the host": _cut(0, 100, "no answer, and what was asked may have been done"),
        "lossy": _cut(LOSSY, LOSSY, "slow answers"),
    },
    "power": {
        "host": Fault(
            "all", cut_power, "no answer until it has booted",
            may=(*OF_DATA, *OF_MONITORING, "HostDown"), machine=True,
        ),
    },
}  # fmt: skip
