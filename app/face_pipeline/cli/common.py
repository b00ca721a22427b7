"""What commands of people share: options, the client, and how answers are shown."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from face_pipeline.words import counted

if TYPE_CHECKING:
    from pydantic import BaseModel

    from face_pipeline.client import Amount, Client, Receipt, Retries

F = TypeVar("F", bound=Callable[..., Any])
# What a receipt counts that people put in.
ERASED = ("photos", "faces", "persons", "originals")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Door:
    """Where the service is, as the options say; and whether JSON is wanted. Made by @connected."""

    def __init__(self, url: str | None, key_file: Path | None, ca: Path | None, as_json: bool) -> None:
        self.as_json = as_json
        self._url, self._key_file, self._ca = url, key_file, ca

    def client(self, *, connections: int = 4, retries: Retries | None = None) -> Client:
        from face_pipeline.client import Client

        return Client.from_environment(
            self._url, key_file=self._key_file, ca_file=self._ca, connections=connections, retries=retries
        )

    def show(self, value: BaseModel | dict[str, Any], text: str) -> None:
        """One thing: as JSON, or in words."""
        if self.as_json:
            print_json(value if isinstance(value, dict) else value.model_dump(mode="json"))
        else:
            click.echo(text)

    def table(
        self, rows: Iterable[BaseModel], columns: Sequence[tuple[str, Callable[[Any], object]]]
    ) -> None:
        """Many things: as a list of JSON, or with a line for each; columns: title, and what stands there."""
        if self.as_json:
            print_json([row.model_dump(mode="json") for row in rows])
            return
        lines = [[title for title, _ in columns]]
        lines += [[_cell(read(row)) for _, read in columns] for row in rows]
        widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
        for line in lines:
            click.echo(
                "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            )


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(str(value))


def printable(text: str) -> str:
    """Others chose parts of a line: none of them may speak to the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def moment(at: datetime | None) -> str:
    """A time as it stands in tables, UTC."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def duration(text: str) -> int:
    """Seconds of `90s`, `10m`, `24h` or `7d`; an error of a command line for anything else."""
    found = re.fullmatch(r"(\d{1,5})([smhd])", text, re.ASCII)
    if not found:
        raise click.BadParameter(f"{text!r} is no duration: write 90s, 10m, 24h or 7d")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def print_line(value: BaseModel) -> None:
    """One thing of a stream, as a line of JSON."""
    click.echo(json.dumps(value.model_dump(mode="json"), ensure_ascii=not _is_utf8()))


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=not _is_utf8()))


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def connected(command: F) -> F:
    """Give a command the options that say where the service is, and a Door as its first argument."""

    @click.option(
        "--url", metavar="URL", help="Where the service is; several addresses by spaces [FACE_URL]."
    )
    @click.option(
        "--key-file", type=click.Path(path_type=Path), help="File with your API key [FACE_API_KEY_FILE]."
    )
    @click.option("--ca", type=click.Path(path_type=Path), help="Certificates to trust, PEM [FACE_CA_FILE].")
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        door = Door(*(options.pop(name) for name in ("url", "key_file", "ca", "as_json")))
        return command(door, **options)

    return wrapped  # type: ignore[return-value]


def confirmed(door: Door, what: str, erase: Callable[..., Receipt], *, dry_run: bool, yes: bool) -> None:
    """Erase something once the person has seen what that means; erase: takes `dry_run`."""
    planned = erase(dry_run=True) if dry_run or not yes else None
    if dry_run and planned is not None:
        door.show(planned, f"{what}: {_counts(planned)} would be erased")
        return
    if planned is not None:
        click.confirm(f"{what}: erase {_counts(planned)} for good?", abort=True, err=True)
    done = erase(dry_run=False)
    door.show(done, f"{what}: {_counts(done)} erased")


def _counts(receipt: Receipt) -> str:
    counts = receipt.model_dump(include=set(ERASED))
    told = ", ".join(counted(counts[noun], noun[:-1]) for noun in ERASED if counts[noun])
    kept = "".join(f"; {each.message}" for each in receipt.kept)
    return f"{told or 'nothing'}{kept}"


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  face-pipeline {line}" for line in lines)


ANY_NUMBER = -1
_FACTORS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def at_most(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """How many, as 5000 or 20GB; ANY_NUMBER for `any`, None where it was not said."""
    if text is None:
        return None
    if text == "any":
        return ANY_NUMBER
    found = re.fullmatch(r"([0-9]{1,15}) ?([kMGT]B)?", text)
    if found is None:
        raise click.BadParameter("write a number, which may end in kB, MB, GB or TB, or any")
    return int(found[1]) * _FACTORS[found[2] or ""]


def bounds(**given: int | None) -> dict[str, int | None]:
    """Those that were said, as the service takes them."""
    return {name: None if most == ANY_NUMBER else most for name, most in given.items() if most is not None}


def quota_in_words(photos: int | None, size: int | None, used: Amount | None) -> str:
    """The bounds, and what is used of them."""
    most = ["any number of" if each is None else str(each) for each in (photos, size)]
    has = f", and has {counted(used.photos, 'photo')} of {counted(used.bytes, 'byte')}" if used else ""
    return f"may keep {most[0]} photos and {most[1]} bytes{has}"
