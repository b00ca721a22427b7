"""Persons with ids and data of the operator's own, merges that can be undone, keys with bounds, the audit.

Everything that is added has a default, so that the release before this one still writes.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)
# An entry is never changed, by whatever mistake of ours; old ones go by `face-pipeline audit prune` alone.
ONLY_ADDED = """
CREATE FUNCTION audit_only_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_setting('face.audit_prune', true) = 'on' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'entries of the audit are only ever added';
END $$;
CREATE TRIGGER audit_only_added BEFORE UPDATE OR DELETE ON audit
  FOR EACH ROW EXECUTE FUNCTION audit_only_added();
CREATE FUNCTION audit_never_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'entries of the audit are only ever added';
END $$;
CREATE TRIGGER audit_never_emptied BEFORE TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION audit_never_emptied();
"""


def upgrade() -> None:
    # Lists of people are in the order of their names. Uploads go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            "persons_listed",
            "persons",
            ["collection_id", sa.text("coalesce(name_key, lower(name))"), "id"],
            postgresql_concurrently=True,
            if_not_exists=True,
        )
    for column in (
        sa.Column("external_id", sa.Text),
        sa.Column("metadata", JSONB, nullable=False, server_default="{}"),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("by_hand", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    ):
        op.add_column("persons", column)
    op.create_unique_constraint("persons_external_id", "persons", ["collection_id", "external_id"])
    for column in (
        sa.Column("collections", sa.ARRAY(sa.Text)),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
    ):
        op.add_column("api_keys", column)
    _create_merges()
    _create_audit()


def _create_merges() -> None:
    op.create_table(
        "merges",
        sa.Column("id", UUID, primary_key=True),
        sa.Column(
            "collection_id",
            sa.BigInteger,
            sa.ForeignKey("collections.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("kept_id", UUID, sa.ForeignKey("persons.id", ondelete="CASCADE"), nullable=False),
        sa.Column("removed", JSONB, nullable=False),
        sa.Column("faces", sa.ARRAY(UUID), nullable=False),
        sa.Column("photos", sa.ARRAY(UUID), nullable=False),
        sa.Column("merged_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("undo_until", TIME, nullable=False),
        sa.Column("undone_at", TIME),
    )
    op.create_index("merges_kept", "merges", ["kept_id"])
    op.create_index("merges_collection", "merges", ["collection_id"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor_id", UUID),
        sa.Column("actor_name", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("collection", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("details", JSONB, nullable=False, server_default="{}"),
    )
    op.create_index("audit_at", "audit", ["at"])
    op.create_index("audit_subject", "audit", ["subject"], postgresql_where=sa.text("subject IS NOT NULL"))
    op.execute(ONLY_ADDED)


def downgrade() -> None:
    op.drop_table("audit")
    op.execute("DROP FUNCTION audit_only_added(), audit_never_emptied()")
    op.drop_table("merges")
    for name in ("last_used_at", "expires_at", "collections"):
        op.drop_column("api_keys", name)
    for name in ("updated_at", "by_hand", "version", "metadata", "external_id"):
        op.drop_column("persons", name)
    op.drop_index("persons_listed", "persons")
