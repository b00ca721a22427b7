"""The faults: where each happens, what it does, and which alerts it may or has to raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.campaign.breaks import (
    FAKE_TIME,
    Break,
    Process,
    and_elsewhere,
    backend,
    child_of,
    cut,
    cut_power,
    empty,
    everywhere,
    fill,
    freeze,
    kill,
    kill_run,
    main_of,
    of_holder,
    of_leader,
    part,
    postmaster,
    restart,
    shift_clock,
    spoil_model,
    spoil_original,
    stop,
    stutter,
    switch_over,
    thin_line,
)  # fmt: skip  # isort: skip
from tests.campaign.hosts import DATABASES, ORIGINALS
from tests.campaign.operators import deploy_broken, install_twice

# Such a rate of losses in each direction, in percent.
LOSSY = 20
# By so many seconds is a clock wrong.
SHIFT = 300

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


@dataclass(frozen=True)
class Fault:
    """`group`: of the inventory, on one host of which it happens. `seconds`: how long, from and to.

    `users`: what they may notice; the judge holds the rest. `machine`: where the host is a guest of it alone.
    `needs`: where this condition of the shell holds on the host.
    """

    group: str
    do: Break
    users: str
    seconds: tuple[float, float] = (0.0, 0.0)
    may: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    machine: bool = False
    needs: str = "true"


FROZEN = (1.0, 25.0)
CUT_SECONDS = (2.0, 15.0)
DISK_SECONDS = (10.0, 25.0)
CLOCK_SECONDS = (10.0, 20.0)
# Long enough that another host leads.
PARTED = (30.0, 65.0)
# Longer than the alert's own wait, and a scrape and an evaluation before it.
STOPPED = (130.0, 150.0)

POSTGRES, WORKERS = "postgresql@* patroni@*", "celery@*"
REDIS, SCRATCH = "redis-server.service", "redis-server@scratch.service"

# Of several hosts: which of them lead, have the address, and have the others' photos.
OF_SITE = (
    "DatabaseWithoutLeader", "DatabaseMemberAway", "PostgreSQLReplicationLag", "VirtualAddressNowhere",
    "VirtualAddressTwice", "VirtualAddressHostUnable", "OriginalsCopiesAway", "OriginalsCopiesMissing",
)  # fmt: skip
OF_WORKERS = ("CeleryWorkerDown", "CeleryNoWorkers", "HighCeleryQueueLength")
OF_DATA = (
    *OF_WORKERS, *OF_SITE, "PostgreSQLDown", "RedisDown", "PublicUrlDown", "AuditNotSealed", "WebHookFails",
)  # fmt: skip
OF_MONITORING = (
    "AlertmanagerDown", "PrometheusNotificationsFail", "AlertmanagerNotificationsFail",
    "PrometheusRuleFailures", "PrometheusDown", "AlertmanagersApart",
)  # fmt: skip
OF_NGINX = ("PublicUrlDown", "VirtualAddressHostUnable")
OF_COPIES = ("OriginalsCopiesAway", "OriginalsCopiesMissing")

OF_A_HOST = (*OF_DATA, *OF_MONITORING, *OF_COPIES, "HostDown")

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
    "postmaster": Target(DATABASES, postmaster, UNAVAILABLE, OF_DATA),
    "postgres backend": Target(DATABASES, backend, UNAVAILABLE, OF_DATA),
    "nginx": Target("proxy", main_of("nginx.service"), "connections are refused", OF_NGINX),
    "nginx worker": Target("proxy", child_of("nginx.service"), "its connections end", OF_NGINX),
    "hooks": Target("web", main_of("face-hooks.service"), "web hooks come later", ("WebHookFails",)),
    "copies": Target("copies", main_of("face-copies.service"), NOTHING, OF_COPIES),
    "reconciler": Target("web", main_of("face-reconciler.service"), NOTHING, ("AuditNotSealed",)),
    "flower": Target("web", main_of("face-flower.service"), "Flower's page is away"),
    "prometheus": Target("monitoring", main_of("prometheus.service"), CHARTS, OF_MONITORING),
    "alertmanager": Target(
        "monitoring", main_of("prometheus-alertmanager.service"), NOTHING, OF_MONITORING
    ),
    "node exporter": _exporter("all", "node", "HostDown"),
    "redis exporter": _exporter("redis", "redis", "RedisDown"),
    "postgres exporter": _exporter(DATABASES, "postgres", "PostgreSQLDown"),
    "nginx exporter": _exporter("proxy", "nginx"),
    "blackbox exporter": _exporter("monitoring", "blackbox", "PublicUrlDown"),
}  # fmt: skip


def _cut(toward: int, back: int, users: str) -> Fault:
    return Fault("proxy", cut(toward, back), users, CUT_SECONDS, OF_DATA, machine=True)


def _power(silently: bool) -> Fault:
    return Fault("all", cut_power(silently), "no answer until it has booted", may=OF_A_HOST, machine=True)


# Directories with data: whose, and where. What fills one or slows it down needs a disk of its own there.
DISKS = {
    "originals": ("web", ORIGINALS),
    "postgres": (DATABASES, "/var/lib/postgresql"),
    "redis": ("redis", "/var/lib/redis"),
    "prometheus": ("monitoring", "/var/lib/prometheus"),
}


def _disk(name: str, do: Callable[[str], Break], users: str) -> Fault:
    group, directory = DISKS[name]
    may = (*OF_DATA, *OF_MONITORING, "RedisNotPersisting")
    return Fault(group, do(directory), users, DISK_SECONDS, may, needs=f"mountpoint -q {directory}")


def _clock(group: str, unit: str, seconds: int) -> Fault:
    may = (*OF_NGINX, *OF_WORKERS)
    return Fault(group, shift_clock(unit, seconds), LATER, CLOCK_SECONDS, may, needs=f"ls {FAKE_TIME}")


def _of_site(
    group: str, do: Break, users: str, seconds: tuple[float, float] = (0.0, 0.0), machine: bool = False
) -> Fault:
    return Fault(group, do, users, seconds, OF_A_HOST, machine=machine)


SECONDS = "5xx with `Retry-After` for some seconds"
# Where hosts choose by themselves who leads and who has the address.
SITE: Mapping[str, Fault] = {
    "etcd killed": _of_site("etcd", kill(main_of("etcd.service")), NOTHING),
    "etcd frozen": _of_site("etcd", freeze(main_of("etcd.service")), NOTHING, FROZEN),
    "etcd stopped": _of_site("etcd", stop("etcd.service"), NOTHING, CUT_SECONDS),
    "patroni killed": _of_site(DATABASES, kill(main_of("patroni@*")), SECONDS),
    "patroni frozen": _of_site(DATABASES, freeze(main_of("patroni@*")), UNAVAILABLE, FROZEN),
    "leader's patroni frozen": _of_site(
        DATABASES, of_leader(freeze(main_of("patroni@*"))), UNAVAILABLE, (20.0, 35.0)
    ),
    "leader's postmaster killed": _of_site(DATABASES, of_leader(kill(postmaster)), SECONDS),
    "keepalived killed": _of_site("keepalived", kill(main_of("face-keepalived.service")), NOTHING),
    "holder's keepalived stopped": _of_site(
        "keepalived", of_holder(stop("face-keepalived.service")), SECONDS, CUT_SECONDS
    ),
    "holder's redis killed": _of_site("keepalived", of_holder(kill(main_of(REDIS))), SEARCHES),
    "another leads on request": _of_site(DATABASES, switch_over, SECONDS),
    "a host parted": _of_site("etcd", part(True, True), SECONDS, PARTED, machine=True),
    "leader parted": _of_site("etcd", of_leader(part(True, True)), UNAVAILABLE, PARTED, machine=True),
    "leader parted one way": _of_site(
        "etcd", of_leader(part(True, False)), UNAVAILABLE, PARTED, machine=True
    ),
    "leader parted the other way": _of_site(
        "etcd", of_leader(part(False, True)), UNAVAILABLE, PARTED, machine=True
    ),
    "holder parted": _of_site("etcd", of_holder(part(True, True)), SECONDS, PARTED, machine=True),
    "holder cut off": _of_site("etcd", of_holder(cut(100, 100)), SECONDS, PARTED, machine=True),
    "leader lost": _of_site("etcd", of_leader(cut_power(silently=True)), UNAVAILABLE, PARTED, machine=True),
    "holder lost": _of_site("etcd", of_holder(cut_power(silently=True)), SECONDS, PARTED, machine=True),
    "a host lost, and a postmaster elsewhere": _of_site(
        "etcd", and_elsewhere(cut_power(silently=True), kill(postmaster)), UNAVAILABLE, PARTED, machine=True
    ),
    "a host lost, and a Redis elsewhere": _of_site(
        "etcd", and_elsewhere(cut_power(silently=True), kill(main_of(REDIS))), SECONDS, PARTED, machine=True
    ),
    "all hosts lose their power": _of_site(
        "etcd", everywhere(cut_power()), "no answer until they have booted", machine=True
    ),
}

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
        "postgres": Fault(DATABASES, restart(POSTGRES), UNAVAILABLE, may=OF_DATA),
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
        "postgres": Fault(DATABASES, stop(POSTGRES), UNAVAILABLE, STOPPED, OF_DATA, ("PostgreSQLDown",)),
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
        "of workers": Fault(
            "workers", cut(100, 100), "answers that come later", CUT_SECONDS,
            (*OF_WORKERS, *OF_COPIES, "HostDown"), machine=True, needs="! systemctl cat face-web.service",
        ),
    },
    "full": {
        "originals": _disk("originals", fill, "uploads are answered 507 until there is room"),
        "postgres": _disk("postgres", fill, "507 until there is room"),
        "redis": _disk("redis", fill, SEARCHES),
        "prometheus": _disk("prometheus", fill, CHARTS),
    },
    "slow": {name: _disk(name, stutter, "late answers") for name in DISKS} | {
        "network": Fault("proxy", thin_line, "late answers", CUT_SECONDS, OF_DATA, machine=True),
    },
    "clock": {
        "web ahead": _clock("web", "face-web.service", SHIFT),
        "web behind": _clock("web", "face-web.service", -SHIFT),
        "workers ahead": _clock("workers", WORKERS, SHIFT),
        "workers behind": _clock("workers", WORKERS, -SHIFT),
    },
    "release": {
        name: Fault("web", deploy_broken(f"{name}/__init__.py"), NOTHING, may=OF_WORKERS)
        for name in ("web", "worker")
    },
    "install": {"twice": Fault("web", install_twice, NOTHING, may=(*OF_DATA, *OF_MONITORING))},
    "power": {
        "host": _power(silently=False),
        "host, silently": _power(silently=True),
    },
    "site": SITE,
}  # fmt: skip
