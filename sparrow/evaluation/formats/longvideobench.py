"""LongVideoBench: referring questions about videos of 8 s to an hour, with subtitles (arXiv 2407.15754).

Prompt, subtitles and their interleaving are those of the official longvideobench_dataset.py, as in the released code.
"""

from __future__ import annotations

from html import unescape
from pathlib import Path
from typing import Any

from sparrow.core.errors import DataError
from sparrow.core.files import inside_root
from sparrow.evaluation.annotations import Problems, find_files, read_json, records, require
from sparrow.evaluation.formats.protocols import DIRECTLY, Format, Reading, Wording, seconds
from sparrow.evaluation.questions import Question, make_questions
from sparrow.evaluation.subtitles import Subtitle, clock_seconds

PATTERNS = ("lvb_val.json", "validation*.parquet", "data/validation*.parquet", "*.parquet")
SUBTITLE_FOLDER = "subtitles"
# The released code shows frames and subtitles as the official one does.
ASKED = {"subtitles": "interleaved", "frame_rule": "one_a_second"}
WORDING = Wording(preamble="Question: ", instruction=DIRECTLY)
_NO_OPTION = "N/A"


def read(location: Path, reading: Reading) -> list[Question]:
    """Questions of `lvb_val.json` (`candidates`) or of the parquet files (`option0` ... `option4`, "N/A" for none).

    Videos are named by `video_path`, subtitles are `subtitles/{subtitle_path}` beside the annotations.
    """
    paths = find_files(location, PATTERNS, benchmark=reading.benchmark)
    subtitles = (location if location.is_dir() else location.parent) / SUBTITLE_FOLDER
    problems = Problems(reading.benchmark, paths[0] if len(paths) == 1 else location)
    found = records(paths, benchmark=reading.benchmark)
    return make_questions(found, lambda row: _question(row, subtitles, reading), problems)


def _question(record: Any, subtitles: Path, reading: Reading) -> Question:
    shown = _subtitles(record, subtitles, reading)
    require(record, "id", "video_path", "question", "correct_choice", "duration_group", "question_category")
    options = _options(record)
    gold = record["correct_choice"]
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < len(options):
        raise DataError(f"'correct_choice' is {gold!r}, there are {len(options)} options, counted from 0")
    return WORDING.ask(
        id=str(record["id"]),
        video=str(record["video_path"]),
        question=str(record["question"]),
        options=options,
        gold=gold,
        category=str(record["question_category"]),
        subtitles=shown,
        groups={"duration_group": str(record["duration_group"])},
        duration_s=seconds(record, "duration") if record.get("duration") is not None else None,
    )


def _options(record: dict[str, Any]) -> list[str]:
    candidates = record.get("candidates")
    if candidates is None:
        candidates = [record[name] for i in range(5) if (name := f"option{i}") in record]
        candidates = [candidate for candidate in candidates if candidate not in (None, _NO_OPTION)]
    if not isinstance(candidates, list) or len(candidates) < 2:
        raise DataError("expected two or more 'candidates', or 'option0' to 'option4'")
    return [str(candidate) for candidate in candidates]


def _subtitles(record: Any, folder: Path, reading: Reading) -> tuple[Subtitle, ...]:
    if not reading.subtitles:
        return ()
    require(record, "subtitle_path", "duration", "starting_timestamp_for_subtitles")
    name = str(record["subtitle_path"])
    try:
        return parse_subtitles(
            read_json(inside_root(folder, name), benchmark=reading.benchmark),
            duration_s=seconds(record, "duration"),
            starting_s=seconds(record, "starting_timestamp_for_subtitles"),
        )
    except DataError as error:
        raise DataError(f"subtitles {SUBTITLE_FOLDER}/{name}: {error.what}") from error


def parse_subtitles(records: Any, *, duration_s: float, starting_s: float) -> tuple[Subtitle, ...]:
    """Subtitles in either of the benchmark's schemas, moved to the clip's own time.

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
            raise DataError(f"fits neither subtitle schema: {record!r}", where=f"subtitle {number}") from error
        found.append(Subtitle(start - starting_s, end - starting_s, unescape(text)))
    return tuple(found)


LONGVIDEOBENCH = Format(
    read=read, num_questions={"all": 1337}, has_subtitles=True, protocols={"official": ASKED, "released": ASKED}
)
