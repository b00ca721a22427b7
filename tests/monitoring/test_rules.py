"""The alert and recording rules: promtool's own tests, and that each alert says what to do."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.monitoring.exporters import exporter_metric_names
from tests.photos import ROOT
from tests.services.process import ROOT as DEBIAN

RULES = sorted((ROOT / "files" / "prometheus" / "rules").glob("*.yml"))
TESTS = sorted((ROOT / "files" / "prometheus" / "tests").glob("*_test.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
PROMTOOL = next(
    (path for path in (Path("/usr/bin/promtool"), DEBIAN / "usr/bin/promtool") if path.exists()), None
)
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool: run tests/services/prepare once as root"
)

# Names that the dashboards' and users' queries know these alerts by.
AGREED = {
    *("HighFileProcessingErrorRate", "LongFileProcessingTime", "LowCacheHitRate", "HighMemoryUsage"),
    *("NoFileUploads", "HighCPUUsage", "HighDiskUsage", "PostgreSQLDown", "RedisDown"),
    *("HighCeleryQueueLength", "CeleryWorkerDown", "SlowTaskProcessing"),
}
# Metrics that nothing shows without systemd, a card, TLS or an operator's backup, and whose they are.
SHOWN_ELSEWHERE = {
    "up": "Prometheus' own",
    "ALERTS": "Prometheus' own",
    "face_backup_last_success_timestamp_seconds": "an operator's backup job writes it",
    "face_recognition_gpu_memory_bytes": "a worker with a card (tests/app/test_gpu_metrics.py)",
    "face_recognition_gpu_temperature_celsius": "a worker with a card (tests/app/test_gpu_metrics.py)",
    "node_systemd_unit_state": "needs a systemd (tests/hosts/test_monitoring.py)",
    "node_systemd_service_restart_total": "needs a systemd (tests/hosts/test_monitoring.py)",
    "probe_ssl_earliest_cert_expiry": "needs a probe over TLS (tests/hosts/test_monitoring.py)",
    "alertmanager_notifications_failed_total": "counted from the first integration on",
}
ALWAYS = {"Watchdog"}


@cache
def rules() -> list[tuple[str, dict[str, Any]]]:
    return [
        (file.name, rule)
        for file in RULES
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


@cache
def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for _, rule in rules() if "alert" in rule}


def names(expression: str) -> set[str]:
    """Metrics that a PromQL expression names."""
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)
        elif isinstance(node, promql_parser.MatrixSelector):
            walk(node.vector_selector)
        elif isinstance(node, promql_parser.Call):
            for each in node.args:
                walk(each)
        elif isinstance(node, promql_parser.BinaryExpr):
            walk(node.lhs)
            walk(node.rhs)
        elif hasattr(node, "expr"):
            walk(node.expr)

    walk(promql_parser.parse(expression))
    return found


@needs_promtool
@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_promtool_takes_the_rules(file: Path) -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_alerts_fire_when_they_should_and_only_then(file: Path) -> None:
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", file.name],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _seen(fires: bool) -> set[str]:
    """Alerts that a test of promtool expects to fire, or not to."""
    found = set()
    for file in TESTS:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for check in case.get("promql_expr_test", []):
                if bool(check["exp_samples"]) == fires:
                    told = check["expr"] + str(check["exp_samples"])
                    found |= set(re.findall(r'alertname="(\w+)"', told))
            for check in case.get("alert_rule_test", []):
                if bool(check.get("exp_alerts")) == fires:
                    found.add(check["alertname"])
    return found


def test_every_alert_was_seen_firing_and_silent() -> None:
    assert set(alerts()) - _seen(fires=True) == set()
    assert set(alerts()) - _seen(fires=False) - ALWAYS == set()


def test_the_agreed_alerts_are_there() -> None:
    assert set(alerts()) >= AGREED


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"runbooks/{name}.md"
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall("^## (.*)$", page, re.M) == ["Meaning", "Impact", "Look", "Mend"]


def test_every_runbook_has_its_alert_and_stands_in_the_index() -> None:
    pages = {file.stem for file in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(alerts())
    index = (RUNBOOKS / "README.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", index, re.M)
    assert {(name, severity) for name, _, severity in listed} == {
        (name, rule["labels"]["severity"]) for name, rule in alerts().items()
    }


def test_rules_name_only_metrics_that_exist() -> None:
    shown = {name for each in exporter_metric_names().values() for name in each}
    recorded = {rule["record"] for _, rule in rules() if "record" in rule}
    unknown = {
        f"{file}: {name}"
        for file, rule in rules()
        # What the log path tells is checked where it is (tests/logs).
        if file != "logging.yml"
        for name in names(rule["expr"])
        if name not in shown | recorded | SHOWN_ELSEWHERE.keys()
        and re.sub("_(bucket|sum|count)$", "", name) not in shown
        # The host that has a kernel's accounting tells of them; tests/monitoring/test_unit_metrics.py.
        and not name.startswith(("face_unit_", "face_autoscaler_"))
    }
    assert unknown == set()
