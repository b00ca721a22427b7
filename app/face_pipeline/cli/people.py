"""`face-pipeline persons …`, `collections …` and `clusters …`"""

from __future__ import annotations

import itertools
import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from face_pipeline.cli.common import (
    FILE,
    Door,
    at_most,
    bounds,
    confirmed,
    connected,
    examples,
    quota_in_words,
)
from face_pipeline.words import counted

if TYPE_CHECKING:
    from face_pipeline.client import Client, Enrolment, KnownPerson

# Days that are no days.
KEEP = -1
IDENTIFIER = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
COLLECTION = click.option("--collection", help="Where the person is, if it is not clear.")
LIMIT = click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many."
)


def id_of(client: Client, person: str, collection: str | None) -> str:
    """The id of a person who is told by it, or by their name."""
    if IDENTIFIER.fullmatch(person):
        return person
    found = list(itertools.islice(client.persons(collection=collection, name=person), 1000))
    # The list is of names with this in them.
    exact = [each for each in found if each.name == person] or [
        each for each in found if each.name.casefold() == person.casefold()
    ]
    if not exact:
        near = ", ".join(each.name for each in found[:5])
        raise click.ClickException(
            f"there is no person {person!r}"
            + (f"; there are {near}" if near else "; `persons list` shows all")
        )
    if len(exact) > 1:
        where = ", ".join(f"{each.id} ({each.collection})" for each in exact)
        raise click.ClickException(f"{person!r} is the name of several: {where}; give an id or --collection")
    return str(exact[0].id)


def _metadata(_: click.Context, __: click.Parameter, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise click.BadParameter("write an object of JSON, such as '{\"badge\": 17}'")
    return value


@click.group()
def persons() -> None:
    """List, show, make, rename, merge and delete persons."""


@persons.command("list", epilog=examples("persons list", "persons list --name ann --collection staff"))
@click.option("--collection", help="Only this one.")
@click.option("--name", help="Only those with this in their names.")
@click.option("--external-id", help="Only the one that another system calls so.")
@LIMIT
@connected
def list_persons(
    door: Door, collection: str | None, name: str | None, external_id: str | None, limit: int
) -> None:
    """List persons."""
    found = door.client().persons(collection=collection, name=name, external_id=external_id)
    door.table(
        itertools.islice(found, limit),
        (
            ("ID", lambda each: each.id),
            ("NAME", lambda each: each.name),
            ("COLLECTION", lambda each: each.collection),
            ("FACES", lambda each: each.face_count),
            ("EXTERNAL ID", lambda each: each.external_id),
        ),
    )


@persons.command("show", epilog=examples("persons show Anna"))
@click.argument("person")
@COLLECTION
@connected
def show_person(door: Door, person: str, collection: str | None) -> None:
    """Show a person, by name or id."""
    client = door.client()
    found = client.person(id_of(client, person, collection))
    door.show(found, _in_words(found))


def _in_words(person: KnownPerson) -> str:
    lines = [f"{person.name} in {person.collection}", f"id {person.id}"]
    if person.external_id:
        lines.append(f"external id {person.external_id}")
    lines.append(f"faces {person.face_count}, photos {person.photo_count}")
    if person.metadata:
        lines.append(json.dumps(person.metadata, ensure_ascii=False))
    return "\n".join(lines)


@persons.command(
    "create",
    epilog=examples(
        "persons create Anna", "persons create Anna --external-id badge-17 --photo 1.jpg --photo 2.jpg"
    ),
)
@click.argument("name")
@click.option("--collection", help="Where; `default` unless given.")
@click.option("--external-id", help="What another system calls them.")
@click.option("--metadata", callback=_metadata, help="An object of JSON that is kept with them.")
@click.option(
    "--photo", "pictures", type=FILE, multiple=True, help="A photo of them; may be given several times."
)
@connected
def create_person(
    door: Door,
    name: str,
    collection: str | None,
    external_id: str | None,
    metadata: dict[str, Any] | None,
    pictures: tuple[Path, ...],
) -> int:
    """Make a person, with photos of them if there are any."""
    client = door.client()
    made = client.create_person(name, collection=collection, external_id=external_id, metadata=metadata)
    if not pictures:
        door.show(made, f"{made.name} is {made.id}")
        return 0
    if not door.as_json:
        click.echo(f"{made.name} is {made.id}")
    return _enrol(door, client, str(made.id), pictures)


@persons.command("enrol", epilog=examples("persons enrol Anna 1.jpg 2.jpg"))
@click.argument("person")
@click.argument("pictures", metavar="PHOTO...", type=FILE, nargs=-1, required=True)
@COLLECTION
@connected
def enrol(door: Door, person: str, pictures: tuple[Path, ...], collection: str | None) -> int:
    """Say that a person is on photos, which show nobody else. The exit status is 1 if one is refused."""
    client = door.client()
    return _enrol(door, client, id_of(client, person, collection), pictures)


def _enrol(door: Door, client: Client, person_id: str, pictures: tuple[Path, ...]) -> int:
    from face_pipeline.client import Refused

    try:
        told = client.enrol(person_id, [(each.name, each) for each in pictures])
    except Refused as error:
        for why in error.details.get("refused", ()):
            click.echo(f"{why['filename']}: refused: {why['message']} ({why['code']})", err=True)
        raise
    door.show(told, _enrolled(told))
    return 1 if told.refused else 0


def _enrolled(told: Enrolment) -> str:
    lines = [f"{each.filename}: enrolled, quality {each.quality:.2f}" for each in told.enrolled]
    lines += [f"{each.filename}: refused: {each.message} ({each.code})" for each in told.refused]
    return "\n".join(lines)


@persons.command("rename", epilog=examples('persons rename Anna "Anna Berg"'))
@click.argument("person")
@click.argument("name")
@COLLECTION
@connected
def rename(door: Door, person: str, name: str, collection: str | None) -> None:
    """Give a person another name."""
    client = door.client()
    changed = client.change_person(id_of(client, person, collection), name=name)
    door.show(changed, f"{changed.id} is {changed.name}")


@persons.command(
    "merge", epilog=examples("persons merge Anna Anne", "persons undo 7b0c8f52-3d6e-4a91-8c2f-5e4d3b2a1908")
)
@click.argument("person")
@click.argument("other")
@COLLECTION
@connected
def merge(door: Door, person: str, other: str, collection: str | None) -> None:
    """Make OTHER part of PERSON, who is left. It may be undone for a day."""
    client = door.client()
    kept, gone = (id_of(client, each, collection) for each in (person, other))
    told = client.merge_persons(kept, gone)
    door.show(told, f"merged; undo it with: face-pipeline persons undo {told.id}")


@persons.command("undo", epilog=examples("persons undo 7b0c8f52-3d6e-4a91-8c2f-5e4d3b2a1908"))
@click.argument("merge_id", metavar="MERGE")
@connected
def undo(door: Door, merge_id: str) -> None:
    """Take two persons apart again who were merged."""
    told = door.client().undo_merge(merge_id)
    text = f"{told.person.name} is back, with {counted(told.faces, 'face')}"
    if told.faces_left:
        text += f"; {counted(told.faces_left, 'face')} stayed: given to others, or erased, meanwhile"
    door.show(told, text)


@persons.command("delete", epilog=examples("persons delete Anna --dry-run", "persons delete Anna"))
@click.argument("person")
@COLLECTION
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connected
def delete_person(door: Door, person: str, collection: str | None, dry_run: bool, yes: bool) -> None:
    """Erase a person: their faces, and the photos that show nobody else, for good."""
    client = door.client()
    found = id_of(client, person, collection)
    erase = partial(client.erase_person, found)
    confirmed(door, f"person {person}", erase, dry_run=dry_run, yes=yes)


@click.group()
def collections() -> None:
    """List, show, make and delete collections, and say what they keep for how long."""


@collections.command("list", epilog=examples("collections list"))
@LIMIT
@connected
def list_collections(door: Door, limit: int) -> None:
    """List collections."""
    door.table(
        itertools.islice(door.client().collections(), limit),
        (
            ("NAME", lambda each: each.name),
            ("FACES", lambda each: each.face_count),
            ("PERSONS", lambda each: each.person_count),
        ),
    )


@collections.command("show", epilog=examples("collections show staff"))
@click.argument("name")
@connected
def show_collection(door: Door, name: str) -> None:
    """Show what is in a collection."""
    found = door.client().collection(name)
    photos = ", ".join(f"{count} {state}" for state, count in found.photos.items() if count) or "none"
    door.show(
        found,
        f"{found.name}: photos {photos}; faces {found.face_count}, of nobody {found.unknown_face_count}; "
        f"persons {found.person_count}\ncontract {found.contract_id}\n"
        f"{quota_in_words(found.quota.photos, found.quota.bytes, found.used)}",
    )


@collections.command("create", epilog=examples("collections create staff"))
@click.argument("name")
@connected
def create_collection(door: Door, name: str) -> None:
    """Make a collection."""
    made = door.client().create_collection(name)
    door.show(made, f"{made.name} is there")


@collections.command("delete", epilog=examples("collections delete staff --dry-run"))
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connected
def delete_collection(door: Door, name: str, dry_run: bool, yes: bool) -> None:
    """Erase a collection with all that is in it, for good."""
    client = door.client()
    erase = partial(client.erase_collection, name)
    confirmed(door, f"collection {name}", erase, dry_run=dry_run, yes=yes)


def _days(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """A number of days; -1 for `keep`."""
    if text is None:
        return None
    if text == "keep":
        return KEEP
    if not re.fullmatch("[0-9]{1,5}", text):
        raise click.BadParameter("write a number of days, 0 for at once, or keep")
    return int(text)


@collections.command(
    "retention",
    epilog=examples(
        "collections retention staff",
        "collections retention staff --originals 30 --unknown-faces 7 --dry-run",
        "collections retention staff --originals keep",
    ),
)
@click.argument("name")
@click.option("--originals", callback=_days, metavar="DAYS", help="Keep originals of done photos so long.")
@click.option("--unknown-faces", callback=_days, metavar="DAYS", help="Keep faces of nobody so long.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@connected
def retention(door: Door, name: str, originals: int | None, unknown_faces: int | None, dry_run: bool) -> None:
    """Show or change how long a collection keeps originals and unknown faces.

    DAYS is a number, 0 for as soon as a photo is done, or keep. What is due goes within ten minutes.
    """
    given = {"originals_days": originals, "unknown_faces_days": unknown_faces}
    to = {field: None if days == KEEP else days for field, days in given.items() if days is not None}
    if dry_run and not to:
        raise click.UsageError("--dry-run needs --originals or --unknown-faces")
    client = door.client()
    told = client.change_retention(name, dry_run=dry_run, **to) if to else client.retention(name)
    rules = ", ".join(
        f"{what} {'for good' if days is None else counted(days, 'day')}"
        for what, days in (("originals", told.originals_days), ("unknown faces", told.unknown_faces_days))
    )
    due = f"{counted(told.due.originals, 'original')} and {counted(told.due.faces, 'unknown face')}"
    door.show(told, f"{name} {'would keep' if dry_run else 'keeps'} {rules}\n{due} due")


@collections.command(
    "quota",
    epilog=examples(
        "collections quota staff --photos 5000 --bytes 20GB", "collections quota staff --bytes any"
    ),
)
@click.argument("name")
@click.option("--photos", callback=at_most, metavar="NUMBER", help="Photos at most; any: no bound.")
@click.option("--bytes", "size", callback=at_most, metavar="SIZE", help="Bytes of them; any: no bound.")
@connected
def quota(door: Door, name: str, photos: int | None, size: int | None) -> None:
    """Bound how many photos and bytes a collection may hold. What is not named stays."""
    to = bounds(photos=photos, bytes=size)
    if not to:
        raise click.UsageError("say --photos or --bytes; `collections show` tells what they are")
    told = door.client().change_quota(name, **to)
    door.show(told, f"{name} {quota_in_words(told.quota.photos, told.quota.bytes, told.used)}")


@click.group()
def clusters() -> None:
    """List, show, name and hide groups of unknown faces."""


@clusters.command("list", epilog=examples("clusters list --collection default"))
@click.option("--collection", help="Only this one.")
@click.option("--hidden", type=click.Choice(["false", "true", "all"]), help="Hidden ones, too or alone.")
@LIMIT
@connected
def list_clusters(door: Door, collection: str | None, hidden: str | None, limit: int) -> None:
    """List groups of faces that seem to be of one person each, biggest first."""
    door.table(
        itertools.islice(door.client().clusters(collection=collection, hidden=hidden), limit),
        (
            ("ID", lambda each: each.id),
            ("FACES", lambda each: each.face_count),
            ("COLLECTION", lambda each: each.collection),
            ("HIDDEN", lambda each: "hidden" if each.hidden else None),
        ),
    )


@clusters.command("show", epilog=examples("clusters show 5d9f1c3e-8a72-4b06-9e4d-1f2a3b4c5d6e"))
@click.argument("cluster_id", metavar="ID")
@LIMIT
@connected
def show_cluster(door: Door, cluster_id: str, limit: int) -> None:
    """List the faces of a group, best first."""
    door.table(
        itertools.islice(door.client().faces_of_cluster(cluster_id), limit),
        (
            ("FACE", lambda each: each.id),
            ("QUALITY", lambda each: each.quality and f"{each.quality:.2f}"),
            ("PHOTO", lambda each: each.photo_id),
        ),
    )


@clusters.command("name", epilog=examples("clusters name 5d9f1c3e-8a72-4b06-9e4d-1f2a3b4c5d6e Anna"))
@click.argument("cluster_id", metavar="ID")
@click.argument("name")
@connected
def name_cluster(door: Door, cluster_id: str, name: str) -> None:
    """Say who a group is: a name, or the id of a person. A person with a new name is made."""
    client = door.client()
    is_id = IDENTIFIER.fullmatch(name)
    told = client.name_cluster(cluster_id, None if is_id else name, person_id=name if is_id else None)
    door.show(told, f"{counted(told.face_count, 'face')} of {told.person.name}")


@clusters.command("hide", epilog=examples("clusters hide 5d9f1c3e-8a72-4b06-9e4d-1f2a3b4c5d6e"))
@click.argument("cluster_id", metavar="ID")
@click.option("--undo", is_flag=True, help="Show it again.")
@connected
def hide_cluster(door: Door, cluster_id: str, undo: bool) -> None:
    """Leave a group out of the list."""
    door.show(door.client().hide_cluster(cluster_id, not undo), "shown again" if undo else "hidden")
