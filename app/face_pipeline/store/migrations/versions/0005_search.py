"""Faces that came as an embedding: they have no photo.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("faces", "photo_id", nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM faces WHERE photo_id IS NULL")
    op.alter_column("faces", "photo_id", nullable=False)
