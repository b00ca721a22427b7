"""`face-pipeline watch`: whatever comes into a directory goes in."""

from __future__ import annotations

import json
import tempfile
import threading
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from face_pipeline.cli.common import Door, connected, examples
from face_pipeline.cli.ingest import Report, patient, report_of, stoppable, tell

if TYPE_CHECKING:
    from face_pipeline.cli.sources import Entry
    from face_pipeline.cli.state import State
    from face_pipeline.client import Client

DONE, REFUSED = "done", "refused"


@click.command(
    epilog=examples(
        "watch /srv/camera --collection entrance",
        "watch /srv/inbox --person-from folder --then delete",
        "watch /srv/inbox --then keep --every 60",
    )
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--collection", default="default", show_default=True, help="Where to put the photos.")
@click.option("--person", metavar="NAME", help="Who is on all of them.")
@click.option("--person-from", type=click.Choice(["folder"]), help="Who is on each: the first folder.")
@click.option(
    "--then",
    type=click.Choice(["move", "delete", "keep"]),
    default="move",
    show_default=True,
    help="What becomes of a file: it goes to done/ or refused/ in DIRECTORY; it is deleted once it is in; it "
    "stays, and a list of what is in is kept.",
)
@click.option(
    "--every", type=click.FloatRange(0.05), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option(
    "--workers", type=click.IntRange(1, 32), default=4, show_default=True, help="Uploads at a time."
)
@click.option("--once", is_flag=True, help="End when all files that are there have been dealt with.")
@connected
def watch(
    door: Door,
    directory: Path,
    collection: str,
    person: str | None,
    person_from: str | None,
    then: str,
    every: float,
    workers: int,
    once: bool,
) -> int:
    """Put in the photos that come into a directory, until it is stopped (Ctrl-C, SIGTERM).

    A file is taken once it has stayed as it is from one look to the next. To be safe, let programs write
    under another name (photo.jpg.part) and rename the file when it is complete.
    """
    from face_pipeline.client import Refused, Unreachable

    if person and person_from:
        raise click.UsageError("say who is on the photos by --person or by --person-from, not by both")
    stop = threading.Event()
    client = door.client(connections=workers, retries=patient(stop))
    inbox = Inbox(directory, person, by_folder=person_from is not None)
    with stoppable(stop, "Stopped."):
        while True:
            taken = inbox.complete()
            if taken:
                try:
                    report = _put_in(client, directory, taken, collection, then, workers, stop)
                except (Unreachable, Refused) as error:
                    if isinstance(error, Refused) and error.status < 500:
                        raise
                    # They lie where they are; the next look finds them again.
                    stop.clear()
                    click.echo(f"face-pipeline: {error}", err=True)
                else:
                    _say(door, report)
                    inbox.told(taken)
            elif once and not inbox.waits:
                return 0
            stop.wait(every)


class Inbox:
    """The files of a directory, and which of them are complete."""

    def __init__(self, directory: Path, person: str | None, *, by_folder: bool) -> None:
        self._directory = directory
        self._person = person
        self._by_folder = by_folder
        self._before: dict[str, str] = {}
        self._known: dict[str, str] = {}
        # Whether there are files that may not be complete yet.
        self.waits = False

    def complete(self) -> list[Entry]:
        """Those that are as they were at the look before, and of which nothing was told yet."""
        from face_pipeline.cli import sources

        naming = sources.by_folder if self._by_folder else (lambda _: self._person)
        found = sources.directory(self._directory, naming, without=(DONE, REFUSED))
        entries = [each for each in found.items if isinstance(each, sources.Entry)]
        new = [each for each in entries if self._known.get(each.where) != each.mark]
        ready = [each for each in new if each.file.size and self._before.get(each.where) == each.mark]
        self._before = {each.where: each.mark for each in new}
        self._known = {each.where: each.mark for each in entries if self._known.get(each.where) == each.mark}
        self.waits = any(each.file.size for each in new)
        return ready

    def told(self, entries: list[Entry]) -> None:
        """They are dealt with, as long as they stay as they are."""
        self._known |= {each.where: each.mark for each in entries}


def _put_in(
    client: Client,
    directory: Path,
    entries: list[Entry],
    collection: str,
    then: str,
    workers: int,
    stop: threading.Event,
) -> Report:
    from face_pipeline.cli.sending import Sender
    from face_pipeline.cli.state import Goal, State

    goal = Goal(client.url, collection, str(directory.absolute()))
    with tempfile.TemporaryDirectory(prefix="face-pipeline-") as passing:
        # A file that leaves the directory needs no line that stays: should it be sent again, it is known.
        path = goal.file() if then == "keep" else Path(passing, "state.jsonl")
        state = State(path, goal)
        try:
            sender = Sender(client, state, collection=collection, workers=workers, stop=stop)
            tally = sender.run(entries)
            if then != "keep":
                _clear_away(directory, entries, state, then)
            return report_of(collection, state, tally)
        finally:
            state.close()


def _clear_away(directory: Path, entries: list[Entry], state: State, then: str) -> None:
    from face_pipeline.cli.state import REFUSED as OUTCOME_REFUSED

    for entry in entries:
        record = state.of_place(entry.where, entry.mark, entry.person)
        if record is None:
            continue
        path = directory / entry.where
        refused = record.outcome == OUTCOME_REFUSED
        if then == "delete" and not refused:
            path.unlink(missing_ok=True)
        else:
            _move(path, directory / (REFUSED if refused else DONE) / entry.where)


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free, number = target, 1
    while free.exists():
        free, number = target.with_stem(f"{target.stem}-{number}"), number + 1
    path.rename(free)


def _say(door: Door, report: Report) -> None:
    now = datetime.now().astimezone()
    if door.as_json:
        click.echo(json.dumps({"at": now.isoformat(timespec="seconds"), **asdict(report)}))
    else:
        click.echo(f"{now:%H:%M:%S} ", nl=False)
        tell(door, report)
