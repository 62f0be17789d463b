"""Words as bitmaps: how wide a word is and what it looks like, exactly as Pillow's basic layout draws it.

Pillow takes tens of microseconds a word, most of them to load and hint glyphs that it has drawn before. Here each
glyph is drawn by Pillow once; words are put together from glyphs, and kept.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sparrow.media.fonts import character_map, font_chain

PIXEL = 64  # FreeType's unit of advance widths is 1/64 px
MAX_CACHED_WORDS = 20_000
_ROUND = PIXEL // 2
_EMPTY = np.zeros((0, 0), np.uint8)


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
    """Coverage `mask` (uint8 [h, w]) of a word's ink, and the place of its corner in px from the word's origin."""

    mask: np.ndarray
    left: int
    top: int


class Glyph(NamedTuple):
    """One character's bitmap, its advance in 1/64 px, and which font of the chain it is from."""

    mask: np.ndarray
    left: int
    top: int
    advance: int
    font: int


def is_ignorable(char: str) -> bool:
    """Whether a character has no shape of its own: joiners, direction marks, variation selectors."""
    return unicodedata.category(char) == "Cf" or char in "\u034f\u180b\u180c\u180d" or _is_variation_selector(char)


def _is_variation_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def blend(page: np.ndarray, mask: np.ndarray) -> None:
    """Lay more ink on coverage that holds some already, in place, as Pillow does: m + (255 - m) p / 255."""
    product = (255 - mask.astype(np.uint16)) * page + 128
    page[...] = mask + ((product + (product >> 8)) >> 8)


class Typeface:
    """A chain of fonts at one size.

    Args:
        font_size_px: Size of the em square.
        fonts: Paths of font files; a character is drawn by the first that has it.
    """

    def __init__(self, font_size_px: int, fonts: tuple[str, ...]) -> None:
        self._fonts = [
            ImageFont.truetype(font, font_size_px, layout_engine=ImageFont.Layout.BASIC) for font in fonts[:1]
        ]
        self._paths = fonts
        self._size = font_size_px
        self._glyphs: dict[str, Glyph] = {}
        self._kerning: dict[str, int] = {}
        self._gaps: dict[tuple[str, str, str], int] = {}
        self._extents: dict[str, Extent] = {}
        self._bitmaps: dict[str, Bitmap] = {}
        self.ascent_px, self.descent_px = self._fonts[0].getmetrics()

    def font_of(self, char: str) -> int | None:
        """Position in the chain of the first font that has a character, or None."""
        return next((i for i, path in enumerate(self._paths) if char in character_map(path)), None)

    def missing(self, text: str) -> Counter[str]:
        """The characters of a text that no font has, each with how often it occurs."""
        counts = Counter(text)
        return Counter({c: n for c, n in counts.items() if not c.isspace() and self._is_missing(c)})

    def extent(self, word: str) -> Extent:
        """What a word without white space takes up."""
        extent = self._extents.get(word)
        if extent is None:
            if len(self._extents) >= MAX_CACHED_WORDS:
                self._extents.clear()
            extent = self._extents[word] = self._measure(word)
        return extent

    def gap(self, before: str, space: str, after: str) -> int:
        """Width in 1/64 px of white space between two words, of which the neighbouring characters are given."""
        key = (before, space, after)
        gap = self._gaps.get(key)
        if gap is None:
            gap = self._gaps[key] = self._advance(before + space + after) - self._advance(before) - self._advance(after)
        return gap

    def fitting(self, parts: list[str], first: int, room: int) -> int:
        """How many parts of a word, from `first` on, fit together into `room` 1/64 px."""
        pen = right = count = 0
        last: tuple[str, Glyph] | None = None
        for count, part in enumerate(islice(parts, first, None)):
            for char in part:
                glyph = self._glyph(char)
                if last is not None:
                    pen += self._kern(last[0] + char, last[1], glyph)
                right = max(right, (pen + _ROUND) // PIXEL + glyph.left + glyph.mask.shape[1])
                pen += glyph.advance
                last = char, glyph
            if max(pen, right * PIXEL) > room:
                return count
        return count + 1

    def bitmap(self, word: str) -> Bitmap:
        """A word without white space, drawn."""
        bitmap = self._bitmaps.get(word)
        if bitmap is None:
            if len(self._bitmaps) >= MAX_CACHED_WORDS:
                self._bitmaps.clear()
            bitmap = self._bitmaps[word] = self._draw(word)
        return bitmap

    def _is_missing(self, char: str) -> bool:
        return self.font_of(char) is None and not is_ignorable(char)

    def _font(self, index: int) -> ImageFont.FreeTypeFont:
        while len(self._fonts) <= index:
            path = self._paths[len(self._fonts)]
            self._fonts.append(ImageFont.truetype(path, self._size, layout_engine=ImageFont.Layout.BASIC))
        return self._fonts[index]

    def _glyph(self, char: str) -> Glyph:
        glyph = self._glyphs.get(char)
        if glyph is None:
            glyph = self._glyphs[char] = self._load(char)
        return glyph

    def _load(self, char: str) -> Glyph:
        if is_ignorable(char):  # some fonts draw these as boxes
            return Glyph(_EMPTY, 0, 0, 0, 0)
        index = self.font_of(char)
        font = self._font(index or 0)
        left, top, right, bottom = (int(edge) for edge in font.getbbox(char, anchor="ls"))
        image = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
        ImageDraw.Draw(image).text((-left, -top), char, fill=255, font=font, anchor="ls")
        ink = image.getbbox() or (0, 0, 0, 0)
        mask = np.asarray(image.crop(ink))
        return Glyph(mask, left + ink[0], top + ink[1], round(font.getlength(char) * PIXEL), index or 0)

    def _kern(self, pair: str, before: Glyph, after: Glyph) -> int:
        if before.font != after.font:
            return 0
        kern = self._kerning.get(pair)
        if kern is None:
            advance = round(self._font(before.font).getlength(pair) * PIXEL)
            kern = self._kerning[pair] = advance - before.advance - after.advance
        return kern

    def _place(self, text: str) -> tuple[list[tuple[Glyph, int]], int]:
        """Glyphs of a text with the px each starts at, and the advance of the whole in 1/64 px."""
        placed = []
        pen = 0
        last: tuple[str, Glyph] | None = None
        for char in text:
            glyph = self._glyph(char)
            if last is not None:
                pen += self._kern(last[0] + char, last[1], glyph)
            if glyph.mask.size:
                placed.append((glyph, ((pen + _ROUND) // PIXEL) + glyph.left))
            pen += glyph.advance
            last = char, glyph
        return placed, pen

    def _advance(self, text: str) -> int:
        return self._place(text)[1]

    def _measure(self, word: str) -> Extent:
        placed, advance = self._place(word)
        if not placed:
            return Extent(advance, advance, 0, 0, 0, 0)
        right = max(x + glyph.mask.shape[1] for glyph, x in placed)
        return Extent(
            advance,
            width=max(advance, right * PIXEL),
            left=min(x for _, x in placed),
            top=min(glyph.top for glyph, _ in placed),
            right=right,
            bottom=max(glyph.top + glyph.mask.shape[0] for glyph, _ in placed),
        )

    def _draw(self, word: str) -> Bitmap:
        _, _, left, top, right, bottom = self.extent(word)
        mask = np.zeros((bottom - top, right - left), np.uint8)
        drawn_to = 0
        for glyph, x in self._place(word)[0]:
            height, width = glyph.mask.shape
            x -= left
            y = glyph.top - top
            view = mask[y : y + height, x : x + width]
            if x >= drawn_to:
                view[...] = glyph.mask
            else:
                blend(view, glyph.mask)
            drawn_to = max(drawn_to, x + width)
        return Bitmap(mask, left, top)


@lru_cache(maxsize=16)
def typeface(font_size_px: int, fallback_fonts: tuple[str, ...] | None) -> Typeface:
    """The typeface of some settings; made once a process, so that its caches serve every text."""
    return Typeface(font_size_px, font_chain(fallback_fonts))
