"""What the role standby does with a PostgreSQL: standard input of its host's own Python, as root.

    standby.py look WISH      what is there, as JSON
    standby.py make WISH      a copy of the database, which follows it; `made` or `unchanged`
    standby.py stop WISH      end it, and let it never be written to again; how far it got, as JSON
    standby.py missed WISH    what it wrote after `lsn` and nobody else has, as JSON
    standby.py promote WISH   let it take the database's place; how far it got, as JSON

WISH is an object of JSON: cluster, version, port, settings (a file that our own PostgreSQL alone has),
conninfo, slot, anew, lsn, reason, upstream. Exit status 1: what to do is said.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIGNAL, NOTE = "standby.signal", "face-fenced"
# What a user's own objects are numbered from; what initdb made is below.
FIRST_OF_USERS = 16384
NUMBER = re.compile(r"(\d+)")
PROMOTE_SECONDS = 120
POLL_SECONDS = 1.0
COMMIT = re.compile(r"\bdesc: COMMIT")
LSN = re.compile(r"\blsn: ([0-9A-F]+/[0-9A-F]+)")


class Refused(Exception):
    """Said to the operator; nothing more is done."""


class Wish:
    """What is asked for, and where things are."""

    def __init__(self, text: str) -> None:
        given: dict[str, Any] = json.loads(text)
        self.main = Path(given["cluster"])
        self.bin = Path(f"/usr/lib/postgresql/{given['version']}/bin")
        self.unit = f"postgresql@{given['version']}-main.service"
        self.port = int(given["port"])
        self.settings = Path(given["settings"])
        self.conninfo = str(given.get("conninfo", ""))
        self.slot = str(given.get("slot", ""))
        self.anew = bool(given.get("anew", False))
        self.lsn = str(given.get("lsn", ""))
        self.reason = str(given.get("reason", ""))
        self.upstream = bool(given.get("upstream", False))

    def asked(self, statement: str) -> str | None:
        """What the running server answers; None where it does not."""
        ended = as_postgres(
            "psql", "-XAtqw", "-p", str(self.port), "-c", statement, "postgres", check=False, seconds=30
        )
        return ended.stdout.strip() if ended.returncode == 0 else None

    def control(self) -> dict[str, str]:
        """pg_controldata's lines."""
        program = str(self.bin / "pg_controldata")
        told = as_postgres("env", "LC_ALL=C", program, str(self.main), check=False).stdout
        return {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in told.splitlines())
        }


def done(*command: str, check: bool = True, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """What it prints; a command that fails is told with its words."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, cwd="/")
    except subprocess.TimeoutExpired:
        ended = subprocess.CompletedProcess(command, 124, "", f"no answer within {seconds:g} s")
    if check and ended.returncode != 0:
        raise Refused(f"{' '.join(command[:6])} failed: {(ended.stderr or ended.stdout).strip()[-1500:]}")
    return ended


def as_postgres(
    *command: str, check: bool = True, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    return done("runuser", "-u", "postgres", "--", *command, check=check, seconds=seconds)


def bytes_of(lsn: str) -> int:
    """A place in the log as a number of bytes."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def empty(main: Path) -> bool:
    """Whether nobody ever put anything there: of a package's cluster all is of initdb."""
    if not (main / "PG_VERSION").exists():
        return True
    for path in [*(main / "base").iterdir(), *(main / "base").glob("*/*"), *(main / "pg_tblspc").iterdir()]:
        number = NUMBER.match(path.name)
        if number and int(number[1]) >= FIRST_OF_USERS:
            return False
    return True


def look(wish: Wish) -> dict[str, Any]:
    if not (wish.main / "PG_VERSION").exists():
        return {"there": False, "ours": wish.settings.exists(), "empty": True, "fenced": False}
    control = wish.control()
    found: dict[str, Any] = {
        "there": True,
        "ours": wish.settings.exists(),
        "empty": empty(wish.main),
        "follows": (wish.main / SIGNAL).exists(),
        "fenced": (wish.main / NOTE).exists(),
        "system": control.get("Database system identifier", ""),
        "timeline": int(control.get("Latest checkpoint's TimeLineID") or 0),
        "running": False,
    }
    recovery = wish.asked("SELECT pg_is_in_recovery()")
    if recovery == "f":
        names = wish.asked("SELECT slot_name || ' ' || coalesce(wal_status, '') FROM pg_replication_slots")
        pairs = (line.split(" ", 1) for line in (names or "").splitlines())
        sent = wish.asked("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")
        found |= {
            "running": True, "writable": True, "slots": dict(pairs), "followed_by": (sent or "").split(),
        }  # fmt: skip
    elif recovery == "t":
        told = wish.asked(
            "SELECT coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0'),"
            " coalesce(extract(epoch FROM pg_last_xact_replay_timestamp())::bigint, 0),"
            " coalesce((SELECT sender_host FROM pg_stat_wal_receiver WHERE status = 'streaming'), '')"
        )
        got, last, host = (told or "0/0|0|").split("|")
        found |= {
            "running": True, "writable": False, "received": got, "last": int(last), "streams_from": host,
        }  # fmt: skip
        if wish.upstream:
            found |= upstream(wish)
    return found


def upstream(wish: Wish) -> dict[str, Any]:
    """Whether the host that it follows is written to: `writable`, `standby` or `silent`."""
    conninfo = wish.asked("SHOW primary_conninfo") or ""
    host = re.search(r"host=(\S+)", conninfo)
    if not host:
        return {"upstream": "silent", "upstream_host": ""}
    asked = as_postgres(
        "psql", "-XAtw", "-c", "SHOW in_hot_standby", f"{conninfo} dbname=postgres replication=true",
        check=False, seconds=10,
    )  # fmt: skip
    state = {"off": "writable", "on": "standby"}.get(asked.stdout.strip(), "silent")
    return {"upstream": state, "upstream_host": host[1]}


def make(wish: Wish) -> str:
    there = wish.main.exists()
    if there and not wish.anew:
        if (wish.main / SIGNAL).exists() and not (wish.main / NOTE).exists():
            return "unchanged"
        if not empty(wish.main):
            raise Refused(f"{wish.main} has a database; nothing was changed")
    done("systemctl", "stop", wish.unit)
    new = wish.main.with_name(f"{wish.main.name}.new")
    if new.exists():
        shutil.rmtree(new)
    # With all that it takes to start, so that what there is goes last.
    as_postgres(
        str(wish.bin / "pg_basebackup"), "--pgdata", str(new), "--dbname", wish.conninfo, "--slot", wish.slot,
        "--checkpoint", "fast", "--wal-method", "stream", "--no-password",
    )  # fmt: skip
    as_postgres("touch", str(new / SIGNAL))
    for name in (NOTE, "postgresql.auto.conf.new"):
        (new / name).unlink(missing_ok=True)
    done("sync", "-f", str(new))
    if there:
        shutil.rmtree(wish.main)
    new.rename(wish.main)
    return "made"


def stop(wish: Wish) -> dict[str, Any]:
    done("systemctl", "disable", "--now", "--quiet", wish.unit)
    note = {"at": time.time(), "reason": wish.reason}
    for name, text in ((NOTE, json.dumps(note) + "\n"), (SIGNAL, "")):
        path = wish.main / name
        path.write_text(text, encoding="utf-8")
        shutil.chown(path, "postgres", "postgres")
        path.chmod(0o600)
    done("sync", "-f", str(wish.main))
    control = wish.control()
    clean = control.get("Database cluster state") == "shut down"
    return {"clean": clean, "end": control.get("Latest checkpoint location", "") if clean else ""}


def missed(wish: Wish) -> dict[str, Any]:
    """After a stop that was no clean one: what its log has beyond what the other received."""
    told = as_postgres(
        str(wish.bin / "pg_waldump"), "--path", str(wish.main / "pg_wal"), "--start", wish.lsn,
        "--timeline", str(look(wish)["timeline"]), check=False,
    ).stdout  # fmt: skip
    lines = told.splitlines()
    last = LSN.search(lines[-1]) if lines else None
    return {
        "bytes": bytes_of(last[1]) - bytes_of(wish.lsn) if last else 0,
        "changes": sum(bool(COMMIT.search(line)) for line in lines),
    }


def promote(wish: Wish) -> dict[str, Any]:
    """`lsn`: where the log of the other ended, where that is known."""
    if wish.asked("SELECT pg_is_in_recovery()") == "f":
        return {"timeline": look(wish)["timeline"], "was": True}
    until = time.monotonic() + PROMOTE_SECONDS
    # After a restart it does not know what it received before, and reads all that it has.
    got_all = f"coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= '{wish.lsn or '0/0'}'"
    read_all = "pg_last_wal_replay_lsn() >= coalesce(pg_last_wal_receive_lsn(), '0/0')"
    while wish.asked(f"SELECT {got_all} AND {read_all}") != "t":
        if time.monotonic() > until:
            raise Refused("it has not read all that it received; look at /var/log/postgresql, and try again")
        time.sleep(POLL_SECONDS)
    got = wish.asked("SELECT coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())") or "0/0"
    if wish.asked(f"SELECT pg_promote(true, {PROMOTE_SECONDS})") != "t":
        raise Refused("it did not take the database's place; look at /var/log/postgresql, and try again")
    # So that the other hosts see it, and a crash of this one does not hide it.
    wish.asked("CHECKPOINT")
    return {"timeline": look(wish)["timeline"], "was": False, "received": got}


def main() -> int:
    steps = {"look": look, "make": make, "stop": stop, "missed": missed, "promote": promote}
    if len(sys.argv) != 3 or sys.argv[1] not in steps:
        sys.exit(__doc__)
    try:
        found = steps[sys.argv[1]](Wish(sys.argv[2]))
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(found if isinstance(found, str) else json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
