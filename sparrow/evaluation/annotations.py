"""Annotation files of benchmarks: finding and reading them, each record with its place, and gathering what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparrow.core.errors import DataError
from sparrow.data.converters.raw_record import RecordError, Store
from sparrow.data.readers import read_records

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


def records(
    path: Path, *, benchmark: str, problems: Problems, store: Store | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The records of a file, in any of the forms of `data.readers`, each with its place; unreadable ones are problems.

    Raises:
        DataError: If the file cannot be read on.
    """

    def note(error: RecordError) -> None:
        problems.add(error.where, error.what)

    try:
        for record in read_records(path, on_bad=note, store=store):
            if record.num_replaced_chars:
                problems.add(record.where, "a text holds a NUL or half of a surrogate pair; write the whole character")
            else:
                yield record.where, record.data
    except RecordError as error:
        where = f"benchmark '{benchmark}', {path.parent / error.where}"
        raise DataError(error.what, where=where, remedy=error.remedy) from error


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
