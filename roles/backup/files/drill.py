"""Whether the database can be restored: brought back beside the one that runs, looked at, and thrown away.

    drill.py CONFIG drill         from each repository of backup.json, to the end of its log
    drill.py CONFIG figures FILE  what came of it, for node_exporter

As the user postgres, who reads the repositories. The restored server listens on a socket in $STATE_DIRECTORY
alone and hands its log to nobody. One repository that fails keeps the others from nothing; the status is 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

STANZA = "face"
DATABASE = "face"
# Of the log that is followed, beside the size of the backup.
SPARE_BYTES = 1 << 30
START_SECONDS = 24 * 3600
POLL_SECONDS = 0.5
SETTINGS = """\
listen_addresses = ''
unix_socket_directories = '{directory}'
hba_file = '{directory}/pg_hba.conf'
ident_file = '{directory}/pg_ident.conf'
# Its log goes to no repository, and nobody needs it after a power cut.
archive_mode = off
fsync = off
# Nobody asks it before it is a primary: so it needs none of the other one's sizes.
hot_standby = off
shared_buffers = 64MB
maintenance_work_mem = 64MB
dynamic_shared_memory_type = mmap
jit = off
logging_collector = off
log_min_messages = info
lc_messages = 'C'
timezone = 'UTC'
log_timezone = 'UTC'
"""
# Of each user's table, by one statement.
ROWS = """
SELECT count(*), coalesce(sum((xpath('/row/n/text()', query_to_xml(
  format('SELECT count(*) AS n FROM %s', c.oid::regclass), false, true, '')))[1]::text::bigint), 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
METRICS = {
    "face_restore_drill_success_timestamp_seconds": (
        "success",
        "When the database was last restored on trial without a fault, 0: not yet",
    ),
    "face_restore_drill_duration_seconds": ("seconds", "What the last trial took"),
    "face_restore_drill_last_transaction_timestamp_seconds": (
        "transaction",
        "When the last transaction was made that the trial brought back",
    ),
    "face_restore_drill_rows": ("rows", "Rows that the trial brought back"),
}
State = dict[str, dict[str, float]]


class Failed(Exception):
    """The backup cannot be restored, or the drill cannot be made; said in the journal."""


def said(*command: str, check: bool = True) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if check and ended.returncode != 0:
        raise Failed(f"{' '.join(command[:4])}: {(ended.stderr or ended.stdout).strip()[-1500:]}")
    return ended.stdout.strip()


class Server:
    """The restored server, in a directory of its own."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.directory = directory
        self.data = directory / "main"
        self.log = directory / "log"
        self.binaries = binaries

    def restore(self, number: int) -> None:
        self.data.mkdir(mode=0o700, parents=True)
        said(
            "pgbackrest", f"--stanza={STANZA}", f"--repo={number}", f"--pg1-path={self.data}",
            "--type=default", "--log-level-console=warn", "restore",
        )  # fmt: skip
        (self.directory / "postgresql.conf").write_text(SETTINGS.format(directory=self.directory))
        (self.directory / "pg_hba.conf").write_text("local all postgres peer\n")
        (self.directory / "pg_ident.conf").write_text("")

    def control(self, *arguments: str, check: bool = True) -> None:
        said(str(self.binaries / "pg_ctl"), f"--pgdata={self.data}", "--silent", *arguments, check=check)

    def start(self) -> None:
        """Until it has followed its log to the end. Raises Failed with its words where it does not."""
        settings = f"-c config_file={self.directory / 'postgresql.conf'}"
        try:
            self.control("start", "-w", "-t", str(START_SECONDS), "-l", str(self.log), "-o", settings)
            # pg_ctl does not wait for the end of the log; a server that gave up has no status.
            while not self.accepts():
                self.control("status")
                time.sleep(POLL_SECONDS)
        except Failed as error:
            lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
            worst = [line for line in lines if " FATAL: " in line or " PANIC: " in line]
            raise Failed(f"the restored server does not start: {' / '.join(worst[-3:]) or error}") from None

    def accepts(self) -> bool:
        """Whether it is a primary."""
        asked = ("psql", "-XAtqc", "SELECT pg_is_in_recovery()", f"--host={self.directory}", DATABASE)
        return said(*asked, check=False) == "f"

    def stop(self) -> None:
        self.control("stop", "-m", "immediate", check=False)

    def asked(self, statement: str) -> str:
        return said("psql", "-XAtqc", statement, f"--host={self.directory}", DATABASE)

    def last_transaction(self) -> float | None:
        """When it was made, by the server's log."""
        pattern = r"last completed transaction was at log time (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?)"
        found = re.findall(pattern, self.log.read_text(errors="replace"))
        if not found:
            return None
        return datetime.fromisoformat(found[-1]).replace(tzinfo=timezone.utc).timestamp()

    def check(self) -> dict[str, float]:
        """Every page and index of every table, and how many rows there are. Raises Failed."""
        said(
            str(self.binaries / "pg_amcheck"), "--install-missing", "--no-dependent-toast", "--jobs=1",
            f"--host={self.directory}", f"--database={DATABASE}",
        )  # fmt: skip
        tables, rows = self.asked(ROWS).split("|")
        if int(tables) == 0:
            raise Failed("the restored database has no table")
        invalid = self.asked("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        if invalid != "0":
            raise Failed(f"{invalid} indexes of the restored database are not valid")
        return {"rows": float(rows)}


def check_room(directory: Path, number: int) -> None:
    (told,) = json.loads(
        said("pgbackrest", f"--stanza={STANZA}", f"--repo={number}", "info", "--output=json")
    )
    whole = [each for each in told.get("backup", []) if not each.get("error")]
    if not whole:
        raise Failed("there is no backup yet")
    needed = int(whole[-1]["info"]["size"]) + SPARE_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise Failed(f"{directory} has {free / 1e9:.1f} GB free and a trial needs {needed / 1e9:.1f} GB")


def drill(directory: Path, binaries: Path, number: int) -> dict[str, float]:
    """What came of it. Raises Failed."""
    check_room(directory, number)
    place = directory / "trial"
    server = Server(place, binaries)
    began = time.time()
    clear(server)
    try:
        server.restore(number)
        server.start()
        found = server.check()
        last = server.last_transaction()
    finally:
        clear(server)
    found |= {"success": time.time(), "seconds": time.time() - began}
    return found | ({"transaction": last} if last else {})


def clear(server: Server) -> None:
    """What an earlier trial left that was broken off goes too."""
    if server.data.exists():
        server.stop()
    with suppress(FileNotFoundError):
        shutil.rmtree(server.directory)


def text(state: State) -> str:
    lines: list[str] = []
    for name, (key, help_) in METRICS.items():
        lines += [f"# HELP {name} {help_}.", f"# TYPE {name} gauge"]
        lines += [
            f'{name}{{repository="{number}"}} {figures.get(key, 0):.16g}'
            for number, figures in sorted(state.items())
            if key in figures or key == "success"
        ]
    return "\n".join(lines) + "\n"


def write(path: Path, content: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(content)
    new.chmod(0o644)
    new.replace(path)


def load(file: Path) -> State:
    try:
        found: State = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[2] not in ("drill", "figures"):
        sys.exit(__doc__)
    config: dict[str, Any] = json.loads(Path(sys.argv[1]).read_bytes())
    directory = Path(os.environ["STATE_DIRECTORY"])
    file = directory / "last.json"
    known = load(file)
    # A repository that is named no more has no figures.
    numbers = range(1, len(config["repositories"]) + 1)
    state = {str(number): known.get(str(number), {}) for number in numbers}
    if sys.argv[2] == "figures":
        target = Path(sys.argv[3])
        # Where nothing is observed there is no directory.
        if target.parent.is_dir():
            write(target, text(state))
        return 0
    failed = False
    for number in numbers:
        try:
            state[str(number)] = drill(directory, Path(config["postgres"]), number)
            print(f"repository {number}: {summary(state[str(number)])}", flush=True)
        except (Failed, OSError) as error:
            failed = True
            print(f"<3>the restore from repository {number} failed: {error}", file=sys.stderr, flush=True)
        write(file, json.dumps(state))
    return int(failed)


def summary(figures: dict[str, float]) -> str:
    last = figures.get("transaction")
    until = f", to {datetime.fromtimestamp(last, timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if last else ""
    rows = f"{figures['rows']:.0f} rows, every page and index whole"
    return f"restored in {figures['seconds']:.0f} s{until}: {rows}"


if __name__ == "__main__":
    sys.exit(main())
