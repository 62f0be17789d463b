"""Tables as Markdown, as LaTeX and as aligned plain text, and the way numbers are written in them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

NOTHING = "-"
DAGGER = "†"
PLUS_MINUS = "±"
MIN_COLUMN_WIDTH = 12
LATEX_COLUMN_WIDTH = 24


class _Wrapper(textwrap.TextWrapper):
    """Breaks at spaces, and names that are wider than a line after the signs inside them."""

    def _split(self, text: str) -> list[str]:
        words = re.split(r"(\s+)", text)
        parts = (re.split(r"(?<=[_/,=+])", word) if len(word) > self.width else [word] for word in words)
        return [part for of_word in parts for part in of_word if part]


def wrap(text: str, width: int) -> list[str]:
    """A name or message in lines of at most `width` characters; at least one line."""
    return _Wrapper(width).wrap(text) or [""]


@dataclass(frozen=True)
class Table:
    """Cells under a title; the first `left` columns hold words, the others numbers.

    `bold` is (row, column) of cells that stand out, marked with `*` in plain text; `marked` puts a dagger beside the
    title where something undeclared stands behind the numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    left: int = 1
    note: str = ""
    bold: frozenset[tuple[int, int]] = frozenset()
    marked: bool = False

    @property
    def heading(self) -> str:
        """The title, with a dagger if it is marked."""
        return f"{self.title} {DAGGER}" if self.marked else self.title

    def markdown(self) -> str:
        """The table as GitHub-flavoured Markdown under a heading."""
        marks = "".join(" :-- |" if i < self.left else " --: |" for i in range(len(self.header)))
        body = [[_markdown(cell) for cell in row] for row in self.rows]
        for row, column in self.bold:
            body[row][column] = f"**{body[row][column]}**"
        lines = [_markdown_row([_markdown(cell) for cell in self.header]), f"|{marks}", *map(_markdown_row, body)]
        parts = (f"### {_markdown(self.heading)}", "\n".join(lines), _markdown(self.note))
        return "\n\n".join(part for part in parts if part) + "\n"

    def latex(self) -> str:
        """The table as a LaTeX float with the rules of `booktabs`, shrunk by `graphicx` where wider than a line."""
        body = [
            [_latex_cell(cell) if i < self.left else _latex(cell) for i, cell in enumerate(row)] for row in self.rows
        ]
        for row, column in self.bold:
            body[row][column] = rf"\textbf{{{body[row][column]}}}"
        columns = "l" * self.left + "r" * (len(self.header) - self.left)
        note = [r"\par\smallskip\footnotesize " + _latex(self.note)] if self.note else []
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(self.heading)}}}"]
        lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
        lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row([_latex_cell(c) for c in self.header])]
        lines += [r"\midrule", *map(_latex_row, body), r"\bottomrule", r"\end{tabular}}", *note, r"\end{table}"]
        return "\n".join(lines) + "\n"

    def text(self, width: int = 120) -> str:
        """The table as aligned lines of at most `width` columns, long words wrapped inside their column."""
        rows = [
            tuple(f"{cell}*" if (i, j) in self.bold else cell for j, cell in enumerate(row))
            for i, row in enumerate(self.rows)
        ]
        cells = [self.header, *rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        while sum(widths) + 2 * (len(widths) - 1) > width:
            widest = max(range(self.left), key=widths.__getitem__)
            if widths[widest] <= MIN_COLUMN_WIDTH:
                break
            widths[widest] -= 1
        rule = "  ".join("-" * column for column in widths)
        body = [line for row in rows for line in self._text_lines(row, widths)]
        note = [
            part for line in self.note.replace("in bold", "marked with *").splitlines() for part in wrap(line, width)
        ]
        return "\n".join([self.heading, *self._text_lines(self.header, widths), rule, *body, *note]) + "\n"

    def _text_lines(self, row: tuple[str, ...], widths: list[int]) -> list[str]:
        wrapped = [wrap(cell, column) for cell, column in zip(row, widths, strict=True)]
        lines = []
        for parts in zip_longest(*wrapped, fillvalue=""):
            aligned = [
                part.ljust(column) if i < self.left else part.rjust(column)
                for i, (part, column) in enumerate(zip(parts, widths, strict=True))
            ]
            lines.append("  ".join(aligned).rstrip())
        return lines


def _markdown(text: str) -> str:
    return re.sub(r"([|<*`])", r"\\\1", " ".join(text.split()))


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_LATEX = str.maketrans(
    {
        **{sign: rf"\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        PLUS_MINUS: r"$\pm$",
        DAGGER: r"$^\dagger$",
    }
)


def _latex(text: str) -> str:
    words = " ".join(text.split()).translate(_LATEX)
    if re.fullmatch(r"-\d[\d.,]*", words):
        return f"${words}$"
    return "--" if words == NOTHING else words


def _latex_cell(text: str) -> str:
    """Words in lines that leave room for the other columns."""
    lines = [_latex(line) for line in wrap(text, LATEX_COLUMN_WIDTH)]
    if len(lines) == 1:
        return lines[0]
    return r"\begin{tabular}[t]{@{}l@{}}" + r" \\ ".join(lines) + r"\end{tabular}"


def _latex_row(cells: Sequence[str]) -> str:
    # A bracket after the end of a line would be read as its option.
    return "{}" * cells[0].startswith("[") + " & ".join(cells) + r" \\"


def number(value: float | None, digits: int = 0) -> str:
    """An amount with separators, or nothing: 1234.5 is `1,234`."""
    return NOTHING if value is None else f"{round(value, 9):,.{digits}f}"


def mean_and_sd(mean: float, sd: float | None) -> str:
    """A mean of fractions in percent, with its standard deviation where there is one."""
    return percent(mean) if sd is None else f"{percent(mean)} {PLUS_MINUS} {percent(sd)}"


def percent(share: float | None, *, signed: bool = False, digits: int = 1) -> str:
    """A fraction in percent, with one decimal unless said otherwise: 0.531 is `53.1`."""
    if share is None:
        return NOTHING
    # Without the last bits of a float, two ways to one number would be rounded apart at a half, or nought be negative.
    return f"{round(100 * share, 6) + 0.0:{'+' if signed else ''}.{digits}f}"


def interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Two fractions as an interval in percent."""
    if low is None or high is None:
        return NOTHING
    return f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"


def p_value(p: float | None) -> str:
    """A p value with three decimals, or nothing."""
    return NOTHING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def counted(number: int, noun: str) -> str:
    """A count with its noun: `1 step`, `1,200 steps`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


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
