"""The originals of another host: `<url>/ab/cd/<sha256>`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import urllib3.exceptions

from face_pipeline.network import http_pool
from face_pipeline.store.originals.common import (
    OriginalMissing,
    OriginalUnavailable,
    damaged,
    is_of,
    relative,
)
from face_pipeline.store.originals.disk import Originals

# A host that did not answer is asked after the others for so long.
AWAY_SECONDS = 10.0


class RemoteOriginals:
    """The originals of another host, read only; any number of threads may use it at once.

    With `authority`, the file of one's certificate, that host has to prove by TLS who it is.
    """

    def __init__(self, url: str, token: str, authority: str = ""):
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = http_pool(authority)
        self._away_until = 0.0

    @property
    def is_asked(self) -> bool:
        """False for a while after it did not answer."""
        return time.monotonic() >= self._away_until

    def read(self, sha256: str) -> bytes:
        """OriginalMissing when there is none of this name, OriginalUnavailable when the host is away.

        OriginalDamaged when the host sends other bytes twice: then it was not the way here.
        """
        if is_of(sha256, data := self._read(sha256)) or is_of(sha256, data := self._read(sha256)):
            return data
        raise damaged(sha256, self.url)

    def _read(self, sha256: str) -> bytes:
        try:
            answer = self._http.request("GET", f"{self.url}/{relative(sha256)}", headers=self._headers)
        except urllib3.exceptions.SSLError as error:
            raise OriginalUnavailable(
                f"{self.url} cannot prove who it is ({error}); run ./face-ansible site.yml,"
                " which gives it and this host certificates of one authority"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            raise OriginalUnavailable(f"{self.url} does not answer ({type(error).__name__})") from error
        if answer.status == 404:
            raise OriginalMissing(f"the original {sha256} is not at {self.url}")
        if answer.status != 200:
            raise OriginalUnavailable(
                f"{self.url} answers {answer.status};"
                " run ./face-ansible site.yml, which gives both sides one token"
            )
        return answer.data


class SeveralOriginals:
    """The originals of several web hosts, read only; each has all of them, but for what it missed lately.

    `own`: those on this host's disk, which is asked first.
    """

    def __init__(self, hosts: Sequence[RemoteOriginals], own: Originals | None = None):
        self._hosts = hosts
        self._own = own

    def read(self, sha256: str) -> bytes:
        """From the first that has it, whole. OriginalMissing or OriginalDamaged when none has.

        OriginalUnavailable when one that is away may have it.
        """
        missing: OriginalMissing | None = None
        away: OriginalUnavailable | None = None
        # Those that are away come last: the sort keeps the order otherwise.
        asked = sorted(self._hosts, key=lambda host: not host.is_asked)
        places: list[Originals | RemoteOriginals] = [*([self._own] if self._own else []), *asked]
        for place in places:
            try:
                return place.read(sha256)
            except OriginalMissing as error:
                missing = error
            except OriginalUnavailable as error:
                away = error
        raise away or missing or OriginalMissing(f"the original {sha256} is nowhere")
