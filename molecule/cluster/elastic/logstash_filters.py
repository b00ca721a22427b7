"""What the filters that files/logstash uses do to an event, as strictly as Logstash's own.

For tests and the STAND-IN alone, in words of our own. A filter that returns False did not match: its
add_field, add_tag and the like are not done.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from logstash_events import Event, drop, fill, get, has, put, python_regex, tag, text_of

# What Logstash writes into its own log, which Filebeat reads too.
LOG = logging.getLogger("logstash.filters")

GROK = {"WORD": r"\b\w+\b", "POSINT": r"\b[1-9][0-9]*\b", "NOTSPACE": r"\S+", "GREEDYDATA": ".*"}
JODA = {
    "yyyy": "%Y",
    "MMM": "%b",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss.SSS": "%S.%f",
    "ss": "%S",
}


def number(value: Any, kind: type[int] | type[float]) -> Any:
    """A text that is no whole number, or an object, is an error of the filter."""
    if isinstance(value, str):
        value = value.strip().replace(",", "").lower()
        if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", value):
            raise ValueError(f'invalid value for {kind.__name__}: "{value}"')
        value = float(value) if kind is float or re.search("[.e]", value) else int(value)
    return kind(value)


CONVERT: dict[str, Callable[[Any], Any]] = {
    "string": text_of,
    "integer": lambda value: number(value, int),
    "float": lambda value: number(value, float),
}


def each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, list):
        return [item if item is None else change(item) for item in value]
    return change(value)


def mutate(options: dict[str, Any], event: Event) -> bool:
    """In the plugin's own order, whatever the file's. An error ends it, with a tag."""
    try:
        for old, new in options.get("rename", {}).items():
            if has(event, old):
                put(event, new, drop(event, old))
        for name, text in options.get("replace", {}).items():
            put(event, name, fill(text, event))
        for name, kind in options.get("convert", {}).items():
            value = get(event, name)
            if value is not None and not isinstance(value, dict):
                put(event, name, each(value, CONVERT[kind]))
        triples = options.get("gsub", [])
        for name, pattern, new in zip(triples[::3], triples[1::3], triples[2::3], strict=True):
            wanted = re.compile(python_regex(pattern))

            def replaced(text: Any, wanted: re.Pattern[str] = wanted, new: str = new) -> Any:
                return wanted.sub(fill(new, event), text) if isinstance(text, str) else text

            if isinstance(value := get(event, name), str | list):
                put(event, name, each(value, replaced))
        for name in options.get("uppercase", []):
            if (value := get(event, name)) is not None:
                put(event, name, each(value, lambda item: item.upper() if isinstance(item, str) else item))
        for old, new in options.get("copy", {}).items():
            if (value := get(event, old)) is not None:
                put(event, new, copy.deepcopy(value))
    except (ValueError, TypeError) as error:
        LOG.warning("Exception caught while applying mutate filter: %s", error)
        tag(event, "_mutate_error")
        return False
    return True


def no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def read_json(options: dict[str, Any], event: Event) -> bool:
    """Whatever JSON says goes to the target: an object, a list, a number or null."""
    source = get(event, options["source"])
    if source is None or source is False:
        return False
    try:
        if not isinstance(source, str):
            raise TypeError(f"{type(source).__name__} is no text")
        parsed = json.loads(source, parse_constant=no_number)
    except (ValueError, TypeError, RecursionError) as error:
        if not options.get("skip_on_invalid_json", False):
            tag(event, options.get("tag_on_failure", ["_jsonparsefailure"]))
            LOG.warning("Error parsing json: source %s, raw %s: %s", options["source"], source, error)
        return False
    if "target" not in options:
        raise NotImplementedError("STAND-IN: a json filter without a target")
    put(event, options["target"], parsed)
    return True


def capture(event: Event, target: str, value: str) -> None:
    """What is there already is not overwritten: a second value makes a list."""
    there = get(event, target)
    if not value or not (there is None or isinstance(there, str | list)):
        return
    before = there if isinstance(there, list) else [there]
    put(event, target, value if there is None else [*before, value])


def grok(options: dict[str, Any], event: Event) -> bool:
    known = {**GROK, **options.get("pattern_definitions", {})}
    pairs = [
        (source, pattern)
        for source, patterns in options["match"].items()
        for pattern in ([patterns] if isinstance(patterns, str) else patterns)
    ]
    for source, pattern in pairs:
        targets: list[str] = []

        def one(found: re.Match[str], targets: list[str] = targets) -> str:
            name, _, target = found[1].partition(":")
            if not target:
                return f"(?:{known[name]})"
            targets.append(target)
            return f"(?P<g{len(targets)}>{known[name]})"

        wanted = re.sub(r"%\{([A-Z0-9]+(?::[^}]+)?)\}", one, pattern)
        if not (found := re.search(python_regex(wanted), text_of(get(event, source)))):
            continue
        for position, target in enumerate(targets, 1):
            capture(event, target, found[f"g{position}"] or "")
        return True
    tag(event, options.get("tag_on_failure", ["_grokparsefailure"]))
    return False


def translate(options: dict[str, Any], event: Event) -> bool:
    """Without the source nothing happens, not even the fallback; of a list the first counts."""
    target = options.get("target", options["source"])
    override = options.get("override", target == options["source"])
    if (has(event, target) and not override) or not has(event, options["source"]):
        return False
    value = get(event, options["source"])
    source = text_of((value[0] if value else None) if isinstance(value, list) else value)
    if source in options["dictionary"]:
        put(event, target, options["dictionary"][source])
    elif "fallback" in options:
        put(event, target, fill(options["fallback"], event))
    else:
        return target == options["source"]
    return True


def zone_of(name: str) -> tzinfo:
    if found := re.fullmatch(r"([+-])(\d\d):?(\d\d)", name):
        minutes = int(found[2]) * 60 + int(found[3])
        return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
    return ZoneInfo(name)


def moment_of(text: str, form: str, zone: str) -> datetime:
    if form == "ISO8601":
        when = datetime.fromisoformat(text)
    else:
        when = datetime.strptime(text, re.sub("|".join(JODA), lambda found: JODA[found[0]], form))
    return when if when.tzinfo else when.replace(tzinfo=zone_of(zone))


def date(options: dict[str, Any], event: Event) -> bool:
    """Forms of text, which a number never has."""
    source, *forms = options["match"]
    if (value := get(event, source)) is None:
        return False
    for form in forms:
        try:
            if not isinstance(value, str):
                raise ValueError(f"Cannot parse date for value of type {type(value).__name__}")
            when = moment_of(value, form, fill(options.get("timezone", "UTC"), event))
        except (ValueError, KeyError):
            continue
        moment = when.astimezone(timezone.utc)  # noqa: UP017
        text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        put(event, options.get("target", "@timestamp"), text)
        return True
    tag(event, options.get("tag_on_failure", ["_dateparsefailure"]))
    return False


def prune(options: dict[str, Any], event: Event) -> bool:
    kept = [re.compile(python_regex(name)) for name in options["whitelist_names"]]
    for name in list(event):
        if name != "@metadata" and not any(pattern.search(name) for pattern in kept):
            del event[name]
    return True


def give_id(options: dict[str, Any], event: Event) -> bool:
    if options.get("overwrite") or get(event, options["target"]) is None:
        put(event, options["target"], str(uuid.uuid4()))
    return True


FILTERS: dict[str, Callable[[dict[str, Any], Event], bool]] = {
    "mutate": mutate, "json": read_json, "grok": grok, "translate": translate, "date": date, "prune": prune,
    "uuid": give_id,
}  # fmt: skip


def decorate(options: dict[str, Any], event: Event) -> None:
    """What every filter may do once it matched. A field that is there, "" too, becomes a list."""
    for name, text in options.get("add_field", {}).items():
        name, value = fill(name, event), fill(text, event)
        there = get(event, name)
        before = [] if there is None else there if isinstance(there, list) else [there]
        put(event, name, [*before, value] if has(event, name) else value)
    for name in options.get("remove_field", []):
        drop(event, fill(name, event))
    if tags := options.get("add_tag", []):
        event["tags"] = [*event.get("tags", []), *(fill(name, event) for name in tags)]


def apply(name: str, options: dict[str, Any], event: Event) -> None:
    if FILTERS[name](options, event):
        decorate(options, event)
