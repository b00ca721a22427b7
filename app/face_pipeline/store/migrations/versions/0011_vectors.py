"""The embeddings of a vector index in rows of their own, so that naming a face does not touch the index;
and which originals are still to be removed.

The database itself copies embeddings, so that the release before this one still writes. It copies nothing
yet: the indexer begins with each collection that is large enough, and drops the index that this release does
not read.

Revision ID: 0011
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import REAL, UUID

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# A statement that names no embedding and no collection starts neither of the two.
KEPT = """
CREATE FUNCTION keep_new_vectors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO face_vectors (face_id, collection_id, quality, embedding)
  SELECT new_faces.id, new_faces.collection_id, new_faces.quality, new_faces.embedding
  FROM new_faces JOIN collections ON collections.id = new_faces.collection_id AND collections.vectors_kept;
  RETURN NULL;
END $$;
CREATE TRIGGER keep_new_vectors AFTER INSERT ON faces REFERENCING NEW TABLE AS new_faces
  FOR EACH STATEMENT EXECUTE FUNCTION keep_new_vectors();
CREATE FUNCTION keep_changed_vector() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM face_vectors WHERE face_id = OLD.id;
  INSERT INTO face_vectors (face_id, collection_id, quality, embedding)
  SELECT NEW.id, NEW.collection_id, NEW.quality, NEW.embedding
  FROM collections WHERE id = NEW.collection_id AND vectors_kept;
  RETURN NULL;
END $$;
CREATE TRIGGER keep_changed_vector AFTER UPDATE OF id, collection_id, quality, embedding ON faces
  FOR EACH ROW EXECUTE FUNCTION keep_changed_vector();
"""


def upgrade() -> None:
    for name in ("vectors_kept", "vectors_indexed"):
        op.add_column("collections", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "face_vectors",
        sa.Column("face_id", UUID, sa.ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("collection_id", sa.BigInteger, nullable=False),
        sa.Column("quality", REAL, nullable=False),
        sa.Column("embedding", HALFVEC, nullable=False),
    )
    op.execute(KEPT)
    op.create_table(
        "removals",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    op.drop_table("removals")
    op.execute("DROP TRIGGER keep_new_vectors ON faces; DROP TRIGGER keep_changed_vector ON faces")
    op.execute("DROP FUNCTION keep_new_vectors(), keep_changed_vector()")
    op.drop_table("face_vectors")
    for name in ("vectors_indexed", "vectors_kept"):
        op.drop_column("collections", name)
