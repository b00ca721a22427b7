"""uninstall.py look|do: removes what the installation brought to this host; standard input says what, as JSON

    look    says what would be done, a line each, and changes nothing
    do      does it, and says what it did

Exit status 3: something is odd, and nothing was changed. Whatever it does can be done again: a run that broke
off is finished by the next. Standard library only.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ODD = 3
APT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C"}
LOCK = "-oDPkg::Lock::Timeout=120"
DPKG_INFO = Path("/var/lib/dpkg/info")
# They end what they hold.
STOP_SECONDS = 600


def said(*command: str) -> str:
    """Standard output, whatever the exit status; empty where there is no such program."""
    try:
        return subprocess.run(command, capture_output=True, text=True, env=APT, check=False).stdout
    except OSError:
        return ""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=APT, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise SystemExit(f"{' '.join(command)} failed: {words}")


def matches(patterns: Iterable[str]) -> list[str]:
    """What is there, also links that lead nowhere."""
    found = {path for pattern in patterns for path in glob.glob(pattern, include_hidden=True)}  # noqa: PTH207
    return sorted(found)


class Host:
    """This host: what is to go from it, and what it says of itself."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.wanted = wanted
        self.keep = wanted["data"] == "keep"
        try:
            self.before = json.loads(Path(wanted["note"]).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.before = {"known": False}
        self.known = bool(self.before.get("known"))
        # Where nobody knows what was there before, packages stay unless somebody says that they may go.
        self.takes_packages = self.known or wanted["anyway"]
        # Packages of ours that others need, as they were found first.
        self.needed: dict[str, list[str]] | None = None

    # What is odd

    def oddities(self) -> Iterator[str]:
        if self.packages():
            others = [name for name in self.databases() if name not in self.wanted["databases"]]
            if others:
                yield f"PostgreSQL has databases of others: {', '.join(others)}"
            sites = matches(["/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*"])
            sites = [site for site in sites if not re.match(r"face-|default$", Path(site).name)]
            if sites and "nginx" in self.packages():
                yield f"nginx has sites of others: {', '.join(sites)}"
        if not self.keep:
            mounts = [path for path in self.wanted["data_paths"] if os.path.ismount(path)]
            if mounts:
                yield f"data lies on disks of its own, which would be emptied: {', '.join(mounts)}"
            if self.foreign_postgres():
                yield "PostgreSQL was here before, and its data stays; drop the database by `dropdb face`"

    def databases(self) -> list[str]:
        query = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1"
        return said("runuser", "-u", "postgres", "--", "psql", "-XAtqc", query).split()

    # What is there

    def units(self) -> list[str]:
        """Names of ours that systemd knows, those in memory too."""
        told = said("systemctl", "list-units", "--all", "--plain", "--no-legend")
        told += said("systemctl", "list-unit-files", "--plain", "--no-legend")
        names = {line.split()[0] for line in told.splitlines() if line.strip()}
        return sorted(name for name in names if re.match(self.wanted["units"], name))

    def running(self) -> list[str]:
        asked = [name for name in self.units() if "@." not in name]
        if not asked:
            return []
        states = said("systemctl", "show", "--property", "ActiveState", "--value", *asked).split()
        pairs = zip(asked, states, strict=True)
        return [name for name, state in pairs if state not in ("inactive", "failed")]

    def installed(self) -> dict[str, str]:
        """Each package that is there or has left its settings, and its state."""
        told = said("dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n")
        return dict(line.split(" ", 1) for line in told.splitlines() if not line.endswith(" not-installed"))

    def packages(self) -> list[str]:
        """Those that we brought: named by a role, not there before, and needed by nothing else."""
        if not self.takes_packages:
            return []
        before = set(self.before.get("packages", []))
        found = [
            name
            for name, state in self.installed().items()
            if re.fullmatch(self.wanted["packages"], name)
            and name not in before
            and not self.left(name, state)
        ]
        if not self.known:
            basic = self.basic()
            found = [name for name in found if name not in basic]
        if self.needed is None:
            self.needed = self.needs(found)
        return [name for name in found if name not in self.needed]

    @staticmethod
    def basic() -> set[str]:
        """What any Debian may have from its installation, by their priorities."""
        told = said("dpkg-query", "--show", "--showformat", "${Package} ${Priority}\n")
        pairs = (line.split() for line in told.splitlines())
        return {pair[0] for pair in pairs if pair[1:] in (["required"], ["important"], ["standard"])}

    def needs(self, names: list[str]) -> dict[str, list[str]]:
        """Of these, each that cannot go without another one that is not ours, and those."""
        if not self.others(names):
            return {}
        return {name: others for name in names if (others := self.others([name], names))}

    def others(self, names: list[str], ours: list[str] | None = None) -> list[str]:
        """What apt would take with these: what was there before, and what somebody installed since."""
        if not names:
            return []
        told = said("apt-get", "--simulate", "-oAPT::Get::AutomaticRemove=false", "purge", *names)
        gone = {name.partition(":")[0] for name in re.findall(r"^(?:Remv|Purg) (\S+)", told, re.MULTILINE)}
        manual = {name.partition(":")[0] for name in said("apt-mark", "showmanual").split()}
        theirs = manual | (set(self.before["packages"]) if self.known else self.basic())
        return sorted((gone & theirs) - set(ours or names))

    def left(self, name: str, state: str) -> bool:
        """Are settings all that is left of it, and those are kept with the data?"""
        return state == "config-files" and self.keep and name.startswith("postgresql")

    def needless(self) -> list[str]:
        """What nothing needs any more, and came with ours."""
        before = set(self.before.get("packages", []))
        # apt keeps what another one recommends or suggests. Where nobody installed any since, it is ours.
        manual = {name.partition(":")[0] for name in said("apt-mark", "showmanual").split()}
        kinds = () if manual - before else ("Recommends", "Suggests")
        options = [f"-oAPT::AutoRemove::{kind}Important=false" for kind in kinds]
        told = said("apt-get", "--simulate", *options, "autoremove")
        names = re.findall(r"^Remv (\S+)", told, re.MULTILINE)
        return [name.partition(":")[0] for name in names if name.partition(":")[0] not in before]

    def foreign_postgres(self) -> bool:
        return any(name.startswith("postgresql") for name in self.before.get("packages", []))

    def files(self) -> list[str]:
        data = self.wanted["data_paths"]
        # Of a PostgreSQL of others only our own settings go.
        theirs = [path for path in data if "/postgresql/" in path] if self.foreign_postgres() else []
        gone = [] if self.keep else [path for path in data if path not in theirs]
        found = matches(self.wanted["files"] + gone)
        kept = tuple(
            path
            for path in data
            if (self.keep or path in theirs) and not (path in theirs and path.startswith("/etc/"))
        )
        return self.spared(found, kept)

    def note(self) -> list[str]:
        """The last to go: a run that broke off before it knows what was here before, as this one does."""
        return [] if self.keep else matches([self.wanted["note"]])

    def leftovers(self) -> list[str]:
        """What packages of ours leave behind, of those that are gone."""
        if not self.takes_packages:
            return []
        there = self.installed()
        before = set(self.before.get("packages", []))
        gone = [
            each["paths"]
            for each in self.wanted["leftovers"]
            if there.get(each["package"]) != "installed" and each["package"] not in before
        ]
        kept = tuple(self.wanted["data_paths"]) if self.keep else ()
        return self.spared([path for paths in gone for path in matches(paths)], kept)

    def spared(self, found: list[str], kept: tuple[str, ...]) -> list[str]:
        """Neither what is kept, nor backups, nor a directory that holds one of them."""
        stay = (*kept, *self.wanted["backups"])
        return [
            path
            for path in found
            if not any(f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/") for each in stay)
        ]

    def emptied(self) -> list[str]:
        """Directories that only held what was ours; a disk of its own stays where it is mounted."""
        return [
            path
            for path in matches(self.wanted["directories"])
            if Path(path).is_dir() and not os.path.ismount(path) and not any(Path(path).iterdir())
        ]

    def edits(self) -> list[str]:
        return [each["file"] for each in self.wanted["edits"] if self.edited(each) is not None]

    @staticmethod
    def edited(edit: dict[str, str]) -> str | None:
        """The text without our lines; None: there are none."""
        try:
            text = Path(edit["file"]).read_text(encoding="utf-8")
        except OSError:
            return None
        new = re.sub(edit["lines"], "", text, flags=re.MULTILINE)
        return None if new == text else new

    def accounts(self, kind: str) -> list[str]:
        """Users or groups that came with ours: those of data stay with them."""
        names = self.wanted["users"] + ([] if self.keep else self.wanted["data_users"])
        there = {line.partition(":")[0] for line in said("getent", kind).splitlines()}
        before = set(self.before.get({"passwd": "users", "group": "groups"}[kind], []))
        known = self.takes_packages
        return [name for name in names if name in there and name not in before and (known or name == "face")]

    # What is done

    def steps(self) -> Iterator[str]:
        """What is to do, a line each."""
        for what, found in (
            ("stop", self.running()),
            ("take our lines out of", self.edits()),
            ("remove package", self.packages()),
            ("remove", self.files()),
            ("remove user", self.accounts("passwd")),
            ("remove", self.note()),
        ):
            yield from (f"{what} {each}" for each in found)

    def work(self) -> list[str]:
        done = list(self.steps())
        self.stop()
        for edit in self.wanted["edits"]:
            text = self.edited(edit)
            if text is not None:
                # As it is: owner and mode stay.
                Path(edit["file"]).write_text(text, encoding="utf-8")
        self.disable()
        self.remove_packages()
        for path in self.files():
            remove(path)
        for path in self.leftovers():
            remove(path)
            done.append(f"remove {path}")
        for name in self.accounts("passwd"):
            run("userdel", name)
        for name in self.accounts("group"):
            run("groupdel", name)
        for path in self.note():
            remove(path)
        while empty := self.emptied():
            for path in empty:
                Path(path).rmdir()
                done.append(f"remove {path}")
        if done:
            self.settle()
        return done

    def stop(self) -> None:
        """By the order of face.target, which waits for what workers hold; then whatever still runs."""
        if "face.target" in self.running():
            subprocess.run(["systemctl", "stop", "face.target"], timeout=STOP_SECONDS, check=False)
        if running := self.running():
            run("systemctl", "stop", *running)

    def disable(self) -> None:
        files = said("systemctl", "list-unit-files", "--plain", "--no-legend")
        ours = [line.split()[0] for line in files.splitlines() if re.match(self.wanted["units"], line)]
        if ours:
            # Units without an [Install] section make it complain.
            subprocess.run(["systemctl", "disable", "--quiet", *ours], capture_output=True, check=False)

    def remove_packages(self) -> None:
        if not self.takes_packages:
            return
        self.take(self.packages())
        while needless := self.needless():
            self.take(needless)
        # What was somebody else's need before is it again.
        manual = {name.partition(":")[0] for name in said("apt-mark", "showmanual").split()}
        automatic = set(self.before.get("packages", [])) - set(self.before.get("manual", []))
        if self.known and (again := sorted(manual & automatic)):
            run("apt-mark", "auto", *again)

    def take(self, names: list[str]) -> None:
        """A purge of PostgreSQL takes its databases: while they are kept, so are its settings."""
        spared = [name for name in names if self.keep and name.startswith("postgresql")]
        purged = [name for name in names if name not in spared]
        if purged:
            self.purge(purged)
        there = self.installed()
        if spared := [name for name in spared if there.get(name) == "installed"]:
            run("apt-get", "remove", "--yes", "--quiet", LOCK, "-oAPT::Get::AutomaticRemove=false", *spared)

    def purge(self, names: list[str]) -> None:
        command = ["apt-get", "purge", "--yes", "--quiet", LOCK, "-oAPT::Get::AutomaticRemove=false"]
        try:
            run(*command, *names)
        except SystemExit:
            # As that of redis-tools, which removes its directory, and cannot where that is a disk of its own.
            there = self.installed()
            stuck = [name for name in names if there.get(name) == "config-files"]
            if not stuck:
                raise
            for name in stuck:
                (DPKG_INFO / f"{name}.postrm").unlink(missing_ok=True)
            run(*command, *stuck)

    def settle(self) -> None:
        if value := self.before.get("overcommit_memory"):
            # In a container it is not its own.
            subprocess.run(
                ["sysctl", "-qw", f"vm.overcommit_memory={value}"], capture_output=True, check=False
            )
        run("systemctl", "daemon-reload")
        subprocess.run(["systemctl", "reset-failed"], capture_output=True, check=False)
        run("systemctl", "restart", "systemd-journald.service")

    def stays(self) -> Iterator[str]:
        kept = self.wanted["data_paths"] if self.keep else []
        yield from (f"data: {path}" for path in kept if Path(path).exists())
        if self.keep:
            there = {line.partition(":")[0] for line in said("getent", "passwd").splitlines()}
            names = [name for name in self.wanted["data_users"] if name in there]
            if names:
                yield f"users whom data belongs to: {', '.join(names)}"
        for path in self.wanted["backups"]:
            if Path(path).exists():
                yield f"backups: {path}"
        for name, others in (self.needed or {}).items():
            yield f"package {name}, without which there would be no {', '.join(others)}"
        if not self.takes_packages:
            found = [
                name
                for name, state in self.installed().items()
                if state == "installed" and re.fullmatch(self.wanted["packages"], name)
            ]
            if found:
                yield (
                    f"packages that were perhaps there before ({self.wanted['note']} does not say):"
                    f" {', '.join(found)}; -e anyway=true removes them"
                )
        elif self.known:
            before = set(self.before["packages"])
            found = [
                name
                for name in self.installed()
                if name in before and re.fullmatch(self.wanted["packages"], name)
            ]
            if found:
                yield f"packages that were there before: {', '.join(found)}"


def remove(path: str) -> None:
    found = Path(path)
    if found.is_dir() and not found.is_symlink():
        if os.path.ismount(path):
            # The disk stays, and is empty.
            for each in found.iterdir():
                remove(str(each))
            return
        shutil.rmtree(found)
    else:
        found.unlink(missing_ok=True)


def main(action: str) -> None:
    wanted = json.load(sys.stdin)
    host = Host(wanted)
    odd = list(host.oddities())
    if odd and not wanted["anyway"]:
        print("; ".join(odd), file=sys.stderr)
        raise SystemExit(ODD)
    done = host.work() if action == "do" else list(host.steps())
    print(json.dumps({"done": done, "stays": list(host.stays())}))


if __name__ == "__main__":
    main(sys.argv[1])
