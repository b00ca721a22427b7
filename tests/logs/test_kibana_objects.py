"""What Kibana imports: files/kibana/face-pipeline.ndjson, checked for all that can be seen without Kibana.

Kibana refuses the whole file for a reference that leads nowhere, and shows an empty panel for a field that is
not mapped. Whether it draws the panels, only Kibana can show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.telemetry.logging import EXTRA_FIELDS

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "files/kibana/face-pipeline.ndjson"
MAPPING = ROOT / "files/elasticsearch/component-face-logs.json"

Object = dict[str, Any]

# Format versions of Kibana 8.9 to 8.13, from a file that 8.13 exported: 8.19 and every 9.x import those.
CORE_VERSION = "8.8.0"
TYPE_VERSIONS = {"index-pattern": "8.0.0", "visualization": "8.5.0", "search": "8.0.0", "dashboard": "8.9.0"}
DATA_VIEWS = {"face-recognition-logs": "face-recognition-logs-*", "filebeat": "filebeat-*"}
TITLES = {
    "face-pipeline-error-rate": "Error Rate",
    "face-pipeline-response-times": "Response Times",
    "face-pipeline-request-volume": "Request Volume",
    "face-pipeline-service-health": "Service Health",
    "face-pipeline-errors": "Errors",
    "face-pipeline-slow-requests": "Slow requests",
    "face-pipeline-request-trail": "One request's trail",
    "face-pipeline-logs": "Face Pipeline: logs",
}
# The attributes that Kibana 8.9 knows of each type; its strict schemas refuse others.
ATTRIBUTES = {
    "index-pattern": {"title", "name", "timeFieldName"},
    "visualization": {
        "title", "description", "version", "uiStateJSON", "visState", "kibanaSavedObjectMeta",
    },
    "search": {"title", "description", "columns", "sort", "grid", "hideChart", "kibanaSavedObjectMeta"},
    "dashboard": {
        "title", "description", "version", "optionsJSON", "panelsJSON", "timeRestore", "timeFrom", "timeTo",
        "refreshInterval", "kibanaSavedObjectMeta",
    },
}  # fmt: skip
SCHEMAS = {
    "histogram": {"metric", "segment", "group"}, "line": {"metric", "segment", "group"},
    "table": {"metric", "bucket"},
}  # fmt: skip
METRICS = {"avg", "count", "max", "percentiles"}
BUCKETS = {"date_histogram", "terms", "filters"}
GRID_WIDTH = 48
KQL_FIELD = re.compile(r"([@\w.]+)\s*(?::|>=|<=|>|<)")


def _objects() -> list[Object]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


OBJECTS = _objects()
BY_ID = {(each["type"], each["id"]): each for each in OBJECTS}


def _of(*types: str) -> list[Any]:
    return [pytest.param(each, id=each["id"]) for each in OBJECTS if each["type"] in types]


def _mapped(properties: Object, prefix: str = "") -> Iterator[str]:
    for name, content in properties.items():
        if "properties" in content:
            yield from _mapped(content["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.fixture(scope="module")
def mapping() -> Object:
    content: Object = json.loads(MAPPING.read_text(encoding="utf-8"))
    return content["template"]["mappings"]["properties"]


@pytest.fixture(scope="module")
def fields(mapping: Object) -> set[str]:
    return set(_mapped(mapping))


def test_kibana_takes_only_files_of_this_kind() -> None:
    assert FILE.suffix == ".ndjson"
    text = FILE.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "\n\n" not in text
    assert not text.startswith("\ufeff")


def test_ids_are_fixed_and_everything_is_there() -> None:
    assert len(BY_ID) == len(OBJECTS)
    assert {each["id"]: each["attributes"]["title"] for each in OBJECTS} == DATA_VIEWS | TITLES
    kinds = [each["type"] for each in OBJECTS]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "index-pattern": 2, "visualization": 4, "search": 3, "dashboard": 1,
    }  # fmt: skip


@pytest.mark.parametrize("each", _of(*TYPE_VERSIONS))
def test_an_object_has_the_form_that_old_and_new_kibanas_import(each: Object) -> None:
    assert set(each) == {
        "type", "id", "attributes", "references", "coreMigrationVersion", "typeMigrationVersion", "managed",
    }  # fmt: skip
    assert each["coreMigrationVersion"] == CORE_VERSION
    assert each["typeMigrationVersion"] == TYPE_VERSIONS[each["type"]]
    # A managed object cannot be edited.
    assert each["managed"] is False
    assert set(each["attributes"]) == ATTRIBUTES[each["type"]]
    for name, value in each["attributes"].items():
        if name.endswith("JSON") or name == "visState":
            json.loads(value)


@pytest.mark.parametrize("each", _of(*TYPE_VERSIONS))
def test_every_reference_leads_to_an_object_of_this_file(each: Object) -> None:
    names = [reference["name"] for reference in each["references"]]
    assert len(set(names)) == len(names)
    for reference in each["references"]:
        assert set(reference) == {"name", "type", "id"}
        assert (reference["type"], reference["id"]) in BY_ID
    assert set(names) == set(_named(each))


def _named(each: Object) -> Iterator[str]:
    """The references that the object's own text speaks of."""
    attributes = each["attributes"]
    if "kibanaSavedObjectMeta" in attributes:
        source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
        assert "index" not in source, "a data view belongs into the references"
        assert source["filter"] == []
        if "indexRefName" in source:
            yield source["indexRefName"]
    for panel in json.loads(attributes.get("panelsJSON", "[]")):
        yield f"{panel['panelIndex']}:{panel['panelRefName']}"


@pytest.mark.parametrize("each", _of("index-pattern"))
def test_a_data_view_knows_the_time(each: Object) -> None:
    assert each["attributes"]["timeFieldName"] == "@timestamp"


@pytest.mark.parametrize("each", _of("visualization"))
def test_a_visualization_is_a_whole_one(each: Object) -> None:
    state = json.loads(each["attributes"]["visState"])
    assert set(state) == {"title", "type", "aggs", "params"}
    assert state["title"] == each["attributes"]["title"]
    assert each["attributes"]["description"]
    assert state["type"] in SCHEMAS
    ids = [agg["id"] for agg in state["aggs"]]
    assert ids == [str(number) for number in range(1, len(ids) + 1)]
    for agg in state["aggs"]:
        assert set(agg) == {"id", "enabled", "type", "params", "schema"}
        assert agg["schema"] in SCHEMAS[state["type"]]
        assert agg["type"] in (METRICS if agg["schema"] == "metric" else BUCKETS)
        if agg["type"] == "terms":
            assert agg["params"]["orderBy"] in ids
    assert any(agg["schema"] == "metric" for agg in state["aggs"])
    for series in state["params"].get("seriesParams", []):
        assert series["data"]["id"] in ids
        assert series["valueAxis"] in [axis["id"] for axis in state["params"]["valueAxes"]]
    if state["type"] != "table":
        assert state["params"]["type"] == state["type"]
        assert [agg["type"] for agg in state["aggs"] if agg["schema"] == "segment"] == ["date_histogram"]


def _queries(each: Object) -> Iterator[str]:
    source = json.loads(each["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert source["query"]["language"] == "kuery"
    yield source["query"]["query"]
    for agg in json.loads(each["attributes"].get("visState", '{"aggs": []}'))["aggs"]:
        for each_filter in agg["params"].get("filters", []):
            assert each_filter["input"]["language"] == "kuery"
            assert each_filter["label"]
            yield each_filter["input"]["query"]


def _used(each: Object) -> Iterator[str]:
    for query in _queries(each):
        yield from KQL_FIELD.findall(re.sub(r'"[^"]*"', '""', query))
    attributes = each["attributes"]
    for agg in json.loads(attributes.get("visState", '{"aggs": []}'))["aggs"]:
        if "field" in agg["params"]:
            yield agg["params"]["field"]
    yield from attributes.get("columns", [])
    for field, direction in attributes.get("sort", []):
        assert direction in {"asc", "desc"}
        yield field


@pytest.mark.parametrize("each", _of("visualization", "search", "dashboard"))
def test_every_field_is_mapped_and_queries_are_balanced(each: Object, fields: set[str]) -> None:
    assert set(_used(each)) <= fields
    for query in _queries(each):
        assert query.count("(") == query.count(")")
        assert query.count('"') % 2 == 0


@pytest.mark.parametrize("each", _of("visualization"))
def test_kibana_can_aggregate_what_is_aggregated(each: Object, mapping: Object) -> None:
    flat = {**mapping, "host.name": mapping["host"]["properties"]["name"]}
    wanted = {
        "terms": {"keyword"},
        "percentiles": {"float"},
        "avg": {"float"},
        "max": {"date", "float"},
        "date_histogram": {"date"},
    }
    for agg in json.loads(each["attributes"]["visState"])["aggs"]:
        if "field" in agg["params"]:
            assert flat[agg["params"]["field"]]["type"] in wanted[agg["type"]]


def test_errors_are_counted_and_times_averaged_by_service() -> None:
    """The words of the guide that operators of such pipelines know."""
    found = {each["id"]: each["attributes"] for each in _objects() if each["type"] == "visualization"}

    def asked(name: str) -> tuple[str, list[tuple[str, str | None]]]:
        attributes = found[f"face-pipeline-{name}"]
        query = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]
        aggs = json.loads(attributes["visState"])["aggs"]
        return query, [(agg["type"], agg["params"].get("field")) for agg in aggs]

    assert asked("error-rate") == (
        'log_level : ("ERROR" or "CRITICAL")',
        [("count", None), ("date_histogram", "@timestamp"), ("terms", "service_name")],
    )
    assert asked("response-times") == (
        "duration_seconds : *",
        [("avg", "duration_seconds"), ("date_histogram", "@timestamp"), ("terms", "service_name")],
    )


@pytest.mark.parametrize("each", _of("dashboard"))
def test_panels_fill_the_dashboard_and_lie_on_no_other(each: Object) -> None:
    panels = json.loads(each["attributes"]["panelsJSON"])
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert set(panel) == {
            "version", "type", "gridData", "panelIndex", "embeddableConfig", "panelRefName",
        }  # fmt: skip
        place = panel["gridData"]
        assert place["i"] == panel["panelIndex"]
        assert panel["panelRefName"] == f"panel_{panel['panelIndex']}"
        (kind,) = [
            reference["type"]
            for reference in each["references"]
            if reference["name"] == f"{panel['panelIndex']}:{panel['panelRefName']}"
        ]
        assert kind == panel["type"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < GRID_WIDTH
        assert not cells & taken
        taken |= cells
    assert len(taken) == GRID_WIDTH * (1 + max(y for _, y in taken)), "a gap"
    shown = {reference["id"] for reference in each["references"]}
    assert {each["id"] for each in OBJECTS if each["type"] == "visualization"} <= shown


def test_every_field_of_our_log_lines_is_mapped(fields: set[str]) -> None:
    assert set(EXTRA_FIELDS) - fields == set()
