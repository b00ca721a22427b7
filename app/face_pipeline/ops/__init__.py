"""What keeps an installation well: reconciler, indexer, doctor."""
