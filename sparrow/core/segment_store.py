"""Values kept by key on disk, written as they come, and shared by processes, also on a network file system."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sparrow.core.files import write_atomically

log = logging.getLogger(__name__)
WRITE_EVERY_S = 20.0
MAX_SEGMENTS = 16
KEY_BYTES = 16
_SCHEMA = pa.schema({"key": pa.binary(KEY_BYTES), "value": pa.binary()})


def short_digest(*parts: bytes) -> bytes:
    """128 bits of the hash of some bytes, for a key."""
    return hashlib.blake2b(b"".join(parts), digest_size=KEY_BYTES).digest()


class SegmentStore:
    """Bytes by keys of 16 bytes, in files that are never changed, each named by the hash of its content.

    What is added is written every `WRITE_EVERY_S` seconds, so that a kill loses no more than that. A file whose
    content does not give its name is damaged: it is named in a warning and removed, and what it held is missing.

    No database, since those rely on locks that network file systems do not always keep. Here any number of processes
    on any number of machines may add and merge at once: a file appears whole, by a rename, and goes only after another
    one has all of its values. The same key always has the same value, so that it does not matter who wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._added: dict[bytes, bytes] = {}
        self._written_at_s = time.monotonic()

    def read(self) -> pa.Table:
        """All that is stored: `key` and `value`, each key once; many files are merged into one."""
        while True:
            files = sorted(self.folder.glob("*.arrow"))
            try:
                tables = [table for file in files if (table := _whole_segment(file)) is not None]
            except FileNotFoundError:  # merged by another process meanwhile
                continue
            table = pa.concat_tables([_SCHEMA.empty_table(), *tables])
            stored = table.filter(~table["key"].to_pandas().duplicated().to_numpy())  # the first row of each key
            if len(files) > MAX_SEGMENTS:
                merged = self._write(stored)
                for file in files:
                    if file != merged:
                        file.unlink(missing_ok=True)
            return stored

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The stored value of each key, None where there is none."""
        stored = self.read()
        places = pc.index_in(pa.array(keys, pa.binary(KEY_BYTES)), value_set=stored["key"].combine_chunks())
        values: list[bytes | None] = stored["value"].combine_chunks().take(places).to_pylist()
        return values

    def add(self, key: bytes, value: bytes) -> None:
        """Keep a value; it is on the disk within `WRITE_EVERY_S` seconds of further additions, or after `flush`."""
        self._added[key] = value
        if time.monotonic() - self._written_at_s >= WRITE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last time."""
        if self._added:
            self._write(pa.table([list(self._added), list(self._added.values())], schema=_SCHEMA))
        self._added = {}
        self._written_at_s = time.monotonic()

    def _write(self, table: pa.Table) -> Path:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        content = sink.getvalue().to_pybytes()
        file = self.folder / f"{short_digest(content).hex()}.arrow"
        write_atomically(file, content)
        return file


def _whole_segment(file: Path) -> pa.Table | None:
    content = file.read_bytes()
    if short_digest(content).hex() != file.stem:
        log.warning("%s is damaged and was removed; what it held is measured again", file)
        file.unlink(missing_ok=True)
        return None
    return pa.ipc.open_stream(content).read_all()
