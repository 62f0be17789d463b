"""Words as bitmaps: how wide a word is and what it looks like, exactly as Pillow's basic layout draws it.

Pillow takes tens of microseconds a word, most of them to load and hint glyphs that it has drawn before. Here each
glyph is drawn by Pillow once; words are put together from glyphs, and kept.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sparrow.core.errors import ConfigError
from sparrow.media.fonts import VARIABLE, font_characters

PIXEL = 64  # FreeType's unit of advance widths is 1/64 px
MAX_WORDS = 20_000  # kept bitmaps; about 20 MB
_ROUND = PIXEL // 2

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """A dict that computes what it lacks, and is emptied when it holds `most` values."""

    def __init__(self, compute: Callable[[K], V], most: int = MAX_WORDS) -> None:
        self._compute = compute
        self._most = most

    def __missing__(self, key: K) -> V:
        if len(self) >= self._most:
            self.clear()
        value = self[key] = self._compute(key)
        return value


class Extent(NamedTuple):
    """What a word takes up: `advance` and `width` in 1/64 px, the box of its ink in px from its origin.

    The origin lies on the baseline; y grows downwards. `width` is the advance, or more if ink overhangs it.
    """

    advance: int
    width: int
    left: int
    top: int
    right: int
    bottom: int


class Bitmap(NamedTuple):
    """Coverage `mask` (uint8 [h, w]) of a word's ink, and its box in px from the word's origin."""

    mask: np.ndarray
    left: int
    top: int
    right: int
    bottom: int


class Glyph(NamedTuple):
    """One character's coverage and box, its advance in 1/64 px, and which font of the chain it is from."""

    mask: np.ndarray
    left: int
    top: int
    right: int
    bottom: int
    advance: int
    font: int


_NO_GLYPH = Glyph(np.zeros((0, 0), np.uint8), 0, 0, 0, 0, 0, 0)


def is_ignorable(char: str) -> bool:
    """Whether a character has no shape of its own: joiners, direction marks, variation selectors."""
    is_selector = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    return is_selector or unicodedata.category(char) == "Cf" or char in "\u034f\u180b\u180c\u180d"


def blend(page: np.ndarray, mask: np.ndarray) -> None:
    """Lay more ink on coverage that holds some already, in place, as Pillow does: m + (255 - m) p / 255."""
    product = (255 - mask.astype(np.uint16)) * page + 128
    page[...] = mask + ((product + (product >> 8)) >> 8)


class Typeface:
    """A chain of fonts at one size: each character is drawn by the first font that has it, in logical order.

    `further` fonts come behind the chain's; those of them that cannot be read are passed over.

    `extents[word]` and `bitmaps[word]` are what a word without white space takes up and looks like;
    `gaps[before, space, after]` is the width in 1/64 px of white space between two characters. Characters that no font
    has are drawn as the first one's box.
    """

    layout_engine = ImageFont.Layout.BASIC

    def __init__(self, font_size_px: int, fonts: tuple[str, ...], further: tuple[str, ...] = ()) -> None:
        self.font_size_px = font_size_px
        self._paths = fonts + further
        self._num_chosen = len(fonts)
        self._places: Memo[str, int | None] = Memo(self._find)
        self._fonts: Memo[int, ImageFont.FreeTypeFont] = Memo(self._open)
        self._glyphs: Memo[str, Glyph] = Memo(self._load)
        self._kerning: Memo[str, int] = Memo(self._kern)
        self.extents: Memo[str, Extent] = Memo(self._measure)
        self.bitmaps: Memo[str, Bitmap] = Memo(self._draw)
        self.gaps: Memo[tuple[str, str, str], int] = Memo(self._gap)
        self.ascent_px, self.descent_px = self._fonts[0].getmetrics()

    def font_of(self, char: str) -> int | None:
        """Position in the chain of the first font that has a character, or None."""
        return self._places[char]

    def has(self, font: int, char: str) -> bool:
        """Whether a font of the chain has a character; a further font that cannot be read has none."""
        if font < self._num_chosen:
            return char in font_characters(self._paths[font])
        with suppress(ConfigError):
            return char in font_characters(self._paths[font])
        return False

    def fonts_of(self, text: str) -> list[str]:
        """Paths of the fonts that draw a text, in the chain's order; the first one's boxes left aside."""
        found = {self.font_of(char) for char in set(text)} - {None}
        return [path for i, path in enumerate(self._paths) if i in found]

    def missing(self, text: str) -> dict[str, int]:
        """The characters of a text that no font has, each with how often it occurs."""
        return {
            char: count
            for char, count in Counter(text).items()
            if not char.isspace() and not is_ignorable(char) and self.font_of(char) is None
        }

    def fitting(self, parts: list[str], first: int, room: int) -> int:
        """How many parts of a word, from `first` on, fit together into `room` 1/64 px."""
        pen = right = 0
        last = ""
        for at in range(first, len(parts)):
            for char in parts[at]:
                glyph = self._glyphs[char]
                pen += self._kerning[last + char] if last else 0
                right = max(right, (pen + _ROUND) // PIXEL + glyph.right)
                pen += glyph.advance
                last = char
            if max(pen, right * PIXEL) > room:
                return at - first
        return len(parts) - first

    def _find(self, char: str) -> int | None:
        return next((i for i in range(len(self._paths)) if self.has(i, char)), None)

    def _open(self, index: int) -> ImageFont.FreeTypeFont:
        path = Path(self._paths[index])
        font = ImageFont.truetype(path, self.font_size_px, layout_engine=self.layout_engine)
        if VARIABLE.search(path.stem):  # some begin at their thinnest
            with suppress(OSError, ValueError):  # it is not variable, or has no such weight
                font.set_variation_by_name("Regular")
        return font

    def _load(self, char: str) -> Glyph:
        if is_ignorable(char):  # some fonts draw these as boxes
            return _NO_GLYPH
        index = self.font_of(char)
        if index is None and char.isspace():
            return self._glyphs[" "]
        font = self._fonts[index or 0]
        bitmap = draw_run(font, char)
        return Glyph(*bitmap, round(font.getlength(char) * PIXEL), index or 0)

    def _kern(self, pair: str) -> int:
        first, second = (self._glyphs[char] for char in pair)
        if first.font != second.font or any(is_ignorable(char) or not self.has(first.font, char) for char in pair):
            return 0
        return round(self._fonts[first.font].getlength(pair) * PIXEL) - first.advance - second.advance

    def _gap(self, key: tuple[str, str, str]) -> int:
        before, _, after = key
        return self._measure("".join(key)).advance - self._measure(before).advance - self._measure(after).advance

    def _place(self, text: str) -> tuple[list[tuple[int, Glyph]], int]:
        """The glyphs that have ink, each with the x of its origin in px, and the text's advance in 1/64 px."""
        placed = []
        pen = 0
        last = ""
        for char in text:
            if last:
                pen += self._kerning[last + char]
            glyph = self._glyphs[char]
            if glyph.right > glyph.left:
                placed.append(((pen + _ROUND) // PIXEL, glyph))
            pen += glyph.advance
            last = char
        return placed, pen

    def _measure(self, text: str) -> Extent:
        placed, pen = self._place(text)
        if not placed:
            return Extent(pen, pen, 0, 0, 0, 0)
        right = max(x + glyph.right for x, glyph in placed)
        left, top = min(x + glyph.left for x, glyph in placed), min(glyph.top for _, glyph in placed)
        return Extent(pen, max(pen, right * PIXEL), left, top, right, max(glyph.bottom for _, glyph in placed))

    def _draw(self, text: str) -> Bitmap:
        _, _, left, top, right, bottom = self.extents[text]
        mask = np.zeros((bottom - top, right - left), np.uint8)
        drawn_to = 0
        for x, glyph in self._place(text)[0]:
            first, last = x - left + glyph.left, x - left + glyph.right
            place = mask[glyph.top - top : glyph.bottom - top, first:last]
            if first >= drawn_to:
                place[...] = glyph.mask
            else:
                blend(place, glyph.mask)
            drawn_to = max(drawn_to, last)
        return Bitmap(mask, left, top, right, bottom)


def draw_run(font: ImageFont.FreeTypeFont, text: str, direction: str | None = None) -> Bitmap:
    """A text in one font and, where it is shaped, one direction, drawn by Pillow and cut to its ink."""
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text, direction=direction, anchor="ls"))
    image = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font, direction=direction, anchor="ls")
    ink = image.getbbox() or (0, 0, 0, 0)
    return Bitmap(np.asarray(image.crop(ink)), left + ink[0], top + ink[1], left + ink[2], top + ink[3])
