"""The workers of a host: which celery@N run, and how many are to run. `face-workers` calls it, as root.

The role `worker` copies this file to each worker host, where the system's own Python runs it: it must work
while a release is replaced, and where none can be started. So: standard library alone, Python 3.10.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

USAGE = """\
face-workers converge N [M] N workers if the installation's number changed since; M, which were measured to
                            suit this host, in their place, unless a person gave another; then as apply
face-workers scale N        N workers, remembered, and the autoscaler paused; then as apply
face-workers autoscale      as many as the autoscaler wants, unless it is paused; then as apply
face-workers resume         let the autoscaler go on
face-workers apply          run celery@1 .. celery@N as remembered, drain the others
face-workers restart [UNIT ...]  restart those that run, but the named, at most half at a time, each awaited
face-workers stop | start   stop all, drained, and the autoscaler paused; start those remembered
"""
WRONG_USE = 2
UNITS = "celery@*.service"
RUNNING = "active,activating,reloading"
FAILED = "failed"


class Refused(Exception):
    """Nothing was changed; `status` is the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class NotStarted(Exception):
    """systemd could not do something with workers, and has said why."""


@dataclass(frozen=True)
class Host:
    """Where this host keeps what concerns its workers, and how Prometheus knows them.

    memory: how many are to run. targets: what Prometheus is to ask, in its file_sd format. wanted: the
    autoscaler's number. most: workers this host may run. Worker N's metrics are at `address`, port
    `port_base` + N.
    """

    memory: Path
    targets: Path
    wanted: Path
    lock: Path
    systemd: Path
    name: str
    address: str
    port_base: int
    most: int


@dataclass(frozen=True)
class Memory:
    """workers: how many are to run; installed: what the installation asked for when it last changed its mind.

    paused: a person gave the number, so the autoscaler leaves it. measured: the number that suits this host,
    taken in the place of the installed one; None: there was none.
    """

    workers: int
    installed: int
    paused: bool = False
    measured: int | None = None


def remembered(host: Host) -> Memory | None:
    """None where nothing was remembered yet, or nothing that can be read."""
    try:
        found = json.loads(host.memory.read_text(encoding="utf-8"))
        measured = found.get("measured")
        return Memory(
            int(found["workers"]),
            int(found["installed"]),
            found.get("paused") is True,
            None if measured is None else int(measured),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def known(host: Host) -> Memory:
    """As `remembered`; raises Refused where it is None."""
    if (memory := remembered(host)) is None:
        raise Refused(f"{host.memory} does not say how many workers are to run: run ./face-ansible site.yml")
    return memory


def remember(host: Host, memory: Memory) -> None:
    """A later scaling stays until the installation itself asks for another number."""
    before = remembered(host)
    write(host.memory, json.dumps(asdict(memory)) + "\n")
    if before is None or before.workers != memory.workers:
        say(f"workers: {memory.workers}")


def write(path: Path, text: str) -> None:
    """A reader sees the old text or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def say(line: str) -> None:
    # At once: what systemctl says comes after it.
    print(line, flush=True)


# systemd


def systemctl(*arguments: str) -> None:
    """Raises NotStarted where systemctl fails, which says why by itself."""
    if subprocess.run(["systemctl", *arguments], check=False).returncode:  # noqa: S603, S607
        raise NotStarted


def listed(states: str) -> list[str]:
    """Workers in one of these states."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", f"--state={states}", UNITS]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NotStarted
    return in_order(line.split()[0] for line in done.stdout.splitlines() if line.strip())


def enabled(host: Host) -> list[str]:
    """Workers that start with the host."""
    return in_order({link.name for link in host.systemd.glob("*.wants/celery@?*.service")})


def in_order(units: Iterable[str]) -> list[str]:
    return sorted(units, key=lambda unit: (number_of(unit), unit))


def number_of(unit: str) -> int:
    found = re.fullmatch(r"celery@([0-9]+)\.service", unit)
    return int(found[1]) if found else sys.maxsize


def begin(verb: str, units: Sequence[str]) -> None:
    """Start or restart all of them side by side; of those that did not start, the last lines are told."""
    try:
        # systemd starts none again that failed too often, nor one that it is about to give up; what made them
        # fail may be gone.
        if given_up := [unit for unit in listed(f"{FAILED},activating") if unit in units]:
            systemctl("reset-failed", *given_up)
        systemctl(verb, *units)
    except NotStarted:
        for unit in units:
            active = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False)  # noqa: S603, S607
            if active.returncode:
                journal = ["journalctl", f"_SYSTEMD_UNIT={unit}", "--lines", "3", "--output", "cat"]
                with contextlib.suppress(OSError):
                    subprocess.run(  # noqa: S603
                        journal, stdout=sys.stderr.fileno(), stderr=subprocess.DEVNULL, check=False
                    )
        raise


# What the commands have in common


def publish(host: Host, units: Sequence[str]) -> None:
    """Tell Prometheus which workers to ask; nothing where none is told of this host."""
    if not host.targets.parent.is_dir():
        return
    groups = []
    for number in map(number_of, units):
        port = host.port_base + number
        labels = {"host": host.name, "instance": f"{host.name}:{port}", "worker": str(number)}
        groups.append({"targets": [f"{host.address}:{port}"], "labels": labels})
    text = "[" + ",\n".join(json.dumps(group) for group in groups) + "]\n"
    if not host.targets.exists() or host.targets.read_text(encoding="utf-8") != text:
        write(host.targets, text)


def apply(host: Host) -> None:
    """Run celery@1 to celery@N as remembered, and drain the others."""
    want = [f"celery@{number}.service" for number in range(1, known(host).workers + 1)]
    up, kept = listed(RUNNING), enabled(host)
    lacking = [unit for unit in want if unit not in up or unit not in kept]
    surplus = [unit for unit in in_order({*up, *kept}) if unit not in want]
    if lacking:
        say(f"started: {' '.join(lacking)}")
        systemctl("enable", "--quiet", *lacking)
        begin("start", lacking)
    publish(host, want)
    if surplus:
        systemctl("disable", "--now", "--quiet", *surplus)
        say(f"drained: {len(surplus)}")
    # What was drained has no state any more.
    if failed := [unit for unit in listed(FAILED) if unit not in want]:
        systemctl("reset-failed", *failed)


def number(host: Host, text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise Refused(f"'{text}' is not a number of workers", WRONG_USE)
    if int(text) > host.most:
        raise Refused(f"{text} is more than {host.most} (face_workers_max)", WRONG_USE)
    return int(text)


# The commands


def converge(host: Host, words: Sequence[str]) -> None:
    wanted = number(host, words[0] if words else "")
    measured = number(host, words[1]) if len(words) > 1 else None
    memory = remembered(host)
    if (
        memory is None
        or memory.installed != wanted
        # What a person gave stays, whatever was measured.
        or (memory.measured != measured and not memory.paused)
    ):
        workers = wanted if measured is None else measured
        remember(host, Memory(workers, wanted, memory.paused if memory else False, measured))
    apply(host)


def scale(host: Host, words: Sequence[str]) -> None:
    wanted = number(host, words[0] if words else "")
    memory = remembered(host)
    remember(host, replace(memory or Memory(wanted, wanted), workers=wanted, paused=True))
    apply(host)


def autoscale(host: Host, _: Sequence[str]) -> None:
    memory = known(host)
    if memory.paused:
        return
    try:
        text = host.wanted.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise Refused(f"{host.wanted}: {error.strerror}", WRONG_USE) from error
    remember(host, replace(memory, workers=number(host, text)))
    apply(host)


def resume(host: Host, _: Sequence[str]) -> None:
    memory = known(host)
    if memory.paused:
        remember(host, replace(memory, paused=False))
        say("resumed")


def restart(host: Host, left_out: Sequence[str]) -> None:
    """At most half at a time, so that the others go on. Those that systemd gave up start again, too."""
    given_up = {*listed(FAILED)} & {*enabled(host)}
    old = [unit for unit in in_order({*listed(RUNNING), *given_up}) if unit not in left_out]
    if not old:
        return
    half = (len(old) + 1) // 2
    for units in (old[:half], old[half:]):
        if units:
            begin("restart", units)
    say(f"restarted: {' '.join(old)}")


def stop(host: Host, _: Sequence[str]) -> None:
    remember(host, replace(known(host), paused=True))
    if up := listed(RUNNING):
        publish(host, [])
        systemctl("stop", *up)
        say("stopped")


COMMANDS: dict[str, Callable[[Host, Sequence[str]], None]] = {
    "converge": converge,
    "scale": scale,
    "autoscale": autoscale,
    "resume": resume,
    "apply": lambda host, _: apply(host),
    "restart": restart,
    "stop": stop,
    "start": lambda host, _: apply(host),
}


@contextlib.contextmanager
def alone(host: Host) -> Iterator[None]:
    """One change at a time: a scaling waits for the drain before it."""
    with host.lock.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def parse(arguments: Sequence[str]) -> tuple[Host, list[str]]:
    """The host that the options of face-workers describe, and the words of whoever called it."""
    parser = argparse.ArgumentParser(prog="face-workers", allow_abbrev=False)
    for option in ("--memory", "--targets"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--wanted", type=Path, default=Path("/run/face-autoscaler/wanted"))
    parser.add_argument("--lock", type=Path, default=Path("/run/face-workers.lock"))
    parser.add_argument("--systemd", type=Path, default=Path("/etc/systemd/system"))
    for option, kind in (("--name", str), ("--address", str), ("--port-base", int), ("--most", int)):
        parser.add_argument(option, type=kind, required=True)
    parser.add_argument("words", nargs="*")
    given = vars(parser.parse_args(arguments))
    words: list[str] = given.pop("words")
    return Host(**given), words


def main(arguments: Sequence[str]) -> int:
    host, words = parse(arguments)
    command = COMMANDS.get(words[0]) if words else None
    if command is None:
        print(USAGE, end="", file=sys.stderr)
        return WRONG_USE
    try:
        with alone(host):
            command(host, words[1:])
    except Refused as error:
        print(f"face-workers: {error}", file=sys.stderr)
        return error.status
    except NotStarted:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
