"""What the vector index of a collection finds, as it was measured last; the release before does not read it.

Revision ID: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import REAL

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COLUMNS = (
    ("index_ef", sa.Integer),
    ("index_found", REAL),
    ("index_faces", sa.BigInteger),
    ("index_measured_at", sa.TIMESTAMP(timezone=True)),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("collections", sa.Column(name, kind))


def downgrade() -> None:
    for name, _ in COLUMNS:
        op.drop_column("collections", name)
