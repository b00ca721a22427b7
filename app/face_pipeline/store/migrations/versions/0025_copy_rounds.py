"""Hosts that keep copies of the originals, and how the last comparison with each of them went.

Revision ID: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    def count(name: str, kind: type[sa.types.TypeEngine[int]] = sa.BigInteger) -> sa.Column[int]:
        return sa.Column(name, kind, nullable=False, server_default=sa.text("0"))

    op.create_table(
        "copy_rounds",
        sa.Column("host", sa.Text, primary_key=True),
        count("place", sa.SmallInteger),
        *(count(name) for name in ("found", "lacking", "held", "missing")),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("away_since", sa.TIMESTAMP(timezone=True)),
    )


def downgrade() -> None:
    op.drop_table("copy_rounds")
