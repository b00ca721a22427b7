"""What pages need: thumbnails, the cover of a person, and indexes for lists of photos.

Pictures are kept as they are: a JPEG cannot be compressed again. The cover has no foreign key: a face that
goes would change its person, against the order of locks; who reads it looks whether the face is still theirs.

Revision ID: 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

INDEXES = {
    "photos_received": ("photos", ["received_at", "id"], None),
    "faces_unknown_photo": ("faces", ["photo_id"], "person_id IS NULL"),
}


def upgrade() -> None:
    # Photos go on coming in while they are built.
    with op.get_context().autocommit_block():
        for name, (table, columns, condition) in INDEXES.items():
            op.create_index(
                name,
                table,
                columns,
                postgresql_where=sa.text(condition) if condition else None,
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    op.create_table(
        "thumbnails",
        sa.Column("photo_id", UUID, sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("recipe", sa.SmallInteger, nullable=False),
        sa.Column("picture", sa.LargeBinary, nullable=False),
    )
    op.execute("ALTER TABLE thumbnails ALTER COLUMN picture SET STORAGE EXTERNAL")
    op.add_column("persons", sa.Column("cover_face_id", UUID))


def downgrade() -> None:
    op.drop_column("persons", "cover_face_id")
    op.drop_table("thumbnails")
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table)
