"""`face-pipeline reembed …`: move what is stored to another model pack, where the originals are."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from face_pipeline.engine import EngineError, PackError
from face_pipeline.errors import BadRequest, ConfigurationError
from face_pipeline.ops.keys import Duration, MakeParts, operator
from face_pipeline.words import counted

if TYPE_CHECKING:
    from face_pipeline.actions.reembedding import Agreement, Status, Switched
    from face_pipeline.parts import Parts
    from face_pipeline.store.reembedding import Shadowed

# Searches and uploads go first.
NICENESS = 19
# Of a list that `--format json` has whole.
SHOWN = 10
# Between two lines of the log on how far it is.
TELL_SECONDS = 600.0
NEXT = "install that pack now (./face-ansible site.yml): until then uploads and searches are answered 503"


log = logging.getLogger(__name__)


def add_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    parts: MakeParts,
    begin_service: Callable[[str], Parts],
    duration: Duration,
) -> None:
    """Add `reembed`, with an action for each step; `begin_service` makes the parts of a unit."""
    text = "move what is stored to another model pack (on the web host)"
    actions = commands.add_parser("reembed", help=text, description=text).add_subparsers(
        required=True, metavar="ACTION"
    )

    def add(
        name: str, run: Callable[[MakeParts, argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=text, description=text)
        action.set_defaults(run=lambda options: _done(run, parts, options))
        return action

    start = add("start", _start, "begin to move all collections to another pack; searches change nothing yet")
    start.add_argument("directory", type=Path, help="the other pack")
    text = "look at all photos with the other pack; may be ended at any time, and run again"
    look = add("run", lambda parts, options: _run(parts, options, begin_service), text)
    look.add_argument(
        "--every", metavar="AGE", type=duration,
        help="stay, and look again every 60s, 5m, until all are moved (face-reembed.service does)",
    )  # fmt: skip
    look.add_argument(
        "--again", action="store_true", help="also at those whose original was gone or of no use to it"
    )
    status = add("status", _status, "say how far it is, what is left behind, and how the two packs agree")
    status.add_argument("--format", choices=("text", "json"), default="text")
    text = "have the other pack asked of a share of searches, and compare"
    shadow = add("shadow", _shadow, text)
    shadow.add_argument("percent", type=_number, help="of a hundred searches; 0: of none")
    switch = add("switch", _switch, "let the collections have the other pack's embeddings")
    back = add("back", _back, "let them have those again that they had before")
    for action in (look, switch, back):
        action.add_argument(
            "--threads", type=_number, default=1, help="photos that are looked at at once (default: 1)"
        )
    for action in (switch, back):
        action.add_argument(
            "--leave-behind", type=_number, default=0, metavar="N",
            help="faces that nobody finds any more, at most (default: 0)",
        )  # fmt: skip
        action.add_argument(
            "--index-later", action="store_true",
            help="where a large collection has no index of the other pack yet: search exactly until it has",
        )  # fmt: skip
    end = add("end", _end, "forget the other embeddings: before a switch give up, after it keep to it")
    end.add_argument("--for-good", action="store_true", help="even where collections were switched")


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _done(
    run: Callable[[MakeParts, argparse.Namespace], None], parts: MakeParts, options: argparse.Namespace
) -> int:
    os.nice(NICENESS)
    try:
        run(parts, options)
    except (PackError, EngineError) as error:
        raise ConfigurationError(str(error)) from error
    except KeyboardInterrupt:
        print("\nended; run it again to go on", file=sys.stderr)
        return 130
    return 0


def _start(parts: MakeParts, options: argparse.Namespace) -> None:
    from face_pipeline.actions import reembedding

    way = reembedding.start(parts(), options.directory, by=operator())
    print(f"collections will be moved from {way.source.contract} to {way.target.contract}")
    print("`face-pipeline reembed run` makes the embeddings; searches stay as they are until the switch")


def _run(
    parts: MakeParts, options: argparse.Namespace, begin_service: Callable[[str], Parts]
) -> None:  # fmt: skip
    from face_pipeline.actions import reembedding
    from face_pipeline.store.audit import SERVICE

    if options.every:
        if options.again:
            raise BadRequest("--again is for one run: leave --every out")
        reembedding.attend(
            begin_service("face-reembed"), threads=max(1, options.threads), every=options.every,
            by=SERVICE, progress=_logged(),
        )  # fmt: skip
        log.info("nothing is left to be moved", extra={"operation": "reembed"})
        return
    done = reembedding.run(
        parts(), threads=max(1, options.threads), again=options.again, by=operator(), progress=_progress
    )
    print(f"{counted(done, 'photo')} looked at; `face-pipeline reembed status` says what came of it")


def _progress(done: int, of: int) -> None:
    """Where somebody looks at it."""
    if sys.stderr.isatty():
        print(f"\r{done} of {of} photos", end="\n" if done == of else "", file=sys.stderr, flush=True)


def _logged() -> Callable[[int, int], None]:
    """For who reads the journal."""
    said, last = time.monotonic(), 0

    def progress(done: int, of: int) -> None:
        nonlocal said, last
        if done != last and (done == of or time.monotonic() > said + TELL_SECONDS):
            log.info("%d of %d photos looked at", done, of, extra={"operation": "reembed", "count": done})
            said, last = time.monotonic(), done

    return progress


def _status(parts: MakeParts, options: argparse.Namespace) -> None:
    from face_pipeline.actions import reembedding

    found = reembedding.status(parts())
    if options.format == "json":
        told = asdict(found)
        told["progress"]["left"]["all"] = found.progress.left.all
        print(json.dumps(told, default=str))
        return
    for line in _told(found):
        print(line)


def _told(found: Status) -> Iterator[str]:
    way, progress = found.way, found.progress
    yield f"from {way.source.contract} ({way.source.pack})"
    yield f"to {way.target.contract} ({way.target.pack})"
    if progress.moved:
        yield f"moved already: {', '.join(progress.moved)}"
        yield f"{counted(found.without_embedding, 'face')} there without an embedding, which nobody finds"
    if not progress.collections:
        yield "nothing is left to be moved; `reembed back` goes back, `reembed end` makes it final"
        return
    yield f"to be moved: {', '.join(progress.collections)}"
    looked = progress.photos - progress.waiting
    share = looked / progress.photos if progress.photos else 1.0
    yield f"photos: {looked} of {progress.photos} looked at ({share:.1%}), {progress.waiting} to go"
    yield (
        f"faces: {progress.embedded} of {progress.faces} have both embeddings;"
        f" {progress.more_faces} found by the other pack alone, which are not stored"
    )
    left = progress.left
    yield (
        f"left behind: {left.all} ({left.not_found} not found by it, {left.missing} without an original,"
        f" {left.damaged} whose original is damaged, {left.refused} whose original it cannot use,"
        f" {left.embeddings} that came as embeddings)"
    )
    for words, ids in (
        ("photos without an original", progress.lost["missing"]),
        ("photos whose original is damaged", progress.lost["damaged"]),
        ("photos that it cannot use", progress.lost["refused"]),
        ("photos of persons whom it does not find there", progress.named),
    ):
        if ids:
            yield _listed(words, ids)
    if found.unindexed:
        yield (
            f"without an index of the other pack yet: {', '.join(found.unindexed)};"
            " face-indexer.timer builds it once all photos were looked at"
        )
    yield from _agreement(found.agreement)
    yield from _shadowed(found.shadow_percent, found.shadowed)


def _shadowed(percent: int, found: Shadowed) -> Iterator[str]:
    if not percent and not found.searches:
        return
    yield (
        f"searches of people: {percent}% are asked of both packs; {found.searches} were so far, and of their"
        f" faces the other pack does not find {found.unfound}"
    )
    if found.faces:
        yield (
            f"  of {counted(found.faces, 'face')} both find the same person, or nobody, for {found.person}"
            f" ({found.person / found.faces:.1%}), the same face first for {found.face}"
            f" ({found.face / found.faces:.1%})"
        )
        yield f"  they share {found.shared / found.faces:.1%} of their matches"


def _agreement(agreement: Agreement) -> Iterator[str]:
    if not agreement.searches:
        yield "agreement: no person has two faces with both embeddings yet"
        return
    all_ = agreement.searches
    yield (
        f"agreement: of {counted(all_, 'named face')} searched among stored ones, both packs find the same"
        f" person, or nobody, for {agreement.agreed} ({agreement.agreed / all_:.1%})"
    )
    for words, right, wrong in (
        ("the pack in use", agreement.source, agreement.strangers_source),
        ("the other pack", agreement.target, agreement.strangers_target),
    ):
        yield f"  {words} finds the right person for {right} ({right / all_:.1%}), another for {wrong}"


def _listed(words: str, ids: Sequence[uuid.UUID]) -> str:
    more = f" and {len(ids) - SHOWN} more (--format json)" if len(ids) > SHOWN else ""
    return f"{words}: {', '.join(map(str, ids[:SHOWN]))}{more}"


def _shadow(parts: MakeParts, options: argparse.Namespace) -> None:
    from face_pipeline.actions import reembedding

    reembedding.shadow(parts(), options.percent, by=operator())
    print(
        f"{options.percent}% of searches are asked of both packs, once the other one has looked at all photos"
        if options.percent
        else "no search is asked of both packs any more"
    )


def _switch(parts: MakeParts, options: argparse.Namespace) -> None:
    from face_pipeline.actions import reembedding

    _exchange(reembedding.switch, parts(), options)


def _back(parts: MakeParts, options: argparse.Namespace) -> None:
    from face_pipeline.actions import reembedding

    _exchange(reembedding.back, parts(), options)


def _exchange(exchange: Callable[..., Switched], parts: Parts, options: argparse.Namespace) -> None:
    from face_pipeline.ops import indexer

    if not options.index_later:
        # Before it, while all goes on as it is.
        for name in indexer.build_indexes(parts):
            print(f"index {name} built", flush=True)
    done = exchange(
        parts, leave_behind=options.leave_behind, index_later=options.index_later,
        threads=max(1, options.threads), by=operator(), progress=_progress,
    )  # fmt: skip
    print(
        f"{', '.join(done.collections) or 'no collection'}: embeddings of {done.way.target.contract} now;"
        f" {counted(done.left, 'face')} left behind without one"
    )
    print(NEXT, flush=True)


def _end(parts: MakeParts, options: argparse.Namespace) -> None:
    from face_pipeline.actions import reembedding

    reembedding.end(parts(), for_good=options.for_good, by=operator())
    print("the other embeddings are forgotten")
