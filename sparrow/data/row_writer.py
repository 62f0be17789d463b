"""Rows of samples on their way to disk, as columns of Arrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from sparrow.core.samples import EMPTY_PART

_FLUSH_CHARS = 1 << 21
_FLUSH_ROWS = 4_096
_WORDS = ("type", "text", "path")


class RowWriter:
    """Writes the messages of samples as an Arrow stream, which `datasets` maps; holds few rows at a time."""

    def __init__(self, path: Path) -> None:
        self._part = pa.struct({name: pa.string() if name in _WORDS else pa.float64() for name in EMPTY_PART})
        self._message = pa.struct({"role": pa.string(), "content": pa.list_(self._part)})
        self._schema = pa.schema({"messages": pa.list_(self._message)})
        self._stream = pa.ipc.new_stream(path, self._schema)
        self._begin()

    def _begin(self) -> None:
        self._num_chars = 0
        self._ends_of_rows, self._ends_of_messages = [0], [0]  # in messages, and in parts
        self._roles: list[str] = []
        self._parts: list[dict[str, Any]] = []

    def __enter__(self) -> RowWriter:
        return self

    def write(self, messages: list[dict[str, Any]]) -> None:
        """Add one row."""
        for message in messages:
            self._roles.append(message["role"])
            self._parts += message["content"]
            self._ends_of_messages.append(len(self._parts))
            self._num_chars += sum(len(part["text"] or "") for part in message["content"])
        self._ends_of_rows.append(len(self._roles))
        if len(self._ends_of_rows) > _FLUSH_ROWS or self._num_chars >= _FLUSH_CHARS:
            self._flush()

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        with self._stream:
            if failure is None and self._roles:
                self._flush()

    def _flush(self) -> None:
        """Write the rows as columns, which takes a fifth of the time that Arrow takes to make columns of them."""
        values = [pa.array([part[field.name] for part in self._parts], field.type) for field in self._part]
        parts = pa.StructArray.from_arrays(values, fields=list(self._part))
        content = pa.ListArray.from_arrays(pa.array(self._ends_of_messages, pa.int32()), parts)
        messages = pa.StructArray.from_arrays([pa.array(self._roles), content], fields=list(self._message))
        rows = pa.ListArray.from_arrays(pa.array(self._ends_of_rows, pa.int32()), messages)
        self._stream.write_table(pa.table([rows], schema=self._schema))
        self._begin()
