"""How the installation is: numbers, what needs somebody, charts, alerts and their silences."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.actions import overview as actions
from face_pipeline.actions.charts import Name, Unit
from face_pipeline.actions.overview import Needed, Observed
from face_pipeline.store.models import Scope
from face_pipeline.web.contract.answers import Answer, Count, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import Body, Request, WholeNumber

MINUTES_LEAST, MINUTES_MOST = 5, 7 * 24 * 60
COMMENT_MOST = 500
LABELS_MOST = 30
COMMENT = "Silenced on the Overview page."
# Source: Prometheus, "Data model": names of labels.
_LABEL = "^[a-zA-Z_][a-zA-Z0-9_]{0,127}$"
_VALUE = "^[^\\u0000]{1,1000}$"

Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Value = Annotated[str, Field(pattern=_VALUE)]


class ChartsQuery(Request):
    span: Literal["15m", "6h", "7d"] = Field("6h", description="The last 15 minutes, 6 hours or 7 days.")


class NewSilence(Body):
    """Which alerts: one that fires by its fingerprint, or all of a name, with these labels too."""

    fingerprint: Fingerprint | SkipJsonSchema[None] = Field(
        None, description="Of an alert of the overview; its labels are taken."
    )
    alert: Value | SkipJsonSchema[None] = Field(None, description="Name of the alert, as HighDiskUsage.")
    labels: (
        Annotated[dict[Annotated[str, Field(pattern=_LABEL)], Value], Field(max_length=LABELS_MOST)]
        | SkipJsonSchema[None]
    ) = Field(None, description="With `alert`: labels that its alerts must have too.")
    minutes: WholeNumber = Field(ge=MINUTES_LEAST, le=MINUTES_MOST, description="5 minutes to 7 days.")
    comment: Annotated[str, Field(max_length=COMMENT_MOST, pattern="^[^\\u0000]*$")] = Field(
        COMMENT, description="Why, for who looks at Alertmanager's own page."
    )

    @model_validator(mode="after")
    def _one_way(self) -> NewSilence:
        if (self.fingerprint is None) == (self.alert is None):
            raise ValueError("say which alerts: `fingerprint`, or `alert` with `labels`")
        if self.labels and (self.alert is None or "alertname" in self.labels):
            raise ValueError("`labels` go with `alert`, which is their alertname")
        return self


class Silence(Answer):
    id: Id
    labels: dict[str, str] = Field(description="Nobody is told of alerts that have all of these.")
    starts_at: Time
    ends_at: Time


class Workers(Answer):
    running: Count | None = Field(description="That answer; null: nobody says.")
    wanted: Count | None = Field(description="That are to run; null: nobody says.")


class Numbers(Answer):
    """What there is in the collections that the key reaches."""

    waiting: Count
    processing: Count
    done_today: Count
    failed_today: Count
    oldest_waiting_seconds: Count = Field(description="0: none waits.")
    photos: Count
    faces: Count
    persons: Count
    collections: Count


class Need(Answer):
    """Something that needs somebody."""

    code: Needed
    text: str
    link: str = Field(description="Path of the page where it is mended.")
    count: Count


class Alert(Answer):
    """An alert that fires, of severity critical or warning, or of rules of your own."""

    fingerprint: Fingerprint | None = Field(
        description="What a silence is asked for with; null while Alertmanager does not answer."
    )
    name: str
    severity: str
    summary: str
    description: str
    labels: dict[str, str]
    runbook_url: str | None
    since: Time
    silences: list[Id] = Field(description="Those that keep it quiet now.")


class Observation(Answer):
    """Whether Prometheus can be asked; without it there are no charts, and perhaps no alerts."""

    state: Observed = Field(
        description="off: it is not installed. unreachable: it does not answer. hidden: the key does not "
        "reach all collections, and alerts and charts are of all."
    )
    message: str | None


class Step(Answer):
    code: actions.Step
    done: bool


class Overview(Answer):
    at: Time
    day_began_at: Time = Field(description="Midnight where the service is: today is since then.")
    numbers: Numbers
    workers: Workers
    needs: list[Need] = Field(description="The worst first; none: all is well.")
    alerts: list[Alert] = Field(description="Those that nobody silenced, first; then the worst.")
    observation: Observation
    first_steps: list[Step]


Point = Annotated[
    list[float | None],
    Field(min_length=2, max_length=2, description="Seconds since 1970, and the value; null: none is known."),
]


class Series(Answer):
    name: str
    points: list[Point]


class Chart(Answer):
    name: Name
    unit: Unit
    series: list[Series]
    dashboard_url: str | None = Field(description="Grafana's page of it, for the span; null without Grafana.")


class Charts(Answer):
    span: Literal["15m", "6h", "7d"]
    step_seconds: Annotated[int, Field(ge=1)] | None
    observation: Observation
    charts: list[Chart] = Field(description="All have points at the same times; none without Prometheus.")


_ALL = "The key lacks the scope, or does not reach all collections."

CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/overview", "get_overview", "How the installation is, with its ETag",
        {200: Reply("As it was a few seconds ago at most.", Overview)},
        "Numbers of the collections that the key reaches. What fires, and how many workers run, for keys "
        "that reach all of them.",
        scope=Scope.READ, errors=(503,),
    ),
    Call(
        "get", "/api/v1/overview/charts", "get_charts", "Charts of the last minutes, hours or days",
        {200: Reply("The charts, with their ETag.", Charts)},
        "A fixed list of questions to Prometheus; they are of the whole installation.",
        scope=Scope.READ, query=(ChartsQuery,), errors=(400, 503),
    ),
    Call(
        "post", "/api/v1/overview/silences", "silence_alerts", "Let nobody be told of an alert for a while",
        {201: Reply("Begun.", Silence)},
        scope=Scope.ADMIN, body=NewSilence, errors=(400, 404, 409, 413, 503),
        words={
            403: _ALL, 404: "No alert of this fingerprint fires.", 409: "Alertmanager is not installed.",
            503: "Alertmanager, or the database, does not answer; try again after Retry-After seconds.",
        },
    ),
    Call(
        "delete", "/api/v1/overview/silences/{silence_id}", "end_silence", "End a silence",
        {204: Reply("It is over.")},
        scope=Scope.ADMIN, errors=(404, 409, 503),
        words={
            403: _ALL, 409: "Alertmanager is not installed.",
            503: "Alertmanager, or the database, does not answer; try again after Retry-After seconds.",
        },
    ),
)  # fmt: skip
CODES: Codes = {
    404: ("alert_not_found", "silence_not_found"),
    409: ("observation_off",),
    503: ("observation_unavailable",),
}
