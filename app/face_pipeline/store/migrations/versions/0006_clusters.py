"""Groups of unknown faces, and which faces were looked at for them.

Faces keep their rows as they are: those that no row here names are looked at by the next run.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import REAL, UUID

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


def _collection(primary_key: bool = False) -> "sa.Column[int]":
    return sa.Column(
        "collection_id",
        sa.BigInteger,
        sa.ForeignKey("collections.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def upgrade() -> None:
    # To find the few that are new among many. Photos go on coming in while it is built.
    with op.get_context().autocommit_block():
        op.create_index(
            "faces_unknown",
            "faces",
            ["collection_id", "id"],
            postgresql_where=sa.text("person_id IS NULL"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
    op.create_table(
        "clusters",
        sa.Column("id", UUID, primary_key=True),
        _collection(),
        sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_index("clusters_collection", "clusters", ["collection_id"])
    op.create_table(
        "cluster_faces",
        sa.Column("face_id", UUID, sa.ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("collection_id", sa.BigInteger, nullable=False),
        sa.Column("cluster_id", UUID, sa.ForeignKey("clusters.id", ondelete="CASCADE")),
    )
    op.create_index(
        "cluster_faces_cluster",
        "cluster_faces",
        ["cluster_id", "face_id"],
        postgresql_where=sa.text("cluster_id IS NOT NULL"),
    )
    op.create_table(
        "cluster_runs",
        _collection(primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("unknown_faces", sa.BigInteger, nullable=False),
        sa.Column("clusters", sa.BigInteger, nullable=False),
        sa.Column("seconds", REAL, nullable=False),
        sa.Column("ended_at", TIME, nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    for table in ("cluster_runs", "cluster_faces", "clusters"):
        op.drop_table(table)
    op.drop_index("faces_unknown", "faces")
