"""How the packs of a move agree on what people search, and how often each finds the right person: counts, in
its own row.

The release before this one leaves the columns as they are.

Revision ID: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

COUNTS = (
    "right_source", "right_target",
    "shadow_percent", "shadow_searches", "shadow_faces", "shadow_unfound", "shadow_person", "shadow_face",
)  # fmt: skip


def upgrade() -> None:
    for name in COUNTS:
        op.add_column(
            "reembeddings", sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
        )
    op.add_column(
        "reembeddings", sa.Column("shadow_shared", sa.Double, nullable=False, server_default=sa.text("0"))
    )


def downgrade() -> None:
    for name in (*COUNTS, "shadow_shared"):
        op.drop_column("reembeddings", name)
