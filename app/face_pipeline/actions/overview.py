"""How the installation is, on one page: its numbers, what needs somebody, what fires, charts, silences."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from face_pipeline.actions import charts
from face_pipeline.broker import presence
from face_pipeline.errors import Conflict, NotFound, QueueUnavailable
from face_pipeline.observation.alertmanager import Alertmanager, Silence
from face_pipeline.observation.asking import Unobserved
from face_pipeline.observation.prometheus import Prometheus
from face_pipeline.parts import Parts
from face_pipeline.store import audit, ledger, overview
from face_pipeline.store.audit import Actor
from face_pipeline.words import counted

# As the alert OldestPhotoWaitsTooLong has it.
LONG_WAIT_SECONDS = 600
# Watchdog has it, which always fires; it tells nobody anything.
NO_SEVERITY = "none"
SEVERITIES = ("critical", "warning")

# Each host writes down which of its workers are to run, and Prometheus asks those.
RUNNING = "celery_workers_active"
WANTED = 'count(up{job="celery"}) or vector(0)'


class Observed(StrEnum):
    """How it stands with what observes the installation; `hidden`: not for who asks."""

    ON = "on"
    OFF = "off"
    UNREACHABLE = "unreachable"
    HIDDEN = "hidden"


class Needed(StrEnum):
    NO_WORKER = "no_worker"
    ALERTS_FIRING = "alerts_firing"
    PHOTOS_WAIT = "photos_wait"
    PHOTOS_FAILED = "photos_failed"


class Step(StrEnum):
    """What a new installation is tried with."""

    PUT_PHOTOS = "put_photos"
    NAME_SOMEBODY = "name_somebody"
    SEARCH = "search"


@dataclass(frozen=True)
class Observation:
    """Whether what observes the installation can be asked, and a sentence where it cannot."""

    state: Observed
    message: str | None = None


NOT_INSTALLED = Observation(
    Observed.OFF,
    "Prometheus is not installed, so there are no charts and no alerts: set face_monitoring_enabled.",
)
NOT_YOURS = Observation(Observed.HIDDEN, "Charts and alerts are for keys that reach all collections.")


@dataclass(frozen=True)
class Alert:
    """Something that fires. `fingerprint`: None where Prometheus alone says it."""

    fingerprint: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: datetime
    silences: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")


@dataclass(frozen=True)
class Workers:
    """None: nobody says."""

    running: int | None = None
    wanted: int | None = None


@dataclass(frozen=True)
class Need:
    """Something that needs somebody. `link`: a page of ours."""

    code: Needed
    text: str
    link: str
    count: int


@dataclass(frozen=True)
class Overview:
    """`day_began`: what is counted of today is counted from then on."""

    at: datetime
    day_began: datetime
    numbers: overview.Numbers
    workers: Workers
    alerts: tuple[Alert, ...]
    observation: Observation

    @property
    def oldest_waiting_seconds(self) -> int:
        oldest = self.numbers.oldest
        return max(0, int((self.at - oldest).total_seconds())) if oldest else 0

    @property
    def needs(self) -> list[Need]:
        """What is worst, first; empty: all is well."""
        found = []
        loud = sum(not alert.silences for alert in self.alerts)
        if self.workers.running == 0:
            found.append(
                Need(Needed.NO_WORKER, "No worker runs: photos wait, and searches fail.", "/jobs", 0)
            )
        if loud:
            text = f"{counted(loud, 'alert', 'fire')}."
            found.append(Need(Needed.ALERTS_FIRING, text, "/#alerts", loud))
        if (seconds := self.oldest_waiting_seconds) > LONG_WAIT_SECONDS:
            text = f"The oldest photo has waited for {counted(seconds // 60, 'minute')}."
            found.append(Need(Needed.PHOTOS_WAIT, text, "/jobs", self.numbers.waiting))
        if failed := self.numbers.failed:
            found.append(
                Need(Needed.PHOTOS_FAILED, f"{counted(failed, 'photo')} failed today.", "/jobs", failed)
            )
        return found

    @property
    def first_steps(self) -> list[tuple[Step, bool]]:
        """Each with whether it was done."""
        numbers = self.numbers
        return [
            (Step.PUT_PHOTOS, numbers.photos > 0),
            (Step.NAME_SOMEBODY, numbers.persons > 0),
            (Step.SEARCH, numbers.searched),
        ]


def look(parts: Parts, *, by: Actor) -> Overview:
    """The overview as `by` may see it, a few seconds old at most."""
    numbers = parts.overviews.get(("numbers", by.collections), lambda: _numbers(parts, by.collections))
    if by.collections is not None:
        workers, alerts, observation = Workers(), (), NOT_YOURS
    else:
        workers, alerts, observation = parts.overviews.get("observed", lambda: _observe(parts))
    at, day_began, told = numbers
    return Overview(at, day_began, told, workers, alerts, observation)


def draw(parts: Parts, span: str, *, by: Actor) -> tuple[charts.Drawn | None, Observation]:
    """The charts of a span (charts.SPANS); None, and why, where there are none."""
    if by.collections is not None:
        return None, NOT_YOURS
    found: tuple[charts.Drawn | None, Observation] = parts.overviews.get(
        ("charts", span), lambda: _draw(parts.prometheus, span)
    )
    return found


def _draw(prometheus: Prometheus | None, span: str) -> tuple[charts.Drawn | None, Observation]:
    if prometheus is None:
        return None, NOT_INSTALLED
    try:
        return charts.draw(prometheus, span), Observation(Observed.ON)
    except Unobserved as error:
        return None, Observation(Observed.UNREACHABLE, error.message)


def _numbers(parts: Parts, reach: overview.Reach) -> tuple[datetime, datetime, overview.Numbers]:
    now = datetime.now().astimezone()
    day_began = now.replace(hour=0, minute=0, second=0, microsecond=0)
    with parts.database.reading() as session:
        return now.astimezone(UTC), day_began, overview.read(session, reach, day_began)


def _observe(parts: Parts) -> tuple[Workers, tuple[Alert, ...], Observation]:
    prometheus, alertmanager = parts.prometheus, parts.alertmanager
    if prometheus is None:
        return Workers(running=_heard(parts)), (), NOT_INSTALLED
    # A silent host keeps each of them waiting for seconds.
    with ThreadPoolExecutor(max_workers=2) as both:
        firing = both.submit(_firing, prometheus, alertmanager)
        try:
            workers, observation = _workers(prometheus), Observation(Observed.ON)
        except Unobserved as error:
            workers, observation = (
                Workers(running=_heard(parts)),
                Observation(Observed.UNREACHABLE, error.message),
            )
        alerts = firing.result()
    return workers, alerts, observation


def _workers(prometheus: Prometheus) -> Workers:
    running, wanted = (prometheus.now(query) for query in (RUNNING, WANTED))
    return Workers(None if running is None else int(running), None if wanted is None else int(wanted))


def _heard(parts: Parts) -> int | None:
    # To ask the workers themselves is to wait for the slowest of them.
    try:
        return sum(each.alive for each in presence.heard(parts.queue))
    except QueueUnavailable:
        return None


def _firing(prometheus: Prometheus, alertmanager: Alertmanager | None) -> tuple[Alert, ...]:
    """Of Alertmanager, which knows what is silenced; where it is away, of Prometheus."""
    found: list[Alert] = []
    with suppress(Unobserved):
        found = _told_by(prometheus, alertmanager)
    shown = [alert for alert in found if alert.severity != NO_SEVERITY]
    return tuple(sorted(shown, key=_order))


def _told_by(prometheus: Prometheus, alertmanager: Alertmanager | None) -> list[Alert]:
    if alertmanager is not None:
        with suppress(Unobserved):
            return [
                Alert(each.fingerprint, each.labels, each.annotations, each.since, each.silenced_by)
                for each in alertmanager.firing()
            ]
    return [Alert(None, each.labels, each.annotations, each.since) for each in prometheus.firing()]


def _order(alert: Alert) -> tuple[bool, int, datetime, str]:
    severity = SEVERITIES.index(alert.severity) if alert.severity in SEVERITIES else len(SEVERITIES)
    return bool(alert.silences), severity, alert.since, alert.name


# Silences


@dataclass(frozen=True)
class Silenced:
    """A silence as it was made."""

    id: str
    labels: Mapping[str, str]
    starts: datetime
    ends: datetime


def silence(
    parts: Parts,
    *,
    fingerprint: str | None,
    labels: Mapping[str, str] | None,
    minutes: int,
    comment: str,
    by: Actor,
) -> Silenced:
    """Let nobody be told of the alert `fingerprint`, or of all that have these `labels`, for so long.

    Raises NotFound where no such alert fires, Conflict without Alertmanager, Unobserved where it is away.
    """
    by.check_reaches_all()
    alertmanager = _alertmanager(parts)
    if fingerprint is not None:
        labels = next(
            (each.labels for each in alertmanager.firing() if each.fingerprint == fingerprint), None
        )
        if labels is None:
            raise NotFound("no alert of this fingerprint fires any more", code="alert_not_found")
    now = datetime.now(UTC)
    wanted = Silence(dict(labels or {}), now, now + timedelta(minutes=minutes), by.name, comment)
    silence_id: str | None = None
    try:
        with parts.database.transaction() as session:
            # Nothing is silenced while there can be no entry of it.
            ledger.probe(session)
            silence_id = alertmanager.silence(wanted)
            told = {"alert": wanted.labels.get("alertname", ""), "minutes": minutes}
            audit.write(session, by, "alert.silence", subject=silence_id, details=told)
    except BaseException:
        if silence_id is not None:
            with suppress(Unobserved):
                alertmanager.end(silence_id)
        raise
    parts.overviews.forget("observed")
    return Silenced(silence_id, wanted.labels, wanted.starts, wanted.ends)


def end_silence(parts: Parts, silence_id: uuid.UUID, *, by: Actor) -> None:
    """Raises NotFound where there is none, or it is over."""
    by.check_reaches_all()
    alertmanager = _alertmanager(parts)
    if not alertmanager.is_silent(silence_id):
        raise NotFound(f"there is no silence {silence_id}, or it is over", code="silence_not_found")
    with parts.database.transaction() as session:
        audit.write(session, by, "alert.unsilence", subject=silence_id)
        alertmanager.end(silence_id)
    parts.overviews.forget("observed")


def _alertmanager(parts: Parts) -> Alertmanager:
    if parts.alertmanager is None:
        raise Conflict(
            "Alertmanager is not installed, so there is nothing to silence: set face_monitoring_enabled",
            code="observation_off",
        )
    return parts.alertmanager
