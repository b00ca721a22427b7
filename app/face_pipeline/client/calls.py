"""The client of the HTTP API, and how a program finds its settings."""

from __future__ import annotations

import os
from pathlib import Path

from face_pipeline import __version__
from face_pipeline.client.answers import Readiness
from face_pipeline.client.errors import Misconfigured
from face_pipeline.client.events import EventCalls
from face_pipeline.client.keys import KeyCalls
from face_pipeline.client.overview import OverviewCalls
from face_pipeline.client.people import PeopleCalls
from face_pipeline.client.photos import PhotoCalls
from face_pipeline.client.search import SearchCalls
from face_pipeline.client.system import SystemCalls
from face_pipeline.client.transfer import TransferCalls
from face_pipeline.client.transport import READ_SECONDS, Again, Retries, Transport, refusal

URL_VARIABLE = "FACE_URL"
KEY_FILE_VARIABLE = "FACE_API_KEY_FILE"
CA_VARIABLE = "FACE_CA_FILE"


class Client(
    PhotoCalls, SearchCalls, PeopleCalls, EventCalls, KeyCalls, TransferCalls, OverviewCalls, SystemCalls
):
    """One installation, by its public address and an API key; may be used from several threads.

    `url`: the address, or those of several web hosts, separated by spaces: where one does not answer, the
    next is asked.

    `ca`: certificates to trust, PEM, instead of the system's. `address`: connect there instead of to the
    host of `url`. `agent`: the User-Agent. `timeout`: seconds in which an answer must begin. `connections`:
    kept open at most, one for each thread. Every call raises Refused for an answer that is an error, and
    Unreachable where none came. A call is made again (`retries`) where the service asks for that, and where
    the connection broke and a second one does no harm.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        ca: str = "",
        address: str = "",
        agent: str = "",
        timeout: float = READ_SECONDS,
        connections: int = 8,
        retries: Retries | None = None,
    ) -> None:
        headers = {
            "Authorization": f"Bearer {_checked(api_key)}",
            "User-Agent": agent or f"face-pipeline-client/{__version__}",
        }
        self._transport = Transport(
            url,
            headers,
            ca=ca,
            address=address,
            timeout=timeout,
            connections=connections,
            retries=retries,
        )

    @classmethod
    def from_environment(
        cls,
        url: str | None = None,
        *,
        key_file: str | Path | None = None,
        ca_file: str | Path | None = None,
        connections: int = 8,
        retries: Retries | None = None,
    ) -> Client:
        """As FACE_URL, FACE_API_KEY_FILE and FACE_CA_FILE say, where no argument says it.

        Raises Misconfigured, which names what is missing.
        """
        url = url or os.environ.get(URL_VARIABLE)
        key_file = key_file or os.environ.get(KEY_FILE_VARIABLE)
        ca_file = ca_file or os.environ.get(CA_VARIABLE)
        if not url:
            raise Misconfigured(f"say where the service is: --url https://HOST, or set {URL_VARIABLE}")
        if not key_file:
            raise Misconfigured(
                f"say which file holds the API key: --key-file FILE, or set {KEY_FILE_VARIABLE}"
            )
        key = _text(key_file, "the API key").strip()
        ca = _text(ca_file, "the certificates to trust") if ca_file else ""
        return cls(url, key, ca=ca, connections=connections, retries=retries)

    @property
    def url(self) -> str:
        return self._transport.url

    def ready(self) -> Readiness:
        """Whether each part that the service needs is there."""
        path = "/health/ready"
        answer = self._transport.once("GET", path)
        try:
            return Readiness.model_validate_json(answer.data)
        except ValueError:
            # Something before the service answered.
            raise refusal("GET", path, answer) from None

    def metrics(self) -> str:
        """The metrics of the web service, where this address may read them."""
        return self._transport.ask("GET", "/metrics", again=Again.ALWAYS).data.decode()


def _checked(key: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise Misconfigured("the API key is none: it is one word of letters, digits and signs")
    return key


def _text(file: str | Path, what: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{file}, which is to hold {what}, cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Misconfigured(f"{file}, which is to hold {what}, is no text") from None
