"""Whether a request is one that Elasticsearch's published contract knows, strictly: no unknown key passes.

The contract is Elastic's metamodel of its API (`dist/schema.json` of the npm package
@elastic/request-converter, Apache-2.0), which is not part of this project. It tells names, types,
enumerations, durations, sizes, privileges and which action an ILM phase may have; not whether a policy that
is named exists, or a mapping fits the last one.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Type = dict[str, Any]
Name = tuple[str, str]
# Where in the body, and what is wrong there.
Finding = tuple[list[Any], str]

EVERYWHERE = {"pretty", "human", "error_trace", "filter_path", "format", "h", "s", "v", "help"}
NUMBERS = {"integer", "uint", "long", "ulong", "short", "byte", "float", "double"}
DURATION = re.compile(r"-?\d+(\.\d+)?(d|h|m|s|ms|micros|nanos)")
SIZE = re.compile(r"\d+(\.\d+)?(b|kb|mb|gb|tb|pb)?", re.IGNORECASE)


class NotKnown(LookupError):
    """The path or the method is not in the contract."""


def is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def name_of(thing: Type) -> Name:
    return thing["namespace"], thing["name"]


def names_of(prop: Type) -> list[str]:
    return [prop["name"], *prop.get("aliases", [])]


class Contract:
    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        model = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        self.types: dict[Name, Type] = {name_of(one["name"]): one for one in model["types"]}
        self.routes = [
            (url["path"], self._pattern(url["path"]), set(url["methods"]), endpoint)
            for endpoint in model["endpoints"]
            for url in endpoint["urls"]
        ]
        # Those without a variable first.
        self.routes.sort(key=lambda route: route[0].count("{"))

    @staticmethod
    def _pattern(path: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{[^}]+\\\}", "([^/]+)", re.escape(path)) + "/?$")

    def find(self, method: str, path: str) -> Type:
        found = False
        for template, pattern, methods, endpoint in self.routes:
            match = pattern.match(path)
            # What starts with an underscore is no index.
            index = match.group(1) if match and template.startswith("/{") else ""
            if not match or (index.startswith("_") and index != "_all"):
                continue
            found = True
            if method in methods:
                known: Type = endpoint
                return known
        raise NotKnown("no such method on this path" if found else "no such path")

    def check(self, method: str, url: str, body: Any = None) -> tuple[str, list[Finding]]:
        """The endpoint's name and what is wrong. `body`: an object, a list of objects for NDJSON, or None."""
        parts = urlsplit(url)
        endpoint = self.find(method, unquote(parts.path))
        request = self.types[name_of(endpoint["request"])]
        query = {prop["name"] for one in self._chain(request) for prop in one.get("query", [])} | EVERYWHERE
        findings: list[Finding] = [
            (["?" + key], "unknown query parameter")
            for key, _ in parse_qsl(parts.query, keep_blank_values=True)
            if key not in query
        ]
        kind = request["body"]["kind"]
        if kind == "no_body":
            findings += [([], "this endpoint takes no body")] if body not in (None, {}) else []
        elif kind == "value":
            free = {name_of(one): {"kind": "user_defined_value"} for one in request.get("generics", [])}
            findings += self._value(request["body"]["value"], body, [], free)
        elif body is not None or any(prop["required"] for prop in request["body"]["properties"]):
            findings += self._body(request["body"]["properties"], body)
        return endpoint["name"], findings

    def _body(self, properties: list[Type], body: Any) -> list[Finding]:
        if not isinstance(body, dict):
            return [([], "an object is expected")]
        known = {name: prop for prop in properties for name in names_of(prop)}
        findings: list[Finding] = []
        for key, value in body.items():
            if key in known:
                findings += self._value(known[key]["type"], value, [key], {})
            else:
                findings.append(([key], "unknown property"))
        return findings + [
            ([prop["name"]], "is required")
            for prop in properties
            if prop["required"] and not any(name in body for name in names_of(prop))
        ]

    def _chain(self, one: Type) -> Iterator[Type]:
        yield one
        while one.get("inherits"):
            one = self.types[name_of(one["inherits"]["type"])]
            yield one

    def _value(self, given: Type, value: Any, at: list[Any], generics: dict[Name, Type]) -> list[Finding]:
        kind = given["kind"]
        if kind == "user_defined_value":
            return []
        if kind == "literal_value":
            wanted = given["value"]
            return [] if str(value).lower() == str(wanted).lower() else [(at, f"must be {wanted!r}")]
        if kind == "array_of":
            # Elasticsearch takes one for a list of one.
            values = value if isinstance(value, list) else [value]
            return [
                finding
                for number, each in enumerate(values)
                for finding in self._value(given["value"], each, [*at, number], generics)
            ]
        if kind == "dictionary_of":
            if not isinstance(value, dict):
                return [(at, "an object is expected")]
            return [
                finding
                for key, each in value.items()
                for part, inner in ((given["key"], key), (given["value"], each))
                for finding in self._value(part, inner, [*at, key], generics)
            ]
        if kind == "union_of":
            return self._union(given["items"], value, at, generics)
        name = name_of(given["type"])
        if name in generics:
            return self._value(generics[name], value, at, {})
        if name not in self.types and name[0] != "_builtins":
            return []
        return self._named(name, value, at, given.get("generics") or [])

    def _union(
        self, items: list[Type], value: Any, at: list[Any], generics: dict[Name, Type]
    ) -> list[Finding]:
        """Nothing where one fits, else the findings of the one that fits furthest."""
        best: list[Finding] = []
        for item in items:
            findings = self._value(item, value, at, generics)
            if not findings:
                return []
            if not best or max(len(one[0]) for one in findings) > max(len(one[0]) for one in best):
                best = findings
        return best

    def _named(self, name: Name, value: Any, at: list[Any], given: list[Type]) -> list[Finding]:
        if (plain := self._plain(name, value)) is not None:
            return [] if plain else [(at, f"{name[1]} expected, not {value!r}"[:160])]
        one = self.types[name]
        if one["kind"] == "enum":
            return self._enumeration(one, value, at)
        generics = dict(zip([name_of(each) for each in one.get("generics", [])], given, strict=False))
        if one["kind"] == "type_alias":
            return self._alias(one, value, at, generics)
        return self._interface(name, one, value, at, generics)

    @staticmethod
    def _plain(name: Name, value: Any) -> bool | None:
        """Whether a value of a type without a structure is right; None for any other type."""
        namespace, short = name
        if namespace == "_builtins":
            kinds: dict[str, bool] = {
                "string": isinstance(value, str | int | float | bool),
                "boolean": isinstance(value, bool) or value in ("true", "false"),
                "number": is_number(value),
                "null": value is None,
                "object": isinstance(value, dict),
            }
            return kinds.get(short, True)
        if namespace == "_types" and short in NUMBERS:
            return is_number(value)
        if namespace == "_types" and short == "Duration":
            return value in (0, "0", -1, "-1") or (isinstance(value, str) and bool(DURATION.fullmatch(value)))
        if namespace == "_types" and short == "ByteSize":
            return isinstance(value, int) or (isinstance(value, str) and bool(SIZE.fullmatch(value)))
        return None

    @staticmethod
    def _enumeration(one: Type, value: Any, at: list[Any]) -> list[Finding]:
        # Of privileges the contract lists all; those of actions have a colon.
        privilege = one["name"]["name"] in ("IndexPrivilege", "ClusterPrivilege") and ":" not in str(value)
        members = {each.lower() for member in one["members"] for each in names_of(member)}
        if str(value).lower() in members or (one.get("isOpen") and not privilege):
            return []
        return [(at, f"{value!r} is no {one['name']['name']}")]

    def _alias(self, one: Type, value: Any, at: list[Any], generics: dict[Name, Type]) -> list[Finding]:
        variants = one.get("variants") or {}
        tag = variants.get("tag")
        if not (tag and isinstance(value, dict) and one["type"]["kind"] == "union_of"):
            return self._value(one["type"], value, at, generics)
        wanted = value.get(tag, variants.get("defaultTag"))
        for item in one["type"]["items"]:
            candidate = self.types.get(name_of(item["type"]), {}) if item["kind"] == "instance_of" else {}
            for prop in candidate.get("properties", []):
                if prop["name"] == tag and prop["type"].get("value") == wanted:
                    return self._value(item, value, at, generics)
        if wanted is None and one["name"]["name"] == "Property" and "properties" in value:
            return self._named(("_types.mapping", "ObjectProperty"), value, at, [])
        return [([*at, tag], f"{wanted!r} is no {one['name']['name']}")]

    def _interface(
        self, name: Name, one: Type, value: Any, at: list[Any], generics: dict[Name, Type]
    ) -> list[Finding]:
        if one.get("shortcutProperty") and not isinstance(value, dict):
            value = {one["shortcutProperty"]: value}
        if not isinstance(value, dict):
            return [(at, f"{name[1]} expected, not {value!r}"[:160])]
        known: dict[str, Type] = {}
        required: list[Type] = []
        extra = None
        for each in self._chain(one):
            for behaviour in each.get("behaviors", []):
                if behaviour["type"]["name"].startswith("AdditionalPropert"):
                    extra = behaviour["generics"][1]
            for prop in each.get("properties", []):
                for key in names_of(prop):
                    known.setdefault(key, prop)
                required += [prop] if prop["required"] else []
        findings: list[Finding] = []
        for key, inner in value.items():
            if key in known:
                findings += self._value(known[key]["type"], inner, [*at, key], generics)
            elif name == ("indices._types", "IndexSettings"):
                findings += self._setting(key, inner, at)
            elif extra is not None:
                findings += self._value(extra, inner, [*at, key], generics)
            elif not key.startswith("_meta"):
                findings.append(([*at, key], f"unknown property of {name[1]}"))
        for prop in required:
            if not any(key in value for key in names_of(prop)):
                findings.append(([*at, prop["name"]], f"is required by {name[1]}"))
        if (one.get("variants") or {}).get("kind") == "container":
            chosen = [key for key in value if key in known and not known[key].get("containerProperty")]
            if len(chosen) != 1:
                findings.append((at, f"{name[1]} needs one of its kinds, not {chosen}"))
        if name == ("ilm._types", "Phases"):
            findings += self._phases(value, at)
        return findings

    def _setting(self, key: str, value: Any, at: list[Any]) -> list[Finding]:
        """`index.lifecycle.name` and the like, through the nested settings."""
        name: Name = ("indices._types", "IndexSettings")
        parts = key.removeprefix("index.").split(".")
        for number, part in enumerate(parts):
            known = {
                prop["name"]: prop["type"]
                for one in self._chain(self.types[name])
                for prop in one.get("properties", [])
            }
            rest = ".".join(parts[number:])
            if rest in known:
                return self._value(known[rest], value, [*at, key], {})
            if part not in known:
                return [([*at, key], "unknown index setting")]
            given = known[part]
            items = [given] if given["kind"] == "instance_of" else given.get("items", [])
            inner = [name_of(item["type"]) for item in items if item["kind"] == "instance_of"]
            nested = [each for each in inner if self.types.get(each, {}).get("kind") == "interface"]
            if not nested:
                return []
            name = nested[0]
        return []

    def _phases(self, phases: dict[str, Any], at: list[Any]) -> list[Finding]:
        """Which actions a phase may have: the contract says it in words, "Phases allowed: hot, warm."."""
        allowed = {
            prop["name"]: set(re.findall(r"\w+", match.group(1)))
            for prop in self.types["ilm._types", "Actions"]["properties"]
            if (match := re.search(r"Phases allowed: ([^.]*)\.", prop.get("description", "")))
        }
        return [
            ([*at, phase, "actions", action], f"is not allowed in the phase {phase}")
            for phase, content in phases.items()
            if isinstance(content, dict)
            for action in content.get("actions") or {}
            if action in allowed and phase not in allowed[action]
        ]
