"""Remove a collection without reading the ledger for each of its uploads.

Revision ID: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Photos go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            "photos_batch",
            "photos",
            ["batch_id"],
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    op.drop_index("photos_batch", "photos")
