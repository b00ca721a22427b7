"""What happens to photos, as an outbox, and the web hooks that are told.

No foreign key leads out of the outbox: it is written with every photo, and what it names may go.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import UserDefinedType

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


class Xid8(UserDefinedType[int]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("xid", Xid8, nullable=False, server_default=sa.func.pg_current_xact_id()),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("id", UUID, nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("collection_id", sa.BigInteger, nullable=False),
        sa.Column("photo_id", UUID, nullable=False),
        sa.Column("face_id", UUID),
        sa.Column("person_id", UUID),
        sa.Column("face_count", sa.Integer),
        sa.Column("reason_code", sa.Text),
        sa.PrimaryKeyConstraint("xid", "number"),
    )
    op.create_table(
        "hooks",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("kinds", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("collections", sa.ARRAY(sa.Text)),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("disabled_reason", sa.Text),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("old_salt", sa.Text),
        sa.Column("old_until", TIME),
        sa.Column("xid", Xid8, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "hook_deliveries",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("hook_id", UUID, sa.ForeignKey("hooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("event_id", UUID, nullable=False),
        sa.Column("xid", Xid8),
        sa.Column("number", sa.BigInteger),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("first_tried_at", TIME),
        sa.Column("last_tried_at", TIME),
        sa.Column("next_try_at", TIME),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_answer", sa.Text),
        sa.Column("last_error", sa.Text),
    )
    op.create_index("hook_deliveries_page", "hook_deliveries", ["hook_id", "created_at", "id"])
    # A hook's events go one after the other.
    op.create_index(
        "hook_deliveries_waiting",
        "hook_deliveries",
        ["hook_id"],
        unique=True,
        postgresql_where=sa.text("state = 'waiting' AND xid IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("hook_deliveries")
    op.drop_table("hooks")
    op.drop_table("events")
