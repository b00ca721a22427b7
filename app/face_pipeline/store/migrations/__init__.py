"""Alembic migrations (`face-pipeline migrate`); expand-first, so that the running release goes on."""
