"""A schema of records, the fields that it knows, and the rule that its publisher's data is used with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from sparrow.data.converters.placeholders import BOUNDS, LOSS_MARKS, SYSTEM_FIELDS, UNREAD_BOUNDS, VISUAL_FIELDS, Chat
from sparrow.data.converters.raw_record import Record, is_empty

_INDEX_FIELDS = ("__index_level_0__", "Unnamed: 0")  # of pandas
_PREFERENCES = "holds a preference, which supervised fine-tuning does not learn from"
_TOOLS = "is about tools, which are not read"
_ZEROS = ("false", "0", "0.0")
_UNLEARNT = {"label": ("false",), "kto_tag": _ZEROS, **dict.fromkeys(LOSS_MARKS, _ZEROS)}
_REFUSED = {
    **dict.fromkeys(("chosen", "rejected", "rejected_messages", "rejected_response"), _PREFERENCES),
    **dict.fromkeys(("function_call", "functions", "tool_calls", "tools"), _TOOLS),
    **dict.fromkeys(("audio", "audios"), "holds sound, which no model hears"),
    **dict.fromkeys(("history", *SYSTEM_FIELDS, *VISUAL_FIELDS), "is not read by this converter"),
    "train_detail": "says which parts of a turn are learnt, which is not read",
    "objects": "grounds the words <bbox> and <ref-object>, which are not filled in",
}


class _Known(NamedTuple):
    """The names of known fields, and what is known of the objects listed in them."""

    names: frozenset[str]
    below: dict[str, _Known]


@dataclass(frozen=True)
class Converter:
    """A schema: the function that reads its records, and the rule that its publisher's data is used with.

    Args:
        read: Yields the chats of a record (most have one), each with the record's own id if it has one.
            Raises `RecordError` for a record that breaks the schema, `LeftOutError` for one that is not used.
        min_context_words: Records with a shorter long text are left out.
        fields: The fields that it knows, beside `id`: those that it reads, and those of its schema that say nothing
            about an answer. `turns[].text` is the field of each object listed in `turns`.
        has_long_text: Whether every sample has one, so that a component must say how it is shown.
    """

    read: Callable[[Record], Iterator[Chat]]
    min_context_words: int = 0
    fields: tuple[str, ...] = ()
    has_long_text: bool = False

    def unknown_fields(self, record: Record) -> list[str]:
        """The fields that hold something and are not known; an error if one changes what is to be learnt."""
        found = set()
        for path, value in _unknown(record.data, self._known):
            found.add(path)
            name = path.rpartition(".")[2]
            if name in (*BOUNDS, *UNREAD_BOUNDS) and path.partition("[]")[0] in VISUAL_FIELDS:
                raise record.error(f"field '{path}' bounds a video, and is not read there", "write it in the record")
            if name in _REFUSED:
                raise record.error(f"field '{path}' {_REFUSED[name]}", "choose another converter, or remove it")
            written = str(value).lower()  # also as in CSV
            if written in _UNLEARNT.get(name, ()):
                raise record.error(f"field '{path}' is {value}: it is not to be learnt from", "remove the record")
        if record.has("id") and record.own_id() is None:
            found.add("id")
        return sorted(found)

    @cached_property
    def _known(self) -> _Known:
        return _known(("id", *self.fields))


def _known(paths: Iterable[str]) -> _Known:
    below: dict[str, list[str]] = {}
    names = set()
    for path in paths:
        name, listed, rest = path.partition("[].")
        names.add(name)
        if listed:
            below.setdefault(name, []).append(rest)
    return _Known(frozenset(names), {name: _known(rest) for name, rest in below.items()})


def _unknown(data: Mapping[str, Any], known: _Known, at: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of each field that holds something and is not known, in the record and in what it lists."""
    if not known.names.issuperset(data):
        for name in sorted(data.keys() - known.names):
            is_index = name in _INDEX_FIELDS and str(data[name]).isdecimal()
            if not is_empty(data[name]) and not is_index and data[name] not in ("[]", "{}"):
                yield at + name, data[name]
    for name, below in known.below.items():
        items = data.get(name)
        if items is None:
            continue
        if isinstance(items, str) and items[:1] == "[":  # as in CSV
            with suppress(ValueError, RecursionError):
                items = json.loads(items)
        for item in items if isinstance(items, list) else [items]:
            if isinstance(item, dict) and (below.below or not below.names.issuperset(item)):
                yield from _unknown(item, below, f"{at}{name}[].")
