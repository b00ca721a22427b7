"""How long a collection keeps originals and unknown faces, and the list of what was erased.

The release before keeps all originals, and puts nothing on the list.

Revision ID: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEX = "photos_original_there"
DAYS = ("originals_days", "unknown_faces_days")


def upgrade() -> None:
    for name in DAYS:
        op.add_column("collections", sa.Column(name, sa.Integer))
    op.create_table(
        "erasures",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.add_column("photos", sa.Column("original_removed_at", sa.TIMESTAMP(timezone=True)))
    # To find those whose time has come among many that went. Photos go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            INDEX,
            "photos",
            ["collection_id", "finished_at"],
            postgresql_where=sa.text("state = 'done' AND original_removed_at IS NULL"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    op.drop_index(INDEX, "photos")
    op.drop_column("photos", "original_removed_at")
    op.drop_table("erasures")
    for name in DAYS:
        op.drop_column("collections", name)
