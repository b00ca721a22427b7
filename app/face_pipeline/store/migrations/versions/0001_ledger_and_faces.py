"""Ledger, faces, collections, API keys.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import JSONB, REAL, UUID

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("key_hash", sa.Text, nullable=False, unique=True),
        sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("revoked_at", TIME),
    )
    op.create_table(
        "collections",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("contract_id", sa.Text, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("face_count", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("index_ready", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "persons",
        sa.Column("id", UUID, primary_key=True),
        _collection(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("collection_id", "name"),
    )
    op.create_table(
        "batches",
        sa.Column("id", UUID, primary_key=True),
        _collection(),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
    )
    _create_photos()
    op.create_table(
        "batch_photos",
        sa.Column("batch_id", UUID, sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("photo_id", UUID, sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("batch_photos_photo", "batch_photos", ["photo_id"])
    _create_faces()


def _collection() -> "sa.Column[int]":
    return sa.Column(
        "collection_id", sa.BigInteger, sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False
    )


def _person() -> "sa.Column[object]":
    return sa.Column("person_id", UUID, sa.ForeignKey("persons.id", ondelete="SET NULL"))


def _create_photos() -> None:
    op.create_table(
        "photos",
        sa.Column("id", UUID, primary_key=True),
        _collection(),
        sa.Column("batch_id", UUID, sa.ForeignKey("batches.id"), nullable=False),
        _person(),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("byte_size", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False, server_default="received"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("reason_code", sa.Text),
        sa.Column("reason_message", sa.Text),
        sa.Column("claim", UUID),
        sa.Column("worker", sa.Text),
        sa.Column("lease_until", TIME),
        sa.Column("received_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("queued_at", TIME),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.UniqueConstraint("collection_id", "sha256"),
        sa.CheckConstraint(
            "state IN ('received', 'queued', 'processing', 'done', 'failed')", name="photos_state"
        ),
        sa.CheckConstraint(
            "(state = 'processing') = (claim IS NOT NULL)", name="photos_claim_while_processing"
        ),
    )
    op.create_index("photos_newest", "photos", ["collection_id", "received_at", "id"])
    # Original files are shared by content: the sweeper asks whether any row still names a hash.
    op.create_index("photos_sha256", "photos", ["sha256"])
    # Small however large the ledger is: finished photos are not in it.
    op.create_index(
        "photos_unfinished",
        "photos",
        ["state", "received_at"],
        postgresql_where=sa.text("state IN ('received', 'queued', 'processing')"),
    )


def _create_faces() -> None:
    op.create_table(
        "faces",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("photo_id", UUID, sa.ForeignKey("photos.id", ondelete="CASCADE"), nullable=False),
        _collection(),
        _person(),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("bbox", sa.ARRAY(REAL), nullable=False),
        sa.Column("landmarks", JSONB, nullable=False),
        sa.Column("detection_score", REAL, nullable=False),
        sa.Column("quality", REAL, nullable=False),
        sa.Column("embedding", HALFVEC, nullable=False),
        sa.UniqueConstraint("photo_id", "position"),
    )
    op.create_index("faces_collection", "faces", ["collection_id"])
    op.create_index("faces_person", "faces", ["person_id"])


def downgrade() -> None:
    for table in ("faces", "batch_photos", "photos", "batches", "persons", "collections", "api_keys"):
        op.drop_table(table)
