"""Runs: their record on disk, how they are carried out, and the report over many of them."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.runs.find import load_runs

__all__ = ["load_runs"]

__getattr__ = exports(__name__, load_runs="find")
