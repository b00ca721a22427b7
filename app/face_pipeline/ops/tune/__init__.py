"""`face-pipeline tune`: how many workers of how many threads suit this host (docs/sizing.md).

`rule` says what to try and which to take, `measuring` tries it in processes of its own (`process`), `command`
joins them. What was found is kept by engine/tuned.py.
"""
