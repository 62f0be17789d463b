"""Subtitles of benchmark videos: parsing them, and choosing or interleaving those that belong to the sampled frames."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import unescape
from itertools import pairwise
from typing import Any, Literal

from sparrow.core.errors import DataError

Subtitles = Literal["off", "on", "interleaved"]
_TIME = r"(\d+):(\d\d):(\d\d(?:[.,]\d+)?)"
_TIMING = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_SHORTEST_S = 1.0
LISTED_HEADER = "This video's subtitles are listed below:"


@dataclass(frozen=True, slots=True)
class Subtitle:
    """Words shown or spoken from one time to another, in seconds from the video's first frame."""

    start_s: float
    end_s: float
    text: str


def parse_srt(content: str) -> tuple[Subtitle, ...]:
    """Subtitles of an SRT file; markup is left out, HTML entities are decoded, the lines of one subtitle are joined.

    Raises:
        DataError: If a line with `-->` holds no two times, with its number.
    """
    found: list[Subtitle] = []
    lines = content.lstrip("\ufeff").splitlines()
    timings = [i for i, line in enumerate(lines) if "-->" in line]
    for i, end in pairwise([*timings, len(lines)]):
        match = _TIMING.match(lines[i])
        if not match:
            raise DataError(f"no subtitle times in {lines[i].strip()!r}", where=f"line {i + 1}")
        words = lines[i + 1 : end]
        if end < len(lines) and words and words[-1].strip().isdigit():
            words.pop()  # the number of the next subtitle
        text = " ".join(unescape(_MARKUP.sub("", " ".join(words))).split())
        if text:
            start, stop = clock_seconds(*match.group(1, 2, 3)), clock_seconds(*match.group(4, 5, 6))
            found.append(Subtitle(start, stop, text))
    return tuple(found)


def parse_subtitles(records: Any, *, duration_s: float, starting_s: float) -> tuple[Subtitle, ...]:
    """Subtitles in either of LongVideoBench's schemas, moved to the clip's own time.

    The schemas are `{"timestamp": [start, end], "text"}`, where an end that is no number stands for the duration,
    and `{"start": "h:m:s", "end": "h:m:s", "line"}` (longvideobench_dataset.py of the official repository).

    `starting_s` is where in the subtitles' time the clip begins.

    Raises:
        DataError: If a record fits neither schema, with its position.
    """
    if not isinstance(records, list):
        raise DataError(f"expected a list of subtitles, found {type(records).__name__}")
    found = []
    for number, record in enumerate(records):
        try:
            if "timestamp" in record:
                start, end = record["timestamp"]
                start, text = float(start), str(record["text"])
                end = float(end) if isinstance(end, (int, float)) else duration_s
            else:
                start, end = (clock_seconds(*record[name].split(":")) for name in ("start", "end"))
                text = str(record["line"])
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"fits neither subtitle schema: {reprlib.repr(record)}", where=f"subtitle {number}"
            ) from error
        found.append(Subtitle(start - starting_s, end - starting_s, unescape(text)))
    return tuple(found)


def clock_seconds(hours: str, minutes: str, seconds: str) -> float:
    """Seconds of a time in hours, minutes and seconds."""
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))


def subtitles_of_frames(subtitles: Iterable[Subtitle], frame_times_s: Sequence[float]) -> list[str]:
    """Texts of the subtitles on screen in some sampled frame, each once, in order of time (Video-MME)."""
    shown = [s for s in subtitles if any(s.start_s <= time < s.end_s for time in frame_times_s)]
    return [s.text for s in sorted(shown, key=lambda s: (s.start_s, s.end_s))]


def with_subtitles(prompt: str, texts: Sequence[str]) -> str:
    """A prompt after the list of subtitles, in Video-MME's words; unchanged where there are none."""
    return "\n".join([LISTED_HEADER, *texts, prompt]) if texts else prompt


def interleave(subtitles: Iterable[Subtitle], frame_times_s: Sequence[float]) -> list[int | str]:
    """Frames and subtitles in the order that LongVideoBench shows them in.

    A subtitle stands after the frames at or before its midpoint, and only if some frame lies strictly inside it;
    one shorter than 1 s is first widened to 0.5 s on either side (longvideobench_dataset.py). Subtitles are taken
    in the order given: one that lies before frames already placed does not move back.

    Returns:
        Positions of frames, each once and in order, with texts between them.
    """
    ordered: list[int | str] = []
    placed = 0
    for subtitle in subtitles:
        start, end = subtitle.start_s, subtitle.end_s
        middle = (start + end) / 2
        while placed < len(frame_times_s) and frame_times_s[placed] <= middle:
            ordered.append(placed)
            placed += 1
        if end - start < _SHORTEST_S:
            start, end = middle - _SHORTEST_S / 2, middle + _SHORTEST_S / 2
        if any(start < time < end for time in frame_times_s):
            ordered.append(subtitle.text)
    return [*ordered, *range(placed, len(frame_times_s))]
