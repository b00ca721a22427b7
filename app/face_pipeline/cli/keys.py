"""`face-pipeline keys …` and `audit` at one's own machine, by HTTP, with a key of the scope admin.

On a host root needs no key: the commands of these names there are ops/keys.py and ops/audit.py, which take
the same options.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

import click

from face_pipeline.cli.common import (
    Door,
    at_most,
    bounds,
    connected,
    duration,
    examples,
    moment,
    print_line,
    printable,
    quota_in_words,
)

if TYPE_CHECKING:
    from face_pipeline.client import AuditEntry, Client, Key, KeyWithText

NEVER = "never"
NAME = click.option("--name", required=True, help="Of the key.")


def _names(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")


def _age(_: click.Context, __: click.Parameter, text: str | None) -> timedelta | str | None:
    return text if text is None or text == NEVER else timedelta(seconds=duration(text))


def _seconds(_: click.Context, __: click.Parameter, text: str) -> int:
    return duration(text)


SCOPES = click.option(
    "--scopes", metavar="SCOPES", callback=_names, help="By commas: read, write, enrol, erase, admin."
)
COLLECTIONS = click.option(
    "--collections", metavar="NAMES", callback=_names, help="By commas: those it reaches; left out: all."
)
EXPIRES = click.option("--expires", metavar="AGE", callback=_age, help="After how long: 12h, 90d, never.")
LIMIT = click.option(
    "--limit", type=click.IntRange(0), help="Requests a minute; 0: any number. Left out: the installation's."
)

QUOTA_PHOTOS = click.option(
    "--quota-photos", callback=at_most, metavar="NUMBER", help="Photos at most that it may keep here; any."
)
QUOTA_BYTES = click.option(
    "--quota-bytes", callback=at_most, metavar="SIZE", help="Bytes of these at most, as 20GB; any."
)


def _expiry(wanted: timedelta | str | None) -> datetime | None:
    return datetime.now(UTC) + wanted if isinstance(wanted, timedelta) else None


def _named(client: Client, name: str) -> Key:
    """The key of that name that is in use."""
    for each in client.api_keys():
        if each.name == name and each.state != "revoked":
            return each
    raise click.ClickException(f"there is no key named {name!r} in use; `keys list` shows all")


@click.group()
def keys() -> None:
    """List, show, make, change, rotate and revoke API keys; see who is signed in with them."""


@keys.command("list", epilog=examples("keys list", "keys list --state expired"))
@click.option("--state", type=click.Choice(["active", "expired", "revoked"]), help="Only these.")
@connected
def list_keys(door: Door, state: str | None) -> None:
    """List keys, by name."""
    door.table(
        door.client().api_keys(state=state),
        (
            ("NAME", lambda each: each.name),
            ("SCOPES", lambda each: f"compreface {each.service}" if each.service else ",".join(each.scopes)),
            ("COLLECTIONS", lambda each: "all" if each.collections is None else ",".join(each.collections)),
            ("EXPIRES (UTC)", lambda each: moment(each.expires_at)),
            ("LAST USED (UTC)", lambda each: moment(each.last_used_at)),
            ("STATE", lambda each: each.state),
        ),
    )


@keys.command("show", epilog=examples("keys show --name 'door camera'"))
@NAME
@connected
def show_key(door: Door, name: str) -> None:
    """Show a key, without its text, which nobody knows."""
    client = door.client()
    found = client.api_key(_named(client, name).id)
    door.show(found, _in_words(found))


def _in_words(key: Key) -> str:
    reach = "all collections" if key.collections is None else ", ".join(key.collections)
    lines = [f"{key.name}: {key.state}", f"id {key.id}", f"may {', '.join(key.scopes)} in {reach}"]
    if key.service is not None:
        lines.append(f"for clients of CompreFace's {key.service} alone")
    lines.append(f"expires {moment(key.expires_at) or NEVER}, last used {moment(key.last_used_at) or NEVER}")
    if key.requests_per_minute is not None:
        lines.append(f"requests a minute {key.requests_per_minute or 'without a limit'}")
    if key.quota_photos is not None or key.quota_bytes is not None:
        lines.append(quota_in_words(key.quota_photos, key.quota_bytes, key.used))
    if key.previous_until is not None:
        lines.append(f"its text before works until {moment(key.previous_until)}")
    return "\n".join(lines)


@keys.command(
    "create",
    epilog=examples(
        "keys create --name 'door camera' --scopes write --collections door --expires 365d",
        "keys create --name wall --scopes read --limit 600 > wall.key",
        "keys create --name door --compreface recognition --collection door",
    ),
)
@NAME
@SCOPES
@COLLECTIONS
@EXPIRES
@LIMIT
@QUOTA_PHOTOS
@QUOTA_BYTES
@click.option(
    "--compreface",
    "service",
    type=click.Choice(["recognition", "detection", "verification"]),
    help="A key for clients of CompreFace, a UUID, of this service; --scopes may be left out then.",
)
@click.option("--collection", metavar="NAME", help="With --compreface: where its subjects are.")
@click.option(
    "--uuid-file",
    type=click.File(),
    metavar="FILE",
    help="With --compreface: holds the key that the clients have already; -: standard input.",
)
@connected
def create_key(
    door: Door,
    name: str,
    scopes: list[str] | None,
    collections: list[str] | None,
    expires: timedelta | str | None,
    limit: int | None,
    quota_photos: int | None,
    quota_bytes: int | None,
    service: str | None,
    collection: str | None,
    uuid_file: IO[str] | None,
) -> None:
    """Make a key, and print its text once."""
    if service is None and (collection is not None or uuid_file is not None):
        raise click.UsageError("--collection and --uuid-file are for keys with --compreface")
    if service is None and scopes is None:
        raise click.UsageError("say what it may do: --scopes read,write; or whom it is for: --compreface")
    if service is not None and (collections is not None or collection is None):
        raise click.UsageError("a key with --compreface reaches one collection; name it with --collection")
    made = door.client().create_key(
        name, scopes,
        collections=collections if collection is None else [collection],
        expires_at=_expiry(expires), requests_per_minute=limit,
        service=service, text=_read(uuid_file) if uuid_file else None,
        **bounds(quota_photos=quota_photos, quota_bytes=quota_bytes),
    )  # fmt: skip
    _show_text(door, made)


def _read(file: IO[str]) -> str:
    try:
        return file.read(1000).strip()
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file.name} cannot be read as a key ({error})") from None


def _show_text(door: Door, key: KeyWithText) -> None:
    door.show(key, key.api_key)
    click.echo("This is the only time the key is shown.", err=True)


@keys.command(
    "change",
    epilog=examples(
        "keys change --name 'door camera' --scopes read,write",
        "keys change --name 'door camera' --expires never --all-collections",
    ),
)
@NAME
@click.option("--rename", metavar="NAME", help="Another name.")
@SCOPES
@COLLECTIONS
@click.option("--all-collections", is_flag=True, help="Let it reach all, also those to come.")
@EXPIRES
@LIMIT
@QUOTA_PHOTOS
@QUOTA_BYTES
@connected
def change_key(
    door: Door,
    name: str,
    rename: str | None,
    scopes: list[str] | None,
    collections: list[str] | None,
    all_collections: bool,
    expires: timedelta | str | None,
    limit: int | None,
    quota_photos: int | None,
    quota_bytes: int | None,
) -> None:
    """Change what a key may do, from its next request on. What is not named stays."""
    given: dict[str, Any] = {
        "name": rename, "scopes": scopes, "collections": collections, "requests_per_minute": limit,
    }  # fmt: skip
    fields = {each: value for each, value in given.items() if value is not None}
    fields |= bounds(quota_photos=quota_photos, quota_bytes=quota_bytes)
    if all_collections:
        if collections is not None:
            raise click.UsageError("say --collections or --all-collections, and not both")
        fields["collections"] = None
    if expires is not None:
        fields["expires_at"] = _expiry(expires)
    if not fields:
        raise click.UsageError("say what is to change; --help shows what can")
    client = door.client()
    changed = client.change_key(_named(client, name).id, **fields)
    door.show(changed, _in_words(changed))


@keys.command("rotate", epilog=examples("keys rotate --name 'door camera' --grace 1d > camera.key"))
@NAME
@click.option(
    "--grace", metavar="AGE", default="0s", callback=_seconds, help="How long the old text works: 1h, 7d."
)
@connected
def rotate_key(door: Door, name: str, grace: int) -> None:
    """Give a key a new text, and print it once."""
    client = door.client()
    _show_text(door, client.rotate_key(_named(client, name).id, grace_seconds=grace))


@keys.command("revoke", epilog=examples("keys revoke --name 'door camera'"))
@NAME
@connected
def revoke_key(door: Door, name: str) -> None:
    """End a key, and the sessions that were opened with it."""
    client = door.client()
    found = _named(client, name)
    client.revoke_key(found.id)
    door.show({"id": str(found.id), "name": name, "state": "revoked"}, f"revoked {name}")


@keys.command("sessions", epilog=examples("keys sessions", "keys sessions --name Mia"))
@click.option("--name", help="Only with the key of this name.")
@connected
def list_sessions(door: Door, name: str | None) -> None:
    """List who is signed in to the pages, newest first."""
    client = door.client()
    door.table(
        client.sessions(key_id=None if name is None else _named(client, name).id),
        (
            ("ID", lambda each: str(each.id)),
            ("KEY", lambda each: each.key_name),
            ("SINCE (UTC)", lambda each: moment(each.created_at)),
            ("LAST USED (UTC)", lambda each: moment(each.last_used_at)),
            ("FROM", lambda each: each.address or "-"),
            ("BROWSER", lambda each: each.user_agent or "-"),
        ),
    )


@keys.command("sign-out", epilog=examples("keys sign-out ID", "keys sign-out --name Mia"))
@click.argument("session", metavar="[ID]", required=False)
@click.option("--name", help="Of a key: all sessions that were opened with it.")
@connected
def sign_out(door: Door, session: str | None, name: str | None) -> None:
    """End a session of the pages, or all of a key, which itself works on."""
    client = door.client()
    if session is not None and name is None:
        client.end_session(session)
        door.show({"session": session, "state": "ended"}, f"ended {session}")
    elif name is not None and session is None:
        client.end_sessions(_named(client, name).id)
        door.show({"name": name, "state": "ended"}, f"ended the sessions of {name}")
    else:
        raise click.UsageError("name a session (`keys sessions` lists them), or a key with --name")


@click.command(
    epilog=examples(
        "audit --since 7d --who 'door camera'",
        "audit --what person. --collection staff",
        "audit --since 365d --whom 0f3c5a7e-9b1d-4c62-a8e0-f1d2c3b4a596 --json",
    )
)
@click.option(
    "--since", metavar="AGE", default="24h", show_default=True, callback=_seconds, help="24h, 7d, 365d."
)
@click.option("--who", "--actor", "actor", help="Name of a key or of an operator, or a key's id.")
@click.option("--what", "--action", "action", metavar="BEGINNING", help="How it begins: person., key.rotate")
@click.option("--whom", "--subject", "subject", metavar="ID", help="What was acted on.")
@click.option("--collection", help="Only this one.")
@click.option("--outcome", type=click.Choice(["done", "refused", "failed"]), help="Only what ended so.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most so many.")
@connected
def audit(
    door: Door,
    since: int,
    actor: str | None,
    action: str | None,
    subject: str | None,
    collection: str | None,
    outcome: str | None,
    limit: int,
) -> None:
    """Show who did what, newest first. With --json there is one object a line."""
    found = door.client().audit(
        action=action,
        actor=actor,
        subject=subject,
        collection=collection,
        outcome=outcome,
        since=datetime.now(UTC) - timedelta(seconds=since),
    )
    if not door.as_json:
        click.echo(f"{'TIME (UTC)':19} {'WHO':24} {'FROM':15} {'ACTION':18} {'OUTCOME':8} WHAT")
    for entry in itertools.islice(found, limit):
        if door.as_json:
            print_line(entry)
        else:
            click.echo(_line(entry))


def _line(entry: AuditEntry) -> str:
    details = ", ".join(f"{name}={value}" for name, value in entry.details.items())
    what = " ".join(each for each in (entry.collection, entry.subject, details) if each)
    return printable(
        f"{moment(entry.at)} {entry.actor_name:24} {entry.address or '-':15} {entry.action:18} "
        f"{entry.outcome:8} {what}"
    )
