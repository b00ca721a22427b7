"""Backups of this host, into each repository of backup.json.

    backup.py CONFIG database           the database: once a week all of it, else what changed since
    backup.py CONFIG files              the originals, and what a new installation needs beside them
    backup.py CONFIG seal               encrypt the secrets of standard input; says "sealed" if it did
    backup.py CONFIG figures NAME FILE  what database or files has done, for node_exporter
    backup.py CONFIG restic N ARGUMENT…  restic with repository N and its key, in place of this program

Each repository gets a copy of its own, and is verified once a week. One that fails keeps the others from
nothing, and the status is 1. Where hosts choose by themselves who leads the database, its backup is made by
the one that does: each asks every hour, and begins each night, and once it has taken another's place. Of
several web hosts each saves what is on its own disk, under its own name; what another has saved is not sent
again. State is in $STATE_DIRECTORY, credentials are in $CREDENTIALS_DIRECTORY; no secret is ever an argument.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import partial
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

STANZA = "face"
DAY = 86400
# ArchiveTimeoutError of pgBackRest (error.yaml): log of before a backup is not in the repository.
LOG_MISSING = 82
# A little less than a week and than the hour of the run, which is never the same to the second.
WEEK = 6.5 * DAY
# Of each day, where the timer comes every hour.
NIGHT = {"hour": 1, "minute": 30, "second": 0, "microsecond": 0}
# Of the originals, each week.
READ_BACK = "5%"
# Originals that are read back whole, from so many directories at most.
PROVEN, PROVEN_DIRECTORIES = 10, 20
# Another web host may read the repository back, and have it for itself meanwhile. What a lost one had locked
# is let go after half an hour.
LOCKED_SECONDS, LOCKED_POLL_SECONDS = 6 * 3600.0, 30.0
LOCKED = b"already locked"
# The longest silence of a store of S3, and of this host's Patroni.
S3_SECONDS = 60
PATRONI_SECONDS = 10
PARTS = {"database": ("database",), "files": ("originals", "configuration")}
METRICS = {
    "face_backup_last_success_timestamp_seconds": (
        "success",
        "When the last backup was complete, 0: none yet",
    ),
    "face_backup_duration_seconds": ("seconds", "What the last backup took"),
    "face_backup_size_bytes": ("bytes", "What the last backup holds, before it is packed"),
    "face_backup_verified_timestamp_seconds": (
        "verified",
        "When the repository was last read back, 0: not yet",
    ),
}

# part -> number of the repository -> success, seconds, bytes, verified
State = dict[str, dict[str, dict[str, float]]]
Repository = dict[str, Any]


def parts_of(config: dict[str, Any], action: str) -> tuple[str, ...]:
    """Originals that are in a store are not on this host's disk, and no part of its backup."""
    return tuple(part for part in PARTS[action] if part != "originals" or config["originals"])


def said(*command: str, env: dict[str, str] | None = None, stdin: bytes | None = None) -> bytes:
    """Standard output; errors go to the journal. Raises subprocess.CalledProcessError."""
    where = {**os.environ, **(env or {})}
    return subprocess.run(command, env=where, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def run(*command: str, env: dict[str, str] | None = None, stdin: bytes | None = None) -> None:
    """What it says goes to the journal. Raises subprocess.CalledProcessError."""
    subprocess.run(command, env={**os.environ, **(env or {})}, input=stdin, check=True)


class Run:
    """One run: what it finds of the runs before, what it notes, and whether all went well."""

    def __init__(self, config: dict[str, Any], directory: Path, parts: tuple[str, ...]) -> None:
        self.config = config
        self.directory = directory
        self.file = directory / "last.json"
        self.state = load(self.file)
        self.failed = False
        numbers = [str(number) for number, _ in self.repositories()]
        if not config.get("originals", True):
            # From before they went into a store.
            self.state.pop("originals", None)
        for part in parts:
            known = self.state.get(part, {})
            # A repository that is named no more has no figures; nor has one that another host writes to.
            self.state[part] = {
                number: known.get(number, {})
                for number in numbers
                if "leads" not in config or number in known
            }

    def repositories(self) -> Iterator[tuple[int, Repository]]:
        yield from enumerate(self.config["repositories"], 1)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What fails is said and remembered, and the run goes on."""
        try:
            yield
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            self.failed = True
            print(f"<3>{what} failed: {error}", file=sys.stderr, flush=True)

    def note(self, part: str, number: int, **figures: float) -> None:
        self.state[part].setdefault(str(number), {}).update(figures)
        self.save()

    def save(self) -> None:
        write(self.file, json.dumps(self.state).encode(), 0o644)

    def back_up(self, part: str, number: int, make: Callable[[], float]) -> None:
        """`make` returns the bytes that the backup holds."""
        with self.attempt(f"backup of {part} to repository {number}"):
            begun = time.time()
            size = make()
            self.note(part, number, success=time.time(), seconds=time.time() - begun, bytes=size)

    def verify(self, parts: tuple[str, ...], number: int, look: Callable[[], None]) -> None:
        """Once a week."""
        known = [self.state[part].get(str(number), {}) for part in parts]
        if all(time.time() - each.get("verified", 0) < WEEK for each in known):
            return
        with self.attempt(f"verification of repository {number}"):
            look()
            for part in parts:
                self.note(part, number, verified=time.time())


def load(file: Path) -> State:
    try:
        found: State = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def write(path: Path, content: bytes, mode: int, *, by: str = "") -> None:
    """`by` is who writes, where several do."""
    new = path.with_name(f".{path.name}.{by}new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


# The database, as the user postgres.


def pgbackrest(number: int, *arguments: str) -> list[str]:
    return ["pgbackrest", f"--stanza={STANZA}", f"--repo={number}", *arguments]


def backups(number: int) -> list[dict[str, Any]]:
    """Those of a repository, as `pgbackrest info` tells them, oldest first."""
    (told,) = json.loads(said(*pgbackrest(number, "info", "--output=json")))
    found: list[dict[str, Any]] = [each for each in told["backup"] if not each.get("error")]
    return found


def back_up_database(number: int) -> float:
    full = [each["timestamp"]["stop"] for each in backups(number) if each["type"] == "full"]
    kind = "diff" if full and time.time() - full[-1] < WEEK else "full"
    command = pgbackrest(number, "backup", f"--type={kind}")
    try:
        run(*command)
    except subprocess.CalledProcessError as error:
        if error.returncode != LOG_MISSING:
            raise
        # A repository that has just come lacks the log of before: the next attempt begins behind it.
        run(*command)
    return float(backups(number)[-1]["info"]["size"])


def verify_database(number: int) -> None:
    # Its exit status says that it looked, and without --verbose it says nothing of a repository that is well.
    command = pgbackrest(number, "verify", "--verbose", "--output=text", "--log-level-console=warn")
    told = said(*command).decode()
    if "\nstatus: ok" not in told:
        print(told, file=sys.stderr, flush=True)
        raise ValueError("files are missing or do not have the hash that was noted for them")


def led(asked: dict[str, str]) -> int:
    """The timeline of the database where this host leads it, else 0. Raises OSError or ValueError."""
    trust = ssl.create_default_context(cafile=asked["authority"])
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        with urlopen(asked["url"], timeout=PATRONI_SECONDS, context=trust) as answer:
            return int(json.load(answer)["timeline"])
    except HTTPError:
        return 0
    except URLError as error:
        # Patroni does not run here, as at boot, or before a restore lets this host follow: it leads nothing.
        if isinstance(error.reason, ConnectionRefusedError):
            return 0
        raise


def due(known: list[dict[str, Any]], timeline: int, now: datetime) -> bool:
    """Whether there is none since the last night, or none since this host leads."""
    if not known:
        return True
    last = known[-1]
    night = now.replace(**NIGHT)  # type: ignore[arg-type]
    night -= timedelta(days=1) if now < night else timedelta()
    # What the former leader had not handed over may be missing from its log: from here on nothing is.
    return last["timestamp"]["start"] < night.timestamp() or int(last["archive"]["stop"][:8], 16) < timeline


def database(this: Run) -> None:
    timeline = 0
    if "leads" in this.config:
        with this.attempt("question who leads the database"):
            timeline = led(this.config["leads"])
        if this.failed:
            return
        if not timeline:
            print("this host does not lead the database: its backup is made where it is led", flush=True)
            this.state["database"] = {}
            this.save()
            return
    for number, _ in this.repositories():
        if timeline:
            with this.attempt(f"look into repository {number}"):
                known = backups(number)
                made = known[-1] if known else None
                # What the host had that led before.
                this.note(
                    "database", number, success=made["timestamp"]["stop"] if made else 0,
                    **({"bytes": float(made["info"]["size"])} if made else {}),
                )  # fmt: skip
                if "TRIGGER_UNIT" in os.environ and not due(known, timeline, datetime.now().astimezone()):
                    continue
        this.back_up("database", number, partial(back_up_database, number))
        this.verify(("database",), number, partial(verify_database, number))


# The originals and the configuration, as root without root's rights but that to read.


def credential(name: str) -> Path:
    return Path(os.environ["CREDENTIALS_DIRECTORY"]) / name


class Restic:
    """A repository of restic's. `host` is whose originals and configuration go there."""

    def __init__(self, number: int, repository: Repository, host: str = "") -> None:
        self.host = host
        self.options: list[str] = []
        self.env = {"RESTIC_PASSWORD_FILE": str(credential("backup_files_key"))}
        place = f"{repository['path'].rstrip('/')}/files"
        key = credential(f"backup_repository_{number}")
        match repository["kind"]:
            case "directory":
                self.env["RESTIC_REPOSITORY"] = place
            case "sftp":
                self.env["RESTIC_REPOSITORY"] = f"sftp:{repository['user']}@{repository['host']}:{place}"
                command = " ".join([*ssh("ssh", "-p", repository, key), "-s", "sftp"])
                self.options = ["-o", f"sftp.command={command}"]
            case "s3":
                host = with_port(repository["endpoint"], repository)
                self.env["RESTIC_REPOSITORY"] = f"s3:https://{host}/{repository['bucket']}/{place.strip('/')}"
                style = "path" if repository["path_style"] else "dns"
                self.options = ["-o", f"s3.bucket-lookup={style}"]
                if "authority" in repository:
                    self.options += ["--cacert", repository["authority"]]
                self.env["AWS_DEFAULT_REGION"] = repository["region"]
                self.env["AWS_ACCESS_KEY_ID"] = repository["key_id"]
                self.env["AWS_SECRET_ACCESS_KEY"] = key.read_text().strip()

    def __call__(self, *arguments: str) -> None:
        """What it says goes to the journal. Raises subprocess.CalledProcessError."""
        print(self.said(*arguments).decode(), end="", flush=True)

    def said(self, *arguments: str) -> bytes:
        """Standard output; errors go to the journal. Raises subprocess.CalledProcessError."""
        done = self._unlocked(*arguments)
        print(done.stderr.decode(), end="", file=sys.stderr, flush=True)
        done.check_returncode()
        return done.stdout

    def _unlocked(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Once nobody else has the repository for himself."""
        until = time.monotonic() + LOCKED_SECONDS
        command = ["restic", "--quiet", *self.options]
        env = {**os.environ, **self.env}
        while True:
            done = subprocess.run([*command, *arguments], env=env, capture_output=True, check=False)
            if done.returncode == 0 or LOCKED not in done.stderr or time.monotonic() > until:
                return done
            time.sleep(LOCKED_POLL_SECONDS)
            subprocess.run([*command, "unlock"], env=env, check=False)

    def become(self, *arguments: str) -> None:
        os.execvpe("restic", ["restic", "--quiet", *self.options, *arguments], {**os.environ, **self.env})

    def prepare(self) -> str:
        """A repository that is new is made, and locks of runs that are over go. Returns which one it is."""
        try:
            told = self.said("cat", "config")
        except subprocess.CalledProcessError:
            # It refuses to make one where there is one already: an outage is no reason to begin anew.
            self("init")
            told = self.said("cat", "config")
        self("unlock")
        return hashlib.sha256(told).hexdigest()

    def back_up(self, part: str, paths: list[str]) -> float:
        done = self._unlocked("--json", "backup", "--host", self.host, "--tag", part, *paths)
        lines = (done.stdout + done.stderr).decode().splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        errors = [each["error"]["message"] for each in told if each.get("message_type") == "error"]
        # A photo that was erased, or a file written anew, between the list and its turn.
        gone = done.returncode == 3 and errors and all("no such file" in each for each in errors)
        if done.returncode != 0 and not gone:
            print(done.stderr.decode(), file=sys.stderr, flush=True)
            done.check_returncode()
        (summary,) = (each for each in told if each.get("message_type") == "summary")
        return float(summary["total_bytes_processed"])

    def verify(self, days: int) -> None:
        self(
            "forget", "--group-by", "host,tags",
            "--keep-within-hourly", "7d", "--keep-within-daily", f"{days}d",
        )  # fmt: skip
        # Of a host that is no more the last ones would stay for ever.
        self("forget", "--prune", "--group-by", "tags", "--keep-within", f"{days}d")
        self("check", f"--read-data-subset={READ_BACK}")

    def prove(self, originals: str) -> None:
        """Read some originals back, and compare each with the hash that it is named by. Raises ValueError."""
        for path in self._some(originals):
            if hashlib.sha256(self._newest("dump", path)).hexdigest() != Path(path).name:
                raise ValueError(f"{path} comes back with other bytes than those that were put in")

    def _newest(self, verb: str, path: str) -> bytes:
        """Of this host's backups of originals."""
        json_too = ("--json",) if verb == "ls" else ()
        return self.said(*json_too, verb, "--host", self.host, "--tag", "originals", "latest", path)

    def _some(self, originals: str) -> list[str]:
        """Paths of originals in the newest backup, from a few of its directories."""
        chosen: list[str] = []
        first = self._listed(originals)
        random.shuffle(first)
        for one in first[:PROVEN_DIRECTORIES]:
            for two in self._listed(one)[:1]:
                chosen += [each for each in self._listed(two) if not Path(each).name.startswith(".")]
            if len(chosen) >= PROVEN:
                break
        return chosen[:PROVEN]

    def _listed(self, directory: str) -> list[str]:
        told = [json.loads(line) for line in self._newest("ls", directory).splitlines()]
        paths = [each["path"] for each in told if each.get("struct_type") == "node"]
        return [path for path in paths if path.startswith(f"{directory.rstrip('/')}/")]


def ssh(program: str, port: str, repository: Repository, key: Path) -> list[str]:
    """ssh or sftp to the host of a repository, which it knows by its key."""
    known = f"UserKnownHostsFile={repository['known_hosts']}"
    options = [
        "-o",
        known,
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
    ]
    who = f"{repository['user']}@{repository['host']}"
    return [program, port, str(repository["port"]), "-i", str(key), *options, who]


def deliver(number: int, repository: Repository, sealed: Path, host: str) -> None:
    """The sealed secrets, beside what they open; `host` has sealed these."""
    place = f"{repository['path'].rstrip('/')}/sealed/{sealed.name}"
    key = credential(f"backup_repository_{number}")
    match repository["kind"]:
        case "directory":
            write(Path(place), sealed.read_bytes(), 0o600, by=f"{host}.")
        case "sftp":
            program, *rest = ssh("sftp", "-P", repository, key)
            # A leading dash: it may be there already.
            batch = [
                f"-mkdir {Path(place).parent}",
                f"put {sealed} {place}.{host}.new",
                f"rename {place}.{host}.new {place}",
            ]
            run(program, "-b", "-", *rest, stdin="\n".join(batch).encode())
        case "s3":
            put(repository, key.read_text().strip(), place.strip("/"), sealed.read_bytes())


def with_port(host: str, repository: Repository) -> str:
    """As it stands in a URL and in the header `Host`."""
    return host if repository["port"] == 443 else f"{host}:{repository['port']}"


def put(repository: Repository, secret: str, name: str, content: bytes) -> None:
    """An object of S3, signed by AWS Signature Version 4. Raises OSError where the store does not take it."""
    endpoint, bucket, path = repository["endpoint"], repository["bucket"], f"/{quote(name)}"
    if repository["path_style"]:
        path = f"/{bucket}{path}"
    else:
        endpoint = f"{bucket}.{endpoint}"
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    digest = hashlib.sha256(content).hexdigest()
    headers = {
        "host": with_port(endpoint, repository),
        "x-amz-content-sha256": digest,
        "x-amz-date": now,
    }
    signed = ";".join(headers)
    lines = "".join(f"{header}:{value}\n" for header, value in headers.items())
    request = "\n".join(("PUT", path, "", lines, signed, digest))
    scope = f"{now[:8]}/{repository['region']}/s3/aws4_request"
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    told = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key, told.encode(), "sha256").hex()
    who = f"Credential={repository['key_id']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {who}, SignedHeaders={signed}, Signature={signature}"
    trust = ssl.create_default_context(cafile=repository.get("authority"))
    # Newer Pythons refuse authorities that pgBackRest and restic take: those without the extension keyUsage.
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with closing(HTTPSConnection(endpoint, repository["port"], timeout=S3_SECONDS, context=trust)) as there:
        try:
            there.request("PUT", path, content, headers)
            answer = there.getresponse()
            if answer.status != 200:
                raise OSError(f"{endpoint} answers {answer.status} to PUT {path}: {answer.read(500)!r}")
        except HTTPException as error:
            raise OSError(f"{endpoint} broke off PUT {path}: {error!r}") from error


def files(this: Run) -> None:
    erasures, sealed = this.directory / "erasures.jsonl", this.directory / "secrets.tar.age"
    with this.attempt("list of erasures"):
        # Without the database the list of the run before stays.
        write(erasures, said(*this.config["erasures"]), 0o600)
    manifests = sorted(map(str, Path(this.config["models"]).glob("*/manifest.json")))
    configuration = [
        this.config["settings"],
        *manifests,
        *(str(each) for each in (erasures, sealed) if each.exists()),
    ]
    for number, repository in this.repositories():
        with this.attempt(f"repository {number}"):
            restic = Restic(number, repository, this.config["host"])
            which = restic.prepare()
            paths = {"originals": [this.config["originals"]], "configuration": configuration}
            parts = parts_of(this.config, "files")
            for part in parts:
                this.back_up(part, number, partial(restic.back_up, part, paths[part]))
            with this.attempt(f"secrets to repository {number}"):
                # Once: those of a host that was away may be older than what the others brought meanwhile.
                mark = f"{which} {hashlib.sha256(sealed.read_bytes()).hexdigest()}"
                delivered = this.directory / f"delivered_{number}"
                if not delivered.exists() or delivered.read_text() != mark:
                    deliver(number, repository, sealed, restic.host)
                    write(delivered, mark.encode(), 0o600)
            this.verify(parts, number, partial(verify_files, restic, this.config))


def verify_files(restic: Restic, config: dict[str, Any]) -> None:
    restic.verify(config["days"])
    if config["originals"]:
        restic.prove(config["originals"])


# What the role calls.


def seal(directory: Path) -> str:
    """The archive of standard input, encrypted to its recipients: "sealed", or "unchanged" if it was."""
    given = json.load(sys.stdin)
    mark, target = directory / "secrets.mark", directory / "secrets.tar.age"
    if target.exists() and mark.exists() and mark.read_text() == given["mark"]:
        return "unchanged"
    recipients = [word for recipient in given["recipients"] for word in ("--recipient", recipient)]
    write(target, said("age", "--encrypt", *recipients, stdin=base64.b64decode(given["archive"])), 0o600)
    write(mark, given["mark"].encode(), 0o600)
    return "sealed"


def text(state: State) -> str:
    lines: list[str] = []
    for name, (key, help_) in METRICS.items():
        lines += [f"# HELP {name} {help_}.", f"# TYPE {name} gauge"]
        for part, repositories in sorted(state.items()):
            for number, figures in sorted(repositories.items()):
                # Of what never was there is neither a duration nor a size.
                if key in figures or key in ("success", "verified"):
                    labels = f'part="{part}",repository="{number}"'
                    lines.append(f"{name}{{{labels}}} {figures.get(key, 0):.16g}")
    return "\n".join(lines) + "\n"


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[2] not in (*PARTS, "seal", "figures", "restic"):
        sys.exit(__doc__)
    config, action = json.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2]
    directory = Path(os.environ["STATE_DIRECTORY"])
    if action == "seal":
        print(seal(directory))
    elif action == "restic":
        number = int(sys.argv[3])
        if not 1 <= number <= len(config["repositories"]):
            sys.exit(f"there is no repository {number}: {sys.argv[1]} names {len(config['repositories'])}")
        Restic(number, config["repositories"][number - 1]).become(*sys.argv[4:])
    elif action == "figures":
        target = Path(sys.argv[4])
        # Where nothing is observed there is no directory.
        if target.parent.is_dir():
            this = Run(config, directory, parts_of(config, sys.argv[3]))
            write(target, text(this.state).encode(), 0o644)
    else:
        this = Run(config, directory, parts_of(config, action))
        {"database": database, "files": files}[action](this)
        return int(this.failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
