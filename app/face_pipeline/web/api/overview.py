"""How the installation is: the overview, its charts, and silences of alerts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from flask import Blueprint, Response, request

from face_pipeline.actions import charts
from face_pipeline.actions import overview as actions
from face_pipeline.store.models import Scope
from face_pipeline.web import etags
from face_pipeline.web.api import parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import overview as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("overview", __name__)


@bp.get("/overview")
@requires(Scope.READ)
def show() -> Response:
    return _tagged(_overview(actions.look(parts(), by=actor())))


@bp.get("/overview/charts")
@requires(Scope.READ)
def draw() -> Response:
    query = parameters.read(contract.ChartsQuery, request.args)
    drawn, observation = actions.draw(parts(), query.span, by=actor())
    return _tagged(
        contract.Charts.model_construct(
            span=query.span,
            step_seconds=drawn.span.step if drawn else None,
            observation=_observation(observation),
            charts=[_chart(each, drawn, query.span) for each in drawn.charts] if drawn else [],
        )
    )


@bp.post("/overview/silences")
@requires(Scope.ADMIN)
def silence() -> Response:
    wanted = parameters.body(contract.NewSilence)
    labels = {"alertname": wanted.alert, **(wanted.labels or {})} if wanted.alert is not None else None
    made = actions.silence(
        parts(),
        fingerprint=wanted.fingerprint,
        labels=labels,
        minutes=wanted.minutes,
        comment=wanted.comment.strip() or contract.COMMENT,
        by=actor(),
    )
    return views.answer(
        contract.Silence.model_construct(
            id=made.id,
            labels=dict(made.labels),
            starts_at=_time(made.starts),
            ends_at=_time(made.ends),
        ),
        201,
    )


@bp.delete("/overview/silences/<silence_id>")
@requires(Scope.ADMIN)
def end_silence(silence_id: str) -> Response:
    actions.end_silence(parts(), parameters.identifier(silence_id, "silence"), by=actor())
    return Response(status=204)


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _tagged(value: answers.Answer) -> Response:
    response = views.answer(value)
    return etags.tag(response, hashlib.sha256(response.get_data()).hexdigest()[:32])


def _overview(told: actions.Overview) -> contract.Overview:
    numbers = told.numbers
    return contract.Overview.model_construct(
        at=_time(told.at),
        day_began_at=_time(told.day_began),
        numbers=contract.Numbers.model_construct(
            waiting=numbers.waiting,
            processing=numbers.processing,
            done_today=numbers.done,
            failed_today=numbers.failed,
            oldest_waiting_seconds=told.oldest_waiting_seconds,
            photos=numbers.photos,
            faces=numbers.faces,
            persons=numbers.persons,
            collections=numbers.collections,
        ),
        workers=contract.Workers.model_construct(running=told.workers.running, wanted=told.workers.wanted),
        needs=[
            contract.Need.model_construct(code=each.code, text=each.text, link=each.link, count=each.count)
            for each in told.needs
        ],
        alerts=[_alert(each) for each in told.alerts],
        observation=_observation(told.observation),
        first_steps=[contract.Step.model_construct(code=code, done=done) for code, done in told.first_steps],
    )


def _alert(alert: actions.Alert) -> contract.Alert:
    return contract.Alert.model_construct(
        fingerprint=alert.fingerprint,
        name=alert.name,
        severity=alert.severity,
        summary=alert.annotations.get("summary") or alert.name,
        description=alert.annotations.get("description", ""),
        labels=dict(alert.labels),
        runbook_url=_runbook(alert.annotations),
        since=_time(alert.since),
        silences=list(alert.silences),
    )


def _runbook(annotations: Mapping[str, str]) -> str | None:
    """An address that a page may link to: whoever writes rules may write anything."""
    url = annotations.get("runbook_url", "")
    try:
        return url if urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None


def _observation(observation: actions.Observation) -> contract.Observation:
    return contract.Observation.model_construct(state=observation.state, message=observation.message)


def _chart(chart: charts.Chart, drawn: charts.Drawn, span: str) -> contract.Chart:
    times = drawn.span.times
    return contract.Chart.model_construct(
        name=chart.name,
        unit=chart.unit,
        series=[
            contract.Series.model_construct(
                name=series.name, points=[list(point) for point in zip(times, series.values, strict=True)]
            )
            for series in chart.series
        ],
        dashboard_url=_dashboard(chart.dashboard, span),
    )


def _dashboard(uid: str, span: str) -> str | None:
    grafana = parts().settings.grafana_url.rstrip("/")
    return f"{grafana}/d/{uid}?from=now-{span}&to=now" if grafana else None
