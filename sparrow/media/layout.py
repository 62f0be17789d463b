"""Where every word of a text stands: words into lines, lines into pages, without drawing anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from sparrow.core.errors import MediaError
from sparrow.media.settings import TextStyle
from sparrow.media.shaping import LEFT_TO_RIGHT_MARK, RIGHT_TO_LEFT_MARK, ShapedTypeface, is_rtl
from sparrow.media.tokens import treebank_tokens
from sparrow.media.typeface import PIXEL, Extent, Typeface, is_ignorable

TAB_STOP_SPACES = 4
_ROUND = PIXEL // 2
_CLOSING = "、。，．：；！？）」』】》〉〕”’"
_WORD = re.compile(r"(\s*)(\S+)")

Pieces = tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its text, the y of its baseline in px, and its pieces, each with the x of its origin in px.

    A piece is a word or, where lines are shaped as wholes, the words up to a tab or the line's end.
    """

    text: str
    baseline_px: int
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Page:
    """One page of positioned lines, from top to bottom."""

    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """The page's text, line by line; white space apart, those of all pages make up the source text."""
        return "\n".join(line.text for line in self.lines)


class Typesetter:
    """Sets words one after another; `pages` holds those that are full."""

    def __init__(self, style: TextStyle, face: Typeface) -> None:
        self.pages: list[Page] = []
        self._style = style
        self._face = face
        self._shapes = isinstance(face, ShapedTypeface)
        # A shaped line may be a little wider than its words and spaces by themselves.
        self._margin_px = max(style.margin_px, style.font_size_px // 2) if self._shapes else style.margin_px
        self._room = (style.page_width_px - 2 * self._margin_px) * PIXEL
        self._top_px = 0 if style.layout == "paper" else style.margin_px
        self._capacity_px = style.page_height_px - 2 * self._top_px
        self._words_per_page = style.words_per_page if style.layout == "paper" else None
        self._words = 0
        self._lines: list[tuple[str, int, int, Pieces]] = []
        self._used_px = 0
        self._rtl = False
        self._start_line(0)

    def paragraph(self, text: str) -> None:
        """Say which paragraph the next words are of: a shaped one may run from right to left."""
        self._rtl = self._shapes and is_rtl(text)

    def indent(self, space: str) -> None:
        """Start a line with white space, which its continuation lines repeat if it leaves half a line or more."""
        end = self._after(0, space)
        self._indent = self._pen = end if end <= self._room // 2 else 0
        if self._pen:
            self._texts.append(space)

    def word(self, space: str, word: str) -> None:
        """Set a word after white space without line breaks."""
        if self._words + self._words_on_line == self._words_per_page:
            self.end_line()
            self._end_page()
        extent = self._face.extents[word]
        width = extent.width
        if extent.left < -self._margin_px:
            width += self._shift_px(self._indent, extent.left) * PIXEL
        if width > self._room - self._indent:
            self._break(space, word)
            return
        start = self._start_of(space, word)
        if start + width > self._room and self._pieces:
            self.end_line(self._indent)
            start = self._pen
        self._put(start, space, word, extent)
        self._words_on_line += 1

    def end_line(self, indent: int = 0) -> None:
        """End the line, and before it the page if the line does not fit there."""
        height = self._above + self._below
        if height > self._capacity_px:
            raise MediaError(
                f"a line is {height} px high, the page has room for {self._capacity_px}",
                remedy="lower font_size_px or raise page_height_px",
            )
        if self._used_px + height > self._capacity_px:
            self._end_page()
        if self._pieces or self._lines:  # no page starts with a blank line
            pieces = self._shaped(self._pieces) if self._shapes else tuple(self._pieces)
            self._lines.append(("".join(self._texts), self._above, self._below, pieces))
            self._used_px += height
            self._words += self._words_on_line
        self._start_line(indent)

    def finish(self) -> None:
        """End the last line and the last page."""
        if self._pieces:
            self.end_line()
        self._end_page()

    def _start_line(self, indent: int) -> None:
        self._texts: list[str] = []
        self._pieces: list[tuple[int, str]] = []
        self._pen = self._indent = indent
        self._above = self._face.ascent_px
        self._below = self._face.descent_px
        self._words_on_line = 0

    def _end_page(self) -> None:
        while self._lines and not self._lines[-1][3]:  # nor ends with one
            _, above, below, _ = self._lines.pop()
            self._used_px -= above + below
        if self._lines:
            y = (self._style.page_height_px - self._used_px) // 2 if self._style.layout == "paper" else self._top_px
            lines = []
            for text, above, below, pieces in self._lines:
                lines.append(Line(text, y + above, pieces))
                y += above + below
            self.pages.append(Page(tuple(lines)))
        self._lines = []
        self._used_px = self._words = 0

    def _start_of(self, space: str, word: str) -> int:
        """Where a word starts if it is set on this line, in 1/64 px from the margin."""
        if not self._pieces:
            return self._pen
        if "\t" in space:
            return self._after(self._pen, space)
        return self._pen + self._face.gaps[self._pieces[-1][1][-1], space, word[0]]

    def _after(self, pen: int, space: str) -> int:
        """The pen after white space in which tabs lead to the next tab stop that is at least a space away."""
        for char in space:
            if char == "\t":
                blank = self._face.gaps["", " ", ""]
                stop = TAB_STOP_SPACES * blank
                pen = -(-(pen + blank) // stop) * stop
            else:
                pen += self._face.gaps["", char, ""]
        return pen

    def _reach(self, start: int, extent: Extent) -> int:
        return start + self._shift_px(start, extent.left) * PIXEL + extent.width

    def _shift_px(self, start: int, left: int) -> int:
        """How far a word is moved to the right, because its ink would overhang the margin and the page."""
        return max(0, -(self._margin_px + (start + _ROUND) // PIXEL + left))

    def _put(self, start: int, space: str, word: str, extent: Extent) -> None:
        advance, _, left, top, _, bottom = extent
        if left < -self._margin_px:
            start += self._shift_px(start, left) * PIXEL
        x = self._margin_px + (start + _ROUND) // PIXEL
        if self._pieces:
            self._texts.append(space)
        self._texts.append(word)
        if self._shapes and self._pieces and "\t" not in space:
            x, before = self._pieces.pop()
            word = before + space + word
        self._pieces.append((x, word))
        self._pen = start + advance
        if -top > self._above:
            self._above = -top
        if bottom > self._below:
            self._below = bottom

    def _break(self, space: str, word: str) -> None:
        """Set a word that is wider than a line: as much of it on each line as fits, between characters."""
        parts = clusters(word)
        first = 0
        while first < len(parts):
            start = self._start_of(space, parts[first])
            count = self._face.fitting(parts, first, self._room - start)
            piece = "".join(parts[first : first + count])
            while count and self._reach(start, self._face.extents[piece]) > self._room:
                count -= 1
                piece = "".join(parts[first : first + count])
            if count:
                self._put(start, space, piece, self._face.extents[piece])
                self._words_on_line += first == 0
                first += count
            elif not self._pieces:
                if len(parts[first]) == 1:
                    raise MediaError(
                        f"character U+{ord(parts[first]):04X} is wider than a line",
                        remedy="lower font_size_px or raise page_width_px",
                    )
                parts[first : first + 1] = list(parts[first])
                continue
            if first < len(parts):
                self.end_line(self._indent)

    def _shaped(self, pieces: list[tuple[int, str]]) -> Pieces:
        """Pieces with the paragraph's direction as their first character, mirrored where it runs from the right."""
        shaped = []
        for x, text in pieces:
            marked = (RIGHT_TO_LEFT_MARK if self._rtl else LEFT_TO_RIGHT_MARK) + text
            extent = self._face.extents[marked]
            if self._rtl:
                x = self._style.page_width_px - x - (extent.advance + _ROUND) // PIXEL
            shaped.append((min(max(x, -extent.left), self._style.page_width_px - extent.right), marked))
        return tuple(shaped)


def clusters(word: str) -> list[str]:
    """A word cut where a line may break it: before each base character, with the marks and joined emoji that follow.

    An approximation of the grapheme clusters of Unicode's annex 29 that needs no tables beyond Python's; full-width
    closing punctuation stays with what it closes.
    """
    if word.isascii():
        return list(word)
    found: list[str] = []
    for char in word:
        if found and (_extends(char) or found[-1][-1] == "\u200d"):
            found[-1] += char
        else:
            found.append(char)
    return found


def _extends(char: str) -> bool:
    is_mark = unicodedata.category(char) in ("Mn", "Mc", "Me")
    is_skin_tone = "\U0001f3fb" <= char <= "\U0001f3ff"
    return is_mark or is_skin_tone or char in _CLOSING or is_ignorable(char)


def set_text(text: str, style: TextStyle, face: Typeface) -> Iterator[Page]:
    """Lay a text out, page by page, as the layout of `style` says.

    Raises:
        MediaError: If there is nothing to draw, or the page is too small for a character.
    """
    has_ink = False
    for page in _all_pages(text, style, face):
        has_ink = has_ink or any(
            face.extents[word].right > face.extents[word].left for line in page.lines for _, word in line.pieces
        )
        yield page
    if not has_ink:
        raise MediaError("the text is empty", remedy="remove the record or fix its text")


def _all_pages(text: str, style: TextStyle, face: Typeface) -> Iterator[Page]:
    setter = Typesetter(style, face)
    if style.layout == "paper":
        setter.paragraph(text)
        for word in treebank_tokens(text) if style.tokenizer == "treebank" else text.split():
            setter.word(" ", word)
            if setter.pages:
                yield from setter.pages
                setter.pages.clear()
    else:
        for line in text.splitlines():
            setter.paragraph(line)
            for i, (space, word) in enumerate(_WORD.findall(line.rstrip())):
                if i == 0 and space:
                    setter.indent(space)
                setter.word(space, word)
            setter.end_line()
            yield from setter.pages
            setter.pages.clear()
    setter.finish()
    yield from setter.pages
