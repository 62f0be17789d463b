"""Questions that are answered by a number: reading it from a reply, and how near it is to the right one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sparrow.evaluation import reply_phrases as phrases

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.,])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?!\d)|(?<![\w.,])-?\.\d+")
_STATED = re.compile(r"\b(?:answer|result|total)\b[^.\n\d]*$", re.IGNORECASE)


def read_number(reply: str, thinking_tags: Sequence[str] = ()) -> tuple[float | None, str]:
    """The number that a reply names, and the rule by which it was read.

    A `\\boxed{}` or `<answer>` decides alone, thinking is left out. The number that the reply begins with decides, as
    in the publisher's code; else the only one there is, or the last that follows "answer", "result" or "total". Words
    up to twelve are numbers. A reply that names none, or several without saying which, is None.
    """
    thought, end, start = phrases.thinking(tuple(thinking_tags))
    text = end.split(thought.sub(" ", reply))[-1]
    if start.search(text):
        return None, "unfinished thinking"
    for pattern in (phrases.BOXED, phrases.TAGGED):
        text = next(iter(pattern.findall(text)[-1:]), text)
    text = _WORD.sub(lambda word: str(_WORDS.index(word[0].lower())), phrases.MARKUP.sub("", text)).strip()
    found = list(_NUMBER.finditer(text))
    if not found:
        return None, "no number"
    stated = [number for number in found if _STATED.search(text[: number.start()])]
    if len({number[0] for number in found}) == 1 or re.match(r"-?[\d.,]+(?![\d–~/-])", text):
        chosen, rule = found[0], "number"
    elif stated:
        chosen, rule = stated[-1], "stated number"
    else:
        return None, "several numbers"
    return float(chosen[0].replace(",", "")), rule


def relative_accuracy(value: float | None, number: float) -> float:
    """The share of the thresholds t = 0.5, 0.55 ... 0.95 with |value - number| / number <= 1 - t (arXiv 2412.14171).

    It is computed as by the publisher's `mean_relative_accuracy`, rounding included; 0 where there is no value.
    """
    return 0.0 if value is None else float((abs(value - number) / number <= 1 - THRESHOLDS).mean())
