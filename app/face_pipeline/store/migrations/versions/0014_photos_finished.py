"""An index of when photos ended: what was done today is counted without a look at all that ever was.

Revision ID: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INDEX = "photos_finished"


def upgrade() -> None:
    # Photos go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            INDEX, "photos", ["finished_at", "state"], postgresql_concurrently=True, if_not_exists=True
        )


def downgrade() -> None:
    op.drop_index(INDEX, "photos")
