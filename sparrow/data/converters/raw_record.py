"""A record in its publisher's schema, with typed access to its fields and errors that name its place."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparrow.core.errors import DataError
from sparrow.core.samples import UNREADABLE
from sparrow.data.json_stream import RepeatedKeyError, unique_keys

Store = Callable[[bytes, str], str]


class LeftOutError(Exception):
    """A record that its source's published rules do not use; it is counted by reason and is no fault."""


class RecordError(DataError):
    """A record that cannot become a sample; it always says where and how to fix it."""

    where: str
    remedy: str

    def __init__(self, what: str, *, source: str, where: str, remedy: str) -> None:
        super().__init__(what, source=source, where=where, remedy=remedy)


def cleaned(value: Any, store: Store | None = None) -> tuple[Any, int]:
    """The value with U+FFFD for every NUL and lone surrogate in its strings, and how many those were.

    In the place of bytes, or of `{bytes, path}` as `datasets` writes media, stands the path that `store` gives them.
    """
    if isinstance(value, str):
        return UNREADABLE.subn("\ufffd", value)
    if isinstance(value, dict):
        if store and isinstance(value.get("bytes"), bytes):
            return store(value["bytes"], str(value.get("path") or "")), 0
        pairs = [(key, cleaned(item, store)) for key, item in value.items()]
        return {key: item for key, (item, _) in pairs}, sum(count for _, (_, count) in pairs)
    if isinstance(value, list):
        items = [cleaned(item, store) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    return (store(value, ""), 0) if store and isinstance(value, bytes) else (value, 0)


@dataclass(slots=True)
class Record:
    """One row of a file.

    `place` gives `where`, or is it. `num_replaced_chars` counts NULs and lone surrogates that became U+FFFD.
    """

    data: Mapping[str, Any]
    place: str | Callable[[], str] = "record"
    source: str = "unnamed"
    num_replaced_chars: int = field(default=0, compare=False)

    @property
    def where(self) -> str:
        """File and line, as errors show it: `clips.json, line 12`."""
        return self.place if isinstance(self.place, str) else self.place()

    def cleaned(self, store: Store | None) -> Record:
        """The record with `cleaned` values."""
        data, num_replaced = cleaned(self.data, store)
        return Record(data, self.place, self.source, num_replaced)

    def error(self, what: str, remedy: str) -> RecordError:
        """The error for something wrong with this record."""
        return RecordError(what, source=self.source, where=self.where, remedy=remedy)

    def has(self, name: str) -> bool:
        """Whether a field is there and neither null nor empty."""
        return not is_empty(self.data.get(name))

    def text(self, name: str) -> str:
        """A field that holds words; an error where it is missing, not a string, or blank."""
        value = self._required(name)
        if not isinstance(value, str):
            raise self.error(f"field '{name}' is {kind_of(value)}, expected text", f"write '{name}' as a string")
        if not value.strip():
            raise self.error(f"field '{name}' is empty", f"fill in '{name}' or remove the record")
        return value

    def optional_text(self, name: str) -> str:
        """As `text`, and "" where the field is missing, null or empty."""
        return self.text(name) if self.has(name) else ""

    def items(self, name: str) -> list[Any]:
        """A field that holds a list, or, as in CSV, the JSON of one; an error where it is missing or empty."""
        value = self._required(name)
        if isinstance(value, str):
            num_unreadable = 0
            try:
                parsed = json.loads(value, object_pairs_hook=unique_keys)
                num_unreadable = cleaned(parsed)[1]
                value = parsed
            except RepeatedKeyError as error:
                raise self.error(f"field '{name}' is JSON in which {error}", "keep one of them") from error
            except (ValueError, RecursionError):
                pass  # no list, as is said below
            if num_unreadable:
                what = f"field '{name}' is JSON that holds {num_unreadable} NULs or halves of surrogate pairs"
                raise self.error(what, "remove them, or write whole characters")
        if not isinstance(value, list):
            raise self.error(f"field '{name}' is {kind_of(value)}, expected a list", f"write '{name}' as a list")
        if not value:
            raise self.error(f"field '{name}' is empty", f"fill in '{name}' or remove the record")
        return value

    def number(self, name: str) -> float | None:
        """An optional number, finite and not negative."""
        value = self.data.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if isinstance(value, bool) or not 0 <= number < float("inf"):
            what = f"field '{name}' is {reprlib.repr(value)}, expected a number >= 0"
            raise self.error(what, f"write '{name}' as a number")
        return number

    def own_id(self, name: str = "id") -> str | None:
        """The publisher's id as a string, if the record has one that is text or a number."""
        value = self.data.get(name)
        is_id = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        return str(value) if is_id and str(value).strip() not in ("", "nan") else None

    def _required(self, name: str) -> Any:
        value = self.data.get(name)
        if value is None:
            there = ", ".join(map(repr, self.data)) or "none"
            raise self.error(
                f"field '{name}' is missing",
                f"add it, or choose the converter of this schema (fields of the record: {there})",
            )
        return value


def is_empty(value: Any) -> bool:
    """Whether a field's value is null or empty."""
    return not value and (value is None or isinstance(value, (str, list, dict)))


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)
