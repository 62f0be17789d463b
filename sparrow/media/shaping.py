"""Complex scripts through Pillow's raqm engine: joined and stacked letters, lines from right to left."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import groupby

import numpy as np
from PIL import ImageFont

from sparrow.core.errors import ConfigError
from sparrow.media.settings import WITHOUT_RAQM, has_raqm
from sparrow.media.typeface import PIXEL, Bitmap, Extent, Memo, Typeface, blend, draw_run, is_ignorable

MAX_LINES = 500  # kept bitmaps; lines seldom come again
LEFT_TO_RIGHT_MARK = "\u200e"
RIGHT_TO_LEFT_MARK = "\u200f"
ARABIC_LETTER_MARK = "\u061c"
_MARK_OF = {"L": LEFT_TO_RIGHT_MARK, "R": RIGHT_TO_LEFT_MARK, "AL": ARABIC_LETTER_MARK}
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_JOINED = re.compile("[\u1160-\u11ff\u1800-\u18af\ua840-\ua877]")  # Hangul's old letters, Mongolian, Phags-pa
_FRIBIDI_FILES = ("libfribidi.so.0", "libfribidi.so", "libfribidi.dylib", "libfribidi-0.dll", "fribidi.dll")
_FRIBIDI_LTR, _FRIBIDI_RTL = 0x110, 0x111


@cache
def script_to_shape(char: str) -> str | None:
    """The script of a character that must be shaped, or that runs from right to left; None where neither holds."""
    if char.isascii() or is_ignorable(char):
        return None
    is_mark = unicodedata.category(char) in ("Mn", "Mc")
    if not is_mark and not _JOINED.match(char) and unicodedata.bidirectional(char) not in ("R", "AL", "AN"):
        return None
    name = unicodedata.name(char, "right-to-left").split()[0].capitalize()
    return "combining marks" if name == "Combining" else name


def scripts_to_shape(text: str) -> Counter[str]:
    """How many characters of a text, in the form NFC, must be shaped, by script."""
    found: Counter[str] = Counter()
    for char, count in () if text.isascii() else Counter(text).items():
        if (script := script_to_shape(char)) is not None:
            found[script] += count
    return found


def can_shape() -> bool:
    """Whether this machine has what shaping takes: raqm in Pillow, and FriBiDi."""
    return has_raqm() and _fribidi() is not None


class ShapedTypeface(Typeface):
    """A typeface whose texts are shaped and ordered as wholes, lines with the spaces between their words.

    A text runs in the direction of its first strong character, which may be an invisible mark.

    Raises:
        ConfigError: If the machine cannot shape.
    """

    layout_engine = ImageFont.Layout.RAQM

    def __init__(self, font_size_px: int, fonts: tuple[str, ...], further: tuple[str, ...] = ()) -> None:
        if not can_shape():
            raise ConfigError(f"text_to_image.layout_engine: {WITHOUT_RAQM}")
        super().__init__(font_size_px, fonts, further)
        self.bitmaps = Memo(self._draw, MAX_LINES)

    def fitting(self, parts: list[str], first: int, room: int) -> int:
        """How many parts of a word, from `first` on, fit together into `room` 1/64 px."""
        most = min(len(parts) - first, 8 * room // (PIXEL * self.font_size_px) + 1)  # a letter is 1/8 em or more
        return bisect_right(
            range(1, most + 1), room, key=lambda count: self._measure("".join(parts[first : first + count])).width
        )

    def words(self, text: str) -> list[tuple[str, int, int]]:
        """The words of a line, cut where font or direction change, from left to right as shown.

        Each with a mark of its direction before it, where it begins in 1/64 px, and how many spaces are left of it.
        """
        found, pen, spaces = [], 0, 0
        for _, direction, run in self._runs(text):
            mark = RIGHT_TO_LEFT_MARK if direction == "rtl" else LEFT_TO_RIGHT_MARK
            for part in re.findall(r"\s+|\S+", run)[:: -1 if direction == "rtl" else 1]:
                spaces += part.isspace()
                if not part.isspace():
                    found.append((mark + part, pen, spaces))
                pen += self._measure(mark + part).advance
        return found

    def _runs(self, text: str) -> list[tuple[int, str, str]]:
        """The text cut where font or direction change, from left to right as shown: (font, direction, text).

        Marks, spaces, digits and punctuation stay in the font of the letter before them where that has them.
        """
        font: int | None = None
        fonts, levels, shown = [], [], []
        for char, level in zip(text, bidi_levels(text, rtl=is_rtl(text)), strict=True):
            if _DIRECTIONS.match(char):
                continue  # has done its part in the levels
            is_letter = unicodedata.bidirectional(char) in ("L", "R", "AL") and unicodedata.category(char)[0] != "M"
            if font is None or not (is_ignorable(char) or (not is_letter and self.has(font, char))):
                font = self.font_of(char) or 0
            fonts.append(font)
            levels.append(level)
            shown.append(char)
        runs = [
            (font, level, "".join(shown[i] for i in places))
            for (font, level), group in groupby(range(len(shown)), lambda i: (fonts[i], levels[i]))
            if (places := list(group))
        ]
        order = visual_order([level for _, level, _ in runs])
        return [(runs[i][0], "rtl" if runs[i][1] % 2 else "ltr", runs[i][2]) for i in order]

    def _gap(self, key: tuple[str, str, str]) -> int:
        return self._measure(key[1]).advance

    def _measure(self, text: str) -> Extent:
        pen = 0
        boxes = []
        for index, direction, run in self._runs(text):
            font = self._fonts[index]
            left, top, right, bottom = (int(edge) for edge in font.getbbox(run, direction=direction, anchor="ls"))
            x = (pen + PIXEL // 2) // PIXEL
            boxes.append((x + left, top, x + right, bottom))
            pen += round(font.getlength(run, direction=direction) * PIXEL)
        lefts, tops, rights, bottoms = zip(*boxes, strict=True) if boxes else ((0,),) * 4
        right = max(rights)
        return Extent(pen, max(pen, right * PIXEL), min(lefts), min(tops), right, max(bottoms))

    def _draw(self, text: str) -> Bitmap:
        _, _, left, top, right, bottom = self.extents[text]
        mask = np.zeros((bottom - top, right - left), np.uint8)
        pen = 0
        for index, direction, run in self._runs(text):
            drawn = draw_run(self._fonts[index], run, direction)
            x = (pen + PIXEL // 2) // PIXEL - left
            blend(mask[drawn.top - top : drawn.bottom - top, x + drawn.left : x + drawn.right], drawn.mask)
            pen += round(self._fonts[index].getlength(run, direction=direction) * PIXEL)
        return Bitmap(mask, left, top, right, bottom)


@cache
def strong_mark(char: str) -> str:
    """The invisible mark that has a character's strong direction; a space where it has none."""
    return _MARK_OF.get(unicodedata.bidirectional(char), " ")


def is_rtl(text: str) -> bool:
    """Whether a text runs from right to left: its first strong character does."""
    first = next((mark for mark in map(strong_mark, text) if mark != " "), LEFT_TO_RIGHT_MARK)
    return first != LEFT_TO_RIGHT_MARK


def bidi_levels(text: str, *, rtl: bool) -> list[int]:
    """Embedding level of each character by the Unicode bidirectional algorithm (annex 9): odd from right to left."""
    if not rtl and text.isascii():
        return [0] * len(text)
    library = _fribidi()
    assert library is not None, "checked when the typeface was made"
    count = len(text)
    chars = (ctypes.c_uint32 * count).from_buffer_copy(text.encode("utf-32-le", "surrogatepass"))
    types, brackets, levels = (ctypes.c_uint32 * count)(), (ctypes.c_uint32 * count)(), (ctypes.c_int8 * count)()
    base = ctypes.c_uint32(_FRIBIDI_RTL if rtl else _FRIBIDI_LTR)
    library.fribidi_get_bidi_types(chars, count, types)
    library.fribidi_get_bracket_types(chars, count, types, brackets)
    library.fribidi_get_par_embedding_levels_ex(types, brackets, count, ctypes.byref(base), levels)
    return list(levels)


@cache
def _fribidi() -> ctypes.CDLL | None:
    """The library that raqm loads too, 1.0 or later; None where there is none."""
    for name in _FRIBIDI_FILES:
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            library.fribidi_get_par_embedding_levels_ex.restype = ctypes.c_int8
            return library
    return None


def visual_order(levels: Sequence[int]) -> list[int]:
    """Positions of runs from left to right as shown, given their levels (annex 9, rule L2)."""
    order = list(range(len(levels)))
    for level in range(max(levels, default=0), 0, -1):
        start = 0
        for is_reversed, group in groupby([levels[i] >= level for i in order]):
            stop = start + len(list(group))
            if is_reversed:
                order[start:stop] = order[start:stop][::-1]
            start = stop
    return order
