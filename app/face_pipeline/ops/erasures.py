"""`face-pipeline erasures …`: what was erased: kept elsewhere, and erased again after a restore."""

from __future__ import annotations

import argparse
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from face_pipeline.errors import BadRequest, FacePipelineError
from face_pipeline.ops.keys import MakeParts, operator
from face_pipeline.words import counted

if TYPE_CHECKING:
    from face_pipeline.parts import Parts
    from face_pipeline.store.erasures import What


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser], parts: MakeParts) -> None:
    """Add `erasures` and its actions; nothing of the application is loaded before one of them runs."""
    told = "list what was erased, and erase it again after a restore"
    actions = commands.add_parser("erasures", help=told, description=told).add_subparsers(
        required=True, metavar="ACTION"
    )
    text = "print the list of all that was erased, and of revoked keys, ids alone, an object of JSON a line"
    export = actions.add_parser("export", help=text, description=text)
    export.set_defaults(run=lambda _: _export(parts()))
    text = "erase what the list names and a restored backup brought back, and revoke its keys"
    apply = actions.add_parser("apply", help=text, description=text)
    apply.add_argument("file", type=argparse.FileType(), metavar="FILE", help="the list; -: standard input")
    apply.add_argument("--dry-run", action="store_true", help="only say what would be erased")
    apply.set_defaults(run=lambda options: _apply(parts, options))


def _export(parts: Parts) -> int:
    from face_pipeline.actions import erasures

    for each in erasures.export(parts, by=operator()):
        print(json.dumps({"what": each.what, "id": str(each.id), "at": each.at.isoformat()}))
    return 0


def _apply(parts: MakeParts, options: argparse.Namespace) -> int:
    from face_pipeline.actions import erasures

    if os.geteuid() != 0:
        raise FacePipelineError("erasures apply: run this as root")
    # All of it is read first: a list that is cut off erases nothing.
    listed = list(_read(options.file))
    done = erasures.apply(parts(), listed, dry_run=options.dry_run, by=operator())
    what = ", ".join(counted(number, noun) for noun, number in done.items() if number) or "nothing"
    print(f"{counted(len(listed), 'line')}: {what} {'would be ' if options.dry_run else ''}erased again")
    return 0


def _read(lines: Iterable[str]) -> Iterator[tuple[What, uuid.UUID]]:
    from face_pipeline.store.erasures import KINDS

    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
            what, identifier = told["what"], uuid.UUID(told["id"])
        except (ValueError, TypeError, KeyError, AttributeError):
            what = None
        if what not in KINDS:
            raise BadRequest(f"line {number} is not from `face-pipeline erasures export`; nothing was erased")
        yield what, identifier
