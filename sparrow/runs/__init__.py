"""Runs: their record on disk, how they are carried out, and the report over many of them."""
