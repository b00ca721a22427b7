"""`face-pipeline doctor`: look at each part of an installation and say what is wrong and what mends it."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass

import pynvml

from face_pipeline.engine import PackError, contract_id, verify_pack
from face_pipeline.errors import FacePipelineError, in_full
from face_pipeline.parts import Parts
from face_pipeline.store import collections, faces, indexes, ledger, schema, vectors
from face_pipeline.store.models import Collection, State
from face_pipeline.store.originals import OriginalMissing, OriginalUnavailable
from face_pipeline.words import counted

RECALL_SAMPLES = 20
RECALL_LIMIT = 10
# Near neighbours that nobody would call a match may differ; true matches may not.
RECALL_FLOOR = 0.9


@dataclass(frozen=True)
class Finding:
    check: str
    ok: bool
    message: str


def examine(parts: Parts) -> list[Finding]:
    """Run every check; one that raises is a finding, never an end."""
    checks: list[tuple[str, Callable[[Parts], str]]] = [
        ("python packages", _packages),
        ("telemetry", _telemetry),
        ("model pack", _pack),
        ("device", _device),
        ("database", _database),
        ("redis", _redis),
        ("scratch", _scratch),
        ("originals", _originals),
        ("ledger", _ledger),
        ("collections", _collections),
        ("vector index", _indexes),
    ]
    return [_run(name, check, parts) for name, check in checks]


class Unwell(Exception):
    """A check found something wrong; the text says what mends it."""


def _run(name: str, check: Callable[[Parts], str], parts: Parts) -> Finding:
    try:
        return Finding(name, True, check(parts))
    except FacePipelineError as error:
        return Finding(name, False, in_full(error))
    except (Unwell, PackError) as error:
        return Finding(name, False, str(error))
    except Exception as error:
        return Finding(
            name, False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )


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


def _database(parts: Parts) -> str:
    with parts.database.transaction() as session:
        version = indexes.extension_version(session)
    current, head = schema.current_revision(parts.database), schema.head_revision()
    if current != head:
        raise Unwell(f"schema is at {current}, this release needs {head}; run `face-pipeline migrate`")
    return f"schema {current}, pgvector {'.'.join(map(str, version))}"


def _redis(parts: Parts) -> str:
    connection = parts.queue
    policy = connection.config_get("maxmemory-policy")["maxmemory-policy"]  # type: ignore[index]
    if policy != "noeviction":
        raise Unwell(f"maxmemory-policy is {policy}: Redis may drop tasks; set noeviction (role redis)")
    if connection.config_get("appendonly")["appendonly"] != "yes":  # type: ignore[index]
        raise Unwell("appendonly is off: queued tasks end with Redis; switch it on (role redis)")
    return "append-only file on, nothing is evicted"


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
    if not parts.originals.writable():
        raise Unwell(f"{settings.originals_dir} is not writable for {os.geteuid()}")
    return str(settings.originals_dir)


def _ledger(parts: Parts) -> str:
    with parts.database.transaction() as session:
        lost = ledger.waiting_older_than(session, 600)
        counts = ledger.states(session)
    text = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing waits"
    if lost and not counts.get(State.PROCESSING):
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
            f"{', '.join(others)}: made with another model pack; install that pack again "
            "or upload the photos again"
        )
    return f"{count} on contract {installed}"


def _indexes(parts: Parts) -> str:
    """Ask each index for the neighbours of some stored faces, and an exact scan for the same."""
    with parts.database.transaction() as session:
        indexed = indexes.indexed(session)
    if not indexed:
        return f"none yet: collections under {indexes.INDEX_FROM_FACES} faces are searched exactly"
    shares = {collection.name: _recall(parts, collection) for collection in indexed}
    low = {name: share for name, share in shares.items() if share < RECALL_FLOOR}
    if low:
        raise Unwell(
            ", ".join(
                f"{name}: index finds {share:.0%} of what an exact scan finds" for name, share in low.items()
            )
            + "; rebuild with REINDEX INDEX CONCURRENTLY faces_hnsw_<collection id>"
        )
    return ", ".join(f"{name}: {share:.0%} of an exact scan" for name, share in shares.items())


def _recall(parts: Parts, collection: Collection) -> float:
    with parts.database.transaction() as session:
        samples = faces.some_embeddings(session, collection, RECALL_SAMPLES)
    found = expected = 0
    for sample in samples:
        with parts.database.reading() as session:
            exact, indexed = (
                vectors.nearest(session, collection, sample, limit=RECALL_LIMIT, threshold=-1.0, exact=exact)
                for exact in (True, False)
            )
        expected += len(exact)
        found += len({match.face_id for match in exact} & {match.face_id for match in indexed})
    return found / expected if expected else 1.0
