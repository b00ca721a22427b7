"""What is kept: the ledger and faces in PostgreSQL, originals on disk."""
