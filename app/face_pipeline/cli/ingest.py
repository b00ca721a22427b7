"""`face-pipeline ingest`: a directory, an archive or a table of photos, however many there are."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.termui import progressbar

from face_pipeline.cli.common import Door, connected, examples, print_json

if TYPE_CHECKING:
    from face_pipeline.cli.sending import Tally
    from face_pipeline.cli.sources import Found, Unusable
    from face_pipeline.cli.state import State
    from face_pipeline.client import Client, Retries

# How long a service may be away or busy before an ingest gives up.
PATIENCE_SECONDS = 600
# Pauses that are worth a word.
WORTH_TELLING_SECONDS = 2
SHOWN = 20
GO_ON = "Stopped. Run the same command again: it goes on where it was."
POLL_SECONDS = 2.0


@dataclass
class Report:
    """How an ingest ended. failed: photos that were accepted and could not be processed (--wait)."""

    collection: str
    state_file: str
    batch_id: str | None
    accepted: int
    duplicates: int
    earlier: int
    left_out: int
    refused: list[Unusable]
    unreadable: list[Unusable]
    remarks: dict[str, int]
    failed: list[Unusable] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.refused or self.unreadable or self.failed)


@click.command(
    epilog=examples(
        "ingest ~/Pictures",
        "ingest staff/ --person-from folder --collection staff    # staff/Anna/1.jpg shows Anna",
        "ingest photos.zip --workers 8 --wait",
        "ingest photos.csv                                        # columns: path, person",
    )
)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--collection", default="default", show_default=True, help="Where to put the photos.")
@click.option("--person", metavar="NAME", help="Who is on all of them.")
@click.option(
    "--person-from",
    type=click.Choice(["folder", "column"]),
    help="Who is on each: the first folder below SOURCE, or a table's column `person`, which counts anyway.",
)
@click.option(
    "--workers", type=click.IntRange(1, 32), default=4, show_default=True, help="Uploads at a time."
)
@click.option(
    "--per-request", type=click.IntRange(1, 100), default=10, show_default=True, help="Photos of one upload."
)
@click.option("--batch", is_flag=True, help="Make all of them one batch, whose progress the service tells.")
@click.option("--wait", is_flag=True, help="Stay until every photo is processed, and name those that failed.")
@click.option("--all-files", is_flag=True, help="Send files of every name, not those of photos alone.")
@click.option("--encoding", metavar="NAME", help="Of a table; UTF-8 unless it says what it is.")
@click.option(
    "--state", "state_file", type=click.Path(dir_okay=False, path_type=Path), help="What is in already."
)
@click.option("--fresh", is_flag=True, help="Forget earlier runs; the service still knows what it has.")
@connected
def ingest(
    door: Door,
    source: Path,
    collection: str,
    person: str | None,
    person_from: str | None,
    workers: int,
    per_request: int,
    batch: bool,
    wait: bool,
    all_files: bool,
    encoding: str | None,
    state_file: Path | None,
    fresh: bool,
) -> int:
    """Put in the photos of a directory, a ZIP archive or a CSV table.

    Nothing is put in twice, and nothing is left out: stop it (Ctrl-C, or worse) and run the same command
    again; it goes on where it was. A service that is busy or away for a while is waited for. The exit status
    is 0 if every photo is in, otherwise 1.
    """
    from face_pipeline.cli.sending import Sender
    from face_pipeline.cli.state import Goal, State

    if person and person_from:
        raise click.UsageError("say who is on the photos by --person or by --person-from, not by both")
    found = look(source, person, person_from, everything=all_files, encoding=encoding)
    stop = threading.Event()
    client = door.client(connections=workers, retries=patient(stop))
    goal = Goal(client.url, collection, str(source.absolute()))
    state = State(state_file or goal.file(), goal, fresh=fresh)
    try:
        with stoppable(stop), bar(door, len(found.items), "Photos") as sent:
            batch_id = _batch(client, state, collection) if batch else None
            tally = Sender(
                client,
                state,
                collection=collection,
                batch=batch_id,
                workers=workers,
                per_request=per_request,
                sent=sent,
                stop=stop,
            ).run(found.items)
        report = report_of(collection, state, tally, found.left_out, batch_id)
        if wait:
            with stoppable(stop):
                report.failed = _wait(door, client, state)
    finally:
        state.close()
    tell(door, report)
    return 0 if report.good else 1


def look(
    source: Path, person: str | None, person_from: str | None, *, everything: bool, encoding: str | None
) -> Found:
    """All files of a source; raises SourceUnusable, or UsageError for options that do not fit it."""
    from face_pipeline.cli import sources

    is_table = source.suffix.lower() in (".csv", ".tsv") and not source.is_dir()
    if person_from == "column" and not is_table:
        raise click.UsageError("--person-from column is for a table (CSV)")
    if person_from == "folder" and is_table:
        raise click.UsageError("--person-from folder is for a directory or an archive")
    naming = sources.by_folder if person_from == "folder" else (lambda _: person)
    if source.is_dir():
        return sources.directory(source, naming, everything=everything)
    if is_table:
        return sources.table(source, person, from_column=person_from == "column", encoding=encoding)
    if source.suffix.lower() == ".zip":
        return sources.archive(source, naming, everything=everything)
    # One photo is as good as many.
    return sources.Found([sources.on_disk(source, source.name, person)])


def patient(stop: threading.Event) -> Retries:
    """Waits for a service that is busy or away, and says so; Stopped once somebody wants to go."""
    from face_pipeline.cli.sending import Stopped
    from face_pipeline.client import Retries

    told = 0.0

    def pause(seconds: float) -> None:
        nonlocal told
        if seconds >= WORTH_TELLING_SECONDS and time.monotonic() > told + PATIENCE_SECONDS / 10:
            told = time.monotonic()
            click.echo("\nThe service is busy or away; trying again.", err=True)
        if stop.wait(seconds):
            raise Stopped("stopped")

    return Retries(patience=PATIENCE_SECONDS, pause=pause)


def _batch(client: Client, state: State, collection: str) -> str:
    """The one of an earlier run, so that it tells of all photos."""
    if "batch" not in state.header:
        state.note(batch=str(client.open_batch(collection).id))
    return str(state.header["batch"])


@contextmanager
def stoppable(stop: threading.Event, words: str = GO_ON) -> Iterator[None]:
    """SIGTERM is as Ctrl-C; who stops is told how to go on."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        stop.set()
        click.echo(f"\n{words}", err=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def bar(door: Door, length: int, label: str) -> Iterator[Callable[[int], None]]:
    def quiet(_: int) -> None:
        """A program reads the answer."""

    if door.as_json:
        yield quiet
        return
    with progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as shown:
        yield shown.update


def report_of(
    collection: str, state: State, tally: Tally, left_out: int = 0, batch: str | None = None
) -> Report:
    from face_pipeline.cli.state import ACCEPTED, DUPLICATE

    return Report(
        collection=collection,
        state_file=str(state.path),
        batch_id=batch,
        accepted=tally.outcomes[ACCEPTED],
        duplicates=tally.outcomes[DUPLICATE],
        earlier=tally.earlier,
        left_out=left_out,
        refused=tally.refused,
        unreadable=tally.unreadable,
        remarks=dict(tally.remarks),
    )


def _wait(door: Door, client: Client, state: State) -> list[Unusable]:
    """Until every photo of this ingest is processed: those that failed."""
    from face_pipeline.cli.sources import Unusable

    places = {each.photo: each.where for each in state.records if each.photo}
    batches = list(dict.fromkeys(each.batch for each in state.records if each.batch))
    failed: dict[str, Unusable] = {}
    with bar(door, len(batches), "Processed") as done:
        for batch in batches:
            while not (progress := client.batch(batch)).finished:
                time.sleep(POLL_SECONDS)
            if progress.states.get("failed"):
                for photo in client.photos(batch=batch, state="failed"):
                    if str(photo.id) in places:
                        why = photo.reason
                        failed[str(photo.id)] = Unusable(
                            places[str(photo.id)], why.code if why else "", why.message if why else ""
                        )
            done(1)
    return list(failed.values())


def tell(door: Door, report: Report) -> None:
    """The report, in words or as JSON."""
    from face_pipeline.words import counted

    if door.as_json:
        print_json(asdict(report))
        return
    there = report.accepted + report.duplicates
    line = f"{counted(there, 'photo')} in {report.collection}: {report.accepted} new"
    if report.duplicates:
        line += f", {report.duplicates} known before"
    if report.earlier:
        line += f" ({report.earlier} of all by an earlier run)"
    click.echo(line)
    if report.left_out:
        click.echo(f"{counted(report.left_out, 'file')} left out: no photos by their names (--all-files)")
    for code, number in report.remarks.items():
        click.echo(f"{counted(number, 'photo')} with the remark {code}: in, but not given to the person")
    lists: tuple[tuple[str, list[Unusable]], ...] = (
        ("refused", report.refused),
        ("not readable", report.unreadable),
        ("failed", report.failed),
    )
    for title, items in lists:
        if items:
            click.echo(f"{len(items)} {title}:")
        for item in items[:SHOWN]:
            click.echo(f"  {item.where}: {item.message} ({item.code})")
        if len(items) > SHOWN:
            click.echo(f"  and {len(items) - SHOWN} more; --json names all")
