"""Alertmanager: what fires, and silences.

Source: Alertmanager's HTTP API, version 2 (api/v2/openapi.yaml).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import urllib3

from face_pipeline.observation.asking import Asked, Refused, Unobserved


@dataclass(frozen=True)
class Alert:
    """Something that fires. `silenced_by`: ids of the silences that keep it quiet."""

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: datetime
    silenced_by: tuple[str, ...]


@dataclass(frozen=True)
class Silence:
    """Nobody is told of alerts that have all these labels, from `starts` until `ends`."""

    labels: Mapping[str, str]
    starts: datetime
    ends: datetime
    by: str
    comment: str


class Alertmanager:
    """Each call raises Unobserved."""

    def __init__(self, url: str, http: urllib3.PoolManager, password: str) -> None:
        self._asked = Asked("Alertmanager", url, http, password)

    def firing(self) -> list[Alert]:
        """But for what follows from another alert (inhibited)."""
        fields = {"active": "true", "silenced": "true", "inhibited": "false", "unprocessed": "true"}
        with _understood():
            return [
                Alert(
                    fingerprint=each["fingerprint"],
                    labels=each["labels"],
                    annotations=each["annotations"],
                    since=datetime.fromisoformat(each["startsAt"]),
                    silenced_by=tuple(each["status"]["silencedBy"]),
                )
                for each in self._asked.ask("GET", "/api/v2/alerts", fields=fields)
            ]

    def silence(self, wanted: Silence) -> str:
        """Begin a silence; returns its id."""
        body = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True}
                for name, value in wanted.labels.items()
            ],
            "startsAt": wanted.starts.isoformat(),
            "endsAt": wanted.ends.isoformat(),
            "createdBy": wanted.by,
            "comment": wanted.comment,
        }
        with _understood():
            return str(self._asked.ask("POST", "/api/v2/silences", body=body)["silenceID"])

    def is_silent(self, silence_id: uuid.UUID) -> bool:
        """Whether there is such a silence, and it is not over."""
        with _understood():
            try:
                told = self._asked.ask("GET", f"/api/v2/silence/{silence_id}")
            except Refused as error:
                if error.status == 404:
                    return False
                raise
            return bool(told["status"]["state"] != "expired")

    def end(self, silence_id: uuid.UUID | str) -> None:
        """End a silence now."""
        with _understood():
            self._asked.ask("DELETE", f"/api/v2/silence/{silence_id}")


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise Unobserved(f"Alertmanager refuses that ({error.status}): {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unobserved("what answers for Alertmanager is something else") from error
