"""A pack's models made ready for this host: the same faces and embeddings with less work.

They lie in `prepared/exact` of the pack beside its originals, which stay what is licensed and hashed.
`preparing` makes, checks and measures them once; `record` says what was found, and is all that a process
reads that computes nothing.
"""
