"""A second table of vectors, so that a collection that is moved to another pack has an index of each.

Triggers keep both, as they kept the one: what is searched is in one of them, what the other pack made
(`face_embeddings`) in the other. `vectors_turned`: they have changed places. The release before this one
knows of one table alone; it is kept from a database where the other is in use (store/compatible.py).

Revision ID: 0023
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import REAL, UUID

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

COLUMNS = ("vectors_turned", "other_vectors_kept", "other_vectors_indexed")
# An exchange of all embeddings of a collection leaves the rows where they are, and turns the tables round.
KEPT = """
CREATE OR REPLACE FUNCTION keep_new_vectors() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO face_vectors (face_id, collection_id, quality, embedding)
  SELECT new_faces.id, new_faces.collection_id, new_faces.quality, new_faces.embedding
  FROM new_faces JOIN collections ON collections.id = new_faces.collection_id
  WHERE vectors_kept AND NOT vectors_turned;
  INSERT INTO second_vectors (face_id, collection_id, quality, embedding)
  SELECT new_faces.id, new_faces.collection_id, new_faces.quality, new_faces.embedding
  FROM new_faces JOIN collections ON collections.id = new_faces.collection_id
  WHERE vectors_kept AND vectors_turned;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION keep_changed_vector() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  DELETE FROM face_vectors WHERE face_id = OLD.id;
  DELETE FROM second_vectors WHERE face_id = OLD.id;
  INSERT INTO face_vectors (face_id, collection_id, quality, embedding)
  SELECT NEW.id, NEW.collection_id, NEW.quality,
    CASE WHEN vectors_turned THEN other.embedding ELSE NEW.embedding END
  FROM collections LEFT JOIN face_embeddings AS other ON other.face_id = NEW.id
  WHERE collections.id = NEW.collection_id
  AND CASE WHEN vectors_turned THEN other_vectors_kept AND other.face_id IS NOT NULL ELSE vectors_kept END;
  INSERT INTO second_vectors (face_id, collection_id, quality, embedding)
  SELECT NEW.id, NEW.collection_id, NEW.quality,
    CASE WHEN vectors_turned THEN NEW.embedding ELSE other.embedding END
  FROM collections LEFT JOIN face_embeddings AS other ON other.face_id = NEW.id
  WHERE collections.id = NEW.collection_id
  AND CASE WHEN vectors_turned THEN vectors_kept ELSE other_vectors_kept AND other.face_id IS NOT NULL END;
  RETURN NULL;
END $$;
DROP TRIGGER keep_changed_vector ON faces;
CREATE TRIGGER keep_changed_vector AFTER UPDATE OF id, collection_id, quality, embedding ON faces
  FOR EACH ROW WHEN (current_setting('face.exchange', true) IS DISTINCT FROM 'on')
  EXECUTE FUNCTION keep_changed_vector();
CREATE FUNCTION keep_other_vector() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO face_vectors (face_id, collection_id, quality, embedding)
  SELECT faces.id, faces.collection_id, faces.quality, NEW.embedding
  FROM faces JOIN collections ON collections.id = faces.collection_id
  WHERE faces.id = NEW.face_id AND other_vectors_kept AND vectors_turned
  ON CONFLICT (face_id) DO UPDATE SET embedding = excluded.embedding;
  INSERT INTO second_vectors (face_id, collection_id, quality, embedding)
  SELECT faces.id, faces.collection_id, faces.quality, NEW.embedding
  FROM faces JOIN collections ON collections.id = faces.collection_id
  WHERE faces.id = NEW.face_id AND other_vectors_kept AND NOT vectors_turned
  ON CONFLICT (face_id) DO UPDATE SET embedding = excluded.embedding;
  RETURN NULL;
END $$;
CREATE TRIGGER keep_other_vector AFTER INSERT OR UPDATE OF embedding ON face_embeddings
  FOR EACH ROW WHEN (current_setting('face.exchange', true) IS DISTINCT FROM 'on')
  EXECUTE FUNCTION keep_other_vector();
"""
# As migration 0011 has them. Of what was turned round nothing is kept: searches are exact then.
FORMER = """
DROP TRIGGER keep_other_vector ON face_embeddings;
DROP FUNCTION keep_other_vector();
CREATE OR REPLACE FUNCTION keep_new_vectors() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO face_vectors (face_id, collection_id, quality, embedding)
  SELECT new_faces.id, new_faces.collection_id, new_faces.quality, new_faces.embedding
  FROM new_faces JOIN collections ON collections.id = new_faces.collection_id AND collections.vectors_kept;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION keep_changed_vector() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  DELETE FROM face_vectors WHERE face_id = OLD.id;
  INSERT INTO face_vectors (face_id, collection_id, quality, embedding)
  SELECT NEW.id, NEW.collection_id, NEW.quality, NEW.embedding
  FROM collections WHERE id = NEW.collection_id AND vectors_kept;
  RETURN NULL;
END $$;
DROP TRIGGER keep_changed_vector ON faces;
CREATE TRIGGER keep_changed_vector AFTER UPDATE OF id, collection_id, quality, embedding ON faces
  FOR EACH ROW EXECUTE FUNCTION keep_changed_vector();
DELETE FROM face_vectors USING collections
WHERE collections.id = face_vectors.collection_id AND collections.vectors_turned;
UPDATE collections SET vectors_kept = false, vectors_indexed = false WHERE vectors_turned;
"""


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("collections", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "second_vectors",
        sa.Column("face_id", UUID, sa.ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("collection_id", sa.BigInteger, nullable=False),
        sa.Column("quality", REAL, nullable=False),
        sa.Column("embedding", HALFVEC, nullable=False),
    )
    op.execute(KEPT)


def downgrade() -> None:
    op.execute(FORMER)
    op.drop_table("second_vectors")
    for name in COLUMNS:
        op.drop_column("collections", name)
