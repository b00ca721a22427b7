"""Answers that are kept for requests that come again, and batches listed newest first.

Revision ID: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)
INDEXES = {
    "batches_newest": ["created_at", "id"],
    "batches_collection_newest": ["collection_id", "created_at", "id"],
}


def upgrade() -> None:
    # Photos go on coming in while they are built.
    with op.get_context().autocommit_block():
        for name, columns in INDEXES.items():
            op.create_index(name, "batches", columns, postgresql_concurrently=True, if_not_exists=True)
    op.create_table(
        "kept_answers",
        sa.Column("key_id", UUID, sa.ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("token", UUID, nullable=False),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("status", sa.Integer),
        sa.Column("headers", JSONB, nullable=False, server_default="{}"),
        sa.Column("body", sa.Text),
        sa.Column("made", sa.Text),
    )
    op.create_index("kept_answers_created", "kept_answers", ["created_at"])


def downgrade() -> None:
    op.drop_table("kept_answers")
    for name in INDEXES:
        op.drop_index(name, "batches")
