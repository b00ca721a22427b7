"""Reproducible measurements. Each prints a table and ratios measured in one run, and can write JSON."""
