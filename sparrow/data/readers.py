"""Records streamed from JSON, JSONL, CSV and parquet files and from `datasets` data sets, with file and line."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from sparrow.core.errors import DataError
from sparrow.core.hashing import content_hash
from sparrow.data import json_stream
from sparrow.data.converters.raw_record import Record, RecordError, Store, kind_of
from sparrow.data.json_stream import Chunk, JsonStream, RepeatedKeyError, json_fault, unique_keys
from sparrow.data.settings import Source

OnBad = Callable[[RecordError], None]
OnUnknown = Callable[[str, str], None]
HUB_PREFIX = "hf:"
_COMPRESSIONS = (".gz", ".zst")
_CHUNK_BYTES = 1 << 18
_BATCH_ROWS = 64


def read_records(
    path: Path,
    *,
    name: str | None = None,
    source: str = "unnamed",
    on_bad: OnBad | None = None,
    on_unknown: OnUnknown = lambda field, where: None,
    store: Store | None = None,
) -> Iterator[Record]:
    """Records of a file, in order, in bounded memory.

    The file is `.json` (an array, an object with an array `data`, or objects one after another), `.jsonl`, `.ndjson`
    (objects, or one array), `.csv` or `.tsv`, each plain, `.gz` or `.zst`; or `.parquet`. `on_bad` is called for a
    record that cannot be read while those after it can; by default it is raised. `on_unknown` is called with name
    and place of what stands beside `data`; `store` with bytes and name of each media file in a record, for its path.

    Raises:
        DataError: If the file cannot be read on: file, line and remedy.
    """
    file = _File(path, name or path.name, source, on_bad or _raise, on_unknown)
    file.store = store
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    read = _FORMATS.get(suffixes[-1] if suffixes else "")
    if read is None:
        known = ", ".join((*_FORMATS, *_COMPRESSIONS))
        raise file.error("its format is not known from its name", f"name it with one of the endings {known}")
    try:
        yield from read(file)
    except OSError as error:
        raise file.error(f"it cannot be read: {error}", "check that it is whole and may be read") from error


def read_hub_records(
    reference: str, settings: Source, *, cache_root: Path, source: str = "unnamed"
) -> tuple[str, Callable[..., Iterator[Record]]]:
    """A fingerprint and what reads the records of a `datasets` data set, named `hf:NAME[:SPLIT]`.

    NAME is a folder under the root of the settings (written by `save_to_disk`, or of data files) or an id on the Hub.
    Without a SPLIT it is that of the settings, or `train`; what was saved without splits is read whole. Slices such as
    `train[:10%]` are those of `datasets`. Pictures and videos stored in the data set are not decoded; `store` takes
    their bytes, as in `read_records`.

    Raises:
        DataError: If there is no such data set, configuration, split or revision.
    """
    import datasets

    name, _, own_split = reference.removeprefix(HUB_PREFIX).partition(":")
    config_name, revision = settings.config_name, settings.revision
    chosen = own_split or settings.split
    split = chosen or "train"
    folder = Path(settings.root) / name
    saved = (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file()

    def error(what: str, remedy: str) -> DataError:
        return DataError(what, source=source, where=reference, remedy=remedy)

    if folder.is_dir() and revision is not None:
        raise error("a folder has no revisions", f"leave out source.{source}.revision")
    if saved and config_name is not None:
        what = "it was written by save_to_disk and has no configurations"
        raise error(what, f"leave out source.{source}.config_name")
    state = _folder_state(folder)
    try:
        if saved:
            loaded = datasets.load_from_disk(str(folder))
        elif folder.is_dir():
            # A cache of its own: `datasets` goes by name and card, so it would give the records of another folder, or
            # of this one as it was.
            cache = str(cache_root / "datasets" / state)
            loaded = datasets.load_dataset(str(folder), config_name, split=split, cache_dir=cache)
        else:
            loaded = datasets.load_dataset(name, config_name, split=split, revision=revision)
    except Exception as fault:
        raise error(
            f"the data set cannot be loaded: {fault}",
            f"check its name, the settings config_name, split and revision of source.{source}, and the network, "
            f"or put the data set into {folder}",
        ) from fault
    if isinstance(loaded, dict):
        if split not in loaded:
            known = ", ".join(loaded)
            raise error(f"it has no split '{split}'", f"set source.{source}.split to one of the splits {known}")
        loaded = loaded[split]
    elif saved and chosen and chosen != str(loaded.split):
        raise error(f"it was saved without splits, '{split}' is asked for", "leave out the split, or save with splits")

    def records(store: Store | None = None, **_: object) -> Iterator[Record]:
        rows = (row for table in loaded.with_format("arrow").iter(_BATCH_ROWS) for row in table.to_pylist())
        for number, row in enumerate(rows, start=1):
            yield Record(row, f"{reference}, row {number}", source).cleaned(store)

    return content_hash([state, loaded._fingerprint]), records


def _folder_state(folder: Path) -> str:
    """Hash of a folder's path and of the names, sizes and times of its files; of the path alone if it is not there."""
    files = [(str(file.relative_to(folder)), file.stat()) for file in sorted(folder.rglob("*")) if file.is_file()]
    return content_hash([str(folder.resolve()), [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]])


class _File:
    """A file being read: its text, and errors that name it."""

    def __init__(self, path: Path, name: str, source: str, on_bad: OnBad, on_unknown: OnUnknown) -> None:
        self.path, self.name, self.source, self.on_bad, self.on_unknown = path, name, source, on_bad, on_unknown
        self.store: Store | None = None

    def error(self, what: str, remedy: str, place: str = "") -> RecordError:
        return RecordError(what, source=self.source, where=self.name + place, remedy=remedy)

    def records(self, value: Any, place: str | Callable[[], str], *, clean: bool) -> Iterator[Record]:
        """The value as a record, or none if it is not an object."""
        record = Record(value, self.name + place if isinstance(place, str) else place, self.source)
        if not isinstance(value, dict):
            what = f"the record is {kind_of(value)}, expected an object"
            self.on_bad(record.error(what, "write every record as an object of named fields"))
        else:
            yield record.cleaned(self.store) if clean else record

    def lines(self) -> Iterator[str]:
        """The lines of the text, without their ends."""
        rest: list[str] = []
        number = 1
        for chunk in self.chunks():
            first, *others = chunk.text.split("\n")
            rest.append(first)
            if others:
                yield "".join(rest)
                yield from others[:-1]
                rest = [others[-1]]
                number += len(others)
            elif sum(map(len, rest)) > json_stream.MAX_RECORD_CHARS:
                raise self.too_long(f", line {number}")
        yield "".join(rest)

    def too_long(self, place: str) -> RecordError:
        """The error for a record that would fill the memory."""
        what = f"a record is longer than {json_stream.MAX_RECORD_CHARS:,} characters"
        return self.error(what, "check that line breaks and quotes are where they belong", place)

    def chunks(self) -> Iterator[Chunk]:
        """The text, a piece at a time."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        line = 1
        try:
            with self._open() as file:
                while data := file.read(_CHUNK_BYTES):
                    num_lines, may_escape = data.count(b"\n"), b"\\u" in data or data.endswith(b"\\")
                    yield Chunk(decoder.decode(data), num_lines, may_escape)
                    line += num_lines
                decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise self.error("it is not UTF-8 text", "save it as UTF-8", f", line {line}") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.error("it is damaged or cut off", "download it again", f", line {line}") from error

    def _open(self) -> BinaryIO:
        if self.path.suffix.lower() == ".gz":
            return cast(BinaryIO, gzip.open(self.path, "rb"))
        if self.path.suffix.lower() == ".zst":
            import pyarrow

            return cast(BinaryIO, pyarrow.input_stream(str(self.path), compression="zstd"))
        return open(self.path, "rb")


def _read_json(file: _File) -> Iterator[Record]:
    def error(what: str, line: int) -> DataError:
        return file.error(what, "fix this place, or download the file again", f", line {line}")

    stream = JsonStream(file.chunks(), error)
    for number, (value, line, has_escapes, repeated) in enumerate(stream, start=1):
        where = partial(_where_in_json, file.name, line, number)
        if repeated:
            file.on_bad(Record({}, where, file.source).error(repeated, "keep one of them"))
        elif isinstance(value, dict) and not has_escapes:
            yield Record(value, where, file.source)
        else:
            yield from file.records(value, where, clean=has_escapes)
    for field in stream.beside:
        file.on_unknown(f"{field} (beside data)", file.name)


def _where_in_json(name: str, line: Callable[[], int], number: int) -> str:
    return f"{name}, line {line()} (record {number})"


def _read_jsonl(file: _File) -> Iterator[Record]:
    is_first = True
    for number, line in enumerate(file.lines(), start=1):
        if not line.strip():
            continue
        if is_first and line.lstrip()[0] == "[":
            yield from _read_json(file)
            return
        is_first = False
        try:
            value = _decode_line(line)
        except RepeatedKeyError as error:
            file.on_bad(file.error(str(error), "keep one of them", f", line {number}"))
            continue
        except (ValueError, RecursionError) as error:
            what = f"the line is not JSON: {json_fault(error)}"
            file.on_bad(file.error(what, "fix or remove the line", f", line {number}"))
            continue
        yield from file.records(value, f", line {number}", clean="\\u" in line)


_decode_line = json.JSONDecoder(object_pairs_hook=unique_keys).decode


def _read_csv(file: _File) -> Iterator[Record]:
    csv.field_size_limit(json_stream.MAX_RECORD_CHARS)
    delimiter = "\t" if ".tsv" in file.path.suffixes else ","
    rows = csv.reader((f"{line}\n" for line in file.lines()), strict=True, delimiter=delimiter)
    header: list[str] = []
    while True:
        place = f", line {rows.line_num + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            if "field limit" in str(error):
                raise file.too_long(place) from error
            raise file.error(f"it is not CSV: {error}", "check the quotes from this row on", place) from error
        if row is None:
            return
        if not header:
            header = ["Unnamed: 0", *row[1:]] if row[:1] == [""] else row  # pandas' index, as pandas reads it
            if not all(header) or len(set(header)) < len(header):
                raise file.error("a column has no name, or two have the same", "fix the first row", place)
        elif len(row) == len(header):
            yield from file.records(dict(zip(header, row, strict=True)), place, clean=True)
        elif row:
            what = f"the row has {len(row)} cells, the header {len(header)}"
            file.on_bad(file.error(what, "quote cells that hold commas or line breaks", place))


def _read_parquet(file: _File) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file.path) as parquet:
            rows = (row for batch in parquet.iter_batches(_BATCH_ROWS) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield from file.records(row, f", row {number}", clean=True)
    except pyarrow.ArrowException as error:
        raise file.error(f"it is not a whole parquet file: {error}", "download or write it again") from error


_FORMATS: dict[str, Callable[[_File], Iterator[Record]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


def _raise(error: RecordError) -> None:
    raise error
