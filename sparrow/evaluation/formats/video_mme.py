"""Video-MME: four options, graded by duration (arXiv 2405.21075; prompts from the repository's README)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from sparrow.core.errors import DataError
from sparrow.core.files import inside_root
from sparrow.evaluation.annotations import Problems, find_files, read_text, records, require
from sparrow.evaluation.formats.protocols import DIRECTLY, Format, Reading, Wording
from sparrow.evaluation.questions import Question, make_questions
from sparrow.evaluation.subtitles import Subtitle, parse_srt

PATTERNS = ("videomme/*.parquet", "*.parquet", "*.json")
SUBTITLE_FOLDER = "subtitle"
WORDINGS = {
    "official": Wording(
        preamble="Select the best answer to the following multiple-choice question based on the video. "
        "Respond with only the letter (A, B, C, or D) of the correct option.\n",
        instruction="The best answer is:",
    ),
    "released": Wording(instruction=DIRECTLY),
}
_YOUTUBE_ID = re.compile(r"(?:v=|youtu\.be/|shorts/)([\w-]{11})")
_GROUPS = {
    "duration": ("duration", "duration_category"),
    "domain": ("domain", "video_category"),
    "sub_category": ("sub_category", "video_sub_category"),
}


def read(location: Path, reading: Reading) -> list[Question]:
    """Questions of the parquet files (one row per question) or of the official JSON (`questions` nested in each video).

    Videos are `{videoID}.mp4`, subtitles `subtitle/{videoID}.srt` beside the annotations; a video may have none.
    """
    paths = find_files(location, PATTERNS, benchmark=reading.benchmark)
    problems = Problems(reading.benchmark, paths[0] if len(paths) == 1 else location)
    subtitles = _subtitle_reader(location if location.is_dir() else location.parent, reading, problems)
    flat = _flat_records(paths, reading.benchmark, problems)
    return make_questions(flat, lambda record: _question(record, WORDINGS[reading.protocol], subtitles), problems)


def _flat_records(paths: list[Path], benchmark: str, problems: Problems) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, record in records(paths, benchmark=benchmark):
        if not isinstance(record, dict) or "questions" not in record:
            yield where, record
            continue
        nested = record["questions"]
        video = {name: value for name, value in record.items() if name != "questions"}
        for number, question in enumerate(nested if isinstance(nested, list) else [nested], 1):
            if isinstance(question, dict):
                yield f"{where}, question {number}", {**video, **question}
            else:
                problems.add(f"{where}, question {number}", f"expected an object, found {type(question).__name__}")


def _question(record: Any, wording: Wording, subtitles: Callable[[str], tuple[Subtitle, ...]]) -> Question:
    require(record, "question_id", "question", "answer", "task_type")
    options = [str(option) for option in _one_of(record, "options", "choices")]
    # Options are printed with their letters in most releases, without in some.
    lettered = all(option.startswith(f"{letter}.") for letter, option in zip(ascii_uppercase, options, strict=False))
    if lettered:
        options = [option[2:].strip() for option in options]
    letters = ascii_uppercase[: len(options)]
    answer = str(record["answer"]).strip().rstrip(".")
    if len(options) < 2 or answer not in tuple(letters):
        raise DataError(f"'answer' is {record['answer']!r}, there are {len(options)} options")
    video = _video_id(record)
    return wording.ask(
        id=str(record["question_id"]),
        video=f"{video}.mp4",
        question=str(record["question"]).strip(),
        options=options,
        gold=letters.index(answer),
        category=str(record["task_type"]),
        subtitles=subtitles(video),
        groups={group: str(_one_of(record, *names)) for group, names in _GROUPS.items()},
    )


def _one_of(record: dict[str, Any], *names: str) -> Any:
    """The field under the name it has in this release."""
    for name in names:
        if record.get(name) is not None:
            return record[name]
    raise DataError(f"missing {names[0]!r}")


def _video_id(record: dict[str, Any]) -> str:
    """The YouTube id that the video file is named after; the official JSON has it in the url only."""
    if record.get("videoID"):
        return str(record["videoID"])
    match = _YOUTUBE_ID.search(str(record.get("url", "")))
    if not match:
        raise DataError("missing 'videoID', and no YouTube id in 'url'")
    return match[1]


def _subtitle_reader(root: Path, reading: Reading, problems: Problems) -> Callable[[str], tuple[Subtitle, ...]]:
    """A function from a video's name to its subtitles, which reads each file once."""
    folder = root / SUBTITLE_FOLDER
    if reading.subtitles and not folder.is_dir():
        raise DataError(
            "the folder of subtitles is missing",
            where=f"benchmark '{reading.benchmark}', {folder}",
            remedy="unpack the subtitles there, or turn subtitles off",
        )

    @cache
    def read_once(video: str) -> tuple[Subtitle, ...]:
        path = inside_root(folder, f"{video}.srt")
        if not reading.subtitles or not path.is_file():
            return ()
        try:
            return parse_srt(read_text(path, benchmark=reading.benchmark))
        except DataError as error:
            problems.add(f"{SUBTITLE_FOLDER}/{path.name}", str(error))
            return ()

    return read_once


VIDEO_MME = Format(read=read, num_questions={"all": 2700}, has_subtitles=True)
