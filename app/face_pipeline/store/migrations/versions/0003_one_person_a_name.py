"""One person a name in a collection, however it is spelled: `name_key`.

Nobody is merged: whether "anna" and "Anna" are one is for people to say. Where persons share a name already,
the earliest gets the key, so that new spellings are theirs; the others keep faces and photos and are found by
their very spelling. The column may be empty, so that the release before this one still writes.

Revision ID: 0003
"""

import logging
import unicodedata
from itertools import islice

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 5000
PERSONS = sa.table("persons", sa.column("id"), sa.column("collection_id"), sa.column("name"),
                   sa.column("name_key"), sa.column("created_at"))  # fmt: skip


def upgrade() -> None:
    # Who removes a person asks for their photos. Photos go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            "photos_person",
            "photos",
            ["person_id"],
            postgresql_where=sa.text("person_id IS NOT NULL"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
    op.add_column("persons", sa.Column("name_key", sa.Text))
    _fill(op.get_bind())
    op.create_unique_constraint("persons_name_key", "persons", ["collection_id", "name_key"])


def _fill(connection: sa.Connection) -> None:
    taken: set[tuple[int, str]] = set()
    keys, left = [], 0
    for row in connection.execute(sa.select(PERSONS).order_by(PERSONS.c.created_at, PERSONS.c.id)):
        key = _name_key(row.name)
        if (row.collection_id, key) in taken:
            left += 1
            continue
        taken.add((row.collection_id, key))
        keys.append({"person": row.id, "key": key})
    change = (
        sa.update(PERSONS).where(PERSONS.c.id == sa.bindparam("person")).values(name_key=sa.bindparam("key"))
    )
    rows = iter(keys)
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        connection.execute(change, chunk)
    if left:
        log.warning(
            "%d of the persons have an earlier person's name in another spelling; all are kept",
            left, extra={"operation": "migrate", "count": left},
        )  # fmt: skip


def _name_key(name: str) -> str:
    """persons.name_key as it was when this was written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def downgrade() -> None:
    op.drop_index("photos_person", "photos")
    op.drop_column("persons", "name_key")
