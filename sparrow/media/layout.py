"""Where every word of a text stands: words into lines, lines into pages, without drawing anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sparrow.core.errors import MediaError
from sparrow.media.settings import TextStyle
from sparrow.media.shaping import LEFT_TO_RIGHT_MARK, RIGHT_TO_LEFT_MARK, ShapedTypeface, is_rtl, strong_mark
from sparrow.media.tokens import treebank_tokens
from sparrow.media.typeface import PIXEL, Extent, Typeface

TAB_STOP_SPACES = 4
_ROUND = PIXEL // 2
_WORD = re.compile(r"(\s*)(\S+)")
_STRONG = re.compile(r"\S")
# Thai, Lao, Tibetan, Myanmar, Khmer, Tai and Lanna letters, and the zero-width space.
_WITHOUT_SPACES = re.compile("[\u0e00-\u109f\u1780-\u17ff\u1950-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf\u200b]")

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
    """One page of positioned lines, from top to bottom, and the style that they are drawn in."""

    lines: tuple[Line, ...]
    style: TextStyle = field(compare=False, repr=False)

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
        self._shaped_face = face if isinstance(face, ShapedTypeface) else None
        # A shaped line may be a little wider than its words and spaces by themselves.
        self._margin_px = style.margin_px
        if self._shaped_face is not None:
            self._margin_px = max(self._margin_px, style.font_size_px // 2)
        self._room = (style.page_width_px - 2 * self._margin_px) * PIXEL
        self._top_px = 0 if style.layout == "paper" else style.margin_px
        self._capacity_px = style.page_height_px - 2 * self._top_px
        self._words_per_page = style.words_per_page if style.layout == "paper" else None
        self._words = 0
        self._lines: list[tuple[str, int, int, Pieces]] = []
        self._used_px = 0
        self.paragraph("")
        self._start_line(0)

    def paragraph(self, text: str) -> None:
        """Say which paragraph the next words are of: a shaped one may run from right to left."""
        self._rtl = self._shaped_face is not None and is_rtl(text)
        self._base_mark = self._mark_before = RIGHT_TO_LEFT_MARK if self._rtl else LEFT_TO_RIGHT_MARK
        self._num_set = 0  # characters of the paragraph, white space apart
        self._marks = "".join(map(strong_mark, "".join(text.split()))) if self._shaped_face is not None else ""

    def indent(self, space: str) -> None:
        """Start a line with white space, which its continuation lines repeat if it leaves half a line or more."""
        end = self._after(0, space)
        self._indent = self._pen = end if end <= self._room // 2 else 0
        if self._pen:
            self._texts.append(space)

    def word(self, space: str, word: str) -> None:
        """Set a word after white space without line breaks."""
        if self._words + self._words_on_line == self._words_per_page:
            self.end_line(is_last=True)
            self._end_page()
        extent = self._face.extents[word]
        width = extent.width
        if extent.left < -self._margin_px:
            width += self._shift_px(self._indent, extent.left) * PIXEL
        start = self._start_of(space, word)
        overflows = start + width > self._room and bool(self._pieces)
        if width > self._room - self._indent or (overflows and _WITHOUT_SPACES.search(word)):
            self._break(space, word)
            return
        if overflows:
            self.end_line(self._indent)
            start = self._pen
        self._put(start, space, word, extent)
        self._words_on_line += 1

    def end_line(self, indent: int = 0, *, is_last: bool = False) -> None:
        """End the line, and before it the page if the line does not fit there; `is_last`: of its paragraph."""
        height = round((self._above + self._below) * self._style.line_spacing)
        above = self._above + (height - self._above - self._below) // 2
        if height > self._capacity_px:
            raise MediaError(
                f"a line is {height} px high, the page has room for {self._capacity_px}",
                remedy="lower font_size_px or raise page_height_px",
            )
        if self._used_px + height > self._capacity_px:
            self._end_page()
        if self._pieces or self._lines:  # no page starts with a blank line
            self._lines.append(("".join(self._texts), above, height - above, self._placed(is_last=is_last)))
            self._used_px += height
            self._words += self._words_on_line
        self._start_line(indent)

    def finish(self) -> None:
        """End the last line and the last page."""
        if self._pieces:
            self.end_line(is_last=True)
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
            self.pages.append(Page(tuple(lines), self._style))
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
        if self._shaped_face is not None and self._pieces and "\t" not in space:
            x, before = self._pieces.pop()
            word = before + space + word
        self._pieces.append((x, word))
        self._pen = start + advance
        if -top > self._above:
            self._above = -top
        if bottom > self._below:
            self._below = bottom

    def _break(self, space: str, word: str) -> None:
        """Set a word of which as much stands on each line as fits, broken within characters only where one is wider."""
        parts = breakable(word)
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
                smaller = clusters(parts[first])
                parts[first : first + 1] = smaller if len(smaller) > 1 else list(parts[first])
                continue
            if first < len(parts):
                self.end_line(self._indent)

    def _placed(self, *, is_last: bool) -> Pieces:
        """The pieces of the line where its direction and alignment put them."""
        face, alignment = self._shaped_face, self._style.alignment
        pieces = self._shaped() if face is not None else self._pieces
        gaps = list(range(len(pieces)))  # left of each piece
        if alignment == "justify" and face is not None:
            words = [(x, *word) for x, text in pieces for word in face.words(text)]
            pieces = [(x + (start + _ROUND) // PIXEL, word) for x, word, start, _ in words]
            gaps = [spaces for *_, spaces in words]
        stays = is_last or not any(gaps) or "\t" in "".join(self._texts).lstrip()
        if alignment == "start" or not pieces or (alignment == "justify" and stays):
            return tuple(pieces)
        left = min(x + self._face.extents[text].left for x, text in pieces) - self._margin_px
        right = max(x + self._face.extents[text].right for x, text in pieces) - self._margin_px
        free = max(0, left if self._rtl else self._room // PIXEL - right)
        if alignment == "justify":
            shifts = [free * gap // gaps[-1] - (free if self._rtl else 0) for gap in gaps]
            return tuple((x + shift, text) for (x, text), shift in zip(pieces, shifts, strict=True))
        shift = (free // 2 if alignment == "center" else free) * (-1 if self._rtl else 1)
        return tuple((x + shift, text) for x, text in pieces)

    def _shaped(self) -> list[tuple[int, str]]:
        """Pieces between marks of direction: the paragraph's, and of the strong characters before and after them.

        So the neutral characters and numbers at the ends of a line stand as in the paragraph, which no line breaks.
        Those of a paragraph from right to left are mirrored.
        """
        shaped, width_px = [], self._style.page_width_px
        for x, text in self._pieces:
            first, self._num_set = self._num_set, self._num_set + len("".join(text.split()))
            after = _STRONG.search(self._marks, self._num_set)
            marked = self._base_mark + self._mark_before + text + (after.group() if after else self._base_mark)
            self._mark_before = self._marks[first : self._num_set].rstrip()[-1:] or self._mark_before
            extent = self._face.extents[marked]
            if self._rtl:
                x = width_px - x - (extent.advance + _ROUND) // PIXEL
            shaped.append((min(max(x, -extent.left), width_px - extent.right), marked))
        return shaped


def clusters(text: str) -> list[str]:
    """A text cut into what a reader takes for one character (annex 29 of Unicode)."""
    if text.isascii():
        return list(text)
    from icu4py.breakers import CharacterBreaker

    return list(CharacterBreaker(text, "en"))


def breakable(word: str) -> list[str]:
    """A word cut where a browser may break it: by ICU's dictionaries of Thai, Lao, Khmer and Myanmar, which write no
    spaces between words; after a zero-width space or a Tibetan tsheg; between Chinese characters.
    """
    if word.isascii():
        return list(word)
    from icu4py.breakers import LineBreaker

    return list(LineBreaker(word, "en"))


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
        words = list(treebank_tokens(text)) if style.tokenizer == "treebank" else text.split()
        setter.paragraph(" ".join(words))
        for word in words:
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
            setter.end_line(is_last=True)
            yield from setter.pages
            setter.pages.clear()
    setter.finish()
    yield from setter.pages
