"""`face-pipeline audit …`: what was done, from a host on which one is root."""

from __future__ import annotations

import argparse
import json
import os
import sys
import syslog
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from face_pipeline.errors import FacePipelineError
from face_pipeline.ops.keys import Duration, MakeParts, operator

if TYPE_CHECKING:
    from face_pipeline.parts import Parts
    from face_pipeline.store.chain import Place
    from face_pipeline.store.models import AuditEntry

PAGE = 200


def add_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], parts: MakeParts, duration: Duration
) -> None:
    """Add `audit`, which shows entries, `audit verify`, and `audit prune`, which removes old ones."""
    told = "show who did what, newest first"
    audit = commands.add_parser("audit", help=told, description=told)
    audit.add_argument("--since", metavar="AGE", type=duration, default=86400, help="24h (default), 7d, 365d")
    audit.add_argument("--action", "--what", metavar="BEGINNING", help="how it begins: person., key.rotate")
    audit.add_argument(
        "--actor", "--who", metavar="WHO", help="name of a key or of an operator, or a key's id"
    )
    audit.add_argument("--subject", "--whom", metavar="ID", help="what was acted on")
    audit.add_argument("--collection", metavar="NAME")
    audit.add_argument("--outcome", choices=("done", "refused", "failed"))
    audit.add_argument("--limit", metavar="N", type=int, default=1000, help="at most so many (default: 1000)")
    audit.add_argument("--json", action="store_true", help="one JSON object a line, with all fields")
    audit.set_defaults(run=lambda options: _show(parts(), options))
    actions = audit.add_subparsers(metavar="ACTION")
    text = "remove old entries, and leave one that says so"
    prune = actions.add_parser("prune", help=text, description=text)
    prune.add_argument("--older-than", metavar="AGE", type=duration, required=True, help="365d")
    prune.set_defaults(run=lambda options: _prune(parts, options))
    text = "check that no entry was changed, removed, added or put elsewhere; exit status 1: one was"
    verify = actions.add_parser("verify", help=text, description=text)
    verify.add_argument(
        "--anchors", metavar="FILE", type=argparse.FileType(),
        help="a file with anchors of the chain, or a log of face-reconciler; -: standard input",
    )  # fmt: skip
    verify.set_defaults(run=lambda options: _verify(parts(), options))


def _show(parts: Parts, options: argparse.Namespace) -> int:
    found = _entries(parts, options)
    if options.json:
        for entry in found:
            print(json.dumps(_described(entry), ensure_ascii=False))
        return 0
    print(f"{'TIME (UTC)':19} {'WHO':24} {'FROM':15} {'ACTION':18} {'OUTCOME':8} WHAT")
    for entry in found:
        details = ", ".join(f"{name}={value}" for name, value in entry.details.items())
        what = " ".join(each for each in (entry.collection, entry.subject, details) if each)
        print(
            f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} {entry.actor_name:24} {entry.address or '-':15} "
            f"{entry.action:18} {entry.outcome:8} {what}"
        )
    return 0


def _entries(parts: Parts, options: argparse.Namespace) -> Iterator[AuditEntry]:
    from face_pipeline.actions import audit
    from face_pipeline.store.audit import Wanted
    from face_pipeline.store.models import Outcome

    wanted = Wanted(
        action=options.action, actor=options.actor, subject=options.subject, collection=options.collection,
        outcome=Outcome(options.outcome) if options.outcome else None,
        since=datetime.now(UTC) - timedelta(seconds=options.since),
    )  # fmt: skip
    left, after, who = options.limit, None, operator()
    while left > 0:
        page, after = audit.page(parts, wanted, limit=min(PAGE, left), after=after, by=who)
        yield from page
        left -= len(page)
        if after is None:
            return


def _described(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "actor_kind": entry.actor_kind,
        "actor_id": str(entry.actor_id) if entry.actor_id else None,
        "actor_name": entry.actor_name,
        "address": entry.address,
        "request_id": entry.request_id,
        "action": entry.action,
        "collection": entry.collection,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "details": entry.details,
    }


def _prune(parts: Callable[[], Parts], options: argparse.Namespace) -> int:
    from face_pipeline.actions import chain

    if os.geteuid() != 0:
        raise FacePipelineError("audit prune: run this as root")
    removed, newest = chain.prune(parts(), timedelta(seconds=options.older_than), by=operator())
    _tell_journal(newest)
    print(f"{removed} {'entry' if removed == 1 else 'entries'} removed")
    return 0


def _verify(parts: Parts, options: argparse.Namespace) -> int:
    from face_pipeline.actions import chain

    anchors = chain.read_anchors(options.anchors) if options.anchors else None
    found = chain.verify(parts, anchors, by=operator())
    print(f"{found.entries} entries fit the chain, {found.waiting} wait for their seal")
    if anchors is not None:
        older = f", {found.pruned} are of entries that were pruned" if found.pruned else ""
        print(f"{found.anchors} of {len(anchors)} anchors fit{older}")
    if found.fault is not None:
        print(f"face-pipeline: {found.fault}", file=sys.stderr)
        return 1
    _tell_journal(found.newest)
    if found.newest.position:
        print(chain.told(found.newest))
    return 0


def _tell_journal(place: Place) -> None:
    """Of a command that somebody types, whose output is no log."""
    from face_pipeline.actions import chain

    if place.position:
        syslog.openlog("face-pipeline")
        syslog.syslog(chain.told(place))
