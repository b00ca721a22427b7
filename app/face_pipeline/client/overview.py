"""How the installation is: numbers, what needs somebody, alerts and their silences, charts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from face_pipeline.client.answers import Answer
from face_pipeline.client.base import Calls, Id, part


class Numbers(Answer):
    """What there is in the collections that the key reaches."""

    waiting: int
    processing: int
    done_today: int
    failed_today: int
    oldest_waiting_seconds: int
    photos: int
    faces: int
    persons: int
    collections: int


class Workers(Answer):
    """None: nobody says."""

    running: int | None = None
    wanted: int | None = None


class Need(Answer):
    """Something that needs somebody. link: path of the page where it is mended."""

    code: str
    text: str
    link: str
    count: int


class Alert(Answer):
    """An alert that fires. silences: ids of those that keep it quiet."""

    fingerprint: str | None = None
    name: str
    severity: str
    summary: str
    description: str
    labels: dict[str, str]
    runbook_url: str | None = None
    since: datetime
    silences: tuple[UUID, ...]


class Observation(Answer):
    """state: `on`, `off`, `unreachable` or `hidden`; message: a sentence where it is not on."""

    state: str
    message: str | None = None


class Step(Answer):
    """What a new installation is tried with."""

    code: str
    done: bool


class Overview(Answer):
    """needs: none: all is well."""

    at: datetime
    day_began_at: datetime
    numbers: Numbers
    workers: Workers
    needs: tuple[Need, ...]
    alerts: tuple[Alert, ...]
    observation: Observation
    first_steps: tuple[Step, ...]


class Series(Answer):
    """points: seconds since 1970, and a value, None: none is known."""

    name: str
    points: tuple[tuple[float, float | None], ...]


class Chart(Answer):
    name: str
    unit: str
    series: tuple[Series, ...]
    dashboard_url: str | None = None


class Charts(Answer):
    """All have points at the same times; none without Prometheus, observation says why."""

    span: str
    step_seconds: int | None = None
    observation: Observation
    charts: tuple[Chart, ...]


class Silence(Answer):
    """Nobody is told of alerts that have all these labels."""

    id: UUID
    labels: dict[str, str]
    starts_at: datetime
    ends_at: datetime


class OverviewCalls(Calls):
    def overview(self) -> Overview:
        """Of a few seconds ago at most."""
        return self._read(Overview, "/overview")

    def charts(self, span: str = "6h") -> Charts:
        """Of the last `15m`, `6h` or `7d`."""
        return self._read(Charts, "/overview/charts", span=span)

    def silence_alerts(
        self,
        alert: str | None = None,
        *,
        minutes: int,
        fingerprint: str | None = None,
        labels: Mapping[str, str] | None = None,
        comment: str | None = None,
    ) -> Silence:
        """Let nobody be told of alerts for a while: those of a name, with these labels too; or of one that
        fires, by its fingerprint."""
        body: dict[str, Any] = {"minutes": minutes}
        told = {"alert": alert, "fingerprint": fingerprint, "comment": comment}
        body |= {name: value for name, value in told.items() if value is not None}
        if labels is not None:
            body["labels"] = dict(labels)
        return self._make(Silence, "/overview/silences", body)

    def end_silence(self, silence_id: Id) -> None:
        self._remove(f"/overview/silences/{part(silence_id)}")
