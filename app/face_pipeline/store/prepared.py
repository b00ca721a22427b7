"""Statements that PostgreSQL plans once a connection, and SQLAlchemy compiles once a process.

For those that run for each photo: to plan the one that ends a photo takes PostgreSQL as long as to run it,
and what SQLAlchemy does around a statement costs as much as the driver. It is for statements that find their
rows by keys: the plan serves whatever the parameters are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from sqlalchemy import Connection, Dialect, SelectBase
from sqlalchemy.dialects.postgresql.psycopg2 import dialect as psycopg2_dialect
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import NullType, TypeEngine

# Of a driver's parameters: %(name)s.
PARAMETER = re.compile(r"%\((\w+)\)s")
# What a connection has prepared, in its `info`, which ends with the connection.
KNOWN = "prepared"

# What makes of a value what the driver takes; None: nothing is to do.
Converter: TypeAlias = Callable[[Any], Any] | None

_DIALECT: Dialect = psycopg2_dialect()  # type: ignore[no-untyped-call]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class _Texts:
    """What prepares the statement, with the values that never change, and what executes it."""

    prepare: str
    fixed: dict[str, Any]
    execute: str
    convert: dict[str, Converter]


class Prepared:
    """A statement of SQLAlchemy's Core. Its parameters need a type, unless PostgreSQL sees by their place in
    the statement what they are. Rows are tuples of what the driver makes of the columns."""

    def __init__(self, statement: SelectBase | UpdateBase) -> None:
        self._statement = statement
        self.name = f"face_{next(_numbers)}"

    def execute(self, connection: Connection, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run it with all its parameters; its rows, if it has some. Raises as `Connection.execute` does."""
        texts = self._texts
        known = connection.info.setdefault(KNOWN, set())
        if self.name not in known:
            connection.exec_driver_sql(texts.prepare, texts.fixed)
            known.add(self.name)
        values = {name: _converted(convert, given[name]) for name, convert in texts.convert.items()}
        cursor = connection.connection.cursor()
        try:
            cursor.execute(texts.execute, values)
            return list(cursor.fetchall()) if cursor.description else []
        except Exception as error:
            # SQLAlchemy's own: its class of error, and no connection that was lost goes back to the pool.
            connection._handle_dbapi_exception(error, texts.execute, values, cursor, None)
        finally:
            cursor.close()

    @cached_property
    def _texts(self) -> _Texts:
        compiled = self._statement.compile(dialect=_DIALECT)
        text, binds = str(compiled), compiled.binds
        names = list(dict.fromkeys(PARAMETER.findall(text)))
        given = [name for name in names if binds[name].required]
        converters = {name: _converter(binds[name].type) for name in names}
        fixed = {name: _converted(converters[name], binds[name].value) for name in names if name not in given}
        numbers = {name: f"${number}" for number, name in enumerate(given, 1)}
        body = PARAMETER.sub(lambda found: numbers.get(found[1], found[0]), text)
        types = ", ".join(_type(binds[name].type) for name in given)
        return _Texts(
            f"PREPARE {self.name} ({types}) AS {body}",
            fixed,
            f"EXECUTE {self.name} ({', '.join(f'%({name})s' for name in given)})",
            {name: converters[name] for name in given},
        )


def _converter(type_: TypeEngine[Any]) -> Converter:
    return type_.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _converted(convert: Converter, value: Any) -> Any:
    return value if convert is None else convert(value)


def _type(type_: TypeEngine[Any]) -> str:
    """As PREPARE takes it; unknown: what PostgreSQL finds where the parameter stands."""
    return "unknown" if isinstance(type_, NullType) else str(type_.compile(_DIALECT))
