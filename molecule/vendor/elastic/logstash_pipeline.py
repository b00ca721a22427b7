"""Logstash's pipeline files: a parser of their language, the options we use, and what our filters do.

For tests and the STAND-IN alone, written from Elastic's documentation. The language is whole (branches,
plugins, hashes, arrays, conditions); of the plugins it knows those and those options that files/logstash
uses, and refuses any other. It does not prove that the real Logstash compiles a file, nor that a plugin's
corner cases are these.
"""

from __future__ import annotations

import copy
import json
import operator
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedInput, VisitError

Event = dict[str, Any]

# Rules as in Logstash's own lscl_grammar.treetop, in words of our own.
GRAMMAR = r"""
start: section*
section: TYPE "{" statement* "}"
TYPE: "input" | "filter" | "output"
?statement: branch | plugin
branch: "if" condition block ("else" "if" condition block)* ("else" block)?
block: "{" statement* "}"
plugin: NAME "{" attribute* "}"
attribute: (NAME | STRING) "=>" value
?value: NAME -> bareword | STRING -> string | NUMBER -> number | array | hash | plugin
array: "[" [value ("," value)*] "]"
hash: "{" entry* "}"
entry: (NUMBER | NAME | STRING) "=>" value
condition: expression (BOOLEAN expression)*
?expression: "(" condition ")" -> group
  | "!" "(" condition ")" -> no_group
  | "!" SELECTOR -> absent
  | rvalue "in" rvalue -> within
  | rvalue "not" "in" rvalue -> without
  | rvalue COMPARE rvalue -> compare
  | rvalue MATCH (STRING | REGEXP) -> match
  | rvalue -> truth
?rvalue: STRING -> string | NUMBER -> number | SELECTOR -> selector | list
list: "[" [rvalue ("," rvalue)*] "]" -> array
BOOLEAN: "and" | "or" | "xor" | "nand"
COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
MATCH: "=~" | "!~"
SELECTOR.2: /(\[[^\]\[,"']+\])+/
NUMBER.1: /-?[0-9]+(\.[0-9]*)?(?![A-Za-z0-9_-])/
NAME: /[A-Za-z0-9_-]+/
STRING: /"([\\]"|[^"])*"|'([\\]'|[^'])*'/
REGEXP: /\/([\\]\/|[^\/])*\//
COMMENT: /#[^\r\n]*\r?\n/
%ignore /[ \t\r\n]+/
%ignore COMMENT
"""


class PipelineError(ValueError):
    """A file that Logstash would refuse; the message is one line."""


@dataclass(frozen=True)
class Plugin:
    name: str
    options: dict[str, Any]
    line: int


@dataclass(frozen=True)
class Branch:
    arms: list[tuple[Callable[[Event], bool], list[Any]]]


# What each plugin takes: of its documented options, those that files/logstash may use. Their documentation:
# https://www.elastic.co/docs/reference/logstash/plugins/plugins-<type>s-<name>
COMMON_FILTER = {"add_field", "remove_field", "add_tag", "remove_tag", "id"}
PLUGINS: dict[tuple[str, str], set[str]] = {
    ("input", "beats"): {
        "id", "host", "port", "ssl_enabled", "ssl_certificate", "ssl_key", "ssl_supported_protocols",
        "enrich", "client_inactivity_timeout",
    },
    ("input", "dead_letter_queue"): {"id", "path", "pipeline_id", "commit_offsets", "clean_consumed"},
    ("filter", "mutate"): {"rename", "replace", "convert", "gsub", "uppercase", "copy", *COMMON_FILTER},
    ("filter", "json"): {"source", "target", "tag_on_failure", *COMMON_FILTER},
    ("filter", "grok"): {"match", "pattern_definitions", "tag_on_failure", *COMMON_FILTER},
    ("filter", "translate"): {"source", "target", "dictionary", "fallback", "override", *COMMON_FILTER},
    ("filter", "date"): {"match", "target", "locale", "timezone", "tag_on_failure", *COMMON_FILTER},
    ("filter", "prune"): {"interpolate", "whitelist_names", *COMMON_FILTER},
    ("filter", "uuid"): {"target", "overwrite", *COMMON_FILTER},
    ("output", "elasticsearch"): {
        "id", "hosts", "user", "password", "ssl_enabled", "ssl_certificate_authorities", "index",
        "document_id", "action", "data_stream", "ilm_enabled", "manage_template",
    },
}  # fmt: skip
REQUIRED = {
    ("input", "beats"): {"port"},
    ("input", "dead_letter_queue"): {"path"},
    ("filter", "json"): {"source"},
    ("filter", "translate"): {"source"},
    ("filter", "uuid"): {"target"},
}
# Gone since 9.0, with what took their place: Elastic's list of breaking changes.
REMOVED = {
    "ssl": "ssl_enabled", "cacert": "ssl_certificate_authorities", "cipher_suites": "ssl_cipher_suites",
    "ssl_verify_mode": "ssl_client_authentication", "ssl_certificate_verification": "ssl_verification_mode",
    "tls_min_version": "ssl_supported_protocols", "tls_max_version": "ssl_supported_protocols",
    "keystore": "ssl_keystore_path", "truststore": "ssl_truststore_path",
}  # fmt: skip
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def unquote(token: str) -> str:
    return token[1:-1]


def python_regex(pattern: str) -> str:
    """Ruby's (Oniguruma's) `(?m` is Python's `(?s`, and its ^ and $ stand at every line."""
    return "(?m)" + pattern.replace("(?m", "(?s")


def path_of(reference: str) -> list[str]:
    return re.findall(r"\[([^\]]+)\]", reference) if reference.startswith("[") else [reference]


def get(event: Event, reference: str) -> Any:
    value: Any = event
    for key in path_of(reference):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def put(event: Event, reference: str, value: Any) -> None:
    *parents, last = path_of(reference)
    target = event
    for key in parents:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[last] = value


def drop(event: Event, reference: str) -> None:
    *parents, last = path_of(reference)
    holder = get(event, "".join(f"[{key}]" for key in parents)) if parents else event
    if isinstance(holder, dict):
        holder.pop(last, None)


def fill(text: str, event: Event) -> str:
    """%{field} as Logstash fills it; an unknown field stays as it is written."""

    def one(found: re.Match[str]) -> str:
        value = get(event, found[1])
        return (
            found[0] if value is None else json.dumps(value) if isinstance(value, dict | list) else str(value)
        )

    return re.sub(r"%\{([^+}][^}]*)\}", one, text)


def tag(event: Event, names: list[str] | str) -> None:
    for name in [names] if isinstance(names, str) else names:
        if name not in event.setdefault("tags", []):
            event["tags"].append(name)


class Build(Transformer[Token, Any]):
    """From lark's tree to sections of plugins and branches; conditions become functions of an event."""

    def start(self, sections: list[Any]) -> list[Any]:
        return sections

    def section(self, children: list[Any]) -> tuple[str, list[Any]]:
        return str(children[0]), children[1:]

    def block(self, children: list[Any]) -> Tree[Any]:
        return Tree("block", children)

    def branch(self, children: list[Any]) -> Branch:
        arms: list[tuple[Callable[[Event], bool], list[Any]]] = []
        pending: Callable[[Event], bool] = lambda _event: True  # noqa: E731
        for child in children:
            if isinstance(child, Tree):
                arms.append((pending, child.children))
                pending = lambda _event: True  # noqa: E731
            else:
                pending = child
        return Branch(arms)

    def plugin(self, children: list[Any]) -> Plugin:
        options: dict[str, Any] = {}
        for name, value in children[1:]:
            if isinstance(options.get(name), dict) and isinstance(value, dict):
                options[name] = {**options[name], **value}
            else:
                options[name] = value
        return Plugin(str(children[0]), options, children[0].line)

    def attribute(self, children: list[Any]) -> tuple[str, Any]:
        return str(children[0]).strip("\"'"), children[1]

    entry = attribute

    def string(self, children: list[Token]) -> Any:
        return unquote(children[0])

    def bareword(self, children: list[Token]) -> Any:
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]+", children[0]):
            raise PipelineError(f"line {children[0].line}: {children[0]} needs quotes")
        return {"true": True, "false": False}.get(str(children[0]), str(children[0]))

    def number(self, children: list[Token]) -> Any:
        return float(children[0]) if "." in children[0] else int(children[0])

    def array(self, children: list[Any]) -> list[Any]:
        return [child for child in children if child is not None]

    def hash(self, children: list[Any]) -> dict[str, Any]:
        return dict(children)

    def selector(self, children: list[Token]) -> Callable[[Event], Any]:
        reference = str(children[0])
        return lambda event: get(event, reference)

    def condition(self, children: list[Any]) -> Callable[[Event], bool]:
        def judge(event: Event) -> bool:
            # `and` binds closer than `or`, as in Ruby's &&.
            results = [any_true := [children[0](event)]]
            for word, expression in zip(children[1::2], children[2::2], strict=True):
                if word == "and":
                    any_true.append(expression(event))
                elif word == "or":
                    results.append(any_true := [expression(event)])
                else:
                    raise PipelineError(f"this reader does not know {word}")
            return any(all(group) for group in results)

        return judge

    def group(self, children: list[Any]) -> Callable[[Event], bool]:
        found: Callable[[Event], bool] = children[0]
        return found

    def no_group(self, children: list[Any]) -> Callable[[Event], bool]:
        return lambda event: not children[0](event)

    def absent(self, children: list[Token]) -> Callable[[Event], bool]:
        reference = str(children[0])
        return lambda event: not there(get(event, reference))

    def truth(self, children: list[Any]) -> Callable[[Event], bool]:
        return lambda event: there(value_of(children[0], event))

    def within(self, children: list[Any]) -> Callable[[Event], bool]:
        def judge(event: Event) -> bool:
            left, right = (value_of(child, event) for child in children)
            return left is not None and right is not None and left in right

        return judge

    def without(self, children: list[Any]) -> Callable[[Event], bool]:
        judge = self.within(children)
        return lambda event: not judge(event)

    def compare(self, children: list[Any]) -> Callable[[Event], bool]:
        left, sign, right = children

        def judge(event: Event) -> bool:
            one, other = value_of(left, event), value_of(right, event)
            if one is None and sign not in ("==", "!="):
                return False
            return bool(COMPARE[sign](one, other))

        return judge

    def match(self, children: list[Any]) -> Callable[[Event], bool]:
        left, sign, pattern = children
        wanted = re.compile(python_regex(unquote(pattern)))

        def judge(event: Event) -> bool:
            value = value_of(left, event)
            found = value is not None and wanted.search(str(value)) is not None
            return found == (sign == "=~")

        return judge


def there(value: Any) -> bool:
    """What an `if` takes for true: also 0 and an empty string."""
    return value is not None and value is not False


def value_of(given: Any, event: Event) -> Any:
    if callable(given):
        return given(event)
    return [value_of(item, event) for item in given] if isinstance(given, list) else given


PARSER = Lark(GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def parse(text: str) -> list[tuple[str, list[Any]]]:
    """Sections of a file, or PipelineError with line and column."""
    try:
        tree = PARSER.parse(text)
    except UnexpectedInput as error:
        raise PipelineError(
            f"line {error.line}, column {error.column}: {error.get_context(text).splitlines()[0].strip()}"
        ) from None
    for table in tree.find_data("hash"):
        for one, other in zip(table.children, table.children[1:], strict=False):
            if text[one.meta.end_pos : other.meta.start_pos].strip():  # type: ignore[union-attr]
                raise PipelineError(
                    f"line {one.meta.end_line}: only spaces may stand between two entries of a hash"
                )  # type: ignore[union-attr]
    try:
        built: list[tuple[str, list[Any]]] = Build().transform(tree)
    except VisitError as error:
        raise error.orig_exc from None
    return built


def plugins(sections: list[tuple[str, list[Any]]]) -> Iterator[tuple[str, Plugin]]:
    """Every plugin with the kind of its section, also those in branches."""

    def walk(kind: str, statements: list[Any]) -> Iterator[tuple[str, Plugin]]:
        for statement in statements:
            if isinstance(statement, Plugin):
                yield kind, statement
            else:
                for _, inner in statement.arms:
                    yield from walk(kind, inner)

    for kind, statements in sections:
        yield from walk(kind, statements)


def check(sections: list[tuple[str, list[Any]]]) -> None:
    """Refuse what Logstash would not compile: unknown plugins, unknown, removed or missing options."""
    for kind, plugin in plugins(sections):
        key, where = (kind, plugin.name), f"line {plugin.line}: {kind} {plugin.name}"
        if key not in PLUGINS:
            raise PipelineError(f"{where}: no such plugin is known here")
        for option in plugin.options:
            if option in REMOVED:
                raise PipelineError(f"{where}: {option} is gone since 9.0, use {REMOVED[option]}")
            if option not in PLUGINS[key]:
                raise PipelineError(f"{where}: unknown setting {option}")
        if lacking := REQUIRED.get(key, set()) - set(plugin.options):
            raise PipelineError(f"{where}: needs {', '.join(sorted(lacking))}")


def with_environment(value: Any, known: dict[str, str]) -> Any:
    """${NAME} from the keystore or the environment, as Logstash does before it compiles."""

    def one(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(":")
        if name not in known and ":" not in found[1]:
            raise PipelineError(
                f"cannot evaluate ${{{name}}}: neither the keystore nor the environment has it"
            )
        return known.get(name, default)

    if isinstance(value, str):
        return re.sub(r"\$\{([^}]+)\}", one, value)
    if isinstance(value, list):
        return [with_environment(item, known) for item in value]
    if isinstance(value, dict):
        return {key: with_environment(item, known) for key, item in value.items()}
    return value


# --- what the filters do ---

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


def mutate(options: dict[str, Any], event: Event) -> None:
    """In the plugin's own order: rename, replace, convert, gsub, uppercase, copy."""
    for old, new in options.get("rename", {}).items():
        if (value := get(event, old)) is not None:
            drop(event, old)
            put(event, new, value)
    for name, text in options.get("replace", {}).items():
        put(event, name, fill(text, event))
    for name, kind in options.get("convert", {}).items():
        if (value := get(event, name)) is not None:
            put(event, name, {"string": str, "float": float, "integer": int}[kind](value))
    triples = options.get("gsub", [])
    for name, pattern, new in zip(triples[::3], triples[1::3], triples[2::3], strict=True):
        if isinstance(value := get(event, name), str):
            put(event, name, re.sub(python_regex(pattern), new, value))
    for name in options.get("uppercase", []):
        if isinstance(value := get(event, name), str):
            put(event, name, value.upper())
    for old, new in options.get("copy", {}).items():
        if (value := get(event, old)) is not None:
            put(event, new, copy.deepcopy(value))


def read_json(options: dict[str, Any], event: Event) -> bool:
    if (text := get(event, options["source"])) is None:
        return True
    try:
        put(event, options["target"], json.loads(text))
    except (ValueError, RecursionError):
        tag(event, options.get("tag_on_failure", ["_jsonparsefailure"]))
        return False
    return True


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
        if (value := get(event, source)) is None or not (found := re.search(python_regex(wanted), value)):
            continue
        for number, target in enumerate(targets, 1):
            put(event, target, found[f"g{number}"])
        return True
    tag(event, options.get("tag_on_failure", ["_grokparsefailure"]))
    return False


def translate(options: dict[str, Any], event: Event) -> bool:
    """Without the source nothing happens, not even the fallback."""
    target = options.get("target", options["source"])
    there = get(event, target) is not None and not options.get("override", target == options["source"])
    if there or (value := get(event, options["source"])) is None:
        return True
    found = options["dictionary"].get(str(value), options.get("fallback"))
    if found is not None:
        put(event, target, fill(found, event))
    return True


def zone_of(name: str) -> tzinfo:
    if found := re.fullmatch(r"([+-])(\d\d):?(\d\d)", name):
        minutes = int(found[2]) * 60 + int(found[3])
        return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
    return ZoneInfo(name)


def date(options: dict[str, Any], event: Event) -> bool:
    source, *forms = options["match"]
    if not isinstance(text := get(event, source), str):
        return True
    for form in forms:
        try:
            if form == "ISO8601":
                when = datetime.fromisoformat(text)
            else:
                when = datetime.strptime(text, re.sub("|".join(JODA), lambda found: JODA[found[0]], form))
            if when.tzinfo is None:
                when = when.replace(tzinfo=zone_of(fill(options.get("timezone", "UTC"), event)))
        except (ValueError, KeyError):
            continue
        moment = when.astimezone(timezone.utc)  # noqa: UP017
        put(
            event,
            options.get("target", "@timestamp"),
            moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        return True
    tag(event, options.get("tag_on_failure", ["_dateparsefailure"]))
    return False


def prune(options: dict[str, Any], event: Event) -> bool:
    kept = [re.compile(name) for name in options["whitelist_names"]]
    for name in list(event):
        if name != "@metadata" and not any(pattern.search(name) for pattern in kept):
            del event[name]
    return True


def give_id(options: dict[str, Any], event: Event) -> bool:
    if options.get("overwrite") or get(event, options["target"]) is None:
        put(event, options["target"], str(uuid.uuid4()))
    return True


FILTERS: dict[str, Callable[[dict[str, Any], Event], bool | None]] = {
    "mutate": mutate, "json": read_json, "grok": grok, "translate": translate, "date": date, "prune": prune,
    "uuid": give_id,
}  # fmt: skip


def run(statements: list[Any], event: Event) -> None:
    """An event through the statements of filter sections, changed in place."""
    for statement in statements:
        if isinstance(statement, Branch):
            for condition, inner in statement.arms:
                if condition(event):
                    run(inner, event)
                    break
        elif FILTERS[statement.name](statement.options, event) is not False:
            for name, text in statement.options.get("add_field", {}).items():
                put(event, fill(name, event), fill(text, event))
            for name in statement.options.get("remove_field", []):
                drop(event, fill(name, event))
            tag(event, statement.options["add_tag"]) if "add_tag" in statement.options else None


@dataclass
class Pipeline:
    """All files of one pipeline, in the order of their names, as Logstash puts them together."""

    inputs: list[Plugin]
    filters: list[Any]
    outputs: list[Plugin]

    @classmethod
    def read(cls, files: list[Path], known: dict[str, str] | None = None) -> Pipeline:
        known = dict(os.environ) if known is None else known
        parts: dict[str, list[Any]] = {"input": [], "filter": [], "output": []}
        for file in sorted(files):
            try:
                sections = parse(file.read_text(encoding="utf-8"))
                check(sections)
                for kind, statements in sections:
                    if kind != "filter":
                        statements = [
                            Plugin(plugin.name, with_environment(plugin.options, known), plugin.line)
                            for plugin in statements
                        ]
                    parts[kind] += statements
            except PipelineError as error:
                raise PipelineError(f"{file}: {error}") from None
        return cls(parts["input"], parts["filter"], parts["output"])

    def filter(self, event: Event) -> Event:
        made = copy.deepcopy(event)
        made.setdefault("@metadata", {})
        run(self.filters, made)
        return made
