"""TempCompass: four tasks over five dimensions of time (arXiv 2403.00476; prompts from the official run scripts)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparrow.core.errors import DataError
from sparrow.evaluation.annotations import Problems, read_json, records, require
from sparrow.evaluation.formats.protocols import DIRECTLY, Format, Reading, task_files
from sparrow.evaluation.questions import Question, make_questions, split_prompt

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")
DIMENSIONS = ("action", "speed", "direction", "order", "attribute_change")
METRIC = "by_category.multi-choice.accuracy"
BEST_OPTION = "Please directly give the best option:"
INSTRUCTIONS = {
    "official": {
        "multi-choice": BEST_OPTION,
        "yes_no": "Please answer yes or no:",
        "caption_matching": BEST_OPTION,
        "captioning": "",
    },
    "released": {"multi-choice": DIRECTLY, "yes_no": "", "caption_matching": DIRECTLY, "captioning": ""},
}
_CAPTION = re.compile(r"((?:Option|Sentence|Caption) \w+:\s*)(.*)")


def read(location: Path, reading: Reading) -> list[Question]:
    """Questions of `questions/{task}.json` (by video and dimension) or of `{task}/*.parquet` (one row per question).

    They are named `task/video/dimension/position`. Options stand inside the question's text; captioning is judged
    by another model in the official evaluation, so that it has no options here.
    """
    problems = Problems(reading.benchmark, location)
    found = _records(location, reading, problems)
    return make_questions(found, lambda item: _question(*item, reading.protocol), problems)


def _question(task: str, video: str, dimension: str, number: int, record: Any, protocol: str) -> Question:
    require(record, "question", "answer")
    return Question(
        id=f"{task}/{video}/{dimension}/{number}",
        video=f"{video}.mp4",
        category=task,
        instruction=INSTRUCTIONS[protocol][task],
        groups=_groups(task, dimension),
        **_FIELDS[task](str(record["question"]), str(record["answer"]).strip()),
    )


def _groups(task: str, dimension: str) -> dict[str, str]:
    return {"dimension": dimension, "task_dimension": f"{task}: {dimension}"}


def _from_released(question: Question) -> Question:
    """The `category` of the released jsonl is a dimension; lettered options are the form of the task multi-choice."""
    groups = _groups("multi-choice", question.category.replace(" ", "_"))
    return replace(question, category="multi-choice", groups=groups) if groups["dimension"] in DIMENSIONS else question


_Item = tuple[str, tuple[str, str, str, int, Any]]


def _records(location: Path, reading: Reading, problems: Problems) -> Iterator[_Item]:
    """Place in the file of every question, with its task, video, dimension, position among these three, and record."""
    parquet = {task: sorted(location.glob(f"{task}/*.parquet")) for task in TASKS if reading.wants(task)}
    if any(parquet.values()):
        for task, paths in parquet.items():
            counts: dict[tuple[str, str], int] = {}
            for path in paths:
                for where, row in records(path, benchmark=reading.benchmark, problems=problems):
                    key = str(row.get("video_id")), str(row.get("dim"))
                    counts[key] = counts.get(key, -1) + 1
                    yield where, (task, *key, counts[key], row)
        return
    names = {task: f"{task}.json" for task in TASKS}
    for task, path in task_files(location, names, reading, folder="questions").items():
        document = read_json(path, benchmark=reading.benchmark)
        for video, dimensions in _objects(document, path.name, problems):
            for dimension, items in _objects(dimensions, f"{path.name}, video {video!r}", problems):
                if dimension not in DIMENSIONS or not isinstance(items, list):
                    problems.add(f"{path.name}, video {video!r}", f"{dimension!r} is no dimension with a list")
                    continue
                for number, record in enumerate(items):
                    where = f"{path.name}, video {video!r}, {dimension} {number}"
                    yield where, (task, video, dimension, number, record)


def _objects(value: Any, where: str, problems: Problems) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    problems.add(where, f"expected an object, found {type(value).__name__}")
    return []


def _multi_choice(text: str, answer: str) -> dict[str, Any]:
    parts = split_prompt(text)
    if parts is None:
        raise DataError(f"no options found in {text!r}")
    gold = _gold(answer, parts.labels, parts.options)
    return {"question": parts.question, "options": parts.options, "labels": parts.labels, "gold": gold}


def _yes_no(text: str, answer: str) -> dict[str, Any]:
    options = ("yes", "no")
    if answer not in options:
        raise DataError(f"'answer' is {answer!r}, expected yes or no")
    return {"question": text, "options": options, "gold": options.index(answer), "list_options": False}


def _caption_matching(text: str, answer: str) -> dict[str, Any]:
    question, *lines = text.strip().split("\n")
    matches = [match for line in lines if (match := _CAPTION.fullmatch(line.strip()))]
    if len(matches) < 2 or len(matches) < len(lines):
        raise DataError(f"no captions 'Option 1: ...', 'Sentence A: ...' or 'Caption A: ...' found in {text!r}")
    labels, options = zip(*(match.groups() for match in matches), strict=True)
    return {"question": question, "options": options, "labels": labels, "gold": _gold(answer, labels, options)}


def _gold(answer: str, labels: tuple[str, ...], options: tuple[str, ...]) -> int:
    """The option that the answer repeats whole, has the text of, or else has the label of, as officially scored."""
    whole = [label + option for label, option in zip(labels, options, strict=True)]
    for candidates in (whole, list(options)):
        if answer in candidates:
            return candidates.index(answer)
    for i, label in enumerate(labels):
        if answer.startswith(label.strip()):
            return i
    raise DataError(f"'answer' {answer!r} is not among the options {whole}")


_FIELDS = {
    "multi-choice": _multi_choice,
    "yes_no": _yes_no,
    "caption_matching": _caption_matching,
    "captioning": lambda text, answer: {"question": text, "options": (), "gold": None},
}
TEMPCOMPASS = Format(
    read=read,
    from_released=_from_released,
    num_questions={"multi-choice": 1580, "yes_no": 2453, "caption_matching": 1503, "captioning": 2004},
    protocols={"official": {"metric": METRIC}, "released": {"metric": METRIC, "tasks": ["multi-choice"]}},
)
