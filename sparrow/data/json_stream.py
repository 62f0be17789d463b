"""JSON parsed as its text comes in: the values of a file far larger than memory, each with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

from sparrow.core.errors import DataError

MAX_RECORD_CHARS = 1 << 26
_MARGIN_CHARS = 12
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=[^ \t\r\n])")


class JsonValue(NamedTuple):
    """A value, the line it starts on, and whether its text has `\\u` escapes.

    Only through an escape do NULs and lone surrogates get past UTF-8 and a JSON parser.
    """

    value: Any
    line: int
    has_escapes: bool


class JsonStream:
    """The values of a JSON array, or those that stand one after another in a file.

    `error(what, line)` makes the error for something wrong.
    """

    def __init__(self, chunks: Iterator[str], error: Callable[[str, int], DataError]) -> None:
        self._chunks, self._error = chunks, error
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._has_escapes = False  # in the text at hand, so that most values need not be searched
        self._at = 0
        self._line = 1

    def __iter__(self) -> Iterator[JsonValue]:
        if self._next_char() != "[":
            while self._next_char():
                yield self._take()
            return
        self._step(self._at + 1)
        mark = "," if self._next_char() != "]" else "]"
        while mark == ",":
            self._next_char()
            yield self._take()
            while between := _COMMA.match(self._text, self._at):  # what follows shows only whether the text goes on
                self._step(between.end())
                yield self._take()
            mark = self._next_char()
            if mark not in (",", "]"):
                self._fail(
                    f"{mark!r} stands after a record, expected ',' or ']'" if mark else "the array is not closed"
                )
            if mark == ",":
                self._step(self._at + 1)
        self._step(self._at + 1)
        if self._next_char():
            self._fail("text stands after the end of the array")

    def _take(self) -> JsonValue:
        line, (value, end) = self._line, self._value()
        has_escapes = self._has_escapes and self._text.find("\\u", self._at, end) >= 0
        self._step(end)
        return JsonValue(value, line, has_escapes)

    def _value(self) -> tuple[Any, int]:
        while True:
            # The end of the buffer cuts off a value: it is read in part (a number), fails near that end (a word or
            # an escape), or fails at the start of a string that runs past it.
            near_end = len(self._text) - _MARGIN_CHARS
            try:
                value, end = self._decode(self._text, self._at)
                if end < near_end or not self._more():
                    return value, end
            except json.JSONDecodeError as error:
                in_string = error.msg.startswith("Unterminated string")
                if (in_string or error.pos >= near_end) and self._more():
                    continue
                at_end = in_string or not self._text[error.pos :].strip()
                self._fail(
                    "it ends in the middle of a record" if at_end else f"it is not JSON: {error.msg}",
                    self._line + self._text.count("\n", self._at, error.pos),
                )
            except (ValueError, RecursionError) as error:
                self._fail(f"a record cannot be read: {json_fault(error)}")

    def _next_char(self) -> str:
        """The next character that is no space, moved to; "" at the end of the file."""
        while True:
            match = _NOT_SPACE.search(self._text, self._at)
            if match:
                self._step(match.start())
                return match[0]
            self._step(len(self._text))
            if not self._more():
                return ""

    def _step(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Drop what is read and double what is not, so that a long value is parsed few times."""
        left = len(self._text) - self._at
        if left > MAX_RECORD_CHARS:
            self._fail(f"a record is longer than {MAX_RECORD_CHARS:,} characters")
        pieces, added = [self._text[self._at :]], 0
        for chunk in self._chunks:
            pieces.append(chunk)
            added += len(chunk)
            if added >= max(left, 1):
                break
        if added:
            self._text, self._at = "".join(pieces), 0
            self._has_escapes = "\\u" in self._text
        return added > 0

    def _fail(self, what: str, line: int | None = None) -> NoReturn:
        raise self._error(what, line or self._line)


def json_fault(error: ValueError | RecursionError) -> str:
    """What a JSON parser says is wrong with one line of text, in words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
