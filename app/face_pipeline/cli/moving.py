"""`face-pipeline import --from compreface`: subjects and their images, out of a CompreFace that still runs.

Each image goes in as an enrolment. How CompreFace is asked: `cli.compreface`.
"""

from __future__ import annotations

import hashlib
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from face_pipeline.cli import compreface
from face_pipeline.cli.common import Door, F, print_json, printable
from face_pipeline.cli.ingest import SHOWN, bar, patient, stoppable
from face_pipeline.cli.state import ACCEPTED, DUPLICATE, Goal, Record, State
from face_pipeline.words import counted

if TYPE_CHECKING:
    from face_pipeline.cli.compreface import CompreFace, Image
    from face_pipeline.cli.sources import Unusable
    from face_pipeline.client import Client, Enrolment, NotEnrolled

# What the service says of a photo that it had no time to look at: it takes it a moment later.
PASSING = (
    "search_busy",
    "search_timeout",
    "search_failed",
    "decoding_busy",
    "photo_processing",
    "photo_changed",
)
ATTEMPTS = 5
PAUSE_SECONDS = 3.0


# What the options of a move are where nobody says them.
NOT_SAID = {
    "on_conflict": "refuse", "which": "only", "workers": 4,
    "state_file": None, "fresh": False, "dry_run": False,
}  # fmt: skip


def options(command: F) -> F:
    """Give `import` those of --from compreface."""
    file = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option("--fresh", is_flag=True, help="Forget earlier runs."),
        click.option("--state", "state_file", type=file, help="What is in already."),
        click.option(
            "--workers", type=click.IntRange(1, 16), default=NOT_SAID["workers"], help="Images at a time."
        ),
        click.option(
            "--which", type=click.Choice(["only", "largest"]), default=NOT_SAID["which"],
            help="Of an image with several faces: refuse it (only), or take the largest.",
        ),
        click.option(
            "--on-conflict", type=click.Choice(["refuse", "allow"]), default=NOT_SAID["on_conflict"],
            help="Of a face that is more like another person: refuse it, or allow it.",
        ),
        click.option("--dry-run", is_flag=True, help="Only show what there is to move."),
        click.option("--source-ca", type=file, help="Certificates to trust of CompreFace, PEM."),
        click.option(
            "--source-key-file", metavar="FILE",
            help="Holds the key of CompreFace's recognition service; -: standard input [COMPREFACE_API_KEY].",
        ),
        click.option(
            "--from", "origin", type=click.Choice(["compreface"]),
            help="SOURCE is the address of a CompreFace that runs; the options below are for it alone.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@dataclass(frozen=True)
class Wish:
    """How images are moved. on_conflict, which: as of an enrolment."""

    collection: str
    on_conflict: str
    which: str
    workers: int
    state_file: Path | None
    fresh: bool
    dry_run: bool


@dataclass
class Report:
    """How a move ended.

    earlier: images that an earlier run had put in; same_person: subjects whose names are one here, where case
    does not count; state_file: None of a dry run.
    """

    collection: str
    dry_run: bool
    subjects: int = 0
    images: int = 0
    persons_made: int = 0
    persons_there: int = 0
    new: int = 0
    duplicates: int = 0
    earlier: int = 0
    state_file: str | None = None
    refused: list[Unusable] = field(default_factory=list)
    same_person: list[str] = field(default_factory=list)


def move(door: Door, url: str, key: str, source_ca: Path | None, wish: Wish) -> int:
    """Put in what is there and not yet here; the exit status is 1 if an image was refused."""
    stop = threading.Event()
    retries = patient(stop)
    ca = compreface.read(str(source_ca)) if source_ca else ""
    source = compreface.CompreFace(url, key, ca=ca, connections=wish.workers, retries=retries)
    client = door.client(connections=wish.workers, retries=retries)
    report = Report(wish.collection, wish.dry_run)
    with stoppable(stop):
        subjects, images = source.subjects(), source.images()
        names = list(dict.fromkeys([*subjects, *(each.subject for each in images)]))
        report.subjects, report.images = len(names), len(images)
        if wish.dry_run:
            _foresee(client, names, report)
        else:
            goal = Goal(client.url, wish.collection, f"compreface {source.url}")
            state = State(wish.state_file or goal.file(), goal, fresh=wish.fresh)
            report.state_file = str(state.path)
            try:
                run = Run(client, source, state, wish, report, stop)
                persons = run.persons(names)
                with bar(door, len(images), "Images") as shown:
                    for _ in run.images(images, persons):
                        shown(1)
            finally:
                state.close()
    report.refused.sort(key=lambda each: each.where)
    tell(door, report)
    return 1 if report.refused else 0


def _foresee(client: Client, names: list[str], report: Report) -> None:
    """What a move would make, by names alone."""
    from face_pipeline.client import Refused

    try:
        there = {_key(each.name) for each in client.persons(collection=report.collection)}
    except Refused as error:
        if error.code != "collection_not_found":
            raise
        there = set()
    report.persons_there = sum(_key(each) in there for each in names)
    report.persons_made = len({_key(each) for each in names} - there)


def _key(name: str) -> str:
    """What two names have in common that are one person's."""
    return unicodedata.normalize("NFC", name.strip().casefold())


class Run:
    """A move on its way. Its workers are threads; the report is written by the one that waits for them."""

    def __init__(
        self, client: Client, source: CompreFace, state: State, wish: Wish, report: Report,
        stop: threading.Event,
    ) -> None:  # fmt: skip
        self._client, self._source, self._state = client, source, state
        self._wish, self._report, self._stop = wish, report, stop

    def persons(self, names: list[str]) -> Mapping[str, str]:
        """The id of each subject's person, made where nobody has the name; without refused names."""
        from face_pipeline.cli.sources import Unusable
        from face_pipeline.client import Refused

        ids: dict[str, str] = {}
        for name in names:
            try:
                ids[name] = str(self._client.create_person(name, collection=self._wish.collection).id)
                self._report.persons_made += 1
            except Refused as error:
                if error.code == "person_exists":
                    ids[name] = str(error.details["person_id"])
                    self._report.persons_there += 1
                elif error.code == "person_name":
                    self._report.refused.append(Unusable(name, error.code, error.message))
                else:
                    raise
        shared = {each for each, number in Counter(ids.values()).items() if number > 1}
        self._report.same_person = [name for name, person in ids.items() if person in shared]
        return ids

    def images(self, images: list[Image], persons: Mapping[str, str]) -> Iterator[Image]:
        """Each image, once it is dealt with. Raises what ended it early; what was answered is kept."""
        due = []
        for image in images:
            if self._state.of_place(image.image_id, "", image.subject) is not None:
                self._report.earlier += 1
                yield image
            elif image.subject in persons:
                due.append(image)
        with ThreadPoolExecutor(self._wish.workers) as pool:
            moves = {pool.submit(self._move, each, persons[each.subject]): each for each in due}
            try:
                for done in as_completed(moves):
                    done.result()
                    yield moves[done]
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _move(self, image: Image, person: str) -> None:
        from face_pipeline.cli.sources import Unusable

        data = self._source.picture(image)
        told = self._enrolled(image, person, data)
        for _ in range(ATTEMPTS - 1):
            if told is None or told.code not in PASSING or self._stop.wait(PAUSE_SECONDS):
                break
            told = self._enrolled(image, person, data)
        if told is not None:
            # Not kept: somebody may choose otherwise, and the next run asks again.
            self._report.refused.append(Unusable(image.where, told.code, told.message))

    def _enrolled(self, image: Image, person: str, data: bytes) -> NotEnrolled | None:
        """Why the image is not the person's; None: it is."""
        from face_pipeline.client import NotEnrolled, Refused

        try:
            answer: Enrolment = self._client.enrol(
                person, [(image.image_id, data)],
                on_conflict=self._wish.on_conflict, which=self._wish.which,
            )  # fmt: skip
        except Refused as error:
            if error.code != "none_enrolled":
                raise
            return NotEnrolled.model_validate(error.details["refused"][0])
        if answer.refused:
            return answer.refused[0]
        (done,) = answer.enrolled
        outcome = DUPLICATE if done.duplicate else ACCEPTED
        sha256 = hashlib.sha256(data).hexdigest()
        self._state.add(
            [Record(image.image_id, "", image.subject, sha256, outcome, photo=str(done.photo_id))]
        )
        with _COUNTING:
            self._report.duplicates += done.duplicate
            self._report.new += not done.duplicate
        return None


_COUNTING = threading.Lock()


def tell(door: Door, report: Report) -> None:
    """The report, in words or as JSON."""
    if door.as_json:
        print_json(asdict(report))
        return
    would = "would be " if report.dry_run else ""
    click.echo(
        f"{counted(report.subjects, 'subject')} for {report.collection}: {report.persons_made} {would}new, "
        f"{report.persons_there} there before"
    )
    if report.dry_run:
        click.echo(f"{counted(report.images, 'image')} would be looked at; nothing was changed")
        return
    line = f"{counted(report.images, 'image')}: {report.new} new"
    if report.duplicates:
        line += f", {report.duplicates} known before"
    if report.earlier:
        line += f", {report.earlier} by an earlier run"
    click.echo(line)
    if report.same_person:
        click.echo(f"the same person here: {printable(', '.join(report.same_person))}")
    if report.refused:
        click.echo(f"{len(report.refused)} refused:")
    for each in report.refused[:SHOWN]:
        click.echo(f"  {printable(each.where)}: {printable(each.message)} ({each.code})")
    if len(report.refused) > SHOWN:
        click.echo(f"  and {len(report.refused) - SHOWN} more; --json names all")
