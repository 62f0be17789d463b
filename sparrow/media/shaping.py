"""Complex scripts through Pillow's raqm engine: joined and stacked letters, lines from right to left."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from PIL import ImageFont

from sparrow.media.fonts import font_characters
from sparrow.media.typeface import PIXEL, Bitmap, Extent, Memo, Typeface, blend, draw_run, is_ignorable

MAX_LINES = 500  # kept bitmaps; lines seldom come again
LEFT_TO_RIGHT_MARK = "\u200e"
RIGHT_TO_LEFT_MARK = "\u200f"


class ShapedTypeface(Typeface):
    """A typeface whose texts are shaped and ordered as wholes, lines with the spaces between their words.

    A text runs in the direction of its first strong character, which may be an invisible mark.
    """

    layout_engine = ImageFont.Layout.RAQM

    def __init__(self, font_size_px: int, fonts: tuple[str, ...]) -> None:
        super().__init__(font_size_px, fonts)
        self.bitmaps = Memo(self._draw, MAX_LINES)

    def fitting(self, parts: list[str], first: int, room: int) -> int:
        """How many parts of a word, from `first` on, fit together into `room` 1/64 px."""
        most = min(len(parts) - first, 8 * room // (PIXEL * self.font_size_px) + 1)  # a letter is 1/8 em or more
        return bisect_right(
            range(1, most + 1), room, key=lambda count: self._measure("".join(parts[first : first + count])).width
        )

    def _runs(self, text: str) -> list[tuple[int, str]]:
        """The text cut where the font changes, from left to right as shown: (font, text).

        Marks, spaces, digits and punctuation stay in the font of the letter before them where that has them.
        """
        runs: list[tuple[int, str]] = []
        for char in text:
            is_letter = unicodedata.bidirectional(char) in ("L", "R", "AL") and unicodedata.category(char)[0] != "M"
            last = runs[-1][0] if runs else None
            if last is not None and (
                is_ignorable(char) or (not is_letter and char in font_characters(self._paths[last]))
            ):
                font = last
            else:
                font = self.font_of(char) or 0
            if font == last or (runs and all(map(is_ignorable, runs[-1][1]))):
                runs[-1] = (font, runs[-1][1] + char)
            else:
                runs.append((font, char))
        return [runs[i] for i in visual_order([run for _, run in runs], rtl=is_rtl(text))]

    def _gap(self, key: tuple[str, str, str]) -> int:
        return round(sum(self._fonts[font].getlength(run) for font, run in self._runs(key[1])) * PIXEL)

    def _measure(self, text: str) -> Extent:
        pen = 0
        boxes = []
        for index, run in self._runs(text):
            font = self._fonts[index]
            left, top, right, bottom = (int(edge) for edge in font.getbbox(run, anchor="ls"))
            x = (pen + PIXEL // 2) // PIXEL
            boxes.append((x + left, top, x + right, bottom))
            pen += round(font.getlength(run) * PIXEL)
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        right = max(rights)
        return Extent(pen, max(pen, right * PIXEL), min(lefts), min(tops), right, max(bottoms))

    def _draw(self, text: str) -> Bitmap:
        _, _, left, top, right, bottom = self.extents[text]
        mask = np.zeros((bottom - top, right - left), np.uint8)
        pen = 0
        for index, run in self._runs(text):
            drawn = draw_run(self._fonts[index], run)
            x = (pen + PIXEL // 2) // PIXEL - left
            blend(mask[drawn.top - top : drawn.bottom - top, x + drawn.left : x + drawn.right], drawn.mask)
            pen += round(self._fonts[index].getlength(run) * PIXEL)
        return Bitmap(mask, left, top, right, bottom)


def strong_direction(text: str) -> str | None:
    """`rtl` or `ltr`, as the first strong character of a text says; None if it has none."""
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind in ("R", "AL", "L"):
            return "ltr" if kind == "L" else "rtl"
    return None


def is_rtl(text: str) -> bool:
    """Whether a text runs from right to left."""
    return strong_direction(text) == "rtl"


def visual_order(runs: Sequence[str], *, rtl: bool) -> list[int]:
    """Positions of the runs of a text from left to right as shown.

    The Unicode bidirectional algorithm (annex 9, rule L2) with whole runs at the levels of the text and of the
    opposite direction; a run without strong characters goes with its neighbours if they agree, else with the text.
    """
    base = "rtl" if rtl else "ltr"
    strong = [strong_direction(run) for run in runs]
    before = [base, *_carried(strong, base)]
    after = [base, *_carried(strong[::-1], base)][::-1]
    order: list[int] = []
    start = 0  # of the sequence of opposite runs that is being set
    for i, own in enumerate(strong):
        direction = own or (before[i] if before[i] == after[i + 1] else base)
        if direction == base:
            order.append(i)
            start = i + 1
        else:
            order.insert(start, i)
    return order[::-1] if rtl else order


def _carried(strong: list[str | None], first: str) -> list[str]:
    """Each direction, or where there is none the last one before it."""
    carried = []
    for direction in strong:
        first = direction or first
        carried.append(first)
    return carried
