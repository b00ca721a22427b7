"""What is there after the faults: rows, files, the audit's chain, alerts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A photo of the ledger, and the boxes of its faces, rounded to pixels."""

    photo: str
    sha256: str
    state: str
    reason: str | None
    faces: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Alert:
    name: str
    began: float
    ended: float


@dataclass(frozen=True)
class Happened:
    """A fault as it was: `healthy` is when the service was ready again. `may`: alerts that it may raise.

    `must`: those of which one has to fire where it lasts more than a minute.
    """

    number: int
    kind: str
    target: str
    began: float
    healed: float
    healthy: float
    may: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    error: str = ""
    # What it was on the host: a process, a file.
    hit: str = ""
    # What came back last.
    last: str = ""


@dataclass
class Evidence:
    """`files`: the SHA-256 of each original by its name, which is the SHA-256 that it should have."""

    rows: list[Row]
    files: dict[str, str]
    chain_fault: str | None = None
    alerts: list[Alert] = field(default_factory=list)
    # Originals that other collections named before.
    before: frozenset[str] = frozenset()
    # Of each host that keeps copies of originals, as `files`.
    copies: dict[str, dict[str, str]] = field(default_factory=dict)
    # Of each host of the database, where an index does not say what its table has.
    indexes: list[str] = field(default_factory=list)


# Of a row of PostgreSQL's, as JSON: both the hosts' evidence and the tests' own read with it.
ROWS = """
SELECT coalesce(json_agg(json_build_object('photo', p.id, 'sha256', p.sha256, 'state', p.state,
  'reason', p.reason_code, 'faces', (SELECT coalesce(json_agg(f.bbox ORDER BY f.position), '[]'::json)
  FROM faces f WHERE f.photo_id = p.id))), '[]'::json)
FROM photos p JOIN collections c ON c.id = p.collection_id WHERE c.name = '{collection}'
"""


def rows(found: list[dict[str, object]]) -> list[Row]:
    """What ROWS gave."""
    made = []
    for row in found:
        boxes = row["faces"]
        assert isinstance(boxes, list)
        faces = tuple(tuple(round(float(side)) for side in box) for box in boxes)
        reason = None if row["reason"] is None else str(row["reason"])
        made.append(Row(str(row["photo"]), str(row["sha256"]), str(row["state"]), reason, faces))
    return made
