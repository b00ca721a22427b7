"""docs/privacy.md leaves out no table of the database."""

from __future__ import annotations

import re

from face_pipeline.store.models import Base

from tests.photos import ROOT


def test_every_table_is_told_of_and_no_other() -> None:
    text = (ROOT / "docs/privacy.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and "PostgreSQL, " in line]
    told = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[2])}
    assert told == {table.name for table in Base.metadata.sorted_tables}
