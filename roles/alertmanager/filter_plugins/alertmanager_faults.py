"""What is wrong with face_alert_receivers, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Of each type: what it needs (any of), and what it may have.
NEEDS = {
    "email": ("to",),
    "slack": ("url_secret",),
    "webhook": ("url", "url_secret"),
    "watchdog": ("url", "url_secret"),
}
MAY_HAVE = {
    "email": {"severities"},
    "slack": {"severities", "channel"},
    "webhook": {"severities", "bearer_secret"},
    "watchdog": {"interval", "bearer_secret"},
}
SEVERITIES = ("critical", "warning")
SHAPES = {
    "to": (r"[^@\s]+@[^@\s]+(\s*,\s*[^@\s]+@[^@\s]+)*", "an e-mail address"),
    "url": (r"https?://\S+", "a URL, http:// or https://"),
    "url_secret": (r"\w[\w.-]*", "the name of a secret"),
    "bearer_secret": (r"\w[\w.-]*", "the name of a secret"),
    "channel": (r"\S+", "the name of a channel"),
    "interval": (r"([0-9]+[smhd])+", "a time such as 5m"),
}


def alertmanager_faults(
    receivers: Any, smtp: Mapping[str, Any], own_secrets: Mapping[str, Any], directory: str
) -> list[str]:
    """One line for each fault; `directory` holds the secrets that `own_secrets` does not."""
    if not isinstance(receivers, list):
        return ["face_alert_receivers must be a list, such as [{type: email, to: ops@example.org}]"]
    faults = [
        f"face_alert_receivers, entry {number}: {fault}"
        for number, receiver in enumerate(receivers, start=1)
        for fault in _receiver(receiver)
    ]
    secrets = {
        f"face_alert_receivers, entry {number}": receiver[field]
        for number, receiver in enumerate(receivers, start=1)
        if isinstance(receiver, Mapping)
        for field in ("url_secret", "bearer_secret")
        if receiver.get(field)
    }
    if any(isinstance(each, Mapping) and each.get("type") == "email" for each in receivers):
        faults += [f"face_smtp: {fault}" for fault in _smtp(smtp)]
        if smtp.get("password_secret"):
            secrets["face_smtp"] = smtp["password_secret"]
    return faults + [
        f"{where}: the secret {name} is neither a file in {directory} nor in face_own_secrets"
        for where, name in secrets.items()
        if not own_secrets.get(name) and not (Path(directory) / str(name)).is_file()
    ]


def _receiver(receiver: Any) -> Iterator[str]:
    kind = receiver.get("type") if isinstance(receiver, Mapping) else None
    if kind not in NEEDS:
        yield f"its type must be one of {', '.join(NEEDS)}"
        return
    given = {field: value for field, value in receiver.items() if field != "type" and value not in (None, "")}
    if not any(field in given for field in NEEDS[kind]):
        yield f"{kind} needs {' or '.join(NEEDS[kind])}"
    known = {*NEEDS[kind], *MAY_HAVE[kind]}
    if unknown := sorted(set(given) - known):
        yield f"{kind} has no {', '.join(unknown)}; it takes {', '.join(sorted(known))}"
    for field, (shape, words) in SHAPES.items():
        if field in given and field in known and not re.fullmatch(shape, str(given[field])):
            yield f"{field} must be {words}"
    severities = given.get("severities", SEVERITIES)
    if isinstance(severities, str) or not severities or not set(severities) <= set(SEVERITIES):
        yield f"severities must be a list of {' and '.join(SEVERITIES)}"


def _smtp(smtp: Mapping[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"\S+:[0-9]+", str(smtp.get("smarthost") or "")):
        yield "e-mail needs smarthost, host:port"
    if "@" not in str(smtp.get("from") or ""):
        yield "e-mail needs from, the sender's address"
    if bool(smtp.get("user")) != bool(smtp.get("password_secret")):
        yield "user and password_secret go together"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"alertmanager_faults": alertmanager_faults}
