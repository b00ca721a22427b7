"""Programs of others that this installation has, and that nginx serves beside the pages."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from face_pipeline.store.models import Scope


class Door(NamedTuple):
    """name: that of its text `frame.doors.NAME` and its path."""

    name: str
    path: str


DOORS = tuple(
    Door(name, f"/{name}/") for name in ("grafana", "prometheus", "alertmanager", "flower", "kibana")
)


def installed(names: str, scopes: Collection[str]) -> tuple[Door, ...]:
    """Those that the setting `doors` names, for admins alone."""
    if Scope.ADMIN not in scopes:
        return ()
    return tuple(door for door in DOORS if door.name in names.split())
