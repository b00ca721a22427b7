"""Keys of one service of CompreFace.

Revision ID: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("service", sa.Text))


def downgrade() -> None:
    op.drop_column("api_keys", "service")
