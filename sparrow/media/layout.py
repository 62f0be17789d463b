"""Where every word of a text stands: words into lines, lines into pages, without drawing anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from sparrow.core.errors import MediaError
from sparrow.media.style import TextStyle
from sparrow.media.typeface import PIXEL, Extent, Typeface, is_ignorable

TAB_STOP_SPACES = 4
_WORD = re.compile(r"(\s*)(\S+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its text, the y of its baseline in px, and its pieces, each with the x of its origin in px."""

    text: str
    baseline_px: int
    pieces: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of positioned lines, from top to bottom."""

    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """The page's text, line by line; white space apart, those of all pages make up the source text."""
        return "\n".join(line.text for line in self.lines)


class Typesetter:
    """Sets words one after another and hands out each page when it is full.

    Args:
        style: Settings of the page.
        face: Typeface that measures the words.
    """

    def __init__(self, style: TextStyle, face: Typeface) -> None:
        self._style = style
        self._face = face
        self._room = (style.page_width_px - 2 * style.margin_px) * PIXEL
        self._vertical_margin_px = 0 if style.layout == "paper" else style.margin_px
        self._capacity_px = style.page_height_px - 2 * self._vertical_margin_px
        self._words_per_page = style.words_per_page if style.layout == "paper" else None
        self._pages: list[Page] = []
        self._lines: list[tuple[str, int, int, tuple[tuple[int, str], ...]]] = []
        self._used_px = 0
        self._words = 0
        self.has_ink = False
        self._start_line()

    def _start_line(self, indent: int = 0) -> None:
        self._texts: list[str] = []
        self._pieces: list[tuple[int, str]] = []
        self._pen = self._indent = indent
        self._above = self._face.ascent_px
        self._below = self._face.descent_px
        self._words_on_line = 0

    def word(self, space: str, word: str) -> None:
        """Set a word after white space (of one kind, without line breaks)."""
        if self._words_per_page is not None and self._words + self._words_on_line >= self._words_per_page:
            self.end_line()
            self._end_page()
        extent = self._face.extent(word)
        if extent.width > self._room - self._indent:
            self._break(space, word)
            return
        start = self._start_of(space, word)
        if start + extent.width > self._room and self._pieces:
            self.end_line(self._indent)
            space, start = "", self._pen
        self._put(start, space, word, extent)
        self._words_on_line += 1

    def indent(self, space: str) -> None:
        """Start a line with white space, which its continuation lines repeat where at least half a line is left."""
        end = self._after(0, space)
        self._pen = end if end <= self._room // 2 else 0
        self._indent = self._pen
        if self._pen:
            self._texts.append(space)

    def end_line(self, indent: int = 0) -> None:
        """End the line, and the page before it if the line does not fit there."""
        height = self._above + self._below
        if height > self._capacity_px:
            raise MediaError(
                f"a line is {height} px high, the page has room for {self._capacity_px}",
                remedy="lower font_size_px or raise page_height_px",
            )
        if self._used_px + height > self._capacity_px:
            self._end_page()
        if self._pieces or self._lines:  # no page starts with blank lines
            self._lines.append(("".join(self._texts), self._above, self._below, tuple(self._pieces)))
            self._used_px += height
            self._words += self._words_on_line
        self._start_line(indent)

    def finish(self) -> Iterator[Page]:
        """End the last line and page; all pages."""
        if self._pieces:
            self.end_line()
        self._end_page()
        yield from self.full_pages()

    def full_pages(self) -> Iterator[Page]:
        """The pages that are full, each handed out once."""
        pages, self._pages = self._pages, []
        yield from pages

    def _end_page(self) -> None:
        while self._lines and not self._lines[-1][3]:
            _, above, below, _ = self._lines.pop()
            self._used_px -= above + below
        if self._lines:
            centred = self._style.layout == "paper"
            y = (self._style.page_height_px - self._used_px) // 2 if centred else self._vertical_margin_px
            lines = []
            for text, above, below, pieces in self._lines:
                lines.append(Line(text, y + above, pieces))
                y += above + below
            self._pages.append(Page(tuple(lines)))
        self._lines = []
        self._used_px = self._words = 0

    def _after(self, pen: int, space: str) -> int:
        """The pen after white space in which tabs lead to the next tab stop."""
        for char in space:
            if char == "\t":
                stop = TAB_STOP_SPACES * self._face.gap("", " ", "")
                pen = (pen // stop + 1) * stop
            else:
                pen += self._face.gap("", char, "")
        return pen

    def _start_of(self, space: str, word: str) -> int:
        if not self._pieces:
            return self._pen
        if "\t" in space:
            return self._after(self._pen, space)
        return self._pen + self._face.gap(self._pieces[-1][1][-1], space, word[0]) if space else self._pen

    def _put(self, start: int, space: str, word: str, extent: Extent) -> None:
        margin = self._style.margin_px
        x = margin + (start + PIXEL // 2) // PIXEL
        if x + extent.left < 0:  # ink that overhangs the margin and the page
            start += -(x + extent.left) * PIXEL
            x = -extent.left
        if self._pieces:
            self._texts.append(space)
        self._texts.append(word)
        self._pieces.append((x, word))
        self._pen = start + extent.advance
        self._above = max(self._above, -extent.top)
        self._below = max(self._below, extent.bottom)
        self.has_ink = self.has_ink or extent.right > extent.left

    def _break(self, space: str, word: str) -> None:
        """Set a word that is wider than a line: as much of it on each line as fits, between characters."""
        self._words_on_line += 1
        parts = clusters(word)
        first = 0
        while first < len(parts):
            start = self._start_of(space, parts[first])
            count = self._face.fitting(parts, first, self._room - start)
            if count:
                piece = "".join(parts[first : first + count])
                self._put(start, space, piece, self._face.extent(piece))
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
                space = ""


def clusters(word: str) -> list[str]:
    """A word cut into what a reader sees as characters: bases with their marks, joined emoji.

    An approximation of the grapheme clusters of Unicode's annex 29 that needs no tables beyond Python's.
    """
    found: list[str] = []
    for char in word:
        if found and (_extends(char) or found[-1][-1] == "\u200d"):
            found[-1] += char
        else:
            found.append(char)
    return found


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me") or is_ignorable(char) or "\U0001f3fb" <= char <= "\U0001f3ff"
    )


def set_text(text: str, style: TextStyle, face: Typeface) -> Iterator[Page]:
    """Lay a text out, page by page, as the layout of `style` says.

    Raises:
        MediaError: If there is nothing to draw, or the page is too small for a character.
    """
    setter = Typesetter(style, face)
    if style.layout == "paper":
        for word in text.split():
            setter.word(" ", word)
            yield from setter.full_pages()
    else:
        for line in text.splitlines():
            for i, (space, word) in enumerate(_WORD.findall(line)):
                if i == 0 and space:
                    setter.indent(space)
                setter.word(space, word)
            setter.end_line()
            yield from setter.full_pages()
    yield from setter.finish()
    if not setter.has_ink:
        raise MediaError("the text is empty", remedy="remove the record or mend its text")
