"""Grafana's dashboards as tests read them: models, panels, and queries that Prometheus itself takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.photos import ROOT

FILES = sorted((ROOT / "files" / "grafana" / "dashboards").glob("*.json"))
# What Grafana puts in place of its own variables when the last hour is shown, of others when all is chosen.
VALUES = {"__rate_interval": "1m", "__interval": "1m", "__range": "1h"}
ALL = ".+"

_NO_GPU = "exists only where a worker sees an NVIDIA card"
_NO_AUTOSCALER = "exists only where face_autoscale_enabled is true"
_NO_ALERT = "no alert fires"
_NO_MOVE = "exists only while collections are moved to another model pack"
_NO_PATRONI = "exists only where the database fails over by itself"
_NO_INDEX = "exists only where a collection is large enough for a vector index"
# Panels without a value on a healthy host, by title or by dashboard and title, and why.
MAY_BE_EMPTY: dict[str | tuple[str, str], str] = {
    ("overview", "Firing alerts"): _NO_ALERT,
    ("overview", "GPU utilisation"): _NO_GPU,
    ("overview", "GPU memory"): _NO_GPU,
    ("overview", "GPU temperature"): _NO_GPU,
    ("overview", "GPU power"): _NO_GPU,
    ("overview", "Photos that copies lack"): "no host keeps copies of photos",
    ("infrastructure", "Standbys"): "no host follows the database",
    ("infrastructure", "Who leads the database"): _NO_PATRONI,
    ("infrastructure", "Address that moves"): "no address moves between hosts",
    ("workers", "Autoscaler"): _NO_AUTOSCALER,
    ("workers", "Workers wanted and running"): _NO_AUTOSCALER,
    ("workers", "Waiting tasks it sees"): _NO_AUTOSCALER,
    ("workers", "Decisions"): _NO_AUTOSCALER,
    ("workers", "Leader"): _NO_AUTOSCALER,
    ("workers", "Paused"): _NO_AUTOSCALER,
    ("search", "True matches found by the index"): _NO_INDEX,
    ("search", "Candidates of a search in the index"): _NO_INDEX,
    ("search", "Move to another pack: photos"): _NO_MOVE,
    ("search", "Move to another pack: agreement"): _NO_MOVE,
}


def dashboards() -> dict[str, dict[str, Any]]:
    """File name without its ending -> the dashboard."""
    return {file.stem: json.loads(file.read_text()) for file in FILES}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel but the rows, those inside collapsed rows too."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def replaced(expression: str) -> str:
    """`expression` without Grafana's variables."""
    return re.sub(r"\$\{?(\w+)(?::\w+)?}?", lambda found: VALUES.get(found[1], ALL), expression)


def panel_queries() -> list[tuple[str, str, str]]:
    """(dashboard, panel's title, query) of all, ready for Prometheus' /api/v1/query."""
    return [
        (name, panel["title"], replaced(target["expr"]))
        for name, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
        if "expr" in target
    ]
