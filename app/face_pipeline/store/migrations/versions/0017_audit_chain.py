"""The audit's chain: which entries are sealed, in which order and by which hash, and its last check.

The database itself notes that an entry is to be sealed, so that the release before this one still writes.
What was there before is noted while others write: nothing waits for it.

Revision ID: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# What is done a second time, after a migration that was cut off, changes nothing.
TABLES = """
CREATE TABLE IF NOT EXISTS audit_seals (
  position bigint PRIMARY KEY,
  entry bigint NOT NULL UNIQUE,
  hash bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE OR REPLACE TRIGGER audit_only_added BEFORE UPDATE OR DELETE ON audit_seals
  FOR EACH ROW EXECUTE FUNCTION audit_only_added();
CREATE OR REPLACE TRIGGER audit_never_emptied BEFORE TRUNCATE ON audit_seals
  FOR EACH STATEMENT EXECUTE FUNCTION audit_never_emptied();
CREATE TABLE IF NOT EXISTS audit_unsealed (
  entry bigint PRIMARY KEY,
  since timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS audit_checks (
  at timestamptz PRIMARY KEY DEFAULT now(),
  entries bigint NOT NULL,
  fault text
);
CREATE OR REPLACE FUNCTION audit_to_be_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit_unsealed (entry) VALUES (NEW.id);
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER audit_to_be_sealed AFTER INSERT ON audit
  FOR EACH ROW EXECUTE FUNCTION audit_to_be_sealed();
"""
EARLIER = "INSERT INTO audit_unsealed (entry) SELECT id FROM audit ON CONFLICT DO NOTHING"


def upgrade() -> None:
    op.execute(TABLES)
    # To begin it commits the trigger, which waited for all who wrote without it.
    with op.get_context().autocommit_block():
        op.execute(sa.text(EARLIER))


def downgrade() -> None:
    op.execute("DROP TRIGGER audit_to_be_sealed ON audit; DROP FUNCTION audit_to_be_sealed()")
    for table in ("audit_checks", "audit_unsealed", "audit_seals"):
        op.drop_table(table)
