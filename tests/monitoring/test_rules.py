"""The alert and recording rules: promtool's own tests, and that each alert says what to do."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import promql_parser
import pytest
import yaml

from tests.monitoring.exporters import exporter_metric_names
from tests.photos import ROOT
from tests.services.process import ROOT as DEBIAN

SOURCES = sorted((ROOT / "files" / "prometheus" / "rules").glob("*.yml"))
TESTS = sorted((ROOT / "files" / "prometheus" / "tests").glob("*_test.yml"))
FILTERS = ROOT / "roles" / "prometheus" / "filter_plugins" / "alert_rules.py"
_MADE = TemporaryDirectory(prefix="alert-rules-")
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
# Metrics that nothing shows without systemd, a card, TLS or a backup, and whose they are.
SHOWN_ELSEWHERE = {
    "up": "Prometheus' own",
    "ALERTS": "Prometheus' own",
    "face_recognition_database_retries_total": "counted by who meets another's transaction (tests/app)",
    "face_recognition_index_found_ratio": "a collection with a vector index (tests/app/test_probing.py)",
    "face_recognition_reembedding_idle_seconds": "a move to another pack (tests/app/test_reembedding.py)",
    "face_recognition_originals_copies_missing": "a host that keeps copies (tests/app/test_copies.py)",
    "face_recognition_originals_copies_away_seconds": "a host that keeps copies (tests/app/test_copies.py)",
    "face_recognition_originals_copies_round_age_seconds": "the same (tests/app/test_copies.py)",
    "face_recognition_originals_store_failures_total": "an object store (tests/app/test_originals_s3.py)",
    "face_recognition_database_standby_follows": "a standby (tests/app/test_standbys.py)",
    "face_recognition_database_standby_behind_bytes": "a standby (tests/app/test_standbys.py)",
    "face_recognition_database_standby_lost": "the same (tests/app/test_standbys.py)",
    "patroni_primary": "a host that Patroni runs (tests/hosts/test_site_database.py)",
    "patroni_replica": "the same (tests/hosts/test_site_database.py)",
    "patroni_postgres_running": "the same (tests/hosts/test_site_database.py)",
    "patroni_postgres_streaming": "the same (tests/hosts/test_site_database.py)",
    "face_virtual_address_held": "an address that moves (tests/ansible/test_keepalived_role.py)",
    "face_virtual_address_able": "the same (tests/ansible/test_keepalived_role.py)",
    "face_recognition_audit_kept_oldest_seconds": "a site of several hosts (tests/app/test_nobody_leads.py)",
    "face_recognition_audit_fits": "a chain that was checked (tests/app/test_audit_chain.py)",
    "face_backup_last_success_timestamp_seconds": "a backup writes it (tests/ansible/test_backup_role.py)",
    "face_restore_drill_success_timestamp_seconds": "a drill writes it (tests/ansible/test_restore_role.py)",
    "face_backup_verified_timestamp_seconds": "a backup writes it (tests/ansible/test_backup_role.py)",
    "face_recognition_gpu_memory_bytes": "a worker with a card (tests/app/test_gpu_metrics.py)",
    "face_recognition_gpu_temperature_celsius": "a worker with a card (tests/app/test_gpu_metrics.py)",
    "node_systemd_unit_state": "needs a systemd (tests/hosts/test_monitoring.py)",
    "node_systemd_service_restart_total": "needs a systemd (tests/hosts/test_monitoring.py)",
    "probe_ssl_earliest_cert_expiry": "needs a probe over TLS (tests/hosts/test_monitoring.py)",
    "alertmanager_notifications_failed_total": "counted from the first integration on",
    "alertmanager_cluster_members": "several of them (tests/monitoring/test_several_monitors.py)",
}
ALWAYS = {"Watchdog"}


def _load_filters() -> Any:
    spec = importlib.util.spec_from_file_location("alert_rules", FILTERS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["alert_rules"] = module
    spec.loader.exec_module(module)
    return module


filters = _load_filters()
TEXTS = [file.read_text() for file in SOURCES]
DEFAULTS: dict[str, dict[str, Any]] = filters.alert_defaults(TEXTS)


def render(place: Path, alerts: dict[str, dict[str, Any]]) -> Path:
    """A directory with `rules` as the role writes them with `alerts`, and promtool's tests beside it."""
    (place / "rules").mkdir(parents=True, exist_ok=True)
    for file in SOURCES:
        (place / "rules" / file.name).write_text(filters.alert_rules(file.read_text(), alerts))
    if not (place / "tests").exists():
        (place / "tests").mkdir()
        for file in TESTS:
            (place / "tests" / file.name).write_text(file.read_text())
    return place


INSTALLED = render(Path(_MADE.name), {})
RULES = sorted((INSTALLED / "rules").glob("*.yml"))


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
    done = promtool(INSTALLED / "tests", "test", "rules", file.name)
    assert done.returncode == 0, done.stdout + done.stderr


def promtool(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *arguments], cwd=place, capture_output=True, text=True, check=False)


EVERY_SETTING = {
    name: {
        **({"threshold": default["least"] + 0.123} if "threshold" in default else {}),
        "for": "7m",
        "severity": "warning" if default["severity"] == "critical" else "critical",
    }
    for name, default in DEFAULTS.items()
}


@needs_promtool
def test_each_setting_of_each_alert_reaches_prometheus(tmp_path: Path) -> None:
    place = render(tmp_path, EVERY_SETTING)
    for file in sorted((place / "rules").glob("*.yml")):
        done = promtool(place / "rules", "check", "rules", file.name)
        assert done.returncode == 0, done.stdout + done.stderr
    found = {
        rule["alert"]: rule
        for file in (place / "rules").glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert set(found) == set(DEFAULTS)
    for name, settings in EVERY_SETTING.items():
        assert found[name]["for"] == "7m"
        assert found[name]["labels"]["severity"] == settings["severity"]
        assert found[name]["expr"] != alerts()[name]["expr"] or "threshold" not in settings, name
        said = str(found[name]["annotations"])
        assert "[[" not in said + found[name]["expr"]


def test_an_alert_that_is_switched_off_is_gone_and_records_are_not(tmp_path: Path) -> None:
    place = render(tmp_path, {name: {"enabled": False} for name in DEFAULTS})
    left = [
        rule
        for file in (place / "rules").glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert {rule["record"] for rule in left} == {rule["record"] for _, rule in rules() if "record" in rule}


@needs_promtool
@pytest.mark.parametrize(
    "alerts_of_the_site",
    [
        {"threshold": 0.4},
        pytest.param({"enabled": False}, marks=pytest.mark.campaign("another alert is switched off")),
        pytest.param({"for": "2h"}, marks=pytest.mark.campaign("that it reaches Prometheus is tested")),
    ],
)
def test_a_camera_site_says_from_which_share_of_cached_searches_on_it_is_told(
    tmp_path: Path, alerts_of_the_site: dict[str, Any]
) -> None:
    """The test of half of the searches from the cache, in which the alert fires as installed."""
    place = render(tmp_path, {"LowCacheHitRate": alerts_of_the_site})
    done = promtool(place / "tests", "test", "rules", "pipeline_test.yml")
    (failed,) = re.findall(r"expr: (.*), time", done.stdout + done.stderr)
    assert "LowCacheHitRate" in failed
    assert "got: nil" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"LowCacheHitRatio": {}}, r"is called LowCacheHitRatio \(meant is LowCacheHitRate\?\)"),
        ({"Nonsense": {}}, r"there are AlertmanagerConfigReloadFailed, .*, WebHookFails, WorkerOutOfMemory"),
        ({"HighCPUUsage": {"treshold": 1}}, r"has no treshold; an alert takes enabled, threshold, for, seve"),
        ({"HighCPUUsage": {"threshold": 90}}, r"threshold is 90; .*80 % is 0.8"),
        ({"HighCPUUsage": {"threshold": "0.9"}}, r"must be a number"),
        ({"HighCPUUsage": {"threshold": True}}, r"must be a number"),
        ({"HighMemoryUsage": {"threshold": -1}}, r"must be 0 or more \(bytes\)"),
        ({"HighMemoryUsage": {"threshold": float("nan")}}, r"must be 0 or more"),
        ({"NoFileUploads": {"threshold": 0}}, r"must be 60 or more \(seconds without a photo\)"),
        ({"HostDown": {"threshold": 1}}, r"HostDown: it has no threshold; it takes enabled, for, severity"),
        ({"HostDown": {"for": "2 minutes"}}, r"such as 90s, 10m or 1h30m"),
        ({"HostDown": {"for": ""}}, r"such as 90s, 10m or 1h30m"),
        ({"HostDown": {"for": 120}}, r"such as 90s, 10m or 1h30m"),
        ({"HostDown": {"severity": "page"}}, r"must be critical or warning"),
        ({"HostDown": {"enabled": "no"}}, r"must be true or false"),
        ({"HostDown": False}, r"such as HostDown: \{enabled: false\}"),
        (["HostDown"], r"such as \{LowCacheHitRate: \{enabled: false\}\}"),
        (None, r"such as \{LowCacheHitRate: \{enabled: false\}\}"),
    ],
)  # fmt: skip
def test_a_setting_that_no_alert_has_is_explained(given: Any, words: str) -> None:
    (fault,) = filters.alert_faults(given, TEXTS)
    assert fault.startswith("face_alerts")
    assert re.search(words, fault), fault


def test_right_settings_have_no_fault() -> None:
    assert filters.alert_faults({}, TEXTS) == []
    assert filters.alert_faults(EVERY_SETTING, TEXTS) == []
    assert filters.alert_faults({"HostDown": {"for": "1h30m", "enabled": True}}, TEXTS) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(60, "a minute"), (120, "2 minutes"), (3600, "an hour"), (28800, "8 hours"), (93600, "26 hours"),
     (172800, "2 days"), (90, "90 seconds"), (0, "0 seconds"), (7.5, "7.5 seconds"), (86400, "24 hours")],
)  # fmt: skip
def test_times_are_told_in_words(seconds: float, words: str) -> None:
    assert filters.duration_words(seconds) == words


def settings_line(name: str) -> str:
    """What the page of an alert says of its settings."""
    default = DEFAULTS[name]
    given = ", ".join(
        f"{key}: {'true' if value is True else value}"
        for key, value in default.items()
        if key in filters.KEYS
    )
    return f"    face_alerts: {{{name}: {{{given}}}}}\n"


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_the_page_of_an_alert_says_its_settings_as_installed(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    _, _, settings = page.partition("\n## Settings\n\n")
    assert settings.startswith(settings_line(name)), settings_line(name)
    if "measures" in DEFAULTS[name]:
        assert f"\nThe threshold: {DEFAULTS[name]['measures']}." in settings


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
    assert re.findall("^## (.*)$", page, re.M) == ["Meaning", "Impact", "Look", "Mend", "Settings"]


def test_every_runbook_has_its_alert_and_stands_in_the_index() -> None:
    pages = {file.stem for file in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(alerts())
    index = (RUNBOOKS / "README.md").read_text()
    listed = re.findall(r"^- \[(\w+)\]\(\1\.md\) \((\w+)\): ", index, re.M)
    assert set(listed) == {(name, rule["labels"]["severity"]) for name, rule in alerts().items()}


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
