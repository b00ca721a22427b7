"""Copies of the originals on further hosts, as a web host asks for them (`face_pipeline.copies` answers).

An upload is answered once as many hosts as the operator wants hold its photos. A host that was away gets what
it lacks from the indexer (ops/copies.py).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
import urllib3.exceptions

from face_pipeline.errors import ConfigurationError, Unavailable
from face_pipeline.store.models import OriginalFault

log = logging.getLogger(__name__)

# A host that did not answer is left alone for so long: or each upload would wait for it.
AWAY_SECONDS = 10.0
# So long an upload waits for a service that refuses connections, or ends them: it starts again, as with each
# release, perhaps on all hosts at once.
RESTART_SECONDS = 8.0
RESTART_PAUSE_SECONDS = 0.2
# Uploads wait so long for hosts beyond those that are required; what is on its way meanwhile goes on.
MORE_SECONDS = 1.0
# Uploads that one host takes at once.
UPLOADS_AT_ONCE = 8
# Of one request; the other host takes 1000.
NAMES_AT_ONCE = 500


# Of a request that puts or removes copies: when the web host began with it.
MOMENT_HEADER = "Face-Began"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Moment:
    """A time of one host's running, which no clock that is set changes; seconds since `boot`."""

    boot: str
    seconds: float

    @classmethod
    def now(cls) -> Moment:
        return cls(_boot(), time.monotonic())

    @classmethod
    def read(cls, text: str) -> Moment | None:
        """As `str` gives it; None: nobody said."""
        boot, _, seconds = text.partition(" ")
        try:
            return cls(boot, float(seconds))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.boot} {self.seconds:.6f}"

    def is_after(self, other: Moment) -> bool:
        """False also where they cannot be compared."""
        return self.boot == other.boot and self.seconds > other.seconds


@cache
def _boot() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()


class CopiesAway(Unavailable):
    """Too few of the hosts that keep copies answer, so the photo is not safe enough to be acknowledged."""

    code = "copies_away"
    retry_after = int(AWAY_SECONDS)


class CopyHostAway(Unavailable):
    """One host that keeps copies does not answer, or not as it should."""

    code = "copy_host_away"


class CopyHost:
    """One host that keeps copies; any number of threads may use it at once.

    All methods raise CopyHostAway. `name` is its address and port. `is_web`: it is a web host, too. Such a
    one takes uploads itself, and removes by itself what no row names: others only put aside there.
    """

    def __init__(self, url: str, token: str, http: urllib3.PoolManager, *, is_web: bool = False) -> None:
        self.name = urlsplit(url).netloc
        self.is_web = is_web
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = http
        self._away_until = 0.0

    @property
    def is_asked(self) -> bool:
        """False for a while after it did not answer."""
        return time.monotonic() >= self._away_until

    def put(self, sha256: str, data: bytes, began: Moment) -> bool:
        """Once this returns, the copy survives a power cut of that host.

        False where it was removed after `began`, when it was known that the photo is to be kept.
        """
        headers = {MOMENT_HEADER: str(began)}
        answer = self._ask("PUT", f"/copies/{sha256}", body=data, headers=headers, good=(201, 409))
        return bool(answer.status == 201)

    def read(self, sha256: str) -> bytes | None:
        """The bytes, compared with their name; None where it has no such copy, or only a damaged one."""
        answer = self._ask("GET", f"/copies/{sha256}", good=(200, 404))
        data: bytes = answer.data
        return data if answer.status == 200 and hashlib.sha256(data).hexdigest() == sha256 else None

    def names(self, prefix: str) -> dict[str, float]:
        """Age of each copy whose name begins with the two digits `prefix`, seconds."""
        told: dict[str, float] = self._told("GET", f"/copies?prefix={prefix}")["names"]
        return told

    def doubtful(self) -> list[str]:
        """Names of copies that arrived there perhaps after their photos were erased: whoever knows the rows
        has them removed, if none names them."""
        found: list[str] = self._told("GET", "/copies/doubtful")["names"]
        return found

    def check(self, names: Collection[str]) -> dict[str, OriginalFault]:
        """What is wrong with the copies of these names, which that host reads for it."""
        told = self._told("POST", "/copies/check", {"names": sorted(names)})
        return {name: OriginalFault(fault) for name, fault in told["faults"].items()}

    def remove(self, names: Collection[str]) -> int:
        """Returns how many there were."""
        return self._each("remove", "removed", names)

    def put_aside(self, names: Collection[str], mark: str) -> None:
        """Before it is looked up again whether rows name them; `mark` is who does it."""
        self._each("aside", "aside", names, mark)

    def put_back(self, names: Collection[str], mark: str) -> None:
        """Those that rows name after all."""
        self._each("back", "back", names, mark)

    def drop(self, names: Collection[str], mark: str) -> int:
        """Remove what was put aside; returns how many there were."""
        return self._each("drop", "removed", names, mark)

    def _each(self, what: str, counted: str, names: Collection[str], mark: str = "") -> int:
        found, number = sorted(names), 0
        for start in range(0, len(found), NAMES_AT_ONCE):
            asked: dict[str, Any] = {"names": found[start : start + NAMES_AT_ONCE]}
            if mark:
                asked["mark"] = mark
            began = {MOMENT_HEADER: str(Moment.now())}
            number += int(self._told("POST", f"/copies/{what}", asked, began)[counted])
        return number

    def _told(
        self, method: str, path: str, asked: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # fmt: skip
        body = None if asked is None else json.dumps(asked).encode()
        answer = self._ask(
            method, path, body=body, headers={"Content-Type": "application/json", **(headers or {})}
        )
        return self._parsed(answer)

    def _parsed(self, answer: Any) -> Any:
        try:
            return json.loads(answer.data)
        except ValueError as error:
            raise self._away("answers what is no JSON") from error

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        good: tuple[int, ...] = (200,),
    ) -> Any:
        asked = partial(
            self._http.request, method, f"{self._url}{path}",
            body=body, headers={**self._headers, **(headers or {})},
        )  # fmt: skip
        try:
            answer = _outlast_a_restart(asked) if method == "PUT" else asked()
        except urllib3.exceptions.SSLError as error:
            raise self._away(
                f"cannot prove who it is ({error}); run ./face-ansible site.yml, which gives both hosts"
                " certificates of one authority"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._away(f"does not answer ({type(error).__name__})") from error
        if answer.status == 401:
            raise self._away("refuses the token; run ./face-ansible site.yml, which gives both hosts one")
        if answer.status == 507:
            raise self._away("has no room left; give its originals a larger disk")
        if answer.status not in good:
            raise self._away(f"answers {answer.status}")
        self._away_until = 0.0
        return answer

    def _away(self, what: str) -> CopyHostAway:
        self._away_until = time.monotonic() + AWAY_SECONDS
        return CopyHostAway(f"{self.name}, which keeps copies of originals, {what}")


def _outlast_a_restart(asked: Callable[[], Any]) -> Any:
    """Ask once more while the service starts again: `asked` may come twice."""
    give_up = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return asked()
        except urllib3.exceptions.HTTPError as error:
            if not _starts_again(error) or time.monotonic() + RESTART_PAUSE_SECONDS > give_up:
                raise
        time.sleep(RESTART_PAUSE_SECONDS)


def _starts_again(error: BaseException | None) -> bool:
    """Whether the host is there and its service is not: it refused the connection, or ended it."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | ConnectionResetError | http.client.RemoteDisconnected):
            return True
        error = error.__cause__ or error.__context__
    return False


class Copies:
    """All hosts that keep copies. `required`: how many hosts, the web host included, hold a photo that is
    acknowledged.

    Raises ConfigurationError where there are not so many.
    """

    def __init__(self, hosts: Sequence[CopyHost], required: int) -> None:
        if required > len(hosts) + 1:
            raise ConfigurationError(
                f"configuration: FACE_COPIES_REQUIRED is {required}, and FACE_COPIES_URLS names"
                f" {len(hosts)}: at most {len(hosts) + 1} hosts hold a photo; run ./face-ansible site.yml"
            )
        self.hosts = hosts
        self._needed = required - 1
        # Of each host its own: one that starts again holds up no other.
        self._senders = [
            ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix=f"copies {host.name}") for host in hosts
        ]

    def keep(self, photos: Mapping[str, bytes]) -> None:
        """Give each host these photos, by their sha256. Raises CopiesAway where too few of them took them."""
        if not photos:
            return
        began = Moment.now()
        sent = {
            senders.submit(_send, host, photos, began)
            for senders, host in zip(self._senders, self.hosts, strict=True)
            if host.is_asked
        }
        kept = _took(sent, self._needed)
        if kept < self._needed:
            raise CopiesAway(
                f"{kept + 1} of the {self._needed + 1} hosts that have to hold a photo can be reached;"
                " send it again in a while"
            )

    def read(self, sha256: str) -> bytes | None:
        """From the first host that has it; None where none of those that answer has."""
        for host in self.hosts:
            if not host.is_asked:
                continue
            try:
                data = host.read(sha256)
            except CopyHostAway as error:
                _tell(error)
                continue
            if data is not None:
                return data
        return None

    def put_aside(self, names: Collection[str], mark: str) -> bool:
        """Whether the other web hosts have these aside now: whoever uploads one of them there sees that it is
        gone, and writes it again."""
        web = [host for host in self.hosts if host.is_web]
        return sum(_does(host, partial(host.put_aside, names, mark)) for host in web) == len(web)

    def put_back(self, names: Collection[str], mark: str) -> None:
        """What the other web hosts have aside and a row names; what is not put back now is by their sweep."""
        for host in self.hosts:
            if host.is_web:
                _does(host, partial(host.put_back, names, mark))

    def remove(self, names: Collection[str], mark: str) -> bool:
        """Whether these copies are gone from all hosts now; from web hosts what was put aside there."""
        removals = (
            _does(host, partial(host.drop, names, mark) if host.is_web else partial(host.remove, names))
            for host in self.hosts
        )
        return sum(removals) == len(self.hosts)


def _does(host: CopyHost, what: Callable[[], object]) -> bool:
    if not host.is_asked:
        return False
    try:
        what()
    except CopyHostAway as error:
        _tell(error)
        return False
    return True


def _send(host: CopyHost, photos: Mapping[str, bytes], began: Moment) -> bool:
    if not host.is_asked:
        # It was found away while this waited for its turn.
        return False
    try:
        kept = [host.put(sha256, data, began) for sha256, data in photos.items()]
    except CopyHostAway as error:
        _tell(error)
        return False
    return all(kept)


def _tell(error: CopyHostAway) -> None:
    log.warning("%s", error, extra={"operation": "copies", "reason_code": error.code})


def _took(sent: Iterable[Future[bool]], needed: int) -> int:
    """How many took all, as soon as that is known of as many as are needed, and a moment later."""
    kept, waiting = 0, set(sent)
    while waiting:
        enough = kept >= needed
        done, waiting = wait(waiting, timeout=MORE_SECONDS if enough else None, return_when=FIRST_COMPLETED)
        kept += sum(each.result() for each in done)
        if enough and not done:
            break
    return kept
