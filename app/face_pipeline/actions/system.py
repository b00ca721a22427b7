"""What is installed, and how it is set."""

from __future__ import annotations

import os
import shutil
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from face_pipeline import __version__
from face_pipeline.actions import certificates
from face_pipeline.actions.certificates import Certificate
from face_pipeline.broker import presence
from face_pipeline.engine import EngineError
from face_pipeline.engine.prepared.record import ORIGINAL, choose
from face_pipeline.engine.prepared.record import read as read_record
from face_pipeline.errors import QueueUnavailable, Unavailable
from face_pipeline.parts import Parts
from face_pipeline.store import schema, size
from face_pipeline.telemetry.metrics import release

# Where Debian's PostgreSQL keeps its data, if it is on this host.
DATABASE_DIRECTORY = Path("/var/lib/postgresql")


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk that a directory is on."""

    path: str
    total: int
    free: int


@dataclass(frozen=True)
class Host:
    """This web host. `cores`: those the service may use; memory in bytes."""

    name: str
    cores: int
    memory: int
    memory_available: int
    originals: Disk | None
    database: Disk | None


@dataclass(frozen=True)
class Runtime:
    """What computes on this host. `wanted`: as it is set. `used`: None where what is wanted is missing.
    `prepared`: whether the pack's prepared models are used. `profile_wanted`, `profile`: as it is set and as
    it is used; `profile_refusal`: why they differ, None: they do not, or no worker computes here.
    `milliseconds`: processor time of a photo by the pack's originals and as it is used, where that was
    measured.
    """

    wanted: str
    used: str | None
    prepared: bool
    profile_wanted: str
    profile: str = "exact"
    profile_refusal: str | None = None
    milliseconds_original: float | None = None
    milliseconds: float | None = None


@dataclass(frozen=True)
class System:
    """`current`, `head`: revisions of the schema, of the database and of this release.

    `certificate`: None where it cannot be seen from here; `certificate_words` says why. `providers`: how many
    workers compute by which, None: nobody knows, for Redis does not answer. `runtime`: None where there is no
    pack.
    """

    version: str
    release: str
    current: str | None
    head: str | None
    postgresql: str
    database_bytes: int
    providers: dict[str, int] | None
    runtime: Runtime | None
    host: Host
    certificate: Certificate | None
    certificate_words: str


def look(parts: Parts) -> System:
    """Raises DatabaseUnavailable."""
    with parts.database.reading() as session:
        database_bytes, postgresql = size.of_database(session), size.server_version(session)
    certificate, words = _certificate(parts)
    return System(
        version=__version__,
        release=release(),
        current=schema.current_revision(parts.database),
        head=schema.head_revision(),
        postgresql=postgresql,
        database_bytes=database_bytes,
        providers=_providers(parts),
        runtime=_runtime(parts),
        host=_host(parts),
        certificate=certificate,
        certificate_words=words,
    )


def _providers(parts: Parts) -> dict[str, int] | None:
    try:
        heard = presence.heard(parts.queue)
    except QueueUnavailable:
        return None
    return dict(Counter(each.said.provider for each in heard if each.alive))


def _runtime(parts: Parts) -> Runtime | None:
    settings = parts.settings
    try:
        pack = parts.pack
    except Unavailable:
        return None
    on_card = settings.device != "cpu"
    try:
        use = choose(pack, settings.runtime, settings.profile, on_card=on_card, look=read_record)
    except EngineError:
        return Runtime(settings.runtime, None, prepared=False, profile_wanted=settings.profile)
    times = use.record.milliseconds if use.record else {}
    return Runtime(
        settings.runtime,
        use.library,
        use.record is not None,
        settings.profile,
        use.profile,
        (use.refusal if use.here else "") or None,
        times.get(ORIGINAL),
        times.get(use.library),
    )


def _certificate(parts: Parts) -> tuple[Certificate | None, str]:
    public = urlsplit(parts.settings.public_url)
    if public.scheme != "https":
        return None, f"none: the service is at {parts.settings.public_url}"
    try:
        found = certificates.served(public.hostname or "localhost", public.port or 443)
    except certificates.Expired:
        return None, "it has expired; put a new one in place"
    except OSError:
        return (
            None,
            "it cannot be seen from the web service; `openssl s_client` to the public address shows it",
        )
    return found, f"{found.days_left} days left"


def _host(parts: Parts) -> Host:
    memory = _memory()
    here = parts.settings.originals_store == "disk"
    database = parts.settings.database_host in ("127.0.0.1", "::1", "localhost")
    return Host(
        name=socket.gethostname(),
        cores=len(os.sched_getaffinity(0)),
        memory=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        originals=_disk(parts.settings.originals_dir) if here else None,
        database=_disk(DATABASE_DIRECTORY) if database else None,
    )


def _memory(meminfo: Path = Path("/proc/meminfo")) -> dict[str, int]:
    """Bytes by name; empty where /proc is not to be read."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if line.endswith(" kB"))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def _disk(directory: Path) -> Disk | None:
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return None
    return Disk(str(directory), usage.total, usage.free)
