"""Look at each part of an installation, and say what is wrong and what mends it.

`face-pipeline doctor` on a host and the page System tell of the same checks. The web service may see less
than root on the host: what it cannot see is skipped there, with the command that can.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from face_pipeline.actions import certificates, tuning
from face_pipeline.broker import presence
from face_pipeline.broker.redis import reached
from face_pipeline.engine import contract_id, verify_pack
from face_pipeline.engine.prepared.record import INSTEAD_OF_FAST, choose
from face_pipeline.errors import FacePipelineError, QueueUnavailable, in_full
from face_pipeline.parts import Parts
from face_pipeline.store import (
    audit,
    chain,
    collections,
    copy_rounds,
    indexes,
    ledger,
    original_faults,
    rights,
    schema,
    standbys,
)
from face_pipeline.store.models import Collection
from face_pipeline.store.models import State as PhotoState
from face_pipeline.store.originals import OriginalMissing, OriginalsAway, OriginalUnavailable
from face_pipeline.words import counted

# Of the true matches that an index finds: as the alert IndexMissesFaces has it, and that of a damaged one.
FOUND_LEAST, FOUND_FLOOR = 0.99, 0.9

# Two of them hold connections to the database of a web process, which has few.
PAGE_CHECKS_AT_ONCE = 4
# Of NVIDIA's driver: units without devices do not see it.
CONTROL_DEVICE = Path("/dev/nvidiactl")
COMMAND = "sudo face-pipeline doctor"
# Of what is there for all checks, for somebody who waits for a page.
PAGE_SECONDS = 8.0
# What was found a moment ago is told again.
FRESH_SECONDS = 5.0
DISK_LEAST_SHARE = 0.1
CERTIFICATE_LEAST_DAYS = 14
# As the alert AuditNotSealed has it; and two of the checks that the indexer makes each week.
UNSEALED_MOST_SECONDS, UNCHECKED_MOST = 300, timedelta(days=15)


class State(StrEnum):
    """`skipped`: it cannot be seen from where the checks run, or took too long."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What a check found; `mend`: what to do about it, where there is something to do."""

    check: str
    state: State
    found: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        """Whether the installation may go on like this."""
        return self.state is not State.FAIL

    @property
    def message(self) -> str:
        return f"{self.found}; {self.mend}" if self.mend else self.found


class Unwell(Exception):
    """A check found something wrong; the text says what, and after the first semicolon what mends it."""

    state = State.FAIL


class Doubtful(Unwell):
    """Nothing is broken yet."""

    state = State.WARN


class Unseen(Unwell):
    """It cannot be seen from here."""

    state = State.SKIPPED


Check = Callable[[Parts], str]


def _checks() -> tuple[tuple[str, Check], ...]:
    return (
        ("python packages", _packages),
        ("telemetry", _telemetry),
        ("model pack", _pack),
        ("device", _device),
        ("runtime", _runtime),
        ("database", _database),
        ("standbys", _standbys),
        ("redis", _redis),
        ("scratch", _scratch),
        ("originals", _originals),
        ("copies", _copies),
        ("disk", _disk),
        ("ledger", _ledger),
        ("workers", _workers),
        ("tuning", _tuning),
        ("collections", _collections),
        ("vector index", _indexes),
        ("audit", _audit),
        ("certificate", _certificate),
    )


def examine(parts: Parts) -> list[Finding]:
    """Run every check; one that raises is a finding, never an end."""
    return [_run(name, check, parts) for name, check in _checks()]


class Examiner:
    """Runs the checks for a page: at the same time, within `PAGE_SECONDS`, once for all who ask together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Finding] = []
        self._at = -FRESH_SECONDS

    def examine(self, parts: Parts) -> list[Finding]:
        with self._lock:
            if time.monotonic() - self._at > FRESH_SECONDS:
                self._found = self._within(parts, PAGE_SECONDS)
                self._at = time.monotonic()
            return self._found

    def _within(self, parts: Parts, seconds: float) -> list[Finding]:
        until = time.monotonic() + seconds
        # Not waited for at the end: one that hangs ends with its own time limits.
        pool = ThreadPoolExecutor(PAGE_CHECKS_AT_ONCE, thread_name_prefix="doctor")
        begun = [(name, pool.submit(_run, name, check, parts)) for name, check in _checks()]
        found = []
        for name, future in begun:
            try:
                found.append(future.result(max(0.0, until - time.monotonic())))
            except TimeoutError:
                found.append(
                    Finding(name, State.SKIPPED, f"no answer within {seconds:g} seconds", f"run {COMMAND}")
                )
        pool.shutdown(wait=False, cancel_futures=True)
        return found


def _run(name: str, check: Check, parts: Parts) -> Finding:
    try:
        return Finding(name, State.OK, check(parts))
    except Unwell as error:
        return _told(name, error.state, str(error))
    except FacePipelineError as error:
        return _told(name, State.FAIL, in_full(error))
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else ""
        return Finding(name, State.FAIL, f"{type(error).__name__}: {first}")


def _told(name: str, state: State, text: str) -> Finding:
    found, _, mend = text.partition("; ")
    return Finding(name, state, found, mend)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _packages(_: Parts) -> str:
    runtimes = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(runtimes) != 1:
        raise Unwell(
            f"exactly one onnxruntime wheel must be installed, found {runtimes or 'none'};"
            " run ./face-ansible site.yml"
        )
    opencv = [
        name
        for name in ("opencv-python", "opencv-python-headless", "opencv-contrib-python")
        if _installed(name)
    ]
    if opencv != ["opencv-python-headless"]:
        raise Unwell(
            f"only opencv-python-headless may be installed, found {opencv}; run ./face-ansible site.yml"
        )
    return f"{runtimes[0]} {importlib.metadata.version(runtimes[0])}, opencv-python-headless"


def _telemetry(_: Parts) -> str:
    if os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        raise Unwell("ORT_DISABLE_TELEMETRY is not 1: onnxruntime would report to its vendor")
    return "onnxruntime's reports are off"


def _pack(parts: Parts) -> str:
    verify_pack(parts.pack)
    return f"{parts.pack.name}: every file has its hash; licence {parts.pack.licence}"


def _device(parts: Parts) -> str:
    if parts.settings.device == "cpu":
        return "workers compute on the CPU"
    if not _installed("onnxruntime-gpu"):
        raise Unwell(
            "FACE_DEVICE is cuda, and this release has the CPU's onnxruntime; run ./face-ansible site.yml"
        )
    import pynvml

    if not CONTROL_DEVICE.exists() and os.geteuid():
        raise Unseen(
            f"the card cannot be seen by a service without devices; run {COMMAND} on a worker's host"
        )
    try:
        pynvml.nvmlInit()
        cards = pynvml.nvmlDeviceGetCount()
        driver = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError as error:
        raise Unwell(
            f"FACE_DEVICE is cuda, and NVIDIA's driver does not answer ({error}); run ./face-ansible site.yml"
        ) from error
    if not cards:
        raise Unwell("FACE_DEVICE is cuda, and the driver sees no card; look at `nvidia-smi`")
    return f"workers compute on {cards} NVIDIA cards, driver {driver}"


def _runtime(parts: Parts) -> str:
    pack, settings = parts.pack, parts.settings
    on_card = settings.device != "cpu"
    use = choose(pack, settings.runtime, settings.profile, on_card=on_card)
    if use.refusal and use.here:
        words = INSTEAD_OF_FAST.format(use.refusal)
        raise Doubtful(f"{use.library} computes, and {words}; set face_profile to exact, if it is to stay so")
    if pack.engine != "insightface":
        return f"onnxruntime, as with every pack of engine {pack.engine}"
    if on_card:
        return "onnxruntime, as on every card"
    if use.record is None:
        words = f"{use.library} runs the pack's models as they came"
        if use.here:
            raise Doubtful(
                f"{words}, for those prepared do not fit their record; run ./face-ansible site.yml"
            )
        return words
    return f"{use.library} runs the prepared models: {use.record.told()}"


def _database(parts: Parts) -> str:
    with parts.database.transaction() as session:
        version = indexes.extension_version(session)
        as_granted = rights.given(session) == rights.wanted()
    found = schema.state(parts.database)
    if not found.fits:
        what = "install a later release" if found.is_newer else "run `face-pipeline migrate`"
        raise Unwell(f"schema is at {found.current}, this release needs {found.head}; {what}")
    if not as_granted and not found.is_newer:
        raise Doubtful(
            "roles of the database have other rights than this release gives; run `face-pipeline migrate`"
        )
    newer = f" of a later release (this one: {found.head})" if found.is_newer else ""
    return f"schema {found.current}{newer}, pgvector {'.'.join(map(str, version))}"


def _standbys(parts: Parts) -> str:
    if members := parts.settings.database_members.split():
        return _members(parts, members)
    slots = parts.settings.standbys.split()
    if not slots:
        return "no host follows the database, or this one knows of none"
    with parts.database.reading() as session:
        found = standbys.every(session, slots)
    if lost := [each.name for each in found if each.lost]:
        raise Doubtful(
            f"{', '.join(lost)}: away for so long that the database no longer has what is missing there; run"
            f" ./face-ansible site.yml -e standby_anew={lost[0]}"
        )
    if away := [each.name for each in found if not each.follows]:
        raise Doubtful(
            f"{', '.join(away)}: does not follow the database; look there at /var/log/postgresql,"
            " see docs/runbooks/StandbyAway.md"
        )
    behind = max(each.behind or 0 for each in found)
    waits = ", and changes wait for one of them" if parts.settings.standby_required else ""
    return f"{counted(len(found), 'host', 'follow')}, {behind} bytes behind at most{waits}"


def _members(parts: Parts, members: list[str]) -> str:
    parts.database.check_takes_changes()
    with parts.database.reading() as session:
        leader, found = standbys.of_members(session, members)
    if away := [each.name for each in found if not each.follows]:
        raise Doubtful(
            f"{', '.join(away)}: does not follow {leader}, which leads the database; see"
            " docs/runbooks/DatabaseMemberAway.md"
        )
    behind = max((each.behind or 0 for each in found), default=0)
    return f"{leader} leads, {counted(len(found), 'host', 'follow')}, {behind} bytes behind at most"


@reached()
def _redis(parts: Parts) -> str:
    connection = parts.queue
    policy = connection.config_get("maxmemory-policy")["maxmemory-policy"]  # type: ignore[index]
    if policy != "noeviction":
        raise Unwell(f"maxmemory-policy is {policy}: Redis may drop tasks; set noeviction (role redis)")
    if connection.config_get("appendonly")["appendonly"] != "yes":  # type: ignore[index]
        raise Unwell("appendonly is off: queued tasks end with Redis; switch it on (role redis)")
    return "append-only file on, nothing is evicted"


@reached()
def _scratch(parts: Parts) -> str:
    connection = parts.scratch
    policy = connection.config_get("maxmemory-policy")["maxmemory-policy"]  # type: ignore[index]
    if not policy.startswith("volatile-"):
        raise Unwell(
            f"maxmemory-policy of the scratch Redis is {policy}: a full one would refuse searches; "
            "run ./face-ansible site.yml (role redis)"
        )
    for setting in ("appendonly", "save"):
        value = connection.config_get(setting)[setting]  # type: ignore[index]
        if value not in ("", "no"):
            raise Unwell(
                f"{setting} of the scratch Redis is '{value}': searched photos would reach its disk; "
                "run ./face-ansible site.yml (role redis)"
            )
    return "nothing of a search is written to a disk, old answers give way"


def _originals(parts: Parts) -> str:
    settings = parts.settings
    if settings.originals_url:
        try:
            parts.originals_source.read("0" * 64)
        except OriginalUnavailable as error:
            raise Unwell(str(error)) from error
        except OriginalMissing:
            return f"given out by {settings.originals_url}"
    if settings.originals_store == "s3":
        try:
            parts.originals.writable()
        except OriginalsAway as error:
            raise Unwell(str(error.__cause__ or error)) from error
    elif not parts.originals.writable():
        raise Unwell(f"{settings.originals_dir} is not writable for {os.geteuid()}")
    place = str(parts.originals)
    with parts.database.reading() as session:
        found = original_faults.counts(session)
        last = original_faults.last_round(session)
    if any(found.values()):
        told = ", ".join(f"{counted(number, 'file')} {fault}" for fault, number in found.items() if number)
        raise Doubtful(
            f"{place}: {told}; `sudo face-pipeline inspect` names them: restore them from a"
            " backup, or send these photos again"
        )
    if last is None:
        return place
    if last.ended_at is None:
        return f"{place}; the check of each file began on {last.began_at:%Y-%m-%d}"
    return f"{place}; each file was read by {last.ended_at:%Y-%m-%d}"


def _copies(parts: Parts) -> str:
    settings = parts.settings
    if not settings.copies_urls:
        return "no further host keeps copies of the originals"
    wanted = {urlsplit(url).netloc for url in settings.copies_urls.split()}
    with parts.database.reading() as session:
        rows = [each for each in copy_rounds.every(session) if each.host in wanted]
    if away := [each.host for each in rows if each.away_since]:
        raise Doubtful(
            f"{', '.join(away)}: no answer; look there at face-copies.service (systemctl status face-copies)"
        )
    if behind := [each.host for each in rows if each.missing]:
        raise Doubtful(
            f"{', '.join(behind)}: some originals have no copy there; `sudo face-pipeline copies --repair`"
            " says why"
        )
    if len(rows) < len(wanted) or any(each.ended_at is None for each in rows):
        return "the first comparison with the hosts that keep copies has not ended"
    return f"{counted(len(rows), 'host')} with copies of all originals"


def _disk(parts: Parts) -> str:
    if parts.settings.originals_url:
        return "the originals are on another host"
    if parts.settings.originals_store == "s3":
        return "the originals are in a store"
    disk = shutil.disk_usage(parts.settings.originals_dir)
    text = f"{disk.free / 1024**3:.1f} GiB of {disk.total / 1024**3:.1f} GiB are free for originals"
    if disk.free < DISK_LEAST_SHARE * disk.total:
        raise Doubtful(f"{text}; make room, or give {parts.settings.originals_dir} a larger disk")
    return text


def _workers(parts: Parts) -> str:
    try:
        heard = presence.heard(parts.queue)
    except QueueUnavailable:
        raise Unseen("Redis, where they tell of themselves, does not answer") from None
    silent = [each.said.name for each in heard if not each.alive]
    if silent:
        raise Doubtful(
            f"{', '.join(silent)} did not end and {'is' if len(silent) == 1 else 'are'} silent; "
            "look at `systemctl status 'celery@*'` on the host"
        )
    others = {each.said.contract for each in heard} - {contract_id(parts.pack)}
    if others:
        raise Doubtful(
            f"workers compute {', '.join(sorted(others))}, the web service has {contract_id(parts.pack)}; "
            "run ./face-ansible site.yml, which gives all hosts the same pack"
        )
    return f"{counted(len(heard), 'worker')} said lately that they are well" if heard else "none runs"


def _tuning(parts: Parts) -> str:
    try:
        found, mend = tuning.look(parts)
    except QueueUnavailable:
        raise Unseen("Redis, where workers tell of themselves, does not answer") from None
    if mend:
        raise Doubtful(f"{found}; {mend}")
    return found


def _certificate(parts: Parts) -> str:
    public = urlsplit(parts.settings.public_url)
    if public.scheme != "https":
        return f"none: the service is at {parts.settings.public_url}"
    try:
        found = certificates.served(public.hostname or "localhost", public.port or 443)
    except certificates.Expired:
        raise Unwell(
            "the certificate that users see has expired; put a new one in place, see docs/installing.md"
        ) from None
    except OSError as error:
        raise Unseen(
            f"nobody serves it on this host ({error}); run {COMMAND} on the host with nginx"
        ) from error
    text = f"{found.subject}, {found.days_left} days left"
    if found.days_left < CERTIFICATE_LEAST_DAYS:
        raise Doubtful(f"{text}; put a new one in place, see docs/runbooks/CertificateExpiresSoon.md")
    return text


def _ledger(parts: Parts) -> str:
    with parts.database.transaction() as session:
        lost = ledger.waiting_older_than(session, 600)
        counts = ledger.states(session)
    text = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing waits"
    if lost and not counts.get(PhotoState.PROCESSING):
        raise Unwell(
            f"{counted(len(lost), 'photo', 'wait')} for over 10 minutes and none is processed: "
            "are workers running?"
        )
    return text


def _collections(parts: Parts) -> str:
    installed = contract_id(parts.pack)
    with parts.database.transaction() as session:
        others = collections.of_other_contracts(session, installed)
        count = collections.count(session)
    if others:
        raise Unwell(
            f"{', '.join(others)}: made with another model pack; install that pack again, "
            "and to move them to this one see `face-pipeline reembed`"
        )
    return f"{count} on contract {installed}"


def _indexes(parts: Parts) -> str:
    """What each index finds, as it was measured last (store/probing.py)."""
    with parts.database.reading() as session:
        indexed = indexes.indexed(session)
    if not indexed:
        return f"none yet: collections under {indexes.INDEX_FROM_FACES} faces are searched exactly"
    text = ", ".join(_measured(each) for each in indexed)
    shares = {each.name: each.index_found for each in indexed if each.index_found is not None}
    low = sorted(name for name, share in shares.items() if share < FOUND_LEAST)
    if low:
        unwell = Unwell if min(shares.values()) < FOUND_FLOOR else Doubtful
        raise unwell(
            f"{text}; build it anew: `sudo face-pipeline index --rebuild {low[0]}`,"
            " see docs/runbooks/IndexMissesFaces.md"
        )
    return text


class _Undone(Exception):
    """Ends a transaction that was tried, and leaves nothing."""


def _audit(parts: Parts) -> str:
    """Whether it takes an entry, entries get their seals, and how the last check of its chain ended.

    And whether some wait on this host, or were changed while they waited.
    """
    waits = _audit_waiting(parts)
    with suppress(_Undone), parts.database.transaction() as session:
        audit.write(session, audit.SERVICE, "audit.read")
        raise _Undone
    with parts.database.reading() as session:
        waiting, check = chain.waiting(session), chain.last_check(session)
    if check is not None and check.fault is not None:
        raise Unwell(
            f"checked {check.at:%Y-%m-%d}: {check.fault}; see docs/runbooks/AuditChainBroken.md,"
            " then run `sudo face-pipeline audit verify`"
        )
    if waiting.seconds > UNSEALED_MOST_SECONDS:
        raise Doubtful(
            f"an entry has waited for its seal for {waiting.seconds:.0f} seconds;"
            " look at `journalctl -u face-reconciler`"
        )
    if check is None:
        return f"entries get their seals; its chain was not checked yet{waits}"
    age = datetime.now(UTC) - check.at
    text = f"{counted(check.entries, 'position')} of its chain fit, checked {check.at:%Y-%m-%d}{waits}"
    if age > UNCHECKED_MOST:
        raise Doubtful(f"{text}; run `sudo face-pipeline audit verify`")
    return text


def _audit_waiting(parts: Parts) -> str:
    if parts.spool is None:
        return ""
    try:
        kept = parts.spool.kept()
    except OSError as error:
        raise Unseen(
            f"what waits in {parts.settings.audit_spool_dir} cannot be seen ({error.strerror});"
            f" run `{COMMAND}`"
        ) from error
    if kept.damaged:
        raise Unwell(
            "entries that waited on this host were changed or removed there;"
            " see docs/runbooks/AuditEntriesWait.md"
        )
    if kept.seconds > UNSEALED_MOST_SECONDS:
        raise Doubtful(
            f"entries wait on this host ({kept.count}), the first for {kept.seconds:.0f} seconds;"
            " see docs/runbooks/AuditEntriesWait.md"
        )
    return f"; entries that wait on this host: {kept.count}" if kept.count else ""


def _measured(collection: Collection) -> str:
    if collection.index_found is None or collection.index_measured_at is None:
        return f"{collection.name}: not measured yet"
    return (
        f"{collection.name}: finds {collection.index_found:.1%} of the true matches"
        f" with {collection.index_ef} candidates, measured {collection.index_measured_at:%Y-%m-%d}"
    )
