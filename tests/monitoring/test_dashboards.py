"""Grafana's dashboards without Grafana: their form, and that each query asks for something that exists."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import promql_parser
import pytest
import yaml
from jsonschema import Draft7Validator

from tests.monitoring.dashboards import FILES, MAY_BE_EMPTY, dashboards, panel_queries, panels, replaced
from tests.photos import ROOT, SHARED

DASHBOARDS = dashboards()
# The product's; an operator's own dashboards beside them are held to what makes them work, not to our form.
OURS = ("overview", "workers", "infrastructure", "search")
SCHEMAS = SHARED / "specs" / "grafana"
RULES = ROOT / "files" / "prometheus" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"
# Grafana puts its own path, /grafana, before a link that begins with a slash; this leads to the root from
# any of its pages.
BESIDE_GRAFANA = "../../../"
# Okabe and Ito's colours, which stay apart for the colour-blind.
COLOURS = {"#56B4E9", "#0072B2", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7"}
# Grid rows that a laptop shows without scrolling: 1366 x 768, 38 pixels a row.
FIRST_SCREEN = 18

# PostgreSQL's and nginx's exporters give these no `_total`, and this gauge an ending of histograms.
COUNTERS_BY_NAME = re.compile(
    r"pg_stat_database_((xact|blks|tup|temp)_\w+|deadlocks)|nginx_connections_(accepted|handled)"
)
GAUGES_BY_NAME = {"pg_stat_activity_count"}
# Names no exporter of the tests shows, and where they come from.
NOT_SHOWN = {
    "ALERTS": "Prometheus makes it of the alerts that fire",
    "up": "Prometheus makes it of each target",
    "face_recognition_database_retries_total": "counted by who meets another's transaction; tests/app",
    "face_recognition_index_found_ratio": "needs a large collection; tests/app/test_probing.py",
    "face_recognition_index_ef_search": "needs a large collection; tests/app/test_probing.py",
    "face_recognition_reembedding_photos": "needs a move to another pack; tests/app/test_reembedding.py",
    "face_recognition_reembedding_agreement_ratio": "the same",
    "face_recognition_reembedding_right_ratio": "the same",
    "face_recognition_reembedding_shadow_ratio": "the same",
    "face_recognition_originals_copies_missing": "needs a host that keeps copies; tests/app/test_copies.py",
    "face_recognition_originals_copies_away_seconds": "the same",
    "patroni_primary": "needs a host that Patroni runs; tests/hosts/test_site_database.py",
    "patroni_postgres_streaming": "the same",
    "face_virtual_address_held": "needs a host of an address that moves; tests/hosts/test_address.py",
    "face_virtual_address_able": "the same",
    "face_recognition_database_standby_follows": "needs a standby; tests/app/test_standbys.py",
    "face_recognition_database_standby_behind_bytes": "the same",
    "probe_ssl_earliest_cert_expiry": "needs an https address; tests/hosts",
    "node_systemd_unit_state": "needs systemd's bus; tests/hosts",
    "node_systemd_service_restart_total": "needs systemd's bus; tests/hosts",
    "face_recognition_gpu_utilization_percent": "needs an NVIDIA card; tests/app/test_gpu_metrics.py",
    "face_recognition_gpu_memory_bytes": "needs an NVIDIA card; tests/app/test_gpu_metrics.py",
    "face_recognition_gpu_temperature_celsius": "needs an NVIDIA card; tests/app/test_gpu_metrics.py",
    "face_recognition_gpu_power_watts": "needs an NVIDIA card; tests/app/test_gpu_metrics.py",
}

every_dashboard = pytest.mark.parametrize("name", sorted(DASHBOARDS))
our_dashboard = pytest.mark.parametrize("name", OURS)


def targets(names: Iterable[str] = OURS) -> Iterator[tuple[str, str, str]]:
    """(where, query as Grafana has it, query as Prometheus takes it)."""
    for name in names:
        for panel in panels(DASHBOARDS[name]):
            for target in panel.get("targets", []):
                if "expr" not in target:
                    continue
                yield f"{name}: {panel['title']}", target["expr"], replaced(target["expr"])


def selectors(node: Any, function: str = "") -> Iterator[tuple[str, str]]:
    """(metric, function it is the range of or '') of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name or "", function
        return
    inside = node.func.name if isinstance(node, promql_parser.Call) else ""
    if isinstance(node, promql_parser.MatrixSelector):
        yield from selectors(node.vector_selector, function)
    for attribute in ("expr", "lhs", "rhs", "args"):
        found = getattr(node, attribute, None) or []
        for child in found if isinstance(found, list) else [found]:
            yield from selectors(child, inside)


def urls(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("url"), str):
            yield node["url"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from urls(child)


def colours(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (
            value
            for key, value in node.items()
            if key in ("color", "fixedColor", "iconColor") and isinstance(value, str)
        )
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from colours(child)


def test_uids_are_unique_and_ids_unset() -> None:
    uids = Counter(dashboard["uid"] for dashboard in DASHBOARDS.values())
    assert max(uids.values()) == 1, uids
    for name, dashboard in DASHBOARDS.items():
        assert dashboard["id"] is None, f"{name}: set id to null"


@our_dashboard
def test_ours_open_alike(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert (dashboard["uid"], dashboard["title"]) == (f"face-{name}", f"Face Pipeline / {name.capitalize()}")
    assert (dashboard["refresh"], dashboard["time"]["from"], dashboard["timezone"]) == (
        "30s",
        "now-6h",
        "browser",
    )
    assert dashboard["editable"]
    # A crosshair in all panels at once.
    assert dashboard["graphTooltip"] == 1
    (others, *_) = dashboard["links"]
    assert (others["type"], others["tags"]) == ("dashboards", dashboard["tags"])


@our_dashboard
def test_ours_are_written_as_grafana_exports_them(name: str) -> None:
    (text,) = [file.read_text() for file in FILES if file.stem == name]
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


class Schema:
    """One of the vendor's schemas; `errors` says what in a part is not as a definition wants it."""

    def __init__(self, name: str) -> None:
        self.definitions = json.loads((SCHEMAS / f"{name}.jsonschema.json").read_text())["definitions"]
        # Grafana's source says "anything" here, its generator "an object", its own dashboards have strings.
        for definition, anything in (("MatcherConfig", "options"), ("DynamicConfigValue", "value")):
            if definition in self.definitions:
                self.definitions[definition]["properties"][anything] = {}

    def errors(self, definition: str, part: Any) -> list[str]:
        schema = {"definitions": self.definitions, "$ref": f"#/definitions/{definition}"}
        return [
            f"{error.json_path}: {error.message[:200]}" for error in Draft7Validator(schema).iter_errors(part)
        ]


@our_dashboard
def test_a_dashboard_is_as_the_vendors_schema_wants_it(name: str) -> None:
    if not SCHEMAS.exists():
        pytest.skip(f"needs Grafana's schemas, which are not beside this checkout ({SCHEMAS})")
    whole, query, common = Schema("dashboard"), Schema("prometheus"), Schema("common")
    dashboard = DASHBOARDS[name]
    wrong = whole.errors("Dashboard", {**dashboard, "panels": []})
    for panel in dashboard["panels"]:
        kind = "RowPanel" if panel["type"] == "row" else "Panel"
        wrong += [f"{panel['title']} {error}" for error in whole.errors(kind, panel)]
    for panel in panels(dashboard):
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        found = [error for target in panel["targets"] for error in query.errors("Dataquery", target)]
        kind = panel["type"].replace("-", "")
        if (SCHEMAS / f"{kind}.jsonschema.json").exists():
            found += Schema(kind).errors("Options", panel["options"])
        if kind == "timeseries":
            found += Schema(kind).errors("GraphFieldConfig", custom)
        elif kind == "statetimeline":
            found += Schema(kind).errors("FieldConfig", custom)
        elif kind == "table":
            found += common.errors("TableFieldOptions", custom)
        wrong += [f"{panel['title']} {error}" for error in found]
    assert not wrong, "\n".join(wrong)


@our_dashboard
def test_a_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    shown = list(panels(DASHBOARDS[name]))
    titles = Counter(panel["title"] for panel in shown)
    assert max(titles.values()) == 1, titles
    for panel in shown:
        title = panel["title"]
        assert title
        assert len(panel["description"]) >= 25, title
        assert panel["description"].endswith((".", "?")), title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}, title
        assert panel["targets"], title
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"], title
            assert all(target["legendFormat"] for target in panel["targets"]), title
        if "GPU" in title:
            assert panel["fieldConfig"]["defaults"]["noValue"] == "no GPU", title


@every_dashboard
def test_ids_are_unique_and_nothing_overlaps(name: str) -> None:
    dashboard = DASHBOARDS[name]
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    every = [panel["id"] for panel in [*panels(dashboard), *rows]]
    assert len(every) == len(set(every))
    for group in [dashboard["panels"], *(row["panels"] for row in rows)]:
        for panel in group:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, panel["title"]
        for one, other in combinations(group, 2):
            a, b = one["gridPos"], other["gridPos"]
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
            assert beside or above, f"{one['title']} lies on {other['title']}"


@our_dashboard
def test_the_first_screen_of_a_laptop_shows_the_numbers_and_their_course(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert len(list(panels(dashboard))) <= 33
    first = [
        panel
        for panel in dashboard["panels"]
        if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= FIRST_SCREEN
    ]
    assert first[0]["type"] == "stat"
    assert {"stat", "timeseries"} <= {panel["type"] for panel in first}


@our_dashboard
def test_its_colours_suit_the_colour_blind(name: str) -> None:
    assert set(colours(DASHBOARDS[name])) <= COLOURS


@our_dashboard
def test_its_one_variable_is_the_host(name: str) -> None:
    (variable,) = DASHBOARDS[name]["templating"]["list"]
    assert (variable["name"], variable["query"]) == ("host", "label_values(up, host)")
    assert variable["multi"]
    assert variable["includeAll"]


@every_dashboard
def test_the_variables_it_uses_exist(name: str) -> None:
    there = {variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARDS[name]["panels"])))
    assert {variable for variable in used if not variable.startswith("__")} <= there


def test_every_query_is_promql() -> None:
    for where, _, query in targets(DASHBOARDS):
        assert "$" not in query, where
        try:
            promql_parser.parse(query)
        except ValueError as error:
            pytest.fail(f"{where}: {query}: {error}")


def test_counters_are_seen_as_rates_over_grafanas_own_interval() -> None:
    for where, raw, query in targets():
        assert set(re.findall(r"\[([$\w:]+)]", raw)) <= {"$__rate_interval", "$__range"}, where
        for metric, function in selectors(promql_parser.parse(query)):
            if ":" in metric:
                continue
            counts = metric.endswith(("_total", "_count", "_sum", "_bucket")) and metric not in GAUGES_BY_NAME
            counter = counts or COUNTERS_BY_NAME.fullmatch(metric) is not None
            assert (function in {"rate", "increase"}) == counter, (
                f"{where}: {metric} in {function or 'no function'}"
            )


def test_links_lead_to_pages_that_exist() -> None:
    found = {url for name in OURS for url in urls(DASHBOARDS[name]) if url}
    runbooks = f"{BESIDE_GRAFANA}runbooks/"
    assert all(url.startswith((runbooks, f"{BESIDE_GRAFANA}prometheus/")) for url in found), found
    if not RUNBOOKS.exists():
        pytest.skip("docs/runbooks is not there yet")
    # The link of a table's cell names whatever alert fires.
    pages = {url.removeprefix(runbooks) for url in found if url.startswith(runbooks) and "$" not in url}
    missing = sorted(page for page in pages if not (RUNBOOKS / page).exists())
    assert not missing, missing


def test_every_metric_exists() -> None:
    exporters = pytest.importorskip(
        "tests.monitoring.exporters", reason="tests/monitoring/exporters.py is not there yet"
    )
    known = set().union(*exporters.exporter_metric_names().values(), NOT_SHOWN)
    for file in RULES.glob("*.yml"):
        for group in yaml.safe_load(file.read_text())["groups"]:
            known |= {rule["record"] for rule in group["rules"] if "record" in rule}
    missing = {
        (metric, where)
        for where, _, query in targets()
        for metric, _ in selectors(promql_parser.parse(query))
        if metric not in known and re.sub("_(bucket|count|sum)$", "", metric) not in known
    }
    assert not missing, "\n".join(f"{metric}: {where}" for metric, where in sorted(missing))


def test_what_may_be_empty_is_a_panel() -> None:
    there = {key for name, title, _ in panel_queries() for key in ((name, title), title)}
    assert set(MAY_BE_EMPTY) <= there


def test_the_overview_counts_all_faces_that_were_found() -> None:
    (panel,) = [each for each in panels(DASHBOARDS["overview"]) if each["title"] == "Total faces detected"]
    assert panel["type"] == "stat"
    assert "face_recognition_faces_detected_total" in panel["targets"][0]["expr"]


def test_deadlocks_are_seen_and_where_to_read_on() -> None:
    (panel,) = [each for each in panels(DASHBOARDS["infrastructure"]) if "eadlocks" in each["title"]]
    asked = " ".join(target["expr"] for target in panel["targets"])
    assert "pg_stat_database_deadlocks" in asked
    assert "face_recognition_database_retries_total" in asked
    assert panel["links"][0]["url"].endswith("runbooks/DatabaseConflicts.md")


def test_files_that_are_missing_or_damaged_are_seen_beside_those_not_done() -> None:
    shown = {panel["title"]: panel for panel in panels(DASHBOARDS["overview"])}
    (panel,) = [each for each in shown.values() if "damaged" in each["title"]]
    assert panel["targets"][0]["expr"] == "max by (fault) (face_recognition_original_faults)"
    assert panel["gridPos"]["y"] == shown["Photos that are not done"]["gridPos"]["y"]
    assert panel["links"][0]["url"].endswith("runbooks/OriginalsDamaged.md")


def test_two_redis_of_a_host_are_not_mixed() -> None:
    mixed = [where for where, query, _ in targets() if "by (host) (" in query and "redis_" in query]
    assert mixed == []
