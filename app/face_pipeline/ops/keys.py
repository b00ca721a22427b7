"""`face-pipeline keys …`: API keys, from a host on which one is root."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_pipeline.errors import BadRequest, NotFound
from face_pipeline.words import counted

if TYPE_CHECKING:
    from face_pipeline.parts import Parts
    from face_pipeline.store.audit import Actor
    from face_pipeline.store.models import ApiKey, BrowserSession

MakeParts = Callable[[], "Parts"]
Duration = Callable[[str], int]
NEVER = "never"
SESSIONS_AT_ONCE = 200
SERVICES = ("recognition", "detection", "verification")


def add_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], parts: MakeParts, duration: Duration
) -> None:
    """Add `keys` and its actions; nothing of the application is loaded before one of them runs."""
    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="ACTION")

    def add(name: str, run: Callable[[Parts, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        action = keys.add_parser(name, help=text, description=text)
        action.set_defaults(run=lambda options: run(parts(), options))
        return action

    ensure = add("ensure", _ensure, "make a key be the one in a credential file")
    ensure.add_argument("--credential", required=True, help="name of the credential file")
    ensure.add_argument(
        "--grace", metavar="AGE", type=duration, default=0, help="how long the old text works still: 1h, 7d"
    )
    create = add("create", _create, "make a key and print it once")
    for action in (ensure, create):
        action.add_argument("--name", required=True)
        action.add_argument(
            "--scopes", required=action is ensure, help="comma-separated: read, write, enrol, erase, admin"
        )
    create.add_argument(
        "--compreface",
        metavar="SERVICE",
        choices=SERVICES,
        help=f"a key for clients of CompreFace, a UUID, of one service ({', '.join(SERVICES)}); "
        "--scopes may be left out then",
    )
    create.add_argument("--collection", metavar="NAME", help="with --compreface: where its subjects are")
    create.add_argument(
        "--uuid-file",
        metavar="FILE",
        help="with --compreface: a file with the key that the clients have already; -: standard input",
    )
    create.add_argument("--collections", metavar="NAMES", help="comma-separated; left out: all")
    create.add_argument(
        "--expires", metavar="AGE", type=partial(_age, duration), help="12h, 90d (default: never)"
    )
    create.add_argument(
        "--limit",
        metavar="N",
        type=int,
        help="requests a minute; 0: any number (default: the installation's)",
    )
    for what, most in (("photos", "it may keep here"), ("bytes", "these may have")):
        create.add_argument(
            f"--quota-{what}", metavar="N", type=int, help=f"{what} at most that {most} (default: any number)"
        )
    rotate = add("rotate", _rotate, "give a key a new text and print it once")
    rotate.add_argument(
        "--grace", metavar="AGE", type=duration, default=0, help="how long the old text works still: 1h, 7d"
    )
    for action in (rotate, add("revoke", _revoke, "end a key"), add("show", _show, "show one key")):
        action.add_argument("--name", required=True)
    add("list", _list, "show all keys").add_argument("--json", action="store_true")
    sessions = add("sessions", _sessions, "show who is signed in to the pages, newest first")
    sessions.add_argument("--name", help="only with this key")
    sessions.add_argument("--json", action="store_true")
    sign_out = add("sign-out", _sign_out, "end a session of the pages, all of a key, which works on, or all")
    which = sign_out.add_mutually_exclusive_group(required=True)
    which.add_argument("session", metavar="ID", nargs="?", help="of the session")
    which.add_argument("--name", help="of the key")
    which.add_argument("--all", action="store_true", help="everybody signs in again")


def _age(duration: Duration, text: str) -> timedelta | None:
    return None if text == NEVER else timedelta(seconds=duration(text))


def operator() -> Actor:
    """Who types this, as the audit tells it: the person before `sudo`, where there is one."""
    from face_pipeline.store.audit import Actor
    from face_pipeline.store.models import ActorKind

    try:
        here = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        here = str(os.geteuid())
    return Actor(ActorKind.COMMAND, os.environ.get("SUDO_USER") or here)


def _ensure(parts: Parts, options: argparse.Namespace) -> int:
    from face_pipeline.actions import keys

    text = parts.settings.credential(options.credential)
    done = keys.ensure(
        parts, options.name, options.scopes.split(","), text,
        grace=timedelta(seconds=options.grace), by=operator(),
    )  # fmt: skip
    print(done)
    return 0


def _create(parts: Parts, options: argparse.Namespace) -> int:
    from face_pipeline.actions import keys
    from face_pipeline.store.keys import check_limit
    from face_pipeline.store.models import Service
    from face_pipeline.store.quotas import check_quota

    service = None if options.compreface is None else Service(options.compreface)
    _check_fits(options)
    reach = options.collection if service else options.collections
    wish = keys.Wish(
        name=options.name,
        scopes=options.scopes.split(",") if options.scopes is not None else None,
        collections=reach.split(",") if reach is not None else None,
        service=service,
        text=_read(options.uuid_file) if options.uuid_file is not None else None,
        expires_at=datetime.now(UTC) + options.expires if options.expires else None,
        requests_per_minute=check_limit(options.limit),
        quota_photos=check_quota(options.quota_photos),
        quota_bytes=check_quota(options.quota_bytes),
    )
    _print_once(keys.make(parts, wish, by=operator()).text)
    return 0


def _check_fits(options: argparse.Namespace) -> None:
    if options.compreface is None and (options.collection or options.uuid_file):
        raise BadRequest("--collection and --uuid-file are for keys with --compreface")
    if options.compreface is None and options.scopes is None:
        raise BadRequest("say what the key is for: --scopes, or --compreface")
    if options.compreface is not None and (options.collections or not options.collection):
        raise BadRequest("a key with --compreface reaches one collection; name it with --collection")


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise BadRequest(f"{file} cannot be read as a key ({error})") from None


def _rotate(parts: Parts, options: argparse.Namespace) -> int:
    from face_pipeline.actions import keys
    from face_pipeline.store.keys import check_grace

    grace = check_grace(timedelta(seconds=options.grace))
    made = keys.rotate(parts, _named(parts, options.name).id, grace, by=operator())
    _print_once(made.text)
    if made.key.previous_until:
        print(f"The old one works until {_time(made.key.previous_until)}.", file=sys.stderr)
    return 0


def _print_once(text: str) -> None:
    print(text)
    print("This is the only time the key is shown.", file=sys.stderr)


def _revoke(parts: Parts, options: argparse.Namespace) -> int:
    from face_pipeline.actions import keys

    # Not guarded: who is root here makes another one.
    keys.revoke(parts, _named(parts, options.name).id, by=operator(), guarded=False)
    print(f"revoked {options.name}")
    return 0


def _named(parts: Parts, name: str) -> ApiKey:
    from face_pipeline.store import keys

    with parts.database.reading() as session:
        key = keys.by_name(session, name)
    if key is None or key.revoked_at is not None:
        raise NotFound(f"there is no active key named {name!r}; `face-pipeline keys list` shows them")
    return key


def _show(parts: Parts, options: argparse.Namespace) -> int:
    print(json.dumps(_described(_named(parts, options.name)), indent=2))
    return 0


def _list(parts: Parts, options: argparse.Namespace) -> int:
    from face_pipeline.store import keys

    with parts.database.reading() as session:
        rows = keys.listing(session)
    if options.json:
        print(json.dumps([_described(row) for row in rows], indent=2))
        return 0
    print(f"{'NAME':24} {'SCOPES':20} {'COLLECTIONS':20} {'EXPIRES':20} {'LAST USED':20} STATE")
    for row in rows:
        reach = "all" if row.collections is None else ",".join(row.collections)
        does = f"compreface {row.service}" if row.service else ",".join(row.scopes)
        print(
            f"{row.name:24} {does:20} {reach:20} {_time(row.expires_at):20} "
            f"{_time(row.last_used_at):20} {keys.state(row)}"
        )
    return 0


def _sessions(parts: Parts, options: argparse.Namespace) -> int:
    rows = list(_live(parts, None if options.name is None else _named(parts, options.name).id))
    if options.json:
        print(json.dumps([_session_described(row) for row in rows], indent=2))
        return 0
    print(f"{'ID':36} {'KEY':24} {'SINCE':20} {'LAST USED':20} {'FROM':15} BROWSER")
    for row in rows:
        print(
            f"{row.id} {row.key.name:24} {_time(row.created_at):20} {_time(row.last_used_at):20} "
            f"{row.address or '-':15} {row.user_agent or '-'}"
        )
    return 0


def _live(parts: Parts, key_id: uuid.UUID | None) -> Iterator[BrowserSession]:
    from face_pipeline.actions import sessions

    after = None
    while True:
        page, after = sessions.page(parts, key_id, limit=SESSIONS_AT_ONCE, after=after, by=operator())
        yield from page
        if after is None:
            return


def _sign_out(parts: Parts, options: argparse.Namespace) -> int:
    from face_pipeline.actions import sessions

    if options.name is not None:
        sessions.end_of_key(parts, _named(parts, options.name).id, by=operator())
        print(f"ended the sessions of {options.name}")
        return 0
    if options.all:
        print(f"ended {counted(sessions.end_all(parts, by=operator()), 'session')}")
        return 0
    try:
        session_id = uuid.UUID(options.session)
    except ValueError:
        raise NotFound(f"{options.session!r} is no id; `face-pipeline keys sessions` shows them") from None
    sessions.end(parts, session_id, by=operator())
    print(f"ended {session_id}")
    return 0


def _session_described(session: BrowserSession) -> dict[str, Any]:
    """The session as JSON, with the names that the API gives its fields."""
    return {
        "id": str(session.id),
        "key_id": str(session.key_id),
        "key_name": session.key.name,
        **{name: getattr(session, name).isoformat() for name in ("created_at", "last_used_at", "expires_at")},
        "address": session.address,
        "user_agent": session.user_agent,
    }


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else NEVER


def _described(key: ApiKey) -> dict[str, Any]:
    """The key as JSON, with the names that the API gives its fields."""
    from face_pipeline.store import keys

    times = ("created_at", "expires_at", "last_used_at", "rotated_at", "previous_until", "revoked_at")
    return {
        "id": str(key.id),
        "name": key.name,
        "state": keys.state(key),
        "scopes": key.scopes,
        "collections": key.collections,
        "requests_per_minute": key.requests_per_minute,
        "quota_photos": key.quota_photos,
        "quota_bytes": key.quota_bytes,
        "service": key.service,
        **{name: at.isoformat() if (at := getattr(key, name)) else None for name in times},
    }
