"""`face-pipeline events` and `hooks …`: what happened, and who is told of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from face_pipeline.cli.common import Door, connected, examples, moment, print_line, printable

if TYPE_CHECKING:
    from face_pipeline.client import Client, Delivery, Event, Hook, HookWithSecret

KINDS = ("photo.done", "photo.failed", "person.seen", "face.unknown")
KIND = click.option(
    "--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="May be given several times."
)
COLLECTION = click.option("--collection", "collections", multiple=True, help="May be given several times.")
HOOK = click.argument("hook_id", metavar="ID")
# Of a service that restarts.
PATIENCE_SECONDS = 600.0
# A test is sent within seconds; a receiver that hangs is given ten.
TEST_SECONDS = 30.0
EXAMPLE = "5d9f1c3e-8a72-4b06-9e4d-1f2a3b4c5d6e"


@click.command(
    epilog=examples(
        "events --last 50",
        "events --follow --kind person.seen --collection entrance",
        "events --follow --json --place /var/lib/door/events",
    )
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until it is stopped.")
@click.option("--kind", type=click.Choice(KINDS), help="Only this kind.")
@click.option("--collection", help="Only this collection.")
@click.option(
    "--last", type=click.IntRange(0, 200), help="Begin with so many of the newest (20; with --follow 0)."
)
@click.option("--after", metavar="CURSOR", help="Begin behind this place instead (next_cursor of the API).")
@click.option(
    "--place",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that keeps the place: the next run goes on there.",
)
@click.option(
    "--every", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds between two looks."
)
@connected
def events(
    door: Door,
    follow: bool,
    kind: str | None,
    collection: str | None,
    last: int | None,
    after: str | None,
    place: Path | None,
    every: float,
) -> None:
    """Show what happened: photos that are done or failed, and whose faces were seen.

    With --json there is one object a line. With --place none is missed, whatever happens between two runs;
    the last ones may come again.
    """
    from face_pipeline.client import Retries

    client = door.client(retries=Retries(patience=PATIENCE_SECONDS) if follow else None)
    behind = after or _kept(place)
    if behind is None:
        newest = last if last is not None else 0 if follow else 20
        page = client.events(last=newest, kind=kind, collection=collection)
        behind = _through(door, page.events, page.next_cursor, place)
        if not follow:
            return
    while True:
        page = client.events(after=behind, kind=kind, collection=collection)
        behind = _through(door, page.events, page.next_cursor, place)
        if page.events:
            continue
        if not follow:
            return
        time.sleep(every)


def _through(door: Door, told: Sequence[Event], cursor: str, place: Path | None) -> str:
    """Show a page, and keep the place behind it."""
    for event in told:
        if door.as_json:
            print_line(event)
        else:
            click.echo(_line(event))
    if place is not None:
        part = place.with_name(place.name + ".part")
        part.write_text(cursor + "\n")
        part.replace(place)
    return cursor


def _kept(place: Path | None) -> str | None:
    try:
        return place.read_text().strip() or None if place is not None else None
    except FileNotFoundError:
        return None


def _line(event: Event) -> str:
    what = [f"photo {event.photo_id}"]
    if event.face_id is not None:
        what.append(f"face {event.face_id}")
    if event.person is not None:
        what.append(event.person.name or f"person {event.person.id}, who is gone")
    if event.face_count is not None:
        what.append(f"{event.face_count} face{'' if event.face_count == 1 else 's'}")
    if event.reason_code:
        what.append(event.reason_code)
    return printable(f"{moment(event.at)}  {event.kind:12}  {event.collection}  {', '.join(what)}")


@click.group()
def hooks() -> None:
    """List, show, add, change, remove and test web hooks; see what became of events."""


@hooks.command("list", epilog=examples("hooks list"))
@connected
def list_hooks(door: Door) -> None:
    """List web hooks."""
    door.table(
        door.client().hooks(),
        (
            ("ID", lambda each: each.id),
            ("STATE", _state),
            ("URL", lambda each: each.url),
            ("KINDS", lambda each: ",".join(each.kinds)),
            ("COLLECTIONS", lambda each: "all" if each.collections is None else ",".join(each.collections)),
        ),
    )


def _state(hook: Hook) -> str:
    return "enabled" if hook.enabled else hook.disabled_reason or "disabled"


@hooks.command("show", epilog=examples(f"hooks show {EXAMPLE}"))
@HOOK
@connected
def show_hook(door: Door, hook_id: str) -> None:
    """Show a web hook."""
    found = door.client().hook(hook_id)
    door.show(found, _in_words(found))


def _in_words(hook: Hook) -> str:
    where = "all collections" if hook.collections is None else ", ".join(hook.collections)
    return f"{hook.url}\nid {hook.id}, {_state(hook)}\n{', '.join(hook.kinds)} in {where}"


@hooks.command(
    "add",
    epilog=examples(
        "hooks add https://example.org/faces",
        "hooks add https://example.org/faces --kind person.seen --collection entrance",
    ),
)
@click.argument("receiver", metavar="RECEIVER")
@KIND
@COLLECTION
@click.option("--disabled", is_flag=True, help="It is told nothing until it is enabled.")
@connected
def add_hook(
    door: Door, receiver: str, kinds: tuple[str, ...], collections: tuple[str, ...], disabled: bool
) -> None:
    """Have RECEIVER (https) told of events: of every kind and collection, unless some are named."""
    made = door.client().create_hook(
        receiver, kinds=kinds or None, collections=collections or None, enabled=not disabled
    )
    _show_secret(door, made)


def _show_secret(door: Door, hook: HookWithSecret) -> None:
    text = _in_words(hook)
    if hook.secret is not None:
        text += f"\nsecret {hook.secret}"
    door.show(hook, text)
    if hook.secret is not None:
        click.echo("This is the only time the secret is shown.", err=True)


@hooks.command(
    "change",
    epilog=examples(
        f"hooks change {EXAMPLE} --to https://example.org/in --enable",
        f"hooks change {EXAMPLE} --all-collections",
        f"hooks change {EXAMPLE} --rotate-secret",
    ),
)
@HOOK
@click.option("--to", "receiver", metavar="RECEIVER", help="Another address that is told.")
@KIND
@COLLECTION
@click.option("--all-collections", is_flag=True, help="Also those to come.")
@click.option("--enable/--disable", "enabled", default=None, help="Let it be told, or not.")
@click.option("--rotate-secret", is_flag=True, help="Make a new secret; for a day both sign.")
@connected
def change_hook(
    door: Door,
    hook_id: str,
    receiver: str | None,
    kinds: tuple[str, ...],
    collections: tuple[str, ...],
    all_collections: bool,
    enabled: bool | None,
    rotate_secret: bool,
) -> None:
    """Change a web hook. What is not named stays as it is."""
    given: dict[str, Any] = {
        "url": receiver, "kinds": kinds or None, "collections": collections or None, "enabled": enabled,
        "rotate_secret": rotate_secret or None,
    }  # fmt: skip
    fields = {name: value for name, value in given.items() if value is not None}
    if all_collections:
        if collections:
            raise click.UsageError("say --collection or --all-collections, and not both")
        fields["collections"] = None
    if not fields:
        raise click.UsageError("say what is to change; --help shows what can")
    _show_secret(door, door.client().change_hook(hook_id, **fields))


@hooks.command("remove", epilog=examples(f"hooks remove {EXAMPLE}"))
@HOOK
@connected
def remove_hook(door: Door, hook_id: str) -> None:
    """Remove a web hook: it is told nothing more, also not what waits."""
    door.client().remove_hook(hook_id)
    door.show({"id": hook_id, "removed": True}, f"{hook_id} is removed")


@hooks.command("test", epilog=examples(f"hooks test {EXAMPLE}"))
@HOOK
@connected
def test_hook(door: Door, hook_id: str) -> int:
    """Send one event of the kind `test`. The exit status is 0 if the receiver took it."""
    client = door.client()
    sent = _outcome(client, hook_id, client.test_hook(hook_id))
    if sent.state == "waiting":
        words = f"not sent within {TEST_SECONDS:g} s; does face-hooks.service run?"
    elif sent.state == "delivered":
        words = f"delivered, answered {sent.last_status}"
    else:
        words = f"not delivered: {sent.last_error}"
    door.show(sent, printable(words))
    return 0 if sent.state == "delivered" else 1


def _outcome(client: Client, hook_id: str, sent: Delivery) -> Delivery:
    """The delivery once it is over, or as it is when that takes too long."""
    began = time.monotonic()
    while sent.state == "waiting" and time.monotonic() < began + TEST_SECONDS:
        time.sleep(0.5)
        # Others may try it at the same time.
        newest = itertools.islice(client.deliveries(hook_id), 50)
        sent = next((each for each in newest if each.id == sent.id), sent)
    return sent


@hooks.command("deliveries", epilog=examples(f"hooks deliveries {EXAMPLE} --limit 20"))
@HOOK
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@connected
def list_deliveries(door: Door, hook_id: str, limit: int) -> None:
    """Show what became of events for a web hook, newest first."""
    door.table(
        itertools.islice(door.client().deliveries(hook_id), limit),
        (
            ("SINCE (UTC)", lambda each: moment(each.created_at)),
            ("KIND", lambda each: each.kind),
            ("STATE", lambda each: each.state),
            ("TRIES", lambda each: each.attempts),
            ("NEXT TRY (UTC)", lambda each: moment(each.next_try_at)),
            ("STATUS", lambda each: each.last_status),
            ("ERROR", lambda each: each.last_error),
        ),
    )
