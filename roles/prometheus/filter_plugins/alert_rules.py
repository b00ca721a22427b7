"""Alert rules with the settings of `face_alerts` in them, and what is wrong with those settings.

A file of files/prometheus/rules has Prometheus' own form and two keys more, which Prometheus never sees:
`threshold`, the number at which an alert begins, and `measures`, what that number is. Its texts name them:

    [[threshold]]      the number                  [[threshold %]]  0.8 as "80 %"
    [[threshold int]]  a whole number              [[threshold s]]  600 (seconds) as "10 minutes"
    [[for]]            `for` in words: "a minute"  [[threshold B]]  2e9 (bytes) as "2 GB"
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

KEYS = ("enabled", "threshold", "for", "severity")
SEVERITIES = ("critical", "warning")
DURATION = re.compile(r"(?=.)(\d+d)?(\d+h)?(\d+m)?(\d+s)?")
UNITS = {"d": (86400, "day"), "h": (3600, "hour"), "m": (60, "minute"), "s": (1, "second")}
MARK = re.compile(r"\[\[(threshold|for)(?: (%|s|B|int))?\]\]")


def alert_defaults(files: list[str]) -> dict[str, dict[str, Any]]:
    """name -> its settings as installed; beside a threshold what it `measures` and the `least` it may be.

    `files` are the texts of the files of rules.
    """
    return {
        rule["alert"]: {
            "enabled": True,
            **{key: rule[key] for key in ("threshold", "measures") if key in rule},
            # A range of PromQL has some length.
            "least": 60 if "[[threshold int]]" in rule["expr"] else 0,
            "for": rule.get("for", "0s"),
            "severity": rule["labels"]["severity"],
        }
        for text in files
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def alert_rules(text: str, alerts: Mapping[str, Mapping[str, Any]]) -> str:
    """The file `text` as Prometheus reads it, with the settings of `alerts`."""
    groups = yaml.safe_load(text)["groups"]
    for group in groups:
        group["rules"] = [
            _with(rule, alerts.get(rule["alert"]) or {}) if "alert" in rule else rule
            for rule in group["rules"]
            if (alerts.get(rule.get("alert")) or {}).get("enabled", True)
        ]
    left = [group for group in groups if group["rules"]]
    dumped: str = yaml.safe_dump({"groups": left}, sort_keys=False, allow_unicode=True, width=1000)
    return dumped


def _with(rule: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    threshold = settings.get("threshold", rule.get("threshold"))
    lasts = str(settings.get("for", rule.get("for", "0s")))
    made = {key: value for key, value in rule.items() if key not in ("threshold", "measures", "for")}
    if seconds_of(lasts):
        made["for"] = lasts

    def fill(text: str) -> str:
        return MARK.sub(lambda mark: _words(mark[1], mark[2], threshold, lasts), text)

    made["expr"] = fill(made["expr"])
    made["labels"] = made["labels"] | {"severity": settings.get("severity", made["labels"]["severity"])}
    made["annotations"] = {name: fill(text) for name, text in made["annotations"].items()}
    order = ("alert", "expr", "for", "labels", "annotations")
    return {key: made[key] for key in order if key in made}


def _words(name: str, form: str | None, threshold: Any, lasts: str) -> str:
    if name == "for":
        return duration_words(seconds_of(lasts))
    if form == "%":
        return f"{threshold * 100:.4g} %"
    if form == "s":
        return duration_words(threshold)
    if form == "B":
        return f"{threshold / 1e9:.4g} GB"
    if form == "int":
        return f"{threshold:.0f}"
    return f"{threshold:.10g}"


def seconds_of(duration: str) -> int:
    return sum(int(number) * UNITS[unit][0] for number, unit in re.findall(r"(\d+)([dhms])", duration))


def duration_words(seconds: float) -> str:
    """900 -> "15 minutes", 60 -> "a minute", 93600 -> "26 hours": the largest unit without a fraction."""
    for size, word in UNITS.values():
        if seconds >= size and seconds % size == 0 and not (word == "day" and seconds < 2 * size):
            number = round(seconds / size)
            return f"{'an' if word == 'hour' else 'a'} {word}" if number == 1 else f"{number} {word}s"
    return f"{seconds:g} seconds"


def alert_faults(alerts: Any, files: list[str]) -> list[str]:
    """One line for each fault of `face_alerts`; `files` are the texts of the rules."""
    if not isinstance(alerts, Mapping):
        return ["face_alerts must hold settings by alert, such as {LowCacheHitRate: {enabled: false}}"]
    known = alert_defaults(files)
    faults = []
    for name, settings in alerts.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            meant = f" (meant is {near[0]}?)" if near else ""
            faults.append(
                f"face_alerts: no alert is called {name}{meant}; there are {', '.join(sorted(known))}"
            )
        elif not isinstance(settings, Mapping):
            faults.append(f"face_alerts, {name}: give settings, such as {name}: {{enabled: false}}")
        else:
            faults += [
                f"face_alerts, {name}: {fault}"
                for key, value in settings.items()
                if (fault := _fault(key, value, known[name]))
            ]
    return faults


def _fault(key: Any, value: Any, default: Mapping[str, Any]) -> str:
    if key not in KEYS:
        return f"it has no {key}; an alert takes {', '.join(KEYS)}"
    if key == "enabled" and not isinstance(value, bool):
        return f"enabled is {value!r}; it must be true or false"
    if key == "threshold" and "threshold" not in default:
        return "it has no threshold; it takes enabled, for, severity"
    if key == "threshold" and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"threshold is {value!r}; it must be a number ({default['measures']})"
    if key == "threshold" and not default["least"] <= value < float("inf"):
        return f"threshold is {value!r}; it must be {default['least']} or more ({default['measures']})"
    if key == "threshold" and default["measures"].endswith("0 to 1") and value > 1:
        return f"threshold is {value!r}; it is a {default['measures']}: 80 % is 0.8"
    if key == "for" and not (isinstance(value, str) and DURATION.fullmatch(value)):
        return f"for is {value!r}; it must be a time such as 90s, 10m or 1h30m"
    if key == "severity" and value not in SEVERITIES:
        return f"severity is {value!r}; it must be {' or '.join(SEVERITIES)}"
    return ""


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "alert_defaults": alert_defaults,
            "alert_faults": alert_faults,
            "alert_rules": alert_rules,
        }
