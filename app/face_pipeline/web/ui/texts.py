"""Every text of the pages: one JSON file a page in texts/LANGUAGE, read by templates and modules alike.

A text is a string, or {"one": …, "other": …} where it says a number `n`. `{name}` in it is a value; what
stands between backticks is code. A key is FILE.NAME, or FILE.NAME.PART where the file groups some.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

LANGUAGE = "en"
DIRECTORY = Path(__file__).with_name("texts") / LANGUAGE
Text: TypeAlias = "str | dict[str, str]"
_VALUE = re.compile(r"\{(\w+)\}")


@cache
def texts() -> dict[str, Text]:
    """All of them by key."""
    told: dict[str, Text] = {}
    for path in sorted(DIRECTORY.glob("*.json")):
        for key, value in _flat(path.stem, json.loads(path.read_text(encoding="utf-8"))):
            told[key] = value
    return told


def _flat(prefix: str, value: Any) -> list[tuple[str, Text]]:
    if isinstance(value, str) or "other" in value:
        return [(prefix, value)]
    return [item for name, each in value.items() for item in _flat(f"{prefix}.{name}", each)]


def language() -> str:
    return LANGUAGE


def t(key: str, **values: object) -> str:
    """The text of `key` with its values; raises KeyError where there is none."""
    text = texts()[key]
    if isinstance(text, dict):
        text = text["one" if values["n"] == 1 else "other"]
    return _VALUE.sub(lambda found: _shown(values[found[1]]), text)


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


@cache
def module() -> bytes:
    """The texts as a module for the pages' own."""
    told = json.dumps(texts(), ensure_ascii=False, separators=(",", ":"))
    return f"export const language = {json.dumps(LANGUAGE)};\nexport const texts = {told};\n".encode()
