"""A restore, step by step, on the host that has the part. Standard input of the system's own Python, as root.

    restore.py plan-database WISH    which backup it would be and whether there is room, as JSON
    restore.py plan-files WISH       the same of the originals
    restore.py close WISH            end PostgreSQL's log with a commit, where it still runs
    restore.py database WISH         put what there is aside, restore, and wait until PostgreSQL is a primary
    restore.py files WISH            bring back originals that are missing or damaged; none goes
    restore.py erasures WISH         the list of what was erased, from the database; of the newest backup too
                                     where that is another one or does not answer
    restore.py way-back WISH         whether something is put aside: "yes" or "no"
    restore.py back WISH             put it back: PostgreSQL is stopped
    restore.py forget WISH           remove what was put aside

WISH is an object of JSON: at, repository (0: the first), timeline, cluster, postgres, state, originals,
in_store, patroni, config, backup, credentials, another_since (as plan-database says it), host (this one) and
hosts (all that save originals). A step that was done before is done again without harm. Exit status 1: what
to do is said.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

STANZA = "face"
# What a database of this size needs beside it, for its log while it is brought to the moment.
SPARE_BYTES = 1 << 30
RECOVERY_LOG_LINES = 12
POLL_SECONDS = 1.0


class Refused(Exception):
    """Said to the operator; nothing more is done."""


class Wish:
    """What is asked for, and where things are."""

    def __init__(self, text: str) -> None:
        given: dict[str, Any] = json.loads(text)
        self.at = moment(given["at"])
        self.repository = int(given["repository"])
        self.timeline = str(given["timeline"])
        self.version = str(given["postgres"])
        self.main = Path(given["cluster"])
        self.before = self.main.with_name(f"{self.main.name}.before")
        self.state = Path(given["state"])
        self.originals = Path(given["originals"])
        # Whose versions are the store's own affair: nothing is brought back.
        self.in_store = bool(given.get("in_store"))
        self.patroni = bool(given.get("patroni"))
        self.host = str(given.get("host", ""))
        self.hosts: list[str] = given.get("hosts", [])
        # What was saved from then on is of a host on which nothing was brought back yet.
        since = int(given.get("another_since") or 0)
        self.another_since = datetime.fromtimestamp(since, timezone.utc) if since else None
        self.way_back = self.originals / ".way-back"
        self.backup = [sys.executable, "-I", "-B", given["backup"], given["config"], "restic"]
        self.environment = {
            **os.environ,
            "CREDENTIALS_DIRECTORY": given["credentials"],
            "STATE_DIRECTORY": "/",
        }

    @property
    def number(self) -> int:
        return self.repository or 1


def moment(text: str) -> datetime | None:
    """`2026-11-25 10:00`, with seconds and a zone or without: then it is UTC. Empty: the end of the log."""
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise Refused(
            f"at is '{text}': write it as \"2026-11-25 10:00\", in UTC, or with its zone as"
            ' "2026-11-25 10:00+01:00"; nothing was changed'
        ) from None
    found = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    if found > datetime.now(timezone.utc):
        raise Refused(f"at is '{text}', which is yet to come; nothing was changed")
    return found


def shown(at: datetime) -> str:
    return at.astimezone(timezone.utc).isoformat(sep=" ", timespec="seconds")


def done(*command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """What it prints; a command that fails is told with its words."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if check and ended.returncode != 0:
        raise Refused(f"{' '.join(command[:6])} failed: {(ended.stderr or ended.stdout).strip()[-1500:]}")
    return ended


def as_postgres(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return done("runuser", "-u", "postgres", "--", *command, check=check, cwd="/")


def asked(statement: str) -> str | None:
    """What the running server answers; None where it does not."""
    ended = as_postgres("psql", "-XAtqc", statement, "postgres", check=False)
    return ended.stdout.strip() if ended.returncode == 0 else None


# The database.


def backups(wish: Wish) -> list[dict[str, Any]]:
    """Whole ones of the repository, oldest first."""
    (told,) = json.loads(
        as_postgres(
            "pgbackrest", f"--stanza={STANZA}", f"--repo={wish.number}", "info", "--output=json"
        ).stdout
    )
    found: list[dict[str, Any]] = [each for each in told.get("backup", []) if not each.get("error")]
    if not found:
        raise Refused(
            f"repository {wish.number} has no backup of the database ({told['status']['message']});"
            " -e repository=2 takes the second one, ./face-ansible playbooks/backup.yml makes one"
        )
    return found


def chosen_backup(wish: Wish) -> dict[str, Any]:
    """The newest that ended by the moment."""
    known = backups(wish)
    ended = [datetime.fromtimestamp(each["timestamp"]["stop"], timezone.utc) for each in known]
    fitting = [each for each, at in zip(known, ended, strict=True) if wish.at is None or at <= wish.at]
    if not fitting:
        assert wish.at is not None
        raise Refused(
            f"the oldest backup in repository {wish.number} is of {shown(ended[0])}, and {shown(wish.at)} is"
            " before that; nothing was changed"
        )
    return fitting[-1]


def plan_database(wish: Wish) -> dict[str, Any]:
    chosen = chosen_backup(wish)
    size = int(chosen["info"]["size"])
    free = shutil.disk_usage(wish.main.parent).free
    if free < size + SPARE_BYTES:
        raise Refused(
            f"{wish.main.parent} has {gigabytes(free)} free, and the database that is restored needs"
            f" {gigabytes(size + SPARE_BYTES)} beside the one that is there; nothing was changed"
        )
    return {
        "backup": chosen["label"],
        "made": shown(datetime.fromtimestamp(chosen["timestamp"]["stop"], timezone.utc)),
        "at": shown(wish.at) if wish.at else "the end of its log",
        "timeline": timeline(wish),
        "another_since": another_since(wish),
        "size": gigabytes(size),
        "free": gigabytes(free),
    }


def gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"


def timeline(wish: Wish) -> str:
    """Of the log to follow: that of the database which is here, for an earlier restore may have left another.

    `latest` where this is another database, as on a new host.
    """
    if wish.timeline:
        return wish.timeline
    if another_since(wish):
        return "latest"
    return control(wish)["Latest checkpoint's TimeLineID"]


def begun_in(backup: dict[str, Any]) -> int:
    """The timeline of a backup: the first eight digits of the first file of its log."""
    return int(backup["archive"]["start"][:8], 16)


def control(wish: Wish) -> dict[str, str]:
    """What PostgreSQL says of the database that is here; empty where there is none."""
    program = f"/usr/lib/postgresql/{wish.version}/bin/pg_controldata"
    main = wish.main if wish.main.exists() else wish.before
    told = as_postgres("env", "LC_ALL=C", program, str(main), check=False).stdout
    return {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in told.splitlines())
    }


def another_since(wish: Wish) -> int:
    """0, or where the database is another than the repository's: when it was made, in seconds since 1970.

    They are the upper half of its identifier (BootStrapXLOG in PostgreSQL's xlog.c).
    """
    identifier = control(wish).get("Database system identifier", "")
    (info,) = json.loads(
        as_postgres(
            "pgbackrest", f"--stanza={STANZA}", f"--repo={wish.number}", "info", "--output=json"
        ).stdout
    )
    systems = {str(each.get("system-id")) for each in info.get("db", [])}
    if identifier in systems:
        return 0
    return int(identifier) >> 32 if identifier else int(time.time())


def close_log(wish: Wish) -> None:
    """A commit after the moment that is gone back to, by which PostgreSQL knows that it got there."""
    del wish
    if asked("SELECT pg_is_in_recovery()") != "f":
        return
    asked("SELECT pg_current_xact_id()")
    asked("SELECT pg_switch_wal()")


def restore_database(wish: Wish) -> None:
    chosen, followed = chosen_backup(wish), timeline(wish)
    if followed.isdigit() and int(followed) == begun_in(chosen):
        # By its number PostgreSQL wants its history, which a repository that came later does not have.
        followed = "current"
    if not wish.before.exists():
        wish.main.rename(wish.before)
    elif wish.main.exists():
        shutil.rmtree(wish.main)
    owner = wish.before.stat()
    wish.main.mkdir(mode=0o700)
    os.chown(wish.main, owner.st_uid, owner.st_gid)
    target = ["--type=default"]
    if wish.at is not None:
        at = wish.at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        target = ["--type=time", f"--target={at}", "--target-action=promote"]
    as_postgres(
        "pgbackrest", f"--stanza={STANZA}", f"--repo={wish.number}", "restore", *target,
        f"--set={chosen['label']}", f"--target-timeline={followed}", "--log-level-console=warn",
    )  # fmt: skip
    recover(wish)


def recover(wish: Wish) -> None:
    """Start PostgreSQL until it is a primary, and stop it: its unit would start one that fails for ever."""
    cluster = ("pg_ctlcluster", "--skip-systemctl-redirect", wish.version, wish.main.name)
    began = datetime.now(timezone.utc) - timedelta(seconds=1)
    started = as_postgres(*cluster, "start", "--", "-w", "-t", "1000000", check=False)
    while started.returncode == 0 and (state := asked("SELECT pg_is_in_recovery()")) != "f":
        if state is None and as_postgres(*cluster, "status", check=False).returncode != 0:
            break
        time.sleep(POLL_SECONDS)
    else:
        if started.returncode == 0:
            as_postgres(*cluster, "stop", "-m", "fast")
            return
    raise Refused(f"the database cannot be brought to that moment: {why(wish, began)}")


def why(wish: Wish, since: datetime) -> str:
    """What PostgreSQL says of it."""
    file = Path(f"/var/log/postgresql/postgresql-{wish.version}-{wish.main.name}.log")
    try:
        if datetime.fromtimestamp(file.stat().st_mtime, timezone.utc) < since:
            return f"{file} says nothing of it"
        lines = file.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"its log cannot be read ({error})"
    worst = [line for line in lines[-200:] if " FATAL: " in line or " PANIC: " in line]
    if any("before configured recovery target was reached" in line for line in worst):
        return (
            "the log in the repository ends before it, or has a hole; take an earlier moment, another"
            " -e repository, or leave -e at out for all there is"
        )
    return " / ".join(worst[-3:] or lines[-RECOVERY_LOG_LINES:])


# The originals.


def restic(wish: Wish, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return done(*wish.backup, str(wish.number), *arguments, check=check, env=wish.environment)


def by_host(wish: Wish, part: str) -> dict[str, list[dict[str, Any]]]:
    """What each host saved, oldest first; of a new one not its own, which lacks what is to come back."""
    known: list[dict[str, Any]] = json.loads(
        restic(wish, "snapshots", "--json", "--no-lock", "--tag", part).stdout
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for each in sorted(known, key=lambda each: taken(each["time"])):
        found.setdefault(each["hostname"], []).append(each)
    since = wish.another_since
    return {
        host: [each for each in made if since is None or taken(each["time"]) < since] or made
        for host, made in found.items()
    }


def snapshots(wish: Wish) -> list[dict[str, Any]]:
    """What comes back on this host: the first one after the moment, which has every file that the database
    then names and this host had; else the newest. The first host also brings what those had that are no more.

    Where the one before the moment has more, it comes back, too: the host may have been lost in between, and
    the next one saved before its data came back.
    """
    known = by_host(wish, "originals")
    gone = sorted(known.keys() - set(wish.hosts)) if wish.hosts[:1] == [wish.host] else []
    chosen = []
    for host in [*gone, wish.host]:
        made = known.get(host, [])
        later = [each for each in made if wish.at is not None and taken(each["time"]) >= wish.at]
        earlier = made[: len(made) - len(later)]
        chosen += [each for each in earlier[-1:] if later and not at_least_as_many(later[0], each)]
        chosen += later[:1] or made[-1:]
    return chosen


def at_least_as_many(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a backup is known to have no fewer files than another one; restic before 0.17 does not say."""
    counts = [each.get("summary", {}).get("total_files_processed") for each in (one, other)]
    return None not in counts and counts[0] >= counts[1]


def taken(text: str) -> datetime:
    """Go writes nanoseconds, which Python does not read."""
    whole, _, rest = text.partition(".")
    if not rest:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    digits = "".join(each for each in rest if each.isdigit() or each in "+-:Z")
    sign = next((each for each in "+-Z" if each in digits), "Z")
    _, _, zone = digits.partition(sign)
    return datetime.fromisoformat(f"{whole}{'+00:00' if sign == 'Z' else sign + zone}")


def plan_files(wish: Wish) -> dict[str, Any]:
    if wish.in_store:
        return {"told": "are in the store, which is left as it is", "known": True}
    chosen = snapshots(wish)
    told = [
        f"{each['short_id']} of {shown(taken(each['time']))}"
        + (f" by {each['hostname']}" if each["hostname"] != wish.host else "")
        for each in chosen
    ]
    if not chosen:
        return {"told": "are in no backup of this host, and come from the others", "known": False}
    return {"told": f"from the backup {' and '.join(told)}; what is there stays", "known": True}


def restore_files(wish: Wish) -> None:
    wish.way_back.touch()
    if wish.in_store:
        return
    for each in snapshots(wish):
        restic(wish, "restore", each["id"], "--no-lock", "--target", "/", "--exclude", wish.way_back.name)


def erasures(wish: Wish) -> None:
    """Lines of several lists are one: what an earlier attempt knew counts too."""
    told = done("/usr/local/bin/face-pipeline", "erasures", "export", check=False)
    lines = told.stdout if told.returncode == 0 else ""
    here = wish.state.parent / "files" / "erasures.jsonl"
    where = ["the database"] if told.returncode == 0 else []
    if told.returncode != 0 or wish.another_since:
        where.append("the newest backup")
        lines += here.read_text() if here.exists() else ""
        for made in by_host(wish, "configuration").values():
            listed = restic(wish, "dump", made[-1]["id"], "--no-lock", str(here), check=False)
            lines += listed.stdout if listed.returncode == 0 else ""
    wish.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = wish.state / "erasures.jsonl"
    known = file.read_text() if file.exists() else ""
    each = list(dict.fromkeys(line for line in (known + lines).splitlines() if line.strip()))
    new = file.with_name(".erasures.jsonl.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as target:
        target.write("".join(f"{line}\n" for line in each))
        target.flush()
        os.fsync(target.fileno())
    new.replace(file)
    print(f"{len(each)} lines, from {' and '.join(where)}")


# What was put aside.


def way_back(wish: Wish) -> None:
    print("yes" if wish.before.exists() or wish.way_back.exists() else "no")


def back(wish: Wish) -> None:
    if wish.before.exists():
        # The one that is tried goes at the end: until then there are two.
        tried = wish.main.with_name(f"{wish.main.name}.tried")
        if tried.exists():
            shutil.rmtree(tried)
        if wish.main.exists():
            wish.main.rename(tried)
        wish.before.rename(wish.main)
        if tried.exists():
            shutil.rmtree(tried)
        if wish.patroni:
            branch(wish)
    wish.way_back.unlink(missing_ok=True)


def branch(wish: Wish) -> None:
    """A new timeline, which no repository has: Patroni would begin the one of the restore again."""
    auto, signal = wish.main / "postgresql.auto.conf", wish.main / "recovery.signal"
    with auto.open("a") as file:
        file.write(
            f"restore_command = 'pgbackrest --stanza={STANZA} archive-get %f \"%p\"'\n"
            "recovery_target_timeline = 'current'\n"
        )
    signal.touch(mode=0o600)
    shutil.chown(signal, "postgres", "postgres")
    recover(wish)


def forget(wish: Wish) -> None:
    if wish.before.exists():
        if not wish.main.exists():
            raise Refused(f"there is no {wish.main}; -e do=back puts back what was there")
        shutil.rmtree(wish.before)
    wish.way_back.unlink(missing_ok=True)
    if wish.state.exists():
        shutil.rmtree(wish.state)


def main() -> int:
    steps = {
        "plan-database": plan_database, "plan-files": plan_files, "close": close_log,
        "database": restore_database, "files": restore_files, "erasures": erasures, "way-back": way_back,
        "back": back, "forget": forget,
    }  # fmt: skip
    if len(sys.argv) != 3 or sys.argv[1] not in steps:
        sys.exit(__doc__)
    try:
        found = steps[sys.argv[1]](Wish(sys.argv[2]))
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if found is not None:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
