"""Runs: their record on disk, how they are carried out, and the report over many of them."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`load_runs`, imported when it is asked for, so that importing a neighbour stays cheap."""
    if name == "load_runs":
        from sparrow.runs.find import load_runs

        return load_runs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
