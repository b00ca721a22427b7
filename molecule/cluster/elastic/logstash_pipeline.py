"""Logstash's pipeline files: a parser of their language, the options we use, and how their statements follow.

For tests and the STAND-IN alone, written from Elastic's documentation. The language is whole (branches,
plugins, hashes, arrays, conditions); of the plugins it knows those and those options that files/logstash
uses, and refuses any other. Conditions are judged in logstash_events.py, filters done in logstash_filters.py.
It does not prove that the real Logstash compiles a file, nor that a plugin's corner cases are these.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedInput, VisitError
from logstash_events import ConditionError, Event, Judge, compare, get, matches, python_regex, true, within
from logstash_filters import apply

__all__ = ["ConditionError", "Pipeline", "PipelineError", "check", "parse", "plugins", "run"]

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
    arms: list[tuple[Judge, list[Any]]]


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
    ("filter", "json"): {"source", "target", "tag_on_failure", "skip_on_invalid_json", *COMMON_FILTER},
    ("filter", "grok"): {"match", "pattern_definitions", "tag_on_failure", *COMMON_FILTER},
    ("filter", "translate"): {"source", "target", "dictionary", "fallback", "override", *COMMON_FILTER},
    ("filter", "date"): {"match", "target", "locale", "timezone", "tag_on_failure", *COMMON_FILTER},
    ("filter", "prune"): {"interpolate", "whitelist_names", *COMMON_FILTER},
    ("filter", "uuid"): {"target", "overwrite", *COMMON_FILTER},
    ("output", "elasticsearch"): {
        "id", "hosts", "user", "password", "ssl_enabled", "ssl_certificate_authorities", "index",
        "document_id", "action", "data_stream", "ilm_enabled", "manage_template", "silence_errors_in_log",
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


def unquote(token: str) -> str:
    return token[1:-1]


class Build(Transformer[Token, Any]):
    """From lark's tree to sections of plugins and branches; conditions become functions of an event."""

    def start(self, sections: list[Any]) -> list[Any]:
        return sections

    def section(self, children: list[Any]) -> tuple[str, list[Any]]:
        return str(children[0]), children[1:]

    def block(self, children: list[Any]) -> Tree[Any]:
        return Tree("block", children)

    def branch(self, children: list[Any]) -> Branch:
        arms: list[tuple[Judge, list[Any]]] = []
        pending: Judge = lambda _event: True  # noqa: E731
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

    def condition(self, children: list[Any]) -> Judge:
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

    def group(self, children: list[Any]) -> Judge:
        found: Judge = children[0]
        return found

    def no_group(self, children: list[Any]) -> Judge:
        return lambda event: not children[0](event)

    def absent(self, children: list[Token]) -> Judge:
        reference = str(children[0])
        return lambda event: not true(get(event, reference))

    def truth(self, children: list[Any]) -> Judge:
        return lambda event: true(value_of(children[0], event))

    def within(self, children: list[Any]) -> Judge:
        left, right = children
        return lambda event: within(
            value_of(left, event), value_of(right, event), callable(left), callable(right)
        )

    def without(self, children: list[Any]) -> Judge:
        judge = self.within(children)
        return lambda event: not judge(event)

    def compare(self, children: list[Any]) -> Judge:
        left, sign, right = children
        return lambda event: compare(value_of(left, event), str(sign), value_of(right, event))

    def match(self, children: list[Any]) -> Judge:
        left, sign, pattern = children
        wanted = re.compile(python_regex(unquote(pattern)))
        return lambda event: matches(value_of(left, event), wanted) == (sign == "=~")


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


def run(statements: list[Any], event: Event) -> None:
    """An event through the statements of filter sections, changed in place."""
    for statement in statements:
        if isinstance(statement, Branch):
            for condition, inner in statement.arms:
                if condition(event):
                    run(inner, event)
                    break
        else:
            apply(statement.name, statement.options, event)


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
