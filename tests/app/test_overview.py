"""The overview: true numbers, what needs somebody, charts and alerts of real servers, and silences."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from face_pipeline.kept import Kept
from face_pipeline.parts import Parts
from face_pipeline.web import create_app
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from tests.app import stock
from tests.app.test_contract import DOCUMENT
from tests.installation import MONITORING_PASSWORD, App, Installation, wait_until
from tests.photos import ROOT, astronaut_jpeg
from tests.services import Postgres
from tests.services.process import ServicesMissing, free_port
from tests.services.prometheus import Alertmanager, Prometheus

RUNBOOK = "https://faces.example.org/runbooks/HighDiskUsage.md"
OVERVIEW, CHARTS, SILENCES = "/api/v1/overview", "/api/v1/overview/charts", "/api/v1/overview/silences"


@dataclass
class Visitor:
    """Somebody with a key, before a process of their own: nothing is kept from another test."""

    client: FlaskClient
    key: dict[str, str]

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {**self.key, **options.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **options)

    def look(self, path: str = OVERVIEW) -> dict[str, Any]:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.get_json()
        _check(told, path.partition("?")[0], "get", 200)
        return told


def _check(body: Any, path: str, method: str, status: int) -> None:
    schema = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"]["application/json"][
        "schema"
    ]
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(body)


def visit(clean: Installation, key: dict[str, str] | None = None, **settings: Any) -> Visitor:
    made = Parts(clean.parts.settings.model_copy(update=settings))
    return Visitor(create_app(made).test_client(), key or {"Authorization": f"Bearer {clean.api_key}"})


def codes(needs: list[dict[str, Any]]) -> list[str]:
    return [each["code"] for each in needs]


# Numbers


def test_the_numbers_are_those_of_the_photos_that_are_there(clean: Installation, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    stock.photo(parts, anna, None)
    stock.photo(parts, None, collection="door")
    stock.photo(parts, state="failed")
    stock.photo(parts, state="received")
    stock.photo(parts, state="processing")
    told = visit(clean).look()
    assert told["numbers"] == {
        "waiting": 1, "processing": 1, "done_today": 2, "failed_today": 1,
        "oldest_waiting_seconds": told["numbers"]["oldest_waiting_seconds"],
        "photos": 5, "faces": 3, "persons": 1, "collections": 2,
    }  # fmt: skip
    assert told["day_began_at"][11:19] == "00:00:00"


def test_what_ended_yesterday_is_not_of_today(clean: Installation, parts: Parts) -> None:
    for state in ("done", "failed"):
        stock.photo(parts, state=state)
    with parts.database.transaction() as session:
        session.execute(text("UPDATE photos SET finished_at = now() - interval '25 hours'"))
    numbers = visit(clean).look()["numbers"]
    assert (numbers["done_today"], numbers["failed_today"], numbers["photos"]) == (0, 0, 2)


def test_a_bound_key_is_told_of_its_collections_alone(clean: Installation, parts: Parts) -> None:
    stock.photo(parts, stock.person(parts, "Anna"))
    stock.photo(parts, state="failed")
    stock.photo(parts, stock.person(parts, "Bert", "door"), None, collection="door")
    told = visit(clean, stock.key(parts, "read", collections=["door"])).look()
    assert told["numbers"] == {
        "waiting": 0, "processing": 0, "done_today": 1, "failed_today": 0, "oldest_waiting_seconds": 0,
        "photos": 1, "faces": 2, "persons": 1, "collections": 1,
    }  # fmt: skip
    # Workers, alerts and charts are of all.
    assert told["observation"]["state"] == "hidden"
    assert told["workers"] == {"running": None, "wanted": None}
    assert told["needs"] == []


# What needs somebody


def test_what_needs_somebody_is_said_and_the_worst_first(clean: Installation, parts: Parts) -> None:
    stock.photo(parts, state="failed")
    stock.photo(parts, state="received")
    with parts.database.transaction() as session:
        session.execute(
            text("UPDATE photos SET received_at = now() - interval '20 minutes' WHERE state = 'received'")
        )
    needs = visit(clean).look()["needs"]
    assert codes(needs) == ["no_worker", "photos_wait", "photos_failed"]
    assert needs[1]["text"] == "The oldest photo has waited for 20 minutes."
    assert needs[2] == {
        "code": "photos_failed", "text": "1 photo failed today.", "link": "/jobs", "count": 1,
    }  # fmt: skip


def test_all_is_well_where_a_worker_answers_and_nothing_failed(live_app: App) -> None:
    batch = live_app.upload(("a.jpg", astronaut_jpeg())).json()["batch_id"]
    live_app.wait_finished(batch)
    told = visit(live_app.installation).look()
    assert told["workers"]["running"] == 1
    assert told["needs"] == []
    assert told["numbers"]["done_today"] == 1


@pytest.fixture
def nobody_searched(parts: Parts) -> Iterator[None]:
    """The audit without searches of tests before, and with them again: others seal it and check its chain."""
    own = f"search.run before {uuid.uuid4().hex}"

    def rename(action: str, to: str) -> None:
        with parts.database.transaction() as session:
            session.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_only_added"))
            session.execute(
                text("UPDATE audit SET action = :to WHERE action = :action"), {"action": action, "to": to}
            )
            session.execute(text("ALTER TABLE audit ENABLE TRIGGER audit_only_added"))

    rename("search.run", own)
    yield
    rename(own, "search.run")


def test_a_new_installation_is_told_what_to_try_and_then_no_more(
    live_app: App, nobody_searched: None
) -> None:
    parts = live_app.installation.parts

    def done() -> dict[str, bool]:
        return {each["code"]: each["done"] for each in visit(live_app.installation).look()["first_steps"]}

    assert done() == {"put_photos": False, "name_somebody": False, "search": False}
    batch = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()["batch_id"]
    live_app.wait_finished(batch)
    assert done() == {"put_photos": True, "name_somebody": True, "search": False}
    assert live_app.search(astronaut_jpeg()).status_code == 200
    assert all(done().values())
    bound = stock.key(parts, "read", collections=["door"])
    steps = visit(live_app.installation, bound).look()["first_steps"]
    assert [each["done"] for each in steps] == [False, False, False]


# Many who look


def test_who_looks_again_gets_a_body_only_where_something_changed(clean: Installation, parts: Parts) -> None:
    visitor = visit(clean)
    first = visitor.ask("GET", OVERVIEW)
    again = visitor.ask("GET", OVERVIEW, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    stock.photo(parts)

    def changed() -> Any:
        answer = visitor.ask("GET", OVERVIEW, headers={"If-None-Match": first.headers["ETag"]})
        return answer.status_code == 200 and answer.get_json()["numbers"]["photos"] == 1

    wait_until(changed, 20, "the new photo to be counted")


def test_fifty_who_look_at_once_cost_one_set_of_queries(
    clean: Installation, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    from face_pipeline.store import overview

    asked = []
    read = overview.read

    def slowly(*args: Any) -> overview.Numbers:
        asked.append(1)
        time.sleep(0.3)
        return read(*args)

    monkeypatch.setattr(overview, "read", slowly)
    visitor = visit(clean)
    with ThreadPoolExecutor(50) as browsers:
        answers = list(browsers.map(lambda _: visitor.ask("GET", OVERVIEW).status_code, range(50)))
    assert answers == [200] * 50
    assert len(asked) == 1


def test_who_comes_while_an_answer_is_made_anew_gets_the_old_one() -> None:
    kept: Kept[int] = Kept(0.0)
    assert kept.get("question", lambda: 1) == 1
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> int:
        begun.set()
        assert go_on.wait(60)
        return 2

    one = threading.Thread(target=kept.get, args=("question", slowly))
    one.start()
    assert begun.wait(60)
    assert kept.get("question", lambda: 3) == 1
    go_on.set()
    one.join()
    kept.forget("question")
    assert kept.get("question", lambda: 4) == 4


def test_what_went_wrong_is_not_kept() -> None:
    kept: Kept[int] = Kept(60.0)
    with pytest.raises(ZeroDivisionError):
        kept.get("question", lambda: 1 // 0)
    assert kept.get("question", lambda: 1) == 1


# Prometheus and Alertmanager


@dataclass
class Observers:
    prometheus: Prometheus
    alertmanager: Alertmanager

    @property
    def settings(self) -> dict[str, str]:
        return {"prometheus_url": self.prometheus.url, "alertmanager_url": self.alertmanager.url}

    def is_told(self, name: str) -> bool:
        return name in self.alertmanager.states()


# Name -> labels, kind, value at a time (seconds since the first of them).
HISTORY = (
    ("face_recognition_files_processed_total", 'job="celery",status="success"', "counter", lambda t: 2 * t),
    ("face_recognition_files_processed_total", 'job="celery",status="failed"', "counter", lambda t: t / 2),
    ("face_recognition_ledger_photos", 'state="received"', "gauge", lambda _: 3),
    ("face_recognition_ledger_photos", 'state="queued"', "gauge", lambda _: 4),
    ("face_recognition_ledger_photos", 'state="processing"', "gauge", lambda _: 2),
    ("face_recognition_search_duration_seconds_bucket", 'le="0.5"', "gauge", lambda t: t),
    ("face_recognition_search_duration_seconds_bucket", 'le="1"', "gauge", lambda t: 2 * t),
    ("face_recognition_search_duration_seconds_bucket", 'le="+Inf"', "gauge", lambda t: 2 * t),
    ("face_recognition_searches_total", 'cache_status="hit"', "counter", lambda t: 3 * t),
    ("face_recognition_searches_total", 'cache_status="miss"', "counter", lambda t: t),
    ("node_cpu_seconds_total", 'cpu="0",mode="user"', "counter", lambda t: t / 2),
    ("node_cpu_seconds_total", 'cpu="1",mode="system"', "counter", lambda t: t),
    ("node_cpu_seconds_total", 'cpu="1",mode="idle"', "counter", lambda t: 9 * t),
    ("node_memory_MemTotal_bytes", "", "gauge", lambda _: 8e9),
    ("node_memory_MemAvailable_bytes", "", "gauge", lambda _: 5e9),
)
# What the charts of HISTORY show.
SHOWN = {
    ("photos", "done"): 2.0, ("photos", "failed"): 0.5, ("backlog", "waiting"): 7.0,
    ("backlog", "processing"): 2.0, ("search", "p95"): 0.95, ("cache", "hits"): 0.75,
    ("cores", "used"): 1.5, ("memory", "used"): 3e9,
}  # fmt: skip
HISTORY_SECONDS = 8 * 24 * 3600


def history() -> str:
    """OpenMetrics: of the last days a value every 5 minutes, of the last hours every 15 s."""
    now = int(time.time()) // 300 * 300 - 60
    began = now - HISTORY_SECONDS
    times = [*range(began, now - 8 * 3600, 300), *range(now - 8 * 3600, now, 15)]
    lines, known = [], set()
    for name, labels, kind, value in HISTORY:
        family = name.removesuffix("_total")
        if family not in known:
            lines.append(f"# TYPE {family} {kind}")
            known.add(family)
        lines += [f"{name}{{{labels}}} {value(at - began)} {at}" for at in times]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def observers(installation: Installation, web_url: tuple[str, Any]) -> Iterator[Observers]:
    try:
        # What an Alertmanager missed while it started, it is told again.
        users = {"web": MONITORING_PASSWORD}
        made = Observers(
            Prometheus("--rules.alert.resend-delay=1s", users=users),
            Alertmanager("--cluster.listen-address=", users=users),
        )
    except ServicesMissing as error:
        pytest.skip(str(error))
    prometheus, alertmanager = made.prometheus, made.alertmanager
    route = {"route": {"receiver": "nobody", "group_wait": "0s"}, "receivers": [{"name": "nobody"}]}
    alertmanager.configuration.write_text(yaml.safe_dump(route))
    rules = prometheus.directory / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "own", "rules": list(_rules())}]}))
    recorded = prometheus.directory / "recording.yml"
    recorded.write_text((ROOT / "files/prometheus/rules/recording.yml").read_text())
    address = web_url[0].removeprefix("http://")
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules), str(recorded)],
        "alerting": {
            "alertmanagers": [
                {
                    "static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}],
                    "basic_auth": {"username": "web", "password": MONITORING_PASSWORD},
                }
            ]
        },
        # One worker answers, and one does not. No series of theirs is kept.
        "scrape_configs": [
            {
                "job_name": "celery",
                "static_configs": [{"targets": [address, f"127.0.0.1:{free_port()}"]}],
                "metric_relabel_configs": [{"regex": ".*", "source_labels": ["__name__"], "action": "drop"}],
            }
        ],
    }
    prometheus.configuration.write_text(yaml.safe_dump(configuration))
    told = prometheus.write("history.om", history())
    (prometheus.directory / "data").mkdir()
    prometheus._own(prometheus.directory / "data")
    # Block by block it would read all of it again.
    prometheus.promtool(
        "tsdb", "create-blocks-from", "--max-block-duration=400h",
        "openmetrics", str(told), str(prometheus.directory / "data"),
    )  # fmt: skip
    alertmanager.start()
    prometheus.start()
    yield made
    prometheus.close()
    alertmanager.close()


def _rules() -> Iterator[dict[str, Any]]:
    for name, severity, runbook in (
        ("HighDiskUsage", "warning", RUNBOOK),
        ("HostDown", "critical", "javascript:alert(1)"),
        ("Watchdog", "none", RUNBOOK),
    ):
        yield {
            "alert": name, "expr": "vector(1)", "labels": {"severity": severity, "host": "web1"},
            "annotations": {"summary": f"{name} fires", "description": "Look.", "runbook_url": runbook},
        }  # fmt: skip


@pytest.fixture
def observed(clean: Installation, observers: Observers) -> Observers:
    for server in (observers.prometheus, observers.alertmanager):
        server.start()
    wait_until(lambda: observers.is_told("HighDiskUsage"), 30, "Alertmanager to be told")
    wait_until(lambda: observers.is_told("HostDown"), 30, "Alertmanager to be told")
    return observers


def test_alerts_that_fire_are_told_with_their_runbook_the_worst_first(
    clean: Installation, observed: Observers
) -> None:
    told = visit(clean, **observed.settings).look()
    assert [each["name"] for each in told["alerts"]] == ["HostDown", "HighDiskUsage"]
    disk = told["alerts"][1]
    assert (disk["severity"], disk["summary"], disk["runbook_url"]) == (
        "warning", "HighDiskUsage fires", RUNBOOK,
    )  # fmt: skip
    # Nothing that a page could not link to.
    assert told["alerts"][0]["runbook_url"] is None
    assert disk["silences"] == []
    assert told["observation"] == {"state": "on", "message": None}
    assert "alerts_firing" in codes(told["needs"])
    assert next(each for each in told["needs"] if each["code"] == "alerts_firing")["text"] == "2 alerts fire."


def test_workers_that_run_are_told_of_those_that_should(clean: Installation, observed: Observers) -> None:
    def counted() -> Any:
        return visit(clean, **observed.settings).look()["workers"] == {"running": 1, "wanted": 2}

    wait_until(counted, 30, "Prometheus to have asked both workers")


@pytest.mark.parametrize(("span", "seconds"), [("15m", 900), ("6h", 21600), ("7d", 604800)])
def test_charts_show_what_prometheus_knows_of_the_span(
    clean: Installation, observed: Observers, parts: Parts, span: str, seconds: int
) -> None:
    reader = visit(clean, stock.key(parts, "read"), **observed.settings, grafana_url="https://faces/grafana/")
    told = reader.look(f"{CHARTS}?span={span}")
    assert told["observation"]["state"] == "on"
    found = {
        (chart["name"], series["name"]): series["points"]
        for chart in told["charts"]
        for series in chart["series"]
    }
    assert set(found) == set(SHOWN)
    times = [at for at, _ in found["photos", "done"]]
    assert 50 < len(times) <= 121
    assert times[-1] - times[0] == seconds
    assert {at - before for before, at in itertools.pairwise(times)} == {told["step_seconds"]}
    for name, points in found.items():
        assert [at for at, _ in points] == times, name
        # The middle: at its end there may be no sample yet.
        assert points[len(points) // 2][1] == pytest.approx(SHOWN[name], rel=0.02), name
    assert (
        told["charts"][0]["dashboard_url"] == f"https://faces/grafana/d/face-overview?from=now-{span}&to=now"
    )


def test_the_dashboards_that_charts_lead_to_are_there() -> None:
    from face_pipeline.actions.charts import CHARTS as drawn

    there = {
        yaml.safe_load(path.read_text())["uid"] for path in (ROOT / "files/grafana/dashboards").glob("*.json")
    }
    assert {chart.dashboard for chart in drawn} <= there


@pytest.mark.parametrize("span", ["", "1h", "15M", "7d; up", "\0"])
def test_no_other_span_is_asked_for(clean: Installation, span: str) -> None:
    answer = visit(clean).ask("GET", CHARTS, query_string={"span": span})
    assert answer.status_code == 400
    assert answer.get_json()["error"]["message"] == "span must be one of 15m, 6h, 7d"


def test_charts_are_for_keys_that_reach_everything(
    clean: Installation, observed: Observers, parts: Parts
) -> None:
    stock.photo(parts, collection="door")
    bound = visit(clean, stock.key(parts, "read", collections=["door"]), **observed.settings)
    told = bound.look(CHARTS)
    assert (told["observation"]["state"], told["charts"]) == ("hidden", [])
    told = bound.look()
    assert (told["observation"]["state"], told["alerts"]) == ("hidden", [])


def test_without_prometheus_the_numbers_are_there_and_a_sentence(clean: Installation, parts: Parts) -> None:
    stock.photo(parts)
    away = {"prometheus_url": f"http://127.0.0.1:{free_port()}", "alertmanager_url": ""}
    for settings, state in (({}, "off"), (away, "unreachable")):
        told = visit(clean, **settings).look()
        assert told["numbers"]["photos"] == 1
        assert told["observation"]["state"] == state
        assert "Prometheus" in told["observation"]["message"]
        drawn = visit(clean, **settings).look(CHARTS)
        assert (drawn["observation"], drawn["charts"]) == (told["observation"], [])


def test_what_is_no_prometheus_is_said_to_be_none(clean: Installation, web_app: App) -> None:
    told = visit(clean, prometheus_url=web_app.url, alertmanager_url=web_app.url).look()
    assert told["observation"]["state"] == "unreachable"
    assert told["alerts"] == []


def test_a_password_that_they_do_not_take_is_told_with_what_mends_it(
    clean: Installation, observed: Observers, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"
    shutil.copytree(clean.parts.settings.credentials_dir, credentials)
    (credentials / "monitoring_web_password").write_text("another one")
    visitor = visit(clean, credentials_dir=credentials, **observed.settings)
    told = visitor.look()
    assert (told["observation"]["state"], told["alerts"]) == ("unreachable", [])
    words = "Prometheus does not take the password of this service; run ./face-ansible site.yml"
    assert told["observation"]["message"].startswith(words)
    refused = visitor.ask("POST", SILENCES, json=GOOD)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (503, "observation_unavailable")


# Silences


def entries(parts: Parts, action: str) -> list[tuple[str, dict[str, Any]]]:
    with parts.database.transaction() as session:
        rows = session.execute(
            text("SELECT subject, details FROM audit WHERE action = :action ORDER BY id"), {"action": action}
        )
        return [(row.subject, row.details) for row in rows]


def test_an_alert_is_silenced_and_told_again_and_the_audit_knows(
    clean: Installation, observed: Observers, parts: Parts
) -> None:
    admin = visit(clean, **observed.settings)
    (disk,) = (each for each in admin.look()["alerts"] if each["name"] == "HighDiskUsage")
    answer = admin.ask(
        "POST",
        SILENCES,
        json={"fingerprint": disk["fingerprint"], "minutes": 60, "comment": "disk is on its way"},
    )
    assert answer.status_code == 201, answer.text
    made = answer.get_json()
    _check(made, SILENCES, "post", 201)
    assert made["labels"] == disk["labels"]

    wait_until(lambda: observed.alertmanager.states()["HighDiskUsage"] == "suppressed", 20, "the silence")
    (kept,) = observed.alertmanager.get("/api/v2/silences?filter=host=web1")
    assert (kept["id"], kept["createdBy"], kept["comment"]) == (made["id"], "admin", "disk is on its way")
    told = visit(clean, **observed.settings).look()
    assert [(each["name"], each["silences"]) for each in told["alerts"]] == [
        ("HostDown", []), ("HighDiskUsage", [made["id"]]),
    ]  # fmt: skip
    assert next(each["count"] for each in told["needs"] if each["code"] == "alerts_firing") == 1
    assert entries(parts, "alert.silence")[-1] == (made["id"], {"alert": "HighDiskUsage", "minutes": 60})

    assert admin.ask("DELETE", f"{SILENCES}/{made['id']}").status_code == 204
    wait_until(lambda: observed.alertmanager.states()["HighDiskUsage"] == "active", 20, "the end of it")
    assert entries(parts, "alert.unsilence")[-1] == (made["id"], {})
    gone = admin.ask("DELETE", f"{SILENCES}/{made['id']}")
    assert (gone.status_code, gone.get_json()["error"]["code"]) == (404, "silence_not_found")


def test_alerts_of_a_name_and_labels_are_silenced_before_they_fire(
    clean: Installation, observed: Observers
) -> None:
    admin = visit(clean, **observed.settings)
    body = {"alert": "RedisDown", "labels": {"host": "db1"}, "minutes": 5}
    made = admin.ask("POST", SILENCES, json=body).get_json()
    assert made["labels"] == {"alertname": "RedisDown", "host": "db1"}
    assert admin.ask("DELETE", f"{SILENCES}/{made['id']}").status_code == 204


GOOD = {"alert": "RedisDown", "minutes": 60}


@pytest.mark.parametrize(
    "body",
    [
        {**GOOD, "minutes": 4}, {**GOOD, "minutes": 7 * 24 * 60 + 1}, {**GOOD, "minutes": "60"},
        {"alert": "RedisDown"}, {"minutes": 60}, {**GOOD, "fingerprint": "0" * 16},
        {"fingerprint": "x", "minutes": 60}, {**GOOD, "labels": {"no name": "x"}},
        {**GOOD, "labels": {"host": ""}}, {**GOOD, "labels": {"alertname": "HostDown"}},
        {"fingerprint": "0" * 16, "minutes": 60, "labels": {"host": "web1"}}, {**GOOD, "comment": "x" * 501},
    ],
)  # fmt: skip
def test_a_silence_is_bounded_and_of_alerts_that_are_named(
    clean: Installation, observed: Observers, body: dict[str, Any]
) -> None:
    answer = visit(clean, **observed.settings).ask("POST", SILENCES, json=body)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (400, "parameter"), answer.text
    assert error["message"][0].isalpha() or error["message"][0] == "`", error["message"]


def test_an_alert_that_does_not_fire_is_not_silenced(clean: Installation, observed: Observers) -> None:
    body = {"fingerprint": "0123456789abcdef", "minutes": 60}
    answer = visit(clean, **observed.settings).ask("POST", SILENCES, json=body)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "alert_not_found")


@pytest.mark.parametrize("scope", ["read", "write"])
def test_only_an_admin_of_everything_silences(
    clean: Installation, observed: Observers, parts: Parts, scope: str
) -> None:
    refused = visit(clean, stock.key(parts, scope), **observed.settings).ask("POST", SILENCES, json=GOOD)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "scope_missing")
    stock.photo(parts, collection="door")
    bound = visit(clean, stock.key(parts, "admin", collections=["door"]), **observed.settings)
    for method, path in (("POST", SILENCES), ("DELETE", f"{SILENCES}/{uuid.uuid4()}")):
        refused = bound.ask(method, path, json=GOOD)
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "collection_forbidden")


def test_nothing_is_silenced_while_alertmanager_is_away_and_alerts_are_told_still(
    clean: Installation, observed: Observers, parts: Parts
) -> None:
    admin = visit(clean, **observed.settings)
    before = entries(parts, "alert.silence")
    observed.alertmanager.stop()
    try:
        for method, path in (("POST", SILENCES), ("DELETE", f"{SILENCES}/{uuid.uuid4()}")):
            answer = admin.ask(method, path, json=GOOD)
            assert answer.status_code == 503
            assert answer.get_json()["error"]["code"] == "observation_unavailable"
            assert "Alertmanager does not answer" in answer.get_json()["error"]["message"]
        assert entries(parts, "alert.silence") == before
        # Prometheus knows what fires, and not who silenced it.
        told = visit(clean, **observed.settings).look()["alerts"]
        assert {each["name"]: each["fingerprint"] for each in told} == {
            "HostDown": None,
            "HighDiskUsage": None,
        }
    finally:
        observed.alertmanager.start()


def test_a_silence_that_the_audit_cannot_keep_is_ended(
    clean: Installation, observed: Observers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from face_pipeline.store import audit

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no entry")

    monkeypatch.setattr(audit, "write", fail)
    body = {"alert": "NeverKept", "minutes": 60}
    assert visit(clean, **observed.settings).ask("POST", SILENCES, json=body).status_code == 500
    found = observed.alertmanager.get("/api/v2/silences?filter=alertname=NeverKept")
    assert [each["status"]["state"] for each in found] == ["expired"]


def test_without_alertmanager_there_is_nothing_to_silence(clean: Installation) -> None:
    answer = visit(clean).ask("POST", SILENCES, json=GOOD)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, "observation_off")


def test_the_client_has_the_overview_charts_and_silences(web_app: App, observed: Observers) -> None:
    from face_pipeline.client import Client, Refused

    client = Client(web_app.url, web_app.api_key)
    told = client.overview()
    assert told.numbers.photos == 0
    assert told.observation.state == "off"
    assert [step.code for step in told.first_steps] == ["put_photos", "name_somebody", "search"]
    assert client.charts("7d").charts == ()
    with pytest.raises(Refused) as refused:
        client.silence_alerts("RedisDown", labels={"host": "db1"}, minutes=60)
    assert refused.value.code == "observation_off"
    with pytest.raises(Refused) as refused:
        client.end_silence(uuid.uuid4())
    assert refused.value.code == "observation_off"
