"""Keys that are rotated and have a limit of their own; the name of a revoked key is free again.

The release before this one still writes: what is added may be empty, and of the names of keys in use each is
still there once.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    for column in (
        sa.Column("previous_hash", sa.Text),
        sa.Column("previous_until", TIME),
        sa.Column("rotated_at", TIME),
        sa.Column("requests_per_minute", sa.Integer),
    ):
        op.add_column("api_keys", column)
    op.create_index("api_keys_previous", "api_keys", ["previous_hash"])
    op.create_index(
        "api_keys_name_in_use", "api_keys", ["name"], unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )  # fmt: skip
    op.drop_constraint("api_keys_name_key", "api_keys")
    # Who asks for what somebody did, or for all that was done of a kind, need not read every look at a photo.
    op.create_index("audit_actor", "audit", ["actor_id", "id"])
    op.create_index("audit_action", "audit", ["action", "id"], postgresql_ops={"action": "text_pattern_ops"})


def downgrade() -> None:
    op.drop_index("audit_action", "audit")
    op.drop_index("audit_actor", "audit")
    op.execute("UPDATE api_keys SET name = name || ' ' || id WHERE revoked_at IS NOT NULL")
    op.create_unique_constraint("api_keys_name_key", "api_keys", ["name"])
    op.drop_index("api_keys_name_in_use", "api_keys")
    op.drop_index("api_keys_previous", "api_keys")
    for name in ("requests_per_minute", "rotated_at", "previous_until", "previous_hash"):
        op.drop_column("api_keys", name)
