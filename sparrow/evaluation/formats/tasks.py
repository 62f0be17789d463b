"""What the benchmarks with one JSON file a task have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sparrow.core.errors import DataError
from sparrow.evaluation.annotations import Problems, content_of, json_records
from sparrow.evaluation.formats.protocols import Reading
from sparrow.evaluation.questions import Question, make_questions


def read_tasks(
    location: Path, names: Mapping[str, str], reading: Reading, make: Callable[[str, int, Any, str], Question]
) -> list[Question]:
    """Questions of one JSON list a task, each made from its task, its position, its record and the protocol.

    Raises:
        DataError: If a task's file is missing or wrong; all problems at once.
    """
    records = (
        (f"{path.name}, {line}", (task, number, record, reading.protocol))
        for task, path in task_files(location, names, reading).items()
        for number, (line, record) in enumerate(json_records(path, benchmark=reading.benchmark))
    )
    return make_questions(records, lambda record: make(*record), Problems(reading.benchmark, location))


def task_files(location: Path, names: Mapping[str, str], reading: Reading, folder: str = "json") -> dict[str, Path]:
    """Files of the tasks that are asked for, in `location/folder` (the official layout) or in `location` itself.

    Raises:
        DataError: If any is missing; it says which, where they were looked for, and what is there.
    """
    root = location / folder if (location / folder).is_dir() else location
    files = {task: root / name for task, name in names.items() if reading.wants(task)}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} task files are missing: {', '.join(missing)}; {content_of(root)}",
            where=f"benchmark '{reading.benchmark}', {root}",
            remedy="check the benchmark's root, or name the tasks that are to be asked",
        )
    return files


def gold_by_text(record: dict[str, Any]) -> tuple[list[str], int | None]:
    """The candidates, and the position of the last one that is the answer's text, as the official loops find it;
    None where none is."""
    candidates = record["candidates"]
    if not isinstance(candidates, list) or len(candidates) < 2:
        raise DataError(f"'candidates' is {candidates!r}, expected a list of two or more")
    options = [str(candidate) for candidate in candidates]
    answer = str(record["answer"])
    return options, max((i for i, option in enumerate(options) if option == answer), default=None)


def seconds(record: dict[str, Any], name: str) -> float:
    """A field that is a time in seconds."""
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"{name!r} is {value!r}, expected seconds")
    return float(value)
