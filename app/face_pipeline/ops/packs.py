"""`face-pipeline pack`: look at a model pack of a host, and prepare its models for it."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn, get_args

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

CHOICES: tuple[str, ...] = get_args(Choice)
PROFILES: tuple[str, ...] = get_args(Profile)
PORTRAIT = "the portrait that comes with scikit-image"
# Of a directory, evenly: they are all in memory at once.
MOST_PHOTOS = 100


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
