"""JSON parsed as its text comes in: the values of a file far larger than memory, each with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, NoReturn

from sparrow.core.errors import DataError

MAX_RECORD_CHARS = 1 << 26
_MARGIN_CHARS = 12
_HEAD_CHARS = 1 << 14
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=[^ \t\r\n])")
_HEAD_OF_DATA = re.compile(
    r'\{\s*(?P<before>(?:"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[\w.+-]+)\s*,\s*)*)"data"\s*:\s*\[(?=\s*\{)'
)
_decode_all = json.JSONDecoder().raw_decode


class RepeatedKeyError(ValueError):
    """A name stands twice in an object, so that one of its values would be lost."""


class Chunk(NamedTuple):
    """A piece of a text, how many lines end in it, and whether it may have `\\u` escapes: bytes tell these sooner."""

    text: str
    num_lines: int
    may_have_escapes: bool = True


class JsonValue(NamedTuple):
    """A value, what gives the line it starts on, whether its text has `\\u` escapes, and in words a key it repeats.

    Only through an escape do NULs and lone surrogates get past UTF-8 and a JSON parser.
    """

    value: Any
    line: Callable[[], int]
    has_escapes: bool
    repeated: str | None


class JsonStream:
    """The values of a JSON array, of the array `data` of an object, or those that stand one after another in a file.

    `error(what, line)` makes the error for something wrong. `beside` then has the names of what that object holds else.
    """

    def __init__(self, chunks: Iterator[Chunk], error: Callable[[str, int], DataError]) -> None:
        self._chunks, self._error = chunks, error
        self.beside: list[str] = []
        self._decode = json.JSONDecoder(object_pairs_hook=unique_keys).raw_decode
        self._repeated: str | None = None
        self._text = ""
        self._has_escapes = False  # in the text at hand, so that most values need not be searched
        self._at = 0
        self._num_lines = 0  # that end before the end of the text at hand
        self._last_line = "", 0, 1  # text, place and line that were asked for last

    def __iter__(self) -> Iterator[JsonValue]:
        first = self._next_char()
        while first == "{" and len(self._text) - self._at < _HEAD_CHARS and self._more():
            pass
        head = _HEAD_OF_DATA.match(self._text, self._at) if first == "{" else None
        if head:
            self._at = head.end() - 1
        elif first != "[":
            while self._next_char():
                yield self._take()
            return
        self._at += 1
        mark = "," if self._next_char() != "]" else "]"
        while mark == ",":
            self._next_char()
            yield self._take()
            while between := _COMMA.match(self._text, self._at):  # what follows shows only whether the text goes on
                self._at = between.end()
                yield self._take()
            mark = self._next_char()
            if mark not in (",", "]"):
                self._fail(
                    f"{mark!r} stands after a record, expected ',' or ']'" if mark else "the array is not closed"
                )
            if mark == ",":
                self._at += 1
        self._at += 1
        if head:
            while self._more():
                pass
            inner, closed, after = self._text[self._at :].rpartition("}")
            fields = (text.strip(" \t\r\n,") for text in (head["before"], inner))
            try:
                self.beside = list(json.loads(f"{{{','.join(filter(None, fields))}{closed}{after}"))
            except ValueError:
                self._fail("the object around the array of records is not JSON")
            return
        if self._next_char():
            self._fail("text stands after the end of the array")

    def _take(self) -> JsonValue:
        value, end = self._value()
        line = partial(self._line_at, self._text, self._at, self._num_lines)
        has_escapes = self._has_escapes and self._text.find("\\u", self._at, end) >= 0
        self._at = end
        repeated, self._repeated = self._repeated, None
        return JsonValue(value, line, has_escapes, repeated)

    def _value(self) -> tuple[Any, int]:
        while True:
            # The end of the buffer cuts off a value: it is read in part (a number), fails near that end (a word or
            # an escape), or fails at the start of a string that runs past it.
            near_end = len(self._text) - _MARGIN_CHARS
            try:
                decode = _decode_all if self._repeated else self._decode
                value, end = decode(self._text, self._at)
                if end < near_end or not self._more():
                    return value, end
            except json.JSONDecodeError as error:
                in_string = error.msg.startswith("Unterminated string")
                if (in_string or error.pos >= near_end) and self._more():
                    continue
                at_end = in_string or not self._text[error.pos :].strip()
                what = "it ends in the middle of a record" if at_end else f"it is not JSON: {error.msg}"
                self._fail(what, error.pos)
            except RepeatedKeyError as error:
                self._repeated = str(error)
            except (ValueError, RecursionError) as error:
                self._fail(f"a record cannot be read: {json_fault(error)}")

    def _next_char(self) -> str:
        """The next character that is no space, moved to; "" at the end of the file."""
        while True:
            match = _NOT_SPACE.search(self._text, self._at)
            if match:
                self._at = match.start()
                return match[0]
            self._at = len(self._text)
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Drop what is read and double what is not, so that a long value is parsed few times."""
        left = len(self._text) - self._at
        if left > MAX_RECORD_CHARS:
            self._fail(f"a record is longer than {MAX_RECORD_CHARS:,} characters")
        pieces, added = [self._text[self._at :]], 0
        for chunk in self._chunks:
            pieces.append(chunk.text)
            added += len(chunk.text)
            self._num_lines += chunk.num_lines
            self._has_escapes |= chunk.may_have_escapes
            if added >= max(left, 1):
                break
        if added:
            self._text, self._at = "".join(pieces), 0
            self._has_escapes = self._has_escapes and "\\u" in self._text
        return added > 0

    def _fail(self, what: str, at: int | None = None) -> NoReturn:
        raise self._error(what, self._line_at(self._text, self._at if at is None else at, self._num_lines))

    def _line_at(self, text: str, at: int, num_lines: int) -> int:
        """The line of a place in a text, at the end of which so many lines have ended; counted on from the last one."""
        last_text, last_at, line = self._last_line
        if text is not last_text or at < last_at:
            last_at, line = 0, num_lines + 1 - text.count("\n")
        line += text.count("\n", last_at, at)
        self._last_line = text, at, line
        return line


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its names and values, for `object_pairs_hook`; `RepeatedKeyError` if a name stands twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKeyError(f"the key {twice!r} stands twice in an object")
    return made


def json_fault(error: ValueError | RecursionError) -> str:
    """What a JSON parser says is wrong with one line of text, in words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
