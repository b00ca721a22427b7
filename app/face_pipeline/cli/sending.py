"""Sending many files by several threads, each of which is kept in the state once the service has answered."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from face_pipeline.cli.sources import Entry, Unusable
from face_pipeline.cli.state import ACCEPTED, DUPLICATE, REFUSED, Record, State
from face_pipeline.client import Accepted, Client, FileUnreadable, Refused, Upload
from face_pipeline.client.errors import ClientError

# Of one request: it is held up by its largest file, and sent again as a whole.
REQUEST_BYTES = 64 * 1024 * 1024
HASH_BYTES = 1024 * 1024
# Requests that are put together at a time, of as many people: then the oldest goes as it is.
OPEN_GROUPS = 16
# Of a request as a whole: fewer files may pass.
TOO_MUCH = ("request_too_large", "too_many_photos", "too_many_fields")
# The name is what is wrong: of this request's files, and not of others.
WRONG_NAME = "person_name"


class Stopped(ClientError):
    """Somebody asked for an end."""

    code = "stopped"


@dataclass
class Tally:
    """What became of the files of a source. `earlier`: how many an earlier run had put in already."""

    outcomes: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    refused: list[Unusable] = field(default_factory=list)
    unreadable: list[Unusable] = field(default_factory=list)
    earlier: int = 0

    def count(self, record: Record) -> None:
        if record.outcome == REFUSED:
            self.refused.append(Unusable(record.where, record.code or "", record.message or ""))
            return
        self.outcomes[record.outcome] += 1
        if record.code:
            self.remarks[record.code] += 1


class Sender:
    """`sent`: called with a number of files, each time so many are dealt with.

    stop: set by somebody who wants an end, and by the first failure, which ends all threads.
    """

    def __init__(
        self,
        client: Client,
        state: State,
        *,
        collection: str,
        batch: str | None = None,
        workers: int = 4,
        per_request: int = 10,
        sent: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> None:
        self.tally = Tally()
        self._client = client
        self._state = state
        self._collection = collection
        self._batch = batch
        self._workers = workers
        self._per_request = per_request
        self._sent = sent
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._groups: queue.Queue[list[Entry] | None] = queue.Queue(maxsize=workers)

    def run(self, items: Iterable[Entry | Unusable]) -> Tally:
        """Send what is new; raises what ended it early. What was answered until then is kept."""
        # They end with the process: a request that hangs holds up nobody who wants to go.
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._workers)]
        for thread in threads:
            thread.start()
        try:
            for group in self._grouped(self._new(items)):
                self._put(group)
            for _ in threads:
                self._put(None)
        except BaseException:
            self._stop.set()
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure
        return self.tally

    def _put(self, group: list[Entry] | None) -> None:
        while not self._stop.is_set():
            try:
                self._groups.put(group, timeout=0.2)
                return
            except queue.Full:
                continue

    def _new(self, items: Iterable[Entry | Unusable]) -> Iterator[Entry]:
        """Those of which the state knows nothing; the others are counted."""
        for item in items:
            if self._stop.is_set():
                return
            if isinstance(item, Unusable):
                self._unreadable(item)
            elif (known := self._state.of_place(item.where, item.mark, item.person)) is not None:
                with self._lock:
                    self.tally.count(known)
                    self.tally.earlier += known.outcome != REFUSED
                    self._sent(1)
            else:
                yield item

    def _grouped(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """Files for one request each: of one person, and not too much at a time."""
        open_groups: dict[str | None, list[Entry]] = {}
        for entry in entries:
            group = open_groups.get(entry.person, [])
            if sum(each.file.size for each in group) + entry.file.size > REQUEST_BYTES and group:
                yield open_groups.pop(entry.person)
            group = open_groups.setdefault(entry.person, [])
            group.append(entry)
            if len(group) == self._per_request:
                yield open_groups.pop(entry.person)
            elif len(open_groups) > OPEN_GROUPS:
                yield open_groups.pop(next(iter(open_groups)))
        yield from open_groups.values()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                group = self._groups.get(timeout=0.2)
            except queue.Empty:
                continue
            if group is None:
                return
            try:
                self._deal_with(group)
            except Stopped:
                return
            except BaseException as error:
                with self._lock:
                    self._failure = self._failure or error
                self._stop.set()
                return

    def _deal_with(self, group: Sequence[Entry]) -> None:
        hashed: list[tuple[Entry, str]] = []
        for entry in group:
            try:
                digest = _sha256(entry)
            except OSError as error:
                message = f"cannot be read: {error.strerror or error}"
                self._unreadable(Unusable(entry.where, "unreadable", message))
                continue
            known = self._state.of_content(digest, entry.person)
            if known is None:
                hashed.append((entry, digest))
            else:
                self._keep([_record(entry, digest, DUPLICATE, photo=known.photo, batch=known.batch)])
        self._send(hashed)

    def _send(self, files: Sequence[tuple[Entry, str]]) -> None:
        if not files:
            return
        try:
            answer = self._client.upload(
                [(entry.file.name, entry.file) for entry, _ in files],
                collection=self._collection,
                person=files[0][0].person,
                batch=self._batch,
            )
        except FileUnreadable as error:
            if len(files) == 1:
                self._unreadable(Unusable(files[0][0].where, error.code, error.message))
                return
            # Which of them is not said: the others shall not wait for it.
            for each in files:
                self._send([each])
        except Refused as error:
            if error.code in TOO_MUCH and len(files) > 1:
                self._send(files[: len(files) // 2])
                self._send(files[len(files) // 2 :])
                return
            self._keep(_refused(files, error))
        else:
            told = list(_answered(files, answer))
            self._keep([each for each in told if isinstance(each, Record)])
            for item in told:
                if isinstance(item, Unusable):
                    self._unreadable(item)

    def _keep(self, records: list[Record]) -> None:
        self._state.add(records)
        with self._lock:
            for record in records:
                self.tally.count(record)
            self._sent(len(records))

    def _unreadable(self, item: Unusable) -> None:
        """Not kept: it may be there the next time."""
        with self._lock:
            self.tally.unreadable.append(item)
            self._sent(1)


def _sha256(entry: Entry) -> str:
    digest = hashlib.sha256()
    with entry.file.open() as stream:
        while chunk := stream.read(HASH_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _record(
    entry: Entry,
    digest: str,
    outcome: str,
    *,
    photo: str | None = None,
    batch: str | None = None,
    code: str | None = None,
    message: str | None = None,
) -> Record:
    return Record(entry.where, entry.mark, entry.person, digest, outcome, photo, batch, code, message)


def _refused(files: Sequence[tuple[Entry, str]], error: Refused) -> list[Record]:
    """What an error says of each file; raises the error where it is not about a file."""
    told = error.details.get("rejected")
    if error.code == "photos_rejected" and isinstance(told, list) and len(told) == len(files):
        return [
            _record(entry, digest, REFUSED, code=str(why.get("code")), message=str(why.get("message")))
            for (entry, digest), why in zip(files, told, strict=True)
        ]
    if error.code == WRONG_NAME or (error.status == 413 and len(files) == 1):
        return [
            _record(entry, digest, REFUSED, code=error.code, message=error.message) for entry, digest in files
        ]
    raise error


def _answered(files: Sequence[tuple[Entry, str]], answer: Upload) -> Iterator[Record | Unusable]:
    """Photos are told by their hashes; those that are missing were rejected, in their order."""
    taken: dict[str, list[Accepted]] = {}
    for each in answer.photos:
        taken.setdefault(each.sha256, []).append(each)
    rejected = iter(answer.rejected)
    for entry, digest in files:
        if photos := taken.get(digest):
            # Two files with one content are told in their order, too.
            photo = photos.pop(0)
            note = photo.remark
            yield _record(
                entry,
                digest,
                DUPLICATE if photo.duplicate else ACCEPTED,
                photo=str(photo.id),
                batch=str(answer.batch_id),
                code=note.code if note else None,
                message=note.message if note else None,
            )
        elif (why := next(rejected, None)) is not None:
            yield _record(entry, digest, REFUSED, code=why.code, message=why.message)
        else:
            yield Unusable(entry.where, "changed", "changed while it was sent; run the same command again")
