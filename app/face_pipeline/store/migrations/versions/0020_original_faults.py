"""Which originals the indexer found missing or damaged, and how far it has read all of them.

The release before this one knows of neither.

Revision ID: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

INDEX = "photos_original_fault"


def upgrade() -> None:
    op.add_column("photos", sa.Column("original_fault", sa.Text))
    op.create_table(
        "original_rounds",
        sa.Column("began_at", sa.TIMESTAMP(timezone=True), primary_key=True, server_default=sa.func.now()),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("after", sa.Text, nullable=False, server_default=""),
    )
    # Photos go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            INDEX,
            "photos",
            ["sha256"],
            postgresql_where=sa.text("original_fault IS NOT NULL"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, "photos")
    op.drop_table("original_rounds")
    op.drop_column("photos", "original_fault")
