"""Tables as Markdown and as aligned plain text, and the way numbers are written in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

NOTHING = "-"
MIN_COLUMN_WIDTH = 12


class _Wrapper(textwrap.TextWrapper):
    """Breaks after the signs inside names of runs as well as at spaces."""

    wordsep_re = re.compile(r"(\s+)|(?<=[_/,=])")


def wrap(text: str, width: int) -> list[str]:
    """A name or message in lines of at most `width` characters; at least one line."""
    return _Wrapper(width).wrap(text) or [""]


@dataclass(frozen=True)
class Table:
    """Cells under a title; the first `left` columns hold words, the others numbers."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    left: int = 1
    note: str = ""

    def markdown(self) -> str:
        """The table as GitHub-flavoured Markdown under a heading."""
        marks = [":--" if i < self.left else "--:" for i in range(len(self.header))]
        lines = [_markdown_row(row) for row in [self.header, tuple(marks), *self.rows]]
        return "\n\n".join(part for part in (f"### {self.title}", "\n".join(lines), self.note) if part) + "\n"

    def text(self, width: int = 120) -> str:
        """The table as aligned lines of at most `width` columns, long words wrapped inside their column."""
        cells = [self.header, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        while sum(widths) + 2 * (len(widths) - 1) > width:
            widest = max(range(self.left), key=widths.__getitem__)
            if widths[widest] <= MIN_COLUMN_WIDTH:
                break
            widths[widest] -= 1
        rule = "  ".join("-" * column for column in widths)
        body = [line for row in self.rows for line in self._text_lines(row, widths)]
        note = wrap(self.note, width) if self.note else []
        return "\n".join([self.title, *self._text_lines(self.header, widths), rule, *body, *note]) + "\n"

    def _text_lines(self, row: tuple[str, ...], widths: list[int]) -> list[str]:
        wrapped = [wrap(cell, column) for cell, column in zip(row, widths, strict=True)]
        lines = []
        for number in range(max(map(len, wrapped))):
            parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
            aligned = [
                part.ljust(column) if i < self.left else part.rjust(column)
                for i, (part, column) in enumerate(zip(parts, widths, strict=True))
            ]
            lines.append("  ".join(aligned).rstrip())
        return lines


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def percent(share: float | None, *, signed: bool = False) -> str:
    """A fraction in percent with one decimal: 0.531 is `53.1`."""
    if share is None:
        return NOTHING
    # Without the last bits of a float, two ways to one number would be rounded apart at a half.
    return f"{round(100 * share, 6):{'+' if signed else ''}.1f}"


def interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Two fractions as an interval in percent."""
    if low is None or high is None:
        return NOTHING
    return f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"


def p_value(p: float) -> str:
    """A p value with three decimals."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def short_count(number: int) -> str:
    """A count in at most six characters: 1234567 is `1.2M`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit}" if number < 100 * size else f"{number // size}{unit}"
    return str(number)


def duration(seconds: float) -> str:
    """Seconds as `45s`, `3m 20s` or `2h 05m`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"
