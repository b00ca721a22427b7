"""`face-pipeline photos …`"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

import click

from face_pipeline.cli.common import Door, confirmed, connected, examples

if TYPE_CHECKING:
    from face_pipeline.client import Face, Photo

STATES = ("received", "queued", "processing", "done", "failed")


@click.group()
def photos() -> None:
    """List, show, retry, move and delete photos."""


@photos.command(
    "list", epilog=examples("photos list --state failed", "photos list --collection staff --limit 1000")
)
@click.option("--collection", help="Only this one.")
@click.option("--state", type=click.Choice(STATES), help="Only this one.")
@click.option("--batch", metavar="ID", help="Only those of one upload.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Photos at most.")
@connected
def list_photos(door: Door, collection: str | None, state: str | None, batch: str | None, limit: int) -> None:
    """List photos, newest first."""
    found = door.client().photos(collection=collection, state=state, batch=batch)
    door.table(
        itertools.islice(found, limit),
        (
            ("ID", lambda each: each.id),
            ("STATE", lambda each: each.state),
            ("FACES", lambda each: each.face_count),
            ("PERSON", lambda each: each.person and each.person.name),
            ("COLLECTION", lambda each: each.collection),
            ("FILE", lambda each: each.filename),
            ("REASON", lambda each: each.reason and each.reason.code),
        ),
    )


@photos.command("show", epilog=examples("photos show 0f3c5a7e-9b1d-4c62-a8e0-f1d2c3b4a596"))
@click.argument("photo_id", metavar="ID")
@connected
def show_photo(door: Door, photo_id: str) -> None:
    """Show a photo: its state, and the faces on it."""
    photo = door.client().photo(photo_id)
    door.show(photo, _in_words(photo))


def _in_words(photo: Photo) -> str:
    lines = [
        f"{photo.filename}: {photo.state} in {photo.collection}",
        f"{photo.width} x {photo.height} pixels, {photo.media_type}, {photo.byte_size} bytes",
    ]
    if photo.reason:
        lines.append(f"{photo.reason.message} ({photo.reason.code})")
    lines += [_face(face) for face in photo.faces]
    return "\n".join(lines)


def _face(face: Face) -> str:
    left, top, right, bottom = (round(each) for each in face.bbox)
    who = face.person.name if face.person else "nobody yet"
    return f"face {face.id} at {left},{top} to {right},{bottom}, quality {face.quality:.2f}: {who}"


@photos.command(
    "retry",
    epilog=examples(
        "photos retry 0f3c5a7e-9b1d-4c62-a8e0-f1d2c3b4a596", "photos retry --reason engine_error"
    ),
)
@click.argument("photo_ids", metavar="[ID]...", nargs=-1)
@click.option("--collection", help="All that failed in this one.")
@click.option("--reason", metavar="CODE", help="All that failed with this reason.")
@connected
def retry(door: Door, photo_ids: tuple[str, ...], collection: str | None, reason: str | None) -> None:
    """Process failed photos again: those named, or all of a collection or with a reason."""
    from face_pipeline.words import counted

    if bool(photo_ids) == bool(collection or reason):
        raise click.UsageError("name photos by their ids, or give --collection or --reason")
    client = door.client()
    if photo_ids:
        for photo_id in photo_ids:
            client.retry_photo(photo_id)
        number = len(photo_ids)
    else:
        number = client.retry_photos(collection=collection, reason=reason)
    door.show({"retried": number}, f"{counted(number, 'photo')} started again")


@photos.command("move", epilog=examples("photos move 0f3c5a7e-9b1d-4c62-a8e0-f1d2c3b4a596 staff"))
@click.argument("photo_id", metavar="ID")
@click.argument("collection")
@connected
def move(door: Door, photo_id: str, collection: str) -> None:
    """Give a photo to another collection, with its faces."""
    moved = door.client().move_photo(photo_id, collection)
    text = f"{moved.photo.filename} is in {moved.photo.collection}"
    door.show(moved, f"{text}; {moved.remark.message}" if moved.remark else text)


@photos.command("delete", epilog=examples("photos delete 0f3c5a7e-9b1d-4c62-a8e0-f1d2c3b4a596 --dry-run"))
@click.argument("photo_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connected
def delete(door: Door, photo_ids: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Erase photos with their faces and original files, for good."""
    client = door.client()
    for photo_id in photo_ids:
        erase = partial(client.erase_photo, photo_id)
        confirmed(door, f"photo {photo_id}", erase, dry_run=dry_run, yes=yes)
