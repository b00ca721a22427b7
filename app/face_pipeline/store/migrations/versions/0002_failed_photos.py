"""Count failed photos without reading the ledger.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Photos go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            "photos_failed",
            "photos",
            ["received_at"],
            postgresql_where=sa.text("state = 'failed'"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    op.drop_index("photos_failed", "photos")
