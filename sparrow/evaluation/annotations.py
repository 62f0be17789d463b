"""Annotation files of benchmarks: finding and reading them, each record with its place, and gathering what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sparrow.core.errors import DataError
from sparrow.data.json_stream import Chunk, JsonStream

_SHOWN_PROBLEMS = 50
_SHOWN_NAMES = 10


def numbered_lines(path: Path, *, benchmark: str) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers from 1 on."""
    return [(n, line) for n, line in enumerate(read_text(path, benchmark=benchmark).split("\n"), 1) if line.strip()]


def read_text(path: Path, *, benchmark: str) -> str:
    """A benchmark's text file.

    Raises:
        DataError: If it is missing or not UTF-8.
    """
    where = f"benchmark '{benchmark}', {path}"
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"the file cannot be read ({error.strerror})", where=where, remedy="check the benchmark's root and file"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} is not UTF-8", where=where, remedy="save the file as UTF-8") from error


def read_json(path: Path, *, benchmark: str) -> Any:
    """A benchmark's JSON document, or a DataError with the line."""
    try:
        return json.loads(read_text(path, benchmark=benchmark))
    except json.JSONDecodeError as error:
        where = f"benchmark '{benchmark}', {path}, line {error.lineno}"
        what = f"unreadable JSON: {error.msg} (column {error.colno})"
        raise DataError(what, where=where, remedy="fix the file") from error


def json_records(path: Path, *, benchmark: str) -> Iterator[tuple[str, Any]]:
    """The items of a JSON list, each with the line that it begins on.

    Raises:
        DataError: If the file is not a list of JSON values.
    """
    where = f"benchmark '{benchmark}', {path}"
    text = read_text(path, benchmark=benchmark)
    if not text.lstrip().startswith("["):
        raise DataError("expected a list", where=where, remedy="fetch the file again, or write [record, ...]")

    def error(what: str, line: int) -> DataError:
        return DataError(what, where=f"{where}, line {line}", remedy="fix the file")

    for value, line, _, repeated in JsonStream(iter([Chunk(text, text.count("\n"))]), error):
        if repeated:
            raise error(repeated, line())
        yield f"line {line()}", value


def parquet_records(path: Path, *, benchmark: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a parquet file, each with its number from 0 on; a DataError if it is none."""
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowInvalid) as error:
        where = f"benchmark '{benchmark}', {path}"
        raise DataError("not a readable parquet file", where=where, remedy="download it again") from error
    yield from ((f"row {number}", row) for number, row in enumerate(rows))


def records(paths: Sequence[Path], *, benchmark: str) -> Iterator[tuple[str, Any]]:
    """The records of all shards of a table, parquet or JSON lists by their ending, each with its place."""
    for path in paths:
        read = parquet_records if path.suffix == ".parquet" else json_records
        for where, record in read(path, benchmark=benchmark):
            yield (f"{path.name}, {where}" if len(paths) > 1 else where), record


def find_files(location: Path, patterns: Sequence[str], *, benchmark: str) -> list[Path]:
    """A benchmark's annotation files: the location itself, or in that folder those of the first pattern that fits.

    Raises:
        DataError: If nothing fits; it says what was looked for, where, and what is there.
    """
    if location.is_file():
        return [location]
    for pattern in patterns:
        if found := sorted(location.glob(pattern)):
            return found
    raise DataError(
        f"no annotations found: looked for {', '.join(patterns)}; {content_of(location)}",
        where=f"benchmark '{benchmark}', {location}",
        remedy="check the benchmark's root and file",
    )


def content_of(folder: Path) -> str:
    """What a folder holds, for messages."""
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    rest = f" and {len(there) - _SHOWN_NAMES} more" if len(there) > _SHOWN_NAMES else ""
    return f"it holds {', '.join(there[:_SHOWN_NAMES])}{rest}" if there else "it is empty or missing"


def require(record: Any, *names: str) -> dict[str, Any]:
    """The record, if it is an object that has these fields; else a DataError."""
    if not isinstance(record, dict):
        raise DataError(f"expected an object, found {type(record).__name__}")
    missing = [name for name in names if record.get(name) is None]
    if missing:
        raise DataError(f"missing {', '.join(repr(name) for name in missing)}")
    return record


def text_id(value: Any) -> str:
    """A question id as text; publishers write numbers or strings."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).strip():
        raise DataError(f"'question_id' is {value!r}, expected text or a whole number")
    return str(value)


class Problems:
    """What is wrong with a benchmark's file, gathered so that a user fixes all of it at once."""

    def __init__(self, benchmark: str, path: Path) -> None:
        self.found: list[str] = []
        self._place = f"benchmark '{benchmark}', {path}"
        self._ids: dict[str, str] = {}

    def add(self, where: str, what: str) -> None:
        """Note one problem."""
        self.found.append(f"{where}: {what}")

    def check_id(self, where: str, question_id: str) -> None:
        """Note a problem where the id was met before."""
        if question_id in self._ids:
            self.add(where, f"question id {question_id!r} stands already in {self._ids[question_id]}")
        self._ids.setdefault(question_id, where)

    def raise_if_any(self) -> None:
        """Raise one DataError with all problems, if there are any."""
        if not self.found:
            return
        rest = len(self.found) - _SHOWN_PROBLEMS
        more = [f"and {rest} more"] if rest > 0 else []
        count = "1 problem" if len(self.found) == 1 else f"{len(self.found)} problems"
        raise DataError("\n  ".join([count, *self.found[:_SHOWN_PROBLEMS], *more]), where=self._place)
