"""What is wrong with the names in face_own_secrets: one that nothing asks for would be passed over."""

from __future__ import annotations

import difflib
import runpy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

INSTEAD = "remove it from face_own_secrets"


def own_secret_faults(
    given: list[str], maker: str, renamed: Mapping[str, list[str]], settings: list[Any]
) -> list[str]:
    """One line for each fault.

    `maker` is the program that makes an installation's secrets and knows their names. `settings` are those
    variables that name secrets of an operator's own; `renamed` has the names of earlier releases.
    """
    known = set(runpy.run_path(maker)["SECRETS"])
    named = {name for each in settings for name in _named(each)}
    return [_fault(name, known | named, renamed) for name in given if name not in known | named]


def _fault(name: str, known: set[str], renamed: Mapping[str, list[str]]) -> str:
    if name in renamed:
        return f"{name} is now {', '.join(renamed[name])}: give each a value of its own, or {INSTEAD}"
    near = difflib.get_close_matches(name, sorted(known), 1)
    meant = f"did you mean {near[0]}? If not, " if near else ""
    return f"{name} is a name that nothing asks for: {meant}{INSTEAD}"


def _named(setting: Any) -> Iterator[str]:
    """The secrets that a setting names: secret: NAME, url_secret: NAME, secrets: {WHAT: NAME}."""
    if isinstance(setting, list):
        for each in setting:
            yield from _named(each)
    elif isinstance(setting, Mapping):
        for key, value in setting.items():
            if key == "secrets" and isinstance(value, Mapping):
                yield from map(str, value.values())
            elif key == "secret" or str(key).endswith("_secret"):
                yield str(value)
            else:
                yield from _named(value)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"own_secret_faults": own_secret_faults}
