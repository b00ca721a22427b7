"""Embeddings of another model pack beside those that are searched, and which pack a collection is moved to.

The release before this one knows of neither.

Revision ID: 0021
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import REAL, UUID

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("collections", sa.Column("other_contract_id", sa.Text))
    sides = [
        sa.Column(f"{side}_{name}", kind, nullable=False)
        for side in ("source", "target")
        for name, kind in (
            ("contract", sa.Text), ("pack", sa.Text), ("dimension", sa.Integer), ("threshold", REAL)
        )
    ]  # fmt: skip
    op.create_table(
        "reembeddings",
        sa.Column("id", sa.SmallInteger, primary_key=True, server_default="1"),
        *sides,
        sa.Column("began_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("through_at", sa.TIMESTAMP(timezone=True)),
        sa.CheckConstraint("id = 1", name="reembeddings_one"),
    )
    op.create_table(
        "reembedding_photos",
        sa.Column("photo_id", UUID, sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("more_faces", sa.Integer, nullable=False),
    )
    op.create_table(
        "face_embeddings",
        sa.Column("face_id", UUID, sa.ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("embedding", HALFVEC, nullable=False),
    )


def downgrade() -> None:
    for table in ("face_embeddings", "reembedding_photos", "reembeddings"):
        op.drop_table(table)
    op.drop_column("collections", "other_contract_id")
