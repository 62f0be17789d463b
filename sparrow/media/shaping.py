"""Complex scripts through Pillow's raqm engine: joined and stacked letters, right-to-left words and lines."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from PIL import ImageFont

from sparrow.media.fonts import character_map
from sparrow.media.typeface import PIXEL, Bitmap, Extent, Typeface, blend, draw_run, is_ignorable


class ShapedTypeface(Typeface):
    """A typeface whose words are shaped by raqm, each in the direction of its first strong character."""

    layout_engine = ImageFont.Layout.RAQM

    def fitting(self, parts: list[str], first: int, room: int) -> int:
        """How many parts of a word, from `first` on, fit together into `room` 1/64 px."""
        most = min(len(parts) - first, 8 * room // (PIXEL * self.font_size_px) + 1)  # a letter is 1/8 em or more
        return bisect_right(
            range(1, most + 1), room, key=lambda count: self._measure("".join(parts[first : first + count])).width
        )

    def _gap(self, key: tuple[str, str, str]) -> int:
        return super()._gap(("", key[1], ""))

    def _runs(self, word: str) -> list[tuple[int, str]]:
        """The word cut where the font changes, from left to right as shown: (font, text)."""
        runs: list[tuple[int, str]] = []
        for char in word:
            font = runs[-1][0] if runs else None
            is_mark = unicodedata.category(char).startswith("M")
            stays = font is not None and (is_ignorable(char) or (is_mark and char in character_map(self._paths[font])))
            if not stays:
                font = self.font_of(char) or 0
            if runs and runs[-1][0] == font:
                runs[-1] = (font, runs[-1][1] + char)
            else:
                runs.append((font or 0, char))
        order = visual_order([text for _, text in runs], rtl=is_rtl(word))
        return [runs[i] for i in order]

    def _measure(self, word: str) -> Extent:
        bitmap, advance = self._shape(word)
        _, left, top, right, bottom = bitmap
        return Extent(advance, max(advance, right * PIXEL), left, top, right, bottom)

    def _draw(self, word: str) -> Bitmap:
        return self._shape(word)[0]

    def _shape(self, word: str) -> tuple[Bitmap, int]:
        """A word's bitmap and its advance in 1/64 px."""
        drawn = []
        pen = 0
        for index, text in self._runs(word):
            run = draw_run(self._fonts[index], text)
            if run.mask.size:
                x = (pen + PIXEL // 2) // PIXEL
                drawn.append(run._replace(left=x + run.left, right=x + run.right))
            pen += round(self._fonts[index].getlength(text) * PIXEL)
        if not drawn:
            return Bitmap(np.zeros((0, 0), np.uint8), 0, 0, 0, 0), pen
        left, top = min(run.left for run in drawn), min(run.top for run in drawn)
        right, bottom = max(run.right for run in drawn), max(run.bottom for run in drawn)
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for run in drawn:
            blend(mask[run.top - top : run.bottom - top, run.left - left : run.right - left], run.mask)
        return Bitmap(mask, left, top, right, bottom), pen


def strong_direction(text: str) -> str | None:
    """`rtl` or `ltr`, as the first strong character of a text says; None if it has none."""
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind in ("R", "AL", "L"):
            return "ltr" if kind == "L" else "rtl"
    return None


def is_rtl(text: str) -> bool:
    """Whether a paragraph or word runs from right to left."""
    return strong_direction(text) == "rtl"


def visual_order(words: Sequence[str], *, rtl: bool) -> list[int]:
    """Positions of the words of a line from left to right as shown.

    The Unicode bidirectional algorithm (annex 9, rule L2) with whole words at the levels of the line and of the
    opposite direction; a word without strong characters goes with its neighbours if they agree, else with the line.
    """
    base = "rtl" if rtl else "ltr"
    strong = [strong_direction(word) for word in words]
    before = [base, *_carried(strong, base)[:-1]]
    after = [*_carried(strong[::-1], base)[::-1][1:], base]
    directions = [
        own or (left if left == right else base) for own, left, right in zip(strong, before, after, strict=True)
    ]
    order: list[int] = []
    start = 0
    for i, direction in enumerate(directions):
        if direction == base:
            order.append(i)
        elif i and directions[i - 1] == direction:
            order.insert(start, i)
        else:
            start = len(order)
            order.append(i)
    return order[::-1] if rtl else order


def _carried(strong: list[str | None], first: str) -> list[str]:
    """Each direction, or where there is none the last one before it."""
    carried = []
    for direction in strong:
        first = direction or first
        carried.append(first)
    return carried
