"""`face-pipeline tune`: measure this host, choose, keep what was chosen and show it as a table."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from face_pipeline.engine import tuned
from face_pipeline.errors import ConfigurationError, FacePipelineError, Unavailable
from face_pipeline.ops import queues, sample
from face_pipeline.ops.tune import measuring, rule

if TYPE_CHECKING:
    from face_pipeline.parts import Parts

SECONDS, SECONDS_LEAST, SECONDS_MOST = 60, 2, 600
# Of the cores: above it others would be measured, too.
LOAD_MOST = 0.5
PHOTOS_MOST = 20


class HostBusy(FacePipelineError):
    """What would be measured now is not what the host can do."""

    code = "host_busy"


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], make_parts: Callable[[], Parts]
) -> None:
    text = "measure this host, and say how many workers of how many threads suit it"
    command = commands.add_parser("tune", help=text, description=text)
    command.add_argument(
        "--seconds", type=_seconds, default=SECONDS,
        help=f"of measuring, {SECONDS_LEAST} to {SECONDS_MOST} (default: {SECONDS}); models load beside",
    )  # fmt: skip
    command.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help=f"up to {PHOTOS_MOST} photos like yours (default: a portrait)",
    )
    command.add_argument("--anyway", action="store_true", help="even if the host is busy")
    action = command.add_mutually_exclusive_group()
    action.add_argument("--dry-run", action="store_true", help="keep nothing")
    action.add_argument("--show", action="store_true", help="show what was kept, and measure nothing")
    action.add_argument("--forget", action="store_true", help="remove what was kept")
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    command.set_defaults(run=lambda options: _run(options, make_parts()))


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not SECONDS_LEAST <= int(text) <= SECONDS_MOST:
        raise argparse.ArgumentTypeError(
            f"{text!r}: a number from {SECONDS_LEAST} to {SECONDS_MOST} is needed"
        )
    return int(text)


def _run(options: argparse.Namespace, parts: Parts) -> int:
    path = parts.settings.tune_file
    if options.forget:
        print(f"{path} is gone" if tuned.forget(path) else "nothing was kept")
        return 0
    if options.show:
        found = tuned.read(path)
        if found is None:
            raise ConfigurationError("nothing was kept yet: run `face-pipeline tune`")
    else:
        found = _measured(options, parts)
        if not options.dry_run:
            tuned.write(path, found)
    if options.json:
        print(tuned.as_json(found))
    else:
        print("\n".join(table(found)))
        if not options.show:
            print("Nothing was kept." if options.dry_run else f"Kept in {path}.")
    return 0


def _measured(options: argparse.Namespace, parts: Parts) -> tuned.Tuned:
    settings = parts.settings
    if settings.device != "cpu":
        raise ConfigurationError(
            "workers of this host compute on a card, and this measures processors; "
            "./face-ansible playbooks/prove_gpu.yml measures the card"
        )
    basis = tuned.basis_of(parts.pack, settings.runtime, settings.profile)
    load = os.getloadavg()[0] / basis.cores
    if not options.anyway:
        _refuse_a_busy_host(parts, load)
    with tempfile.TemporaryDirectory(prefix="face-tune-photos-") as directory:
        photos, told = _photos(options.photos, Path(directory))
        subject = measuring.Subject(
            pack=settings.pack_dir,
            runtime=settings.runtime,
            profile=settings.profile,
            decode_mb=settings.decode_memory_mb,
            photos=photos,
            cores=basis.cores,
            memory_mb=_memory_mb("MemTotal"),
            free_mb=_memory_mb("MemAvailable"),
            most=settings.autoscale_host_max,
            search_cores=settings.cores_of_a_search,
        )
        measured = measuring.measure(subject, options.seconds, lambda words: print(words, file=sys.stderr))
        told = f"{told}, {measured.faces} faces on {len(photos)}"
    chosen = rule.choose(measured.figures, basis.cores, subject.memory_mb)
    rate = chosen.photos_per_second / chosen.workers
    return tuned.Tuned(
        format=tuned.FORMAT,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        basis=basis,
        memory_mb=subject.memory_mb,
        photos=told,
        load=round(load, 2),
        measured=measured.figures,
        search_ms=measured.search_ms,
        workers=chosen.workers,
        threads=chosen.threads,
        worker_photos_per_second=round(rate, 2),
        worker_memory_mb=round(chosen.peak_mb),
        worker_memory_max_mb=rule.memory_limit_mb(chosen.peak_mb, settings.decode_memory_mb),
        autoscale_target=rule.waiting_for(rate, chosen.threads),
    )


def _refuse_a_busy_host(parts: Parts, load: float) -> None:
    if load > LOAD_MOST:
        raise HostBusy(
            f"this host is busy: its load is {load:.2f} a core, {LOAD_MOST} at most is wanted; "
            "try again later, or add --anyway"
        )
    try:
        work = queues.look(parts)
    except Unavailable as error:
        raise HostBusy(f"nobody can say whether photos wait ({error.message}); add --anyway") from error
    count = work["waiting"] + work["processing"]
    if count:
        raise HostBusy(f"photos waiting or under way: {count}; try again when they are done, or add --anyway")


def _photos(directory: Path | None, scratch: Path) -> tuple[list[Path], str]:
    """Files to measure on, and what they are."""
    if directory is None:
        files = [scratch / "first.jpg", scratch / "second.jpg"]
        for file, data in zip(files, (sample.first(), sample.second()), strict=True):
            file.write_bytes(data)
        return files, "the portrait that comes with scikit-image"
    try:
        files = sorted(each for each in directory.iterdir() if each.is_file())[:PHOTOS_MOST]
        size = sum(len(each.read_bytes()) for each in files)
    except OSError as error:
        raise ConfigurationError(
            f"--photos: {error.filename or directory} cannot be read ({error.strerror}); name a directory of "
            "photos of faces"
        ) from error
    if not files:
        raise ConfigurationError(f"--photos: {directory} holds no file; name a directory of photos of faces")
    return files, f"{directory}, {size / len(files) / 1e6:.2f} MB each"


def _memory_mb(field: str) -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) // 1024


def table(found: tuned.Tuned) -> Sequence[str]:
    """What was measured, and what was chosen in sentences."""
    rows = [("workers x threads", "photos/s", "per hour", "memory", "note")]
    for each in found.measured:
        chosen = (each.workers, each.threads) == (found.workers, found.threads)
        rows.append(
            (
                f"{each.workers} x {each.threads}",
                f"{each.photos_per_second:.1f}",
                f"{each.photos_per_second * 3600:,.0f}",
                f"{each.memory_mb:,.0f} MB",
                "chosen" if chosen else "one thread alone" if each.threads == 1 else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    basis = found.basis
    rate = found.worker_photos_per_second * found.workers
    memory = found.worker_memory_mb * found.workers
    search = ", ".join(f"{ms:g} ms on {cores}" for cores, ms in found.search_ms.items())
    told = [
        f"{basis.processor}, {basis.cores} cores, {found.memory_mb:,} MB, load a core {found.load:g}",
        f"pack {basis.pack} by {basis.runtime}, {basis.profile}; photos: {found.photos}",
        "",
        *(line.rstrip() for line in lines),
        "",
        f"{found.workers} x {found.threads}: the engine does {rate:.1f} photos a second,"
        f" {rate * 3600:,.0f} an hour, with {memory:,} MB.",
        f"Inference of one search, by cores: {search}. Searching among faces is not measured here.",
        f"site.yml takes, where the inventory leaves them open: workers of this host: {found.workers},"
        f" face_worker_concurrency: {found.threads}, face_autoscale_target: {found.autoscale_target},"
        f" face_worker_memory_max_mb: {found.worker_memory_max_mb} at least.",
    ]
    if memory > found.memory_mb * rule.MEMORY_SHARE:
        told.append("This host has too little memory: they take more than half of it.")
    return told
