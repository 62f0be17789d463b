"""The released code's JSON lines, whose prompts stand in the file: the form of a user's own questions."""

from __future__ import annotations

from pathlib import Path

from sparrow.evaluation.formats.protocols import Format, Reading
from sparrow.evaluation.questions import Question, read_questions


def read(location: Path, reading: Reading) -> list[Question]:
    """The questions of a file."""
    return read_questions(location, benchmark=reading.benchmark)


MULTIPLE_CHOICE = Format(read=read, has_subtitles=True, brings_prompts=True)
