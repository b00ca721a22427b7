"""The originals of another host: `<url>/ab/cd/<sha256>`."""

from __future__ import annotations

import urllib3.exceptions

from face_pipeline.network import http_pool
from face_pipeline.store.originals.common import (
    OriginalMissing,
    OriginalUnavailable,
    damaged,
    is_of,
    relative,
)


class RemoteOriginals:
    """The originals of another host, read only; any number of threads may use it at once.

    With `authority`, the file of one's certificate, that host has to prove by TLS who it is.
    """

    def __init__(self, url: str, token: str, authority: str = ""):
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = http_pool(authority)

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
            raise OriginalUnavailable(f"{self.url} does not answer ({type(error).__name__})") from error
        if answer.status == 404:
            raise OriginalMissing(f"the original {sha256} is not at {self.url}")
        if answer.status != 200:
            raise OriginalUnavailable(
                f"{self.url} answers {answer.status};"
                " run ./face-ansible site.yml, which gives both sides one token"
            )
        return answer.data
