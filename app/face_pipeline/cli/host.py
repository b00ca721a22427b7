"""The commands of `face-pipeline` that an operator and systemd's units run on a host of an installation."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from face_pipeline import __version__
from face_pipeline.config import get_settings
from face_pipeline.errors import ConfigurationError, FacePipelineError, in_full
from face_pipeline.ops import audit, erasures, keys, packs, reembedding
from face_pipeline.ops.tune import command as tune

if TYPE_CHECKING:
    from face_pipeline.parts import Parts


def _parts() -> Parts:
    """Made only for commands that need them: others work on a host that is not installed yet, too."""
    from face_pipeline.parts import Parts

    return Parts(get_settings())


def _begin_service(service: str) -> Parts:
    """Logs of this process as those of `service`."""
    from face_pipeline.telemetry import streams
    from face_pipeline.telemetry.logging import configure_logging

    streams.capture(service)
    parts = _parts()
    configure_logging(service, parts.settings.log_level)
    return parts


def _migrate(options: argparse.Namespace) -> int:
    from face_pipeline.store.schema import migrate, state

    database = _parts().database
    if options.show:
        print(json.dumps(asdict(state(database)), indent=2))
        return 0
    done = migrate(database)
    if done.before != done.after:
        print(f"migrated {done.before or 'an empty database'} -> {done.after}")
    else:
        print("granted: the roles' rights" if done.rights_changed else "unchanged")
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    from face_pipeline.broker import log_level
    from face_pipeline.ops.reconciler import reconcile, run, seal

    parts = _begin_service("face-reconciler")
    if options.every:
        run(parts, every=options.every, seconds=options.seconds)
        return 0
    log_level.look_once("face-reconciler", parts.settings.log_level, lambda: parts.queue)
    reconcile(parts)
    seal(parts)
    return 0


def _index(options: argparse.Namespace) -> int:
    if options.rebuild is not None:
        return _rebuild_index(options.rebuild)
    from face_pipeline.actions import events, retention
    from face_pipeline.broker import log_level
    from face_pipeline.ops import copies, originals
    from face_pipeline.ops.indexer import (
        build_indexes,
        fold_usage,
        forget_addresses,
        forget_answers,
        forget_lapsed_merges,
        forget_sessions,
        measure_indexes,
        remove_originals,
        sweep_originals,
        verify_audit,
    )
    from face_pipeline.ops.outlasting import outlast

    parts = _begin_service("face-indexer")
    log_level.look_once("face-indexer", parts.settings.log_level, lambda: parts.queue)

    # Last those that may take minutes.
    for step in (
        build_indexes, retention.expire, copies.look_again, remove_originals, sweep_originals,
        forget_lapsed_merges, forget_answers, forget_sessions, fold_usage, forget_addresses, events.tidy,
        copies.repair, originals.inspect, measure_indexes, verify_audit,
    ):  # fmt: skip
        outlast(partial(step, parts))
    return 0


def _rebuild_index(name: str) -> int:
    from face_pipeline.ops.indexer import rebuild_index

    collection = rebuild_index(_parts(), name)
    print(f"the index of {name} was built anew")
    if collection.index_found is not None:
        share = f"{collection.index_found:.1%} of the true matches"
        print(f"it finds {share} with {collection.index_ef} candidates")
    return 0


def _cluster(_: argparse.Namespace) -> int:
    from face_pipeline.broker import log_level
    from face_pipeline.ops.clusterer import cluster
    from face_pipeline.ops.outlasting import outlast

    parts = _begin_service("face-clusterer")
    log_level.look_once("face-clusterer", parts.settings.log_level, lambda: parts.queue)
    outlast(partial(cluster, parts))
    return 0


def _autoscaler(_: argparse.Namespace) -> int:
    from face_pipeline.ops.autoscaler.agent import run

    run(_begin_service("face-autoscaler"))
    return 0


def _tell_hooks(_: argparse.Namespace) -> int:
    from face_pipeline.ops.hooks import run

    run(_begin_service("face-hooks"))
    return 0


def _queues(_: argparse.Namespace) -> int:
    from face_pipeline.ops.queues import look

    print(json.dumps(look(_parts())))
    return 0


# One width; what must be mended is to be seen at once.
DOCTOR_WORDS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL", "skipped": "skip"}


def _doctor(options: argparse.Namespace) -> int:
    from face_pipeline.actions.doctor import examine

    findings = examine(_parts())
    if options.format == "json":
        told = [{**vars(each), "ok": each.ok, "message": each.message} for each in findings]
        print(json.dumps(told, indent=2))
    else:
        for finding in findings:
            print(f"{DOCTOR_WORDS[finding.state]} {finding.check:16} {finding.message}")
    return 0 if all(finding.ok for finding in findings) else 1


def _inspect(options: argparse.Namespace) -> int:
    from face_pipeline.actions.inspection import inspect

    found = inspect(_parts(), options.originals)
    if options.json:
        told = {**asdict(found), "faults": found.faults, "remarks": found.remarks}
        print(json.dumps(told, indent=2, default=str))
    else:
        for line in (*found.remarks, *(f"missing: {each}" for each in found.missing)):
            print(line)
        for line in found.faults:
            print(line, file=sys.stderr)
    return 1 if found.faults or (found.missing and not options.missing) else 0


def _copies(options: argparse.Namespace) -> int:
    from face_pipeline.ops import copies

    parts = _parts()
    if options.repair:
        copies.repair(parts, whole=True)
    if options.lacking:
        names = copies.lacking(parts)
        for name in names:
            print(name)
        return 1 if names else 0
    found = copies.states(parts)
    if options.json:
        print(json.dumps([{**asdict(each), "well": each.is_well} for each in found], indent=2, default=str))
    else:
        for line in copies.table(found):
            print(line)
    return 0 if all(each.is_well for each in found) else 1


def _originals(options: argparse.Namespace) -> int:
    from face_pipeline.ops import moving

    def told(found: moving.Moved) -> None:
        print(
            f"{found.there} in place, {found.moved} of them moved, {found.emptied} emptied", file=sys.stderr
        )

    parts = _parts()
    if options.move:
        found = moving.move(parts, told)
    elif options.empty:
        found = moving.empty(parts, told)
    else:
        found = moving.look(parts)
    if options.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        for line in moving.table(found):
            print(line)
    return 1 if found.left or found.lost else 0


def _smoke(options: argparse.Namespace) -> int:
    from urllib.parse import urlsplit

    from face_pipeline.ops import smoke

    parts = _parts()
    public = urlsplit(parts.settings.public_url)
    target = smoke.Target(
        address=options.address,
        port=options.port or public.port or 443,
        host=options.host or public.hostname or smoke.LOOPBACK,
        trusted=options.trusted.read() if options.trusted else "",
    )
    try:
        remarks = smoke.test(parts, target, options.seconds if options.photo else None)
    except ConfigurationError:
        raise
    except FacePipelineError as error:
        # As it is: the role `verify` tells it.
        print(error, file=sys.stderr)
        return 1
    for line in remarks:
        print(line)
    return 0


def _log_level(options: argparse.Namespace) -> int:
    from face_pipeline.broker import log_level
    from face_pipeline.telemetry.logging import EVERYONE

    parts = _parts()
    if options.level is None:
        found = log_level.chosen(parts.queue)
        for service, chosen, left in found:
            print(f"{service:16} {chosen:8} for {left / 60:.1f} more minutes")
        if not found:
            print(f"none is chosen: FACE_LOG_LEVEL counts, which is {parts.settings.log_level} on this host")
        return 0
    wanted = None if options.level == "default" else options.level
    log_level.choose(parts.queue, wanted, options.service, options.seconds)
    others = [each for each in log_level.chosen(parts.queue) if each[0] != options.service]
    who = "every service" if options.service == EVERYONE else options.service
    how = f"at {wanted} for {options.seconds} seconds" if wanted else "at its FACE_LOG_LEVEL for good"
    for service, chosen, left in others:
        if not wanted and service == EVERYONE:
            how = f"at {chosen}, as every service, for {left / 60:.0f} more minutes"
    print(f"{who} logs {how}, from {log_level.LOOK_SECONDS:g} seconds from now at the latest")
    if options.service == EVERYONE:
        for service, chosen, left in others:
            print(f"{service} keeps its own: {chosen} for {left / 60:.0f} more minutes")
    return 0


def _trail(options: argparse.Namespace) -> int:
    from face_pipeline.ops import trail

    sources = trail.Sources(options.seconds, options.journal, options.access_log)
    entries = trail.follow(options.id, sources)
    for line in trail.as_json(entries) if options.json else trail.as_table(entries):
        print(line)
    return 0


def _duration(text: str) -> int:
    """Seconds of `90s`, `10m`, `24h` or `7d`."""
    found = re.fullmatch(r"([1-9]\d{0,4})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 90s, 10m, 24h or 7d")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def _version(_: argparse.Namespace) -> int:
    print(f"face-pipeline {__version__}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="face-pipeline", description="Operate a Face Pipeline host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    about = "bring the database to this release's schema, and its roles to their rights"
    migrate = add("migrate", _migrate, about)
    migrate.add_argument(
        "--show", action="store_true", help="say as JSON what it would do, and change nothing"
    )
    again = add("reconcile", _reconcile, "queue lost photos again (face-reconciler.service runs it)")
    again.add_argument("--every", type=_duration, help="stay, and look every 10s, 1m (default: look once)")
    again.add_argument("--for", dest="seconds", type=_duration, default=3600, help="for 1h (default), 15m")
    index = add("index", _index, "build and measure vector indexes (face-indexer.timer runs it)")
    index.add_argument(
        "--rebuild", metavar="COLLECTION", help="build the index of this one anew, while searches use the old"
    )
    add("cluster", _cluster, "group faces of unknown people (face-clusterer.timer runs it)")
    add("autoscaler", _autoscaler, "run as many workers as the queues need (face-autoscaler.service runs it)")
    add("tell-hooks", _tell_hooks, "tell web hooks of events (face-hooks.service runs it)")
    add("queues", _queues, "say as JSON how much work waits")
    add("doctor", _doctor, "check every part and say what mends it").add_argument(
        "--format", choices=("text", "json"), default="text"
    )
    about = "count what there is, read originals, and compare each index with a scan of all"
    inspect = add("inspect", _inspect, about)
    inspect.add_argument(
        "--originals", metavar="N", type=int, default=200, help="files to read (default: 200)"
    )
    inspect.add_argument(
        "--missing", action="store_true", help="originals that are missing are told, and are no failure"
    )
    inspect.add_argument("--json", action="store_true")
    copies = add("copies", _copies, "show the hosts that keep copies of the originals (on the web host)")
    copies.add_argument(
        "--repair", action="store_true", help="compare all now, and mend what differs, both ways"
    )
    copies.add_argument(
        "--lacking", action="store_true", help="name what this host has not itself, whoever else has it"
    )
    copies.add_argument("--json", action="store_true")
    about = "show how far originals are moved to another place, and move them (on the web host)"
    originals = add("originals", _originals, about)
    what = originals.add_mutually_exclusive_group()
    what.add_argument(
        "--move", action="store_true", help="bring what the place in use lacks from that of before"
    )
    what.add_argument(
        "--empty",
        action="store_true",
        help="remove from the place of before what is proven in the one in use",
    )
    originals.add_argument("--json", action="store_true")
    _add_smoke(add)
    add("version", _version, "print the version")
    _add_log_commands(add)

    keys.add_commands(commands, _parts, _duration)
    audit.add_commands(commands, _parts, _duration)
    erasures.add_commands(commands, _parts)
    packs.add_commands(commands, _parts)
    reembedding.add_commands(commands, _parts, _begin_service, _duration)
    tune.add_command(commands, _parts)
    return parser


def _add_smoke(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("smoke", _smoke, "ask the service, put in a photo and find its person (on a web host)")
    command.add_argument("--address", default="127.0.0.1", help="where it is asked (default: this host)")
    command.add_argument("--port", type=int, help="default: that of FACE_PUBLIC_URL")
    command.add_argument("--host", help="the name in its certificate (default: that of FACE_PUBLIC_URL)")
    command.add_argument(
        "--trusted",
        type=argparse.FileType(),
        metavar="FILE",
        help="certificates to trust, PEM; -: standard input",
    )
    command.add_argument("--no-photo", dest="photo", action="store_false", help="put in no photo")
    command.add_argument("--seconds", type=float, default=120.0, help="what a photo may take (default: 120)")


def _add_log_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    from face_pipeline.ops.trail import ACCESS_LOG
    from face_pipeline.telemetry.logging import EVERYONE, LEVELS, SERVICES

    level = add("log-level", _log_level, "change what is logged, for a while and without a restart")
    level.add_argument(
        "level", nargs="?", choices=(*LEVELS, "default"), help="without it: show what is chosen"
    )
    level.add_argument("--for", dest="seconds", type=_duration, default=600, help="90s, 10m (default), 24h")
    level.add_argument("--service", choices=(EVERYONE, *SERVICES), default=EVERYONE)

    trail = add("trail", _trail, "print all that this host logged about one request, task or photo")
    trail.add_argument("id", help="a request's X-Request-ID, or the id of a photo, batch or task")
    trail.add_argument(
        "--since", dest="seconds", metavar="AGE", type=_duration, default=86400, help="24h (default), 7d"
    )
    trail.add_argument("--json", action="store_true", help="one JSON object a line, with all fields")
    trail.add_argument("--journal", type=Path, metavar="DIRECTORY", help="read this journal, not the host's")
    trail.add_argument("--access-log", type=Path, metavar="FILE", default=ACCESS_LOG, help="nginx's JSON log")


def names() -> set[str]:
    """Of all commands here."""
    (commands,) = [each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction)]
    return set(commands.choices)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ConfigurationError as error:
        print(f"face-pipeline: {error.message}", file=sys.stderr)
        return error.exit_status
    except FacePipelineError as error:
        print(f"face-pipeline: {in_full(error)}", file=sys.stderr)
        return 1
