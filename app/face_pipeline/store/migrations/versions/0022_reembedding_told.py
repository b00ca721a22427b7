"""How far a move to another model pack is, in its own row: whoever asks each few seconds counts no photos.

The release before this one leaves the columns empty.

Revision ID: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

COUNTS = (
    "photos_waiting", "photos_done", "photos_missing", "photos_damaged", "photos_refused",
    "faces_left", "searches", "agreed",
)  # fmt: skip


def upgrade() -> None:
    op.add_column("reembeddings", sa.Column("looked_at", sa.TIMESTAMP(timezone=True)))
    for name in COUNTS:
        op.add_column(
            "reembeddings", sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
        )


def downgrade() -> None:
    for name in (*COUNTS, "looked_at"):
        op.drop_column("reembeddings", name)
