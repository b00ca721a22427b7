"""Answers as CSV, row by row: for people with a spreadsheet, however many rows there are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from flask import Response

MEDIA_TYPE = "text/csv"
# By this a spreadsheet knows the file as UTF-8; programs read it as `utf-8-sig`.
BYTE_ORDER_MARK = "\ufeff"
# A cell that begins so is a formula for some spreadsheet, and may send the others away.
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Of one piece that goes out.
ROWS_AT_ONCE = 200

Cell = str | int | float | None


def answer(name: str, header: Sequence[str], rows: Iterator[Sequence[Cell]]) -> Response:
    """A file `name`. The first row is read before the answer begins, so that its errors are told."""
    first = list(islice(rows, 1))
    response = Response(_pieces(chain([header], first, rows)), mimetype=MEDIA_TYPE)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _pieces(rows: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    left, begins = iter(rows), BYTE_ORDER_MARK
    while some := list(islice(left, ROWS_AT_ONCE)):
        text = io.StringIO(newline="")
        # RFC 4180: lines end with CR LF.
        csv.writer(text).writerows([defused(cell) for cell in row] for row in some)
        yield (begins + text.getvalue()).encode()
        begins = ""


def defused(cell: Cell) -> Cell:
    """The cell, which no spreadsheet takes for a formula: before text that begins like one stands a quote."""
    if isinstance(cell, str) and cell.startswith(FORMULA_BEGINS):
        return f"'{cell}"
    return cell
