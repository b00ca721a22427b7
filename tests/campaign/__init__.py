"""Faults on installed hosts, under clients that note every operation; a judge of what is left."""
