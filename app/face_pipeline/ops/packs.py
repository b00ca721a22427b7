"""`face-pipeline pack`: look at a model pack of a host, prepare its models for it, compare it with the
installed one."""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, get_args

from face_pipeline.engine import (
    EngineError,
    Pack,
    PackError,
    contract_id,
    convert_pack,
    read_pack,
    verify_pack,
)
from face_pipeline.engine.prepared.record import (
    Choice,
    Profile,
    Record,
    candidates,
    choose,
    holds,
    usable,
)
from face_pipeline.engine.runtimes import Library
from face_pipeline.errors import ConfigurationError
from face_pipeline.ops import sample
from face_pipeline.ops.keys import MakeParts, operator
from face_pipeline.words import counted

if TYPE_CHECKING:
    from face_pipeline.actions.packs import Comparison, Judged

CHOICES: tuple[str, ...] = get_args(Choice)
PROFILES: tuple[str, ...] = get_args(Profile)
PORTRAIT = "the portrait that comes with scikit-image"
# Of a directory, evenly: they are all in memory at once.
MOST_PHOTOS = 100
# Of the stored ones, that another pack is compared on.
COMPARED = 200
# Searches and uploads go first.
NICENESS = 19
# Of a list that `--format json` has whole.
SHOWN = 10


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser], parts: MakeParts) -> None:
    """Add `pack`, with an action for each thing to do."""
    actions = commands.add_parser("pack", help="model packs").add_subparsers(required=True, metavar="ACTION")
    for name, run, text in (
        ("verify", _verify, "check every file of a pack against its hash"),
        ("describe", _describe, "print a pack's engine, licence, contract and what was prepared of it"),
        ("prepare", _prepare, "make a pack's models quicker on this host, check and measure them"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("directory", type=Path)
        action.set_defaults(run=run)
        if name == "verify":
            continue
        action.add_argument(
            "--runtime", choices=CHOICES, default="auto", help="auto (default): what is quickest here"
        )
        action.add_argument(
            "--profile",
            choices=PROFILES,
            default="exact",
            help="exact (default), or fast: a detector in 8 bits, measured and refused where it errs",
        )
        if name == "prepare":
            action.add_argument(
                "--photos",
                type=Path,
                metavar="DIR",
                help=f"photos to compare or calibrate on, {MOST_PHOTOS} at most (default: a portrait)",
            )
            action.add_argument("--again", action="store_true", help="even if that was done already")
            action.add_argument("--format", choices=("text", "json"), default="text")
    text = "say what another pack would do with stored photos (on the web host); keeps nothing"
    action = actions.add_parser("compare", help=text, description=text)
    action.add_argument("directory", type=Path, help="the other pack")
    action.add_argument("--collection", default="default", help="whose photos (default: default)")
    action.add_argument(
        "--photos", type=_number, default=COMPARED, help=f"how many at most (default: {COMPARED})"
    )
    action.add_argument("--format", choices=("text", "json"), default="text")
    action.set_defaults(run=lambda options: _compare(parts, options))


def _number(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 2 to 10000")
    return int(text)


def _compare(parts: MakeParts, options: argparse.Namespace) -> int:
    from face_pipeline.actions.packs import compare

    os.nice(NICENESS)
    try:
        found = compare(
            parts(), options.directory, options.collection, options.photos, by=operator(), progress=_progress
        )
    except (PackError, EngineError) as error:
        raise ConfigurationError(str(error)) from error
    if options.format == "json":
        print(json.dumps(asdict(found), default=str))
        return 0
    for line in _told(found):
        print(line)
    return 0


def _progress(done: int, of: int) -> None:
    """Where somebody looks at it."""
    if sys.stderr.isatty():
        print(f"\r{done} of {of} photos", end="\n" if done == of else "", file=sys.stderr, flush=True)


def _told(found: Comparison) -> Iterator[str]:
    faces = found.faces
    yield f"{counted(found.photos, 'photo')} in the collection, {found.sampled} looked at"
    yield from _listed(f"{len(found.gone)} without an original, which no other pack can read", found.gone)
    if found.embeddings:
        yield f"{counted(found.embeddings, 'face')} came as embeddings, without a photo"
    if found.refused:
        yield from _listed(f"{len(found.refused)} it could not use", found.refused)
    yield f"faces: {faces.both} found by both, {faces.found} by the other pack alone, {faces.lost} not by it"
    lost = [photo for _, photo in faces.lost_named]
    yield from _listed(f"{counted(len(lost), 'face')} with a name not found by it", lost)
    if found.nearest is not None:
        yield (
            f"searches: {found.agreed} of {found.searches} find the same person, or nobody;"
            f" {found.nearest:.0%} of the nearest faces are the same"
        )
    yield f"named faces, installed pack: {_judged(found.installed)}"
    yield f"named faces, other pack: {_judged(found.other)}"
    yield f"a photo takes the other pack {found.milliseconds:.0f} ms of processor time here"


def _listed(words: str, ids: Sequence[uuid.UUID]) -> Iterator[str]:
    more = f" and {len(ids) - SHOWN} more (--format json)" if len(ids) > SHOWN else ""
    yield f"{words}{': ' if ids else ''}{', '.join(map(str, ids[:SHOWN]))}{more}"


def _judged(judged: Judged) -> str:
    return (
        f"{judged.same} of {judged.same_pairs} pairs of one person reach {judged.threshold:g},"
        f" {judged.strangers} of {judged.strangers_pairs} of strangers"
    )


def _verify(options: argparse.Namespace) -> int:
    try:
        pack = read_pack(options.directory)
        verify_pack(pack)
    except PackError as error:
        raise ConfigurationError(str(error)) from error
    print(f"{pack.name}: every file has its hash")
    return 0


def _describe(options: argparse.Namespace) -> int:
    try:
        pack = read_pack(options.directory)
    except PackError as error:
        raise ConfigurationError(str(error)) from error
    use = choose(pack, options.runtime, options.profile)
    told = {
        "name": pack.name,
        "engine": pack.engine,
        "licence": pack.licence,
        "dimension": pack.dimension,
        "match_threshold": pack.match_threshold,
        "contract_id": contract_id(pack),
        "runtime": use.library,
        "profile": use.profile,
        "profile_refusal": use.refusal or None,
        "prepared": asdict(use.record) if use.record else None,
    }
    print(json.dumps(told, indent=2))
    return 0


def _prepare(options: argparse.Namespace) -> int:
    libraries = candidates(options.runtime)
    try:
        pack = read_pack(options.directory)
        if pack.engine == "dlib":
            made, words = _converted(pack)
        elif pack.engine != "insightface":
            made, words = False, f"engine {pack.engine} takes the pack's models as they are"
        else:
            made, words = _prepared(pack, libraries, options)
    except PackError as error:
        raise ConfigurationError(str(error)) from error
    if options.format == "json":
        print(json.dumps({"made": made, "found": words}))
    else:
        print(f"{'prepared' if made else 'unchanged'}: {words}")
    return 0


def _prepared(pack: Pack, libraries: tuple[Library, ...], options: argparse.Namespace) -> tuple[bool, str]:
    """Whether anything was made, and what was found. Photos are read where something is to be made alone:
    nobody has to keep those of people afterwards."""
    source = str(options.photos or PORTRAIT)
    exact = None if options.again else _held(pack, "exact", libraries)
    held = exact
    if options.profile == "fast" and exact:
        fast = _held(pack, "fast", libraries)
        held = fast if fast and fast.photos == source else None
    if held:
        return False, held.told()
    if exact is None:
        # Loads the model runtimes, which takes seconds.
        from face_pipeline.engine.prepared.preparing import CannotPrepare, prepare

        given = options.photos if options.profile == "exact" else None
        try:
            exact = prepare(pack, _photos(given), libraries, source=str(given or PORTRAIT))
        except CannotPrepare as error:
            return False, f"the pack's originals are used: {error}"
    if options.profile == "exact":
        return True, exact.told()
    return True, _prepared_fast(pack, exact, _photos(options.photos), libraries, source).told()


def _held(pack: Pack, profile: Profile, libraries: tuple[Library, ...]) -> Record | None:
    """What was prepared already, and is as it was."""
    record = usable(pack, profile)
    return record if record and holds(record, libraries) else None


def _prepared_fast(
    pack: Pack, exact: Record, photos: dict[str, bytes], libraries: tuple[Library, ...], source: str
) -> Record:
    from face_pipeline.engine.prepared.fast import prepare_fast

    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return prepare_fast(pack, exact, photos, libraries, source=source, cpuinfo=cpuinfo)


def _converted(pack: Pack) -> tuple[bool, str]:
    """Whether anything was made, and what."""
    try:
        made = convert_pack(pack)
    except EngineError as error:
        return False, f"dlib itself computes descriptors, slowly: {error}"
    except OSError as error:
        raise ConfigurationError(f"{pack.path} cannot be written: {error.strerror}") from error
    return bool(made), made or "what dlib's engine computes quicker is stored beside the pack"


def _photos(directory: Path | None) -> dict[str, bytes]:
    """Sample photos by name: of a directory, those in and below it."""
    if directory is None:
        return {"first": sample.first(), "second": sample.second()}
    try:
        files = sorted(
            Path(parent, name) for parent, _, names in os.walk(directory, onerror=_fail) for name in names
        )
        chosen = files[:: len(files) // MOST_PHOTOS + 1]
        return {str(each.relative_to(directory)): each.read_bytes() for each in chosen}
    except OSError as error:
        raise ConfigurationError(
            f"--photos: {error.filename or directory} cannot be read ({error.strerror}); name a directory of "
            "photos of faces on this host (face_profile_photos)"
        ) from error


def _fail(error: OSError) -> NoReturn:
    raise error
