"""What an event is to Logstash: its fields by reference, its texts, and the truth of a condition about it.

For tests and the STAND-IN alone, written from what Logstash does with each type of value: a pattern never
fits a number, "" and "false" are no values to an `if`, and a comparison that makes no sense costs the event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]


class ConditionError(ValueError):
    """A condition that Logstash cannot judge: the event goes to the dead letters, or is lost without them."""


class FieldError(ValueError):
    """A field that cannot be set: what holds it is a text or a number."""


def path_of(reference: str) -> list[str]:
    return re.findall(r"\[([^\]]+)\]", reference) if reference.startswith("[") else [reference]


def child(holder: Any, key: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    if isinstance(holder, list) and re.fullmatch("-?[0-9]+", key) and -len(holder) <= int(key) < len(holder):
        return holder[int(key)]
    return None


def get(event: Event, reference: str) -> Any:
    value: Any = event
    for key in path_of(reference):
        value = child(value, key)
    return value


def has(event: Event, reference: str) -> bool:
    """Whether the field is there, be its value null."""
    *parents, last = path_of(reference)
    holder = get(event, "".join(f"[{key}]" for key in parents)) if parents else event
    return last in holder if isinstance(holder, dict) else child(holder, last) is not None


def put(event: Event, reference: str, value: Any) -> None:
    *parents, last = path_of(reference)
    target: Any = event
    for key in parents:
        inner = child(target, key)
        if inner is None:
            inner = {}
            put(target, key, inner)
        target = inner
    if not isinstance(target, dict):
        raise FieldError(f"Could not set field '{last}' on object '{target}'")
    target[last] = value


def drop(event: Event, reference: str) -> Any:
    *parents, last = path_of(reference)
    holder = get(event, "".join(f"[{key}]" for key in parents)) if parents else event
    return holder.pop(last, None) if isinstance(holder, dict) else None


def text_of(value: Any) -> str:
    """As Ruby writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def fill(text: str, event: Event) -> str:
    """%{field} as Logstash fills it; an unknown field, or one that is null, stays as it is written."""

    def one(found: re.Match[str]) -> str:
        value = get(event, found[1])
        if value is None:
            return found[0]
        if isinstance(value, list):
            return ",".join(map(text_of, value))
        return json.dumps(value) if isinstance(value, dict) else text_of(value)

    return re.sub(r"%\{([^+}][^}]*)\}", one, text)


def tag(event: Event, names: list[str] | str) -> None:
    """A tag that a filter gives by itself: once. (`add_tag` gives it again.)"""
    for name in [names] if isinstance(names, str) else names:
        if name not in event.setdefault("tags", []):
            event["tags"].append(name)


def python_regex(pattern: str) -> str:
    """Ruby's (Oniguruma's) `(?m` is Python's `(?s`, and its ^ and $ stand at every line."""
    return "(?m)" + pattern.replace("(?m", "(?s").replace(r"\z", r"\Z")


# --- conditions ---


def true(value: Any) -> bool:
    """What an `if` takes for true: everything but nothing, false, "" and "false"; 0 too."""
    return value is not None and text_of(value) not in ("", "false")


def equal(one: Any, other: Any) -> bool:
    """Of one type and the same: 200 is neither "200" nor 200.0."""
    return one is not None and type(one) is type(other) and bool(one == other)


def matches(value: Any, pattern: re.Pattern[str]) -> bool:
    """Only a text can fit, so `!~` is true of every number."""
    return isinstance(value, str) and pattern.search(value) is not None


def compare(one: Any, sign: str, other: Any) -> bool:
    if sign in ("==", "!="):
        return equal(one, other) == (sign == "==")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    if not numbers and not (isinstance(one, str) and isinstance(other, str)):
        raise ConditionError(
            f"Unexpected conditional input combination of '{one!r}' (left) and '{other!r}' (right)"
        )
    return bool({"<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other}[sign])


def within(one: Any, other: Any, left_is_field: bool, right_is_field: bool) -> bool:
    """`in`: a list that is written down is searched by text, one in a field by value, a text for a part."""
    if isinstance(other, list) and not right_is_field:
        return one is not None and text_of(one) in map(text_of, other)
    if left_is_field and isinstance(one, dict | list):
        return False
    if isinstance(one, str) and isinstance(other, str):
        return one in other
    if isinstance(other, list):
        return any(equal(one, item) for item in other)
    return left_is_field and right_is_field and equal(one, other)


Judge = Callable[[Event], bool]
