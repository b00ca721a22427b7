"""Alembic's environment: the engine that `store.schema` hands over, one migrating process at a time.

Rights come in the same transaction as tables: no table is seen without them.
"""

from alembic import context
from sqlalchemy import text

from face_pipeline.store import rights
from face_pipeline.store.models import Base

# Any constant: two hosts that migrate at once take turns on this advisory lock.
MIGRATION_LOCK = 7_312_004

with context.config.attributes["engine"].connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            context.run_migrations()
            context.config.attributes["rights_changed"] = rights.apply(connection)
        connection.commit()
    finally:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
