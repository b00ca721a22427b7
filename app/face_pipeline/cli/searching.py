"""`face-pipeline search` and `verify`: who is on a photo, and are two of the same person?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from face_pipeline.cli.common import FILE, Door, connected, examples

if TYPE_CHECKING:
    from face_pipeline.client import FoundFace, Search


@click.command(
    epilog=examples(
        "search unknown.jpg",
        "search unknown.heic --collection staff --collection guests",
        "search unknown.jpg --threshold 0.5 --json",
    )
)
@click.argument("photo", type=FILE)
@click.option("--collection", "collections", multiple=True, help="Where to look; may be given several times.")
@click.option("--limit", type=int, help="Matches for each face.")
@click.option("--threshold", type=float, help="Least similarity of a match, -1 to 1.")
@click.option("--min-quality", type=float, help="Faces below it are not matched, 0 to 1.")
@click.option("--min-face-size", type=int, help="Smaller faces are not matched, pixels.")
@click.option("--faces", "each_face", is_flag=True, help="Every face that is similar, not each person once.")
@connected
def search(
    door: Door,
    photo: Path,
    collections: tuple[str, ...],
    limit: int | None,
    threshold: float | None,
    min_quality: float | None,
    min_face_size: int | None,
    each_face: bool,
) -> None:
    """Find who is on a photo. The photo is not kept.

    For every face there is a line with where it is, and below it who it may be, best match first.
    """
    found = door.client().search(
        photo,
        collection=collections or None,
        limit=limit,
        threshold=threshold,
        min_quality=min_quality,
        min_face_size=min_face_size,
        group_by="face" if each_face else "person",
    )
    door.show(found, in_words(photo.name, found))


def in_words(name: str, found: Search) -> str:
    if not found.faces:
        return f"{name}: no face was found"
    lines: list[str] = []
    for number, face in enumerate(found.faces, 1):
        place = ""
        if face.bbox is not None and face.quality is not None:
            left, top, right, bottom = (round(each) for each in face.bbox)
            place = f" at {left},{top} to {right},{bottom}, quality {face.quality:.2f}"
        lines.append(f"face {number} of {len(found.faces)}{place}")
        lines += _matches(face) or ["  nobody who is known"]
    return "\n".join(lines)


def _matches(face: FoundFace) -> list[str]:
    return [
        f"  {match.similarity:.2f}  {match.person_name or 'nobody yet'}  (face {match.face_id})"
        for match in face.matches
    ]


@click.command(
    epilog=examples("verify passport.jpg camera.jpg", "verify camera.jpg --person Anna --collection staff")
)
@click.argument("photo", type=FILE)
@click.argument("other", type=FILE, required=False)
@click.option(
    "--person", metavar="PERSON", help="Compare with a known person (name or id), not with a photo."
)
@click.option("--collection", help="Where the person is.")
@click.option("--threshold", type=float, help="Least similarity to be the same, -1 to 1.")
@connected
def verify(
    door: Door,
    photo: Path,
    other: Path | None,
    person: str | None,
    collection: str | None,
    threshold: float | None,
) -> int:
    """Say whether two photos, or a photo and a person, are of the same person.

    The exit status is 0 if they are, otherwise 1.
    """
    from face_pipeline.cli.people import id_of

    if (other is None) == (person is None):
        raise click.UsageError("give a second photo, or --person")
    client = door.client()
    known = id_of(client, person, collection) if person else None
    told = client.verify(photo, other, person_id=known, threshold=threshold)
    verdict = "the same person" if told.same else "not the same person"
    door.show(told, f"{verdict}: similarity {told.similarity:.2f}, needed {told.threshold:.2f}")
    return 0 if told.same else 1
