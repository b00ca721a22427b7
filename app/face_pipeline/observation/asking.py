"""Asking one of them, and what it means where no good answer comes."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from face_pipeline.errors import Unavailable

# They are on this host or beside it, and a page waits for the answer.
TIMEOUT = urllib3.Timeout(connect=1.5, read=3.0)
# Many thousand alerts, or points.
ANSWER_MAX_BYTES = 16 * 1024**2
SHOWN = 200
# As which they know the web service.
USER = "web"


class Unobserved(Unavailable):
    """It does not answer, or not what it should; without it the service works on."""

    code = "observation_unavailable"


class Refused(Exception):
    """It answered with an error: `status` of HTTP, and its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Asked:
    """One of them: `name` for people, `url` of its API's root, `password` of the user `web` there."""

    def __init__(self, name: str, url: str, http: urllib3.PoolManager, password: str) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._http = http
        known = b64encode(f"{USER}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {known}"}

    def ask(
        self,
        method: str,
        path: str,
        *,
        fields: dict[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """What it says in JSON, None: nothing. Raises Unobserved, and Refused for an error of ours (4xx)."""
        options: dict[str, Any] = {"fields": fields} if body is None else {"json": body}
        try:
            answer = self._http.request(
                method, self._url + path, headers=self._headers,
                timeout=TIMEOUT, preload_content=False, redirect=False, **options,
            )  # fmt: skip
            try:
                data = answer.read(ANSWER_MAX_BYTES + 1)
                # What is left of a longer answer must not be taken for the next one.
                (answer.close if len(data) > ANSWER_MAX_BYTES else answer.drain_conn)()
            finally:
                answer.release_conn()
        except SSLError as error:
            raise Unobserved(
                f"{self.name} cannot prove who it is; run ./face-ansible site.yml, "
                "which gives it and this host certificates of one authority"
            ) from error
        except (HTTPError, OSError) as error:
            raise Unobserved(f"{self.name} does not answer; see whether it runs") from error
        if answer.status == 401:
            raise Unobserved(
                f"{self.name} does not take the password of this service; "
                "run ./face-ansible site.yml, which gives it to both"
            )
        if 400 <= answer.status < 500:
            raise Refused(answer.status, _words(data))
        if not 200 <= answer.status < 300 or len(data) > ANSWER_MAX_BYTES:
            raise Unobserved(f"{self.name} answers with an error ({answer.status}); its log says more")
        try:
            return json.loads(data) if data.strip() else None
        except ValueError as error:
            raise Unobserved(f"what answers for {self.name} is something else") from error


def _words(data: bytes) -> str:
    text = data.decode("utf-8", "replace")[:SHOWN]
    return "".join(each if each.isprintable() else " " for each in text).strip()
