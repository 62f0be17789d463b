"""The words of a report's tables: titles, columns and notes, from `tables.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from sparrow.core.tables import Table

Row = tuple[str, ...]
_WORDS = yaml.safe_load(Path(__file__).with_name("tables.yaml").read_text(encoding="utf-8"))


def worded(
    name: str, rows: Iterable[Row], columns: Row = (), bold: Iterable[tuple[int, int]] = (), **values: Any
) -> Table:
    """The table of this name with its rows; `columns` follow its own, and `values` fill the braces in its words."""
    own = _WORDS[name]
    title, note = (own.get(part, "").format(**values) for part in ("title", "note"))
    return Table(title, (*own["columns"], *columns), [*rows], own.get("left", 1), note, frozenset(bold))
