"""The releases on a host: which one runs, which ones worked, and the way back. For `face-release`, as root.

The role `app` copies this file to each host of the application, where the system's own Python runs it: the
way back must be open where no release can be started. So: standard library alone, Python 3.10.

A release is a directory of its own, and a link says which one runs. What the roles write beside it for the
release (its settings, its units) is kept in the release's directory when the next one comes, and goes back
with it. The schema of the database stays: `face-pipeline migrate --show` names the releases it works with.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

USAGE = """\
face-release list [--json]   the releases of this host, and which one runs
face-release before          the release that runs, if it was found good: the way back from what comes next
face-release good            note that the release that runs was checked, and keep its settings and units
face-release compare ID      the packages that the release ID would change
face-release back [ID]       go back to the release ID, or to the last one that worked; all services restart
face-release prune N         remove old releases; N stay, with the one that runs and the last that worked
"""
WRONG_USE = 2
# In a release's directory: it is installed whole; it was checked while it ran; what was kept of the host.
COMPLETE, GOOD, KEPT = ".complete", ".good", "host"
MIGRATIONS = "app/face_pipeline/store/migrations/versions"
READY_SECONDS = 120.0
# A release that did not become whole for so long is left over.
UNFINISHED_SECONDS = 86400.0


class Refused(Exception):
    """Nothing was changed; `status` is the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class NotReady(Exception):
    """The release was switched to, and does not work."""


@dataclass(frozen=True)
class Host:
    """Where this host has its releases.

    current: the link to the one that runs. root: what the paths of files are below. files: patterns of what
    the roles write for a release. web: the web service's socket, as a path. services: units that restart with
    a release where they run or have failed, but for web and workers. workers: the program face-workers.
    """

    releases: Path
    current: Path
    root: Path
    files: tuple[str, ...]
    web: Path
    services: tuple[str, ...]
    workers: Path
    lock: Path


@dataclass(frozen=True)
class Release:
    """`since`: when it was installed; `good`: when it last passed a check, seconds since 1970, None: never.

    `schema`: the newest revision of the database that it knows, None: it does not say.
    """

    path: Path
    running: bool
    since: float
    good: float | None
    schema: str | None

    @property
    def name(self) -> str:
        return self.path.name

    def as_dict(self) -> dict[str, object]:
        return {
            "id": self.name, "running": self.running, "installed_at": moment(self.since),
            "good_at": None if self.good is None else moment(self.good), "schema": self.schema,
            "kept": (self.path / KEPT).is_dir(),
        }  # fmt: skip


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def say(line: str) -> None:
    # At once: what systemctl says comes after it.
    print(line, flush=True)


def listed(host: Host) -> list[Release]:
    """Those that are installed whole, the newest first."""
    running = running_path(host)
    found = []
    for path in host.releases.iterdir() if host.releases.is_dir() else ():
        if not path.is_symlink() and (path / COMPLETE).is_file():
            good = path / GOOD
            revisions = sorted(file.name[:4] for file in (path / MIGRATIONS).glob("[0-9]*.py"))
            found.append(
                Release(
                    path,
                    path.resolve() == running,
                    (path / COMPLETE).stat().st_mtime,
                    good.stat().st_mtime if good.is_file() else None,
                    revisions[-1] if revisions else None,
                )
            )
    return sorted(found, key=lambda release: (release.since, release.name), reverse=True)


def running_path(host: Host) -> Path | None:
    return host.current.resolve() if host.current.exists() else None


def running(host: Host) -> Release:
    found = [release for release in listed(host) if release.running]
    if not found:
        raise Refused(f"no release runs here: {host.current} leads to none; run ./face-ansible site.yml")
    return found[0]


def named(host: Host, name: str) -> Release:
    """The release of this name; a host with a card has the same one under a name with its CUDA behind."""
    releases = listed(host)
    for release in releases:
        if release.name == name or re.fullmatch(re.escape(name) + r"-cuda[0-9]+", release.name):
            return release
    there = ", ".join(release.name for release in releases) or "none"
    raise Refused(f"there is no release {name} on this host; there are: {there}", WRONG_USE)


def last_good(host: Host) -> Release:
    """The one that was good last, but for the one that runs."""
    good = [release for release in listed(host) if release.good is not None and not release.running]
    if not good:
        raise Refused("no other release was ever found good here; name one: face-release list")
    return max(good, key=lambda release: release.good or 0.0)


# What the roles write for a release


def files_of(host: Host) -> list[Path]:
    """What lies on this host now, as paths below `root`."""
    found = {path for pattern in host.files for path in host.root.glob(pattern.lstrip("/")) if path.is_file()}
    return sorted(path.relative_to(host.root) for path in found)


def same(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file()):
        return False
    first, second = one.stat(), other.stat()
    owned = [(each.st_mode, each.st_uid, each.st_gid) for each in (first, second)]
    return owned[0] == owned[1] and one.read_bytes() == other.read_bytes()


def copy(source: Path, target: Path) -> None:
    """With its mode and owner; a reader sees the old text or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    stat = source.stat()
    new.touch(mode=0o600)
    new.write_bytes(source.read_bytes())
    os.chown(new, stat.st_uid, stat.st_gid)
    new.chmod(stat.st_mode & 0o7777)
    new.replace(target)


def keep_files(host: Host, release: Release) -> None:
    """What the roles wrote for the release, in its directory."""
    whole, new, wanted = release.path / KEPT, release.path / f"{KEPT}.new", files_of(host)
    there = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    if there == wanted and all(same(host.root / path, whole / path) for path in wanted):
        return
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    for path in wanted:
        copy(host.root / path, new / path)
    shutil.rmtree(whole, ignore_errors=True)
    new.rename(whole)


def put_back(host: Host, release: Release) -> bool:
    """The files that were kept with the release; says whether any was another one."""
    kept = release.path / KEPT
    wanted = {path.relative_to(kept) for path in kept.rglob("*") if path.is_file()}
    surplus = [path for path in files_of(host) if path not in wanted]
    other = [path for path in sorted(wanted) if not same(kept / path, host.root / path)]
    for path in other:
        copy(kept / path, host.root / path)
    for path in surplus:
        # A unit that the release did not have: systemd starts no unit again whose file is gone.
        if path.name in host.services and is_wanted(path.name):
            systemctl("stop", path.name)
        (host.root / path).unlink()
    return bool(other or surplus)


# The services


def systemctl(*arguments: str) -> None:
    """Raises NotReady where systemctl fails, which says why by itself."""
    if subprocess.run(["systemctl", *arguments], check=False).returncode:  # noqa: S603, S607
        raise NotReady(f"systemctl {' '.join(arguments)} failed")


def state(unit: str) -> str:
    """As systemctl says it; activating is also one that ended, and that systemd will soon start again."""
    command = ["systemctl", "is-active", unit]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()  # noqa: S603


def is_wanted(unit: str) -> bool:
    """Not one that never ran here, or that somebody stopped."""
    return state(unit) not in {"inactive", "unknown", ""}


def restart_unit(unit: str) -> None:
    """Also one that systemd has given up, or is about to: another release or other settings did not start."""
    if state(unit) in {"failed", "activating", "deactivating"}:
        systemctl("reset-failed", unit)
    systemctl("restart", unit)


class OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def is_ready(host: Host) -> bool:
    connection = OverSocket(host.web)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def restart(host: Host) -> None:
    """The web behind its socket, which stays open; the workers half at a time; then what is left."""
    systemctl("daemon-reload")
    # Those that never ran here, and those that somebody stopped, stay so.
    services = [unit for unit in host.services if is_wanted(unit)]
    socket_state = state("face-web.socket")
    if socket_state == "failed":
        restart_unit("face-web.socket")
    if socket_state in {"failed", "active"}:
        restart_unit("face-web.service")
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(host):
            if time.monotonic() > deadline:
                raise NotReady("the web service does not get ready: journalctl -u face-web")
            time.sleep(0.5)
    if host.workers.exists() and subprocess.run([str(host.workers), "restart"], check=False).returncode:  # noqa: S603
        raise NotReady("the workers did not all start: journalctl -u 'celery@*'")
    for unit in services:
        restart_unit(unit)


# The commands


def show(host: Host, words: Sequence[str]) -> None:
    releases = listed(host)
    if "--json" in words:
        print(json.dumps([release.as_dict() for release in releases], indent=2))
        return
    for release in releases:
        good = "not known to work" if release.good is None else f"good {moment(release.good)}"
        runs = "runs" if release.running else ""
        print(f"{release.name:20}  installed {moment(release.since)}  {good:25}  {runs}".rstrip())


def before(host: Host, _: Sequence[str]) -> None:
    if running_path(host) is not None and (release := running(host)).good is not None:
        say(release.name)


def good(host: Host, _: Sequence[str]) -> None:
    release = running(host)
    keep_files(host, release)
    (release.path / GOOD).touch()


def pins(release: Release) -> dict[str, str]:
    lock = release.path / "venv" / ".lock"
    if not lock.is_file():
        return {}
    return dict(re.findall(r"^([a-z0-9][^ =\[]*)(?:\[[^]]*\])?==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


def compare(host: Host, words: Sequence[str]) -> None:
    to = named(host, *words[:1] or [""])
    if running_path(host) is None:
        say(f"release: {to.name}, the first")
        return
    now = running(host)
    if now.name == to.name:
        say(f"release: {to.name} runs")
        return
    say(f"release: {now.name} -> {to.name}")
    old, new = pins(now), pins(to)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            say(f"package: {name} {old.get(name, 'none')} -> {new.get(name, 'none')}")


def back(host: Host, words: Sequence[str]) -> None:
    """Prints nothing where everything is as it was with that release."""
    target = named(host, words[0]) if words else last_good(host)
    left = running(host)
    if not (target.path / KEPT).is_dir():
        raise Refused(
            f"{target.name} never passed a check on this host, so its settings and units were not kept"
        )
    if not target.running and left.good is not None:
        keep_files(host, left)
    changed = put_back(host, target)
    if not target.running:
        new = host.current.with_name(f".{host.current.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(target.path)
        new.replace(host.current)
        # Whoever goes back again does not come to the one that was left.
        (left.path / GOOD).unlink(missing_ok=True)
        changed = True
    if changed:
        say(f"back: {left.name} -> {target.name}")
        restart(host)


def prune(host: Host, words: Sequence[str]) -> None:
    if not words or not re.fullmatch(r"[1-9][0-9]*", words[0]):
        raise Refused("how many releases stay? face-release prune N, at least 1", WRONG_USE)
    releases = listed(host)
    stay = {release.name for release in releases if release.running}
    with contextlib.suppress(Refused):
        stay.add(last_good(host).name)
    for release in releases:
        if len(stay) < int(words[0]):
            stay.add(release.name)
    whole = {release.name for release in releases}
    for path in sorted(host.releases.iterdir()):
        # Somebody may be installing one that is not whole yet.
        is_left_over = time.time() - path.stat().st_mtime > UNFINISHED_SECONDS
        if path.name not in stay and (path.name in whole or is_left_over):
            shutil.rmtree(path)
            say(f"removed: {path.name}")


COMMANDS: dict[str, Callable[[Host, Sequence[str]], None]] = {
    "list": show,
    "before": before,
    "good": good,
    "compare": compare,
    "back": back,
    "prune": prune,
}


@contextlib.contextmanager
def alone(host: Host) -> Iterator[None]:
    """One change at a time."""
    with host.lock.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def parse(arguments: Sequence[str]) -> tuple[Host, list[str]]:
    """The host that the options of face-release describe, and the words of whoever called it."""
    parser = argparse.ArgumentParser(prog="face-release", allow_abbrev=False)
    for option in ("--releases", "--current", "--web", "--workers"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--lock", type=Path, default=Path("/run/face-release.lock"))
    for option in ("--files", "--services"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("words", nargs="*")
    given = vars(parser.parse_args(arguments))
    words: list[str] = given.pop("words")
    return Host(**{**given, "files": tuple(given["files"]), "services": tuple(given["services"])}), words


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
        print(f"face-release: {error}", file=sys.stderr)
        return error.status
    except NotReady as error:
        print(f"face-release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
