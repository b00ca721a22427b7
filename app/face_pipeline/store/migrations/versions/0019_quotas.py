"""How many photos a collection and a key may keep, and how many they do; from where keys are used; and how
much retention has removed.

The database itself counts, so that the release before this one is counted too; a photo that it puts in is of
no key.

Revision ID: 0019
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

BOUNDS = ("quota_photos", "quota_bytes")
REMOVED = ("originals_expired", "faces_expired")
# Each change is a row of its own: uploads that count in one row would wait for each other's disks.
COUNTED = """
CREATE FUNCTION count_photos_in() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO photo_usage (collection_id, key_id, photos, bytes)
  SELECT collection_id, key_id, count(*), sum(byte_size) FROM changed GROUP BY collection_id, key_id;
  RETURN NULL;
END $$;
CREATE FUNCTION count_photos_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO photo_usage (collection_id, key_id, photos, bytes)
  SELECT collection_id, key_id, -count(*), -sum(byte_size) FROM changed GROUP BY collection_id, key_id;
  RETURN NULL;
END $$;
CREATE FUNCTION count_photo_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO photo_usage (collection_id, key_id, photos, bytes)
  VALUES (OLD.collection_id, OLD.key_id, -1, -OLD.byte_size),
         (NEW.collection_id, NEW.key_id, 1, NEW.byte_size);
  RETURN NULL;
END $$;
CREATE FUNCTION count_no_photos() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM photo_usage;
  RETURN NULL;
END $$;
CREATE TRIGGER count_photos_in AFTER INSERT ON photos REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION count_photos_in();
CREATE TRIGGER count_photos_out AFTER DELETE ON photos REFERENCING OLD TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION count_photos_out();
CREATE TRIGGER count_photo_moved AFTER UPDATE OF collection_id, key_id, byte_size ON photos
  FOR EACH ROW EXECUTE FUNCTION count_photo_moved();
CREATE TRIGGER count_no_photos AFTER TRUNCATE ON photos
  FOR EACH STATEMENT EXECUTE FUNCTION count_no_photos();
INSERT INTO photo_usage (collection_id, photos, bytes)
  SELECT collection_id, count(*), sum(byte_size) FROM photos GROUP BY collection_id;
"""
TRIGGERS = ("count_photos_in", "count_photos_out", "count_photo_moved", "count_no_photos")


def upgrade() -> None:
    for table in ("collections", "api_keys"):
        for name in BOUNDS:
            op.add_column(table, sa.Column(name, sa.BigInteger))
    for name in REMOVED:
        op.add_column("collections", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("photos", sa.Column("key_id", UUID))
    op.create_table(
        "photo_usage",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("collection_id", sa.BigInteger, nullable=False),
        sa.Column("key_id", UUID),
        sa.Column("photos", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_index("photo_usage_collection", "photo_usage", ["collection_id"])
    op.create_index("photo_usage_key", "photo_usage", ["key_id"])
    op.execute(COUNTED)
    now = sa.func.now()
    op.create_table(
        "key_addresses",
        sa.Column("key_id", UUID, sa.ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("network", sa.Text, primary_key=True),
        sa.Column("is_new", sa.Boolean, nullable=False),
        sa.Column("first_used_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=now),
        sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=now),
    )


def downgrade() -> None:
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON photos; DROP FUNCTION {name}()")
    op.drop_table("key_addresses")
    op.drop_table("photo_usage")
    op.drop_column("photos", "key_id")
    for name in REMOVED:
        op.drop_column("collections", name)
    for table in ("collections", "api_keys"):
        for name in BOUNDS:
            op.drop_column(table, name)
