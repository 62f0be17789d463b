"""Annotations of the benchmarks as users download them, each format read into `Question`s under a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparrow.core.errors import ConfigError, DataError
from sparrow.evaluation.formats import multiple_choice
from sparrow.evaluation.formats.protocols import Reading
from sparrow.evaluation.questions import Question
from sparrow.evaluation.settings import FORMAT_NAMES, FORMATS
from sparrow.evaluation.subtitles import Subtitles

PROTOCOLS = ("official", "released")
SHOWN_TASKS = 3


def brings_prompts(name: str, location: Path) -> bool:
    """Whether a file holds its prompts, as the released code's jsonl does; other formats read their own files."""
    return FORMATS[name].brings_prompts or (name in FORMAT_NAMES and location.suffix == ".jsonl")


def read_benchmark(
    name: str,
    location: Path,
    *,
    benchmark: str,
    protocol: str = "official",
    subtitles: Subtitles = "off",
    tasks: Sequence[str] = (),
) -> list[Question]:
    """The questions of a benchmark.

    A `.jsonl` file is read as the released code's form of its benchmarks, whose prompts stand in the file. `name` is a
    key of `FORMATS`, `location` a file or folder. Subtitles are read unless `off`; no `tasks` stand for all.

    Raises:
        ConfigError: If there is no such format or protocol, or the format has no subtitles.
        DataError: If annotations are missing or wrong, all problems at once; if a task has no questions.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    in_released_form = brings_prompts(name, location)
    if subtitles != "off" and not (in_released_form or FORMATS[name].has_subtitles):
        raise ConfigError(f"benchmark '{benchmark}': {name} has no subtitles; set subtitles=off")
    reading = Reading(benchmark=benchmark, protocol=protocol, subtitles=subtitles != "off", tasks=tuple(tasks))
    is_released_file = in_released_form and name in FORMAT_NAMES
    read = (multiple_choice.MULTIPLE_CHOICE if is_released_file else FORMATS[name]).read
    with FORMATS.named_in_errors(name, f"benchmark '{benchmark}', {location}"):
        questions = read(location, reading)
        if not all(isinstance(question, Question) for question in questions):
            raise TypeError("it gives something else than a list of Question")
        if is_released_file and (named := FORMATS[name].from_released) is not None:
            questions = [named(question) for question in questions]
    if in_released_form and subtitles != "off" and not any(question.subtitles for question in questions):
        raise ConfigError(f"benchmark '{benchmark}': no line of {location} has subtitles; set subtitles=off")
    found = {question.category for question in questions}
    if unknown := [task for task in reading.tasks if task not in found]:
        raise DataError(
            f"no questions of the tasks {', '.join(unknown)}",
            where=f"benchmark '{benchmark}', {location}",
            remedy=f"choose among {', '.join(sorted(found)) or ', '.join(FORMATS[name].num_questions or ())}",
        )
    return [question for question in questions if reading.wants(question.category)]


def size_note(name: str, questions: Sequence[Question]) -> str:
    """How many questions there are of how many published ones, task by task where they differ; for the report."""
    published = FORMATS[name].num_questions
    turns = f", {len(questions)} with their turns" if FORMATS[name].grouped == "turns" else ""
    questions = [q for q in questions if not turns or q.id.endswith("/0")]
    if published is None:
        return f"{len(questions)} questions{turns}"
    if len(questions) > published.get("all", len(questions)):
        return f"{len(questions)} questions{turns}, of another file than the {published['all']} published ones"
    if "all" in published:
        counts = {"all": len(questions)}
    else:
        counts = {task: sum(question.category == task for question in questions) for task in published}
    note = f"{sum(counts.values())} of {sum(published.values())} published questions{turns}"
    short = [f"{task} {counts[task]} of {size}" for task, size in published.items() if counts[task] != size]
    if "all" in published or not short:
        return note
    rest = f", and {len(short) - SHOWN_TASKS} more tasks" if len(short) > SHOWN_TASKS else ""
    return f"{note} ({', '.join(short[:SHOWN_TASKS])}{rest})"


def spread_evenly(name: str, questions: Sequence[Question], number: int) -> list[Question]:
    """So many of the questions, at even distances; of those that are scored together all or none."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        head = question.id.rpartition("/")[0] if FORMATS[name].grouped else question.id
        groups.setdefault(head, []).append(question)
    taken = max(1, round(number * len(groups) / len(questions)))
    step, together = len(groups) / taken, list(groups.values())
    return [question for i in range(taken) for question in together[int(i * step)]]


def oddities(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Ids of questions that a reader of the score should know of, by what is odd; only what occurs.

    `needs_a_judge` and `answer_withheld` are not scored, `no_right_option` always wrong, `repeated_options` list a text
    twice, `one_option` leaves nothing to choose.
    """
    found = {
        "needs_a_judge": [q.id for q in questions if q.needs_judge],
        "answer_withheld": [q.id for q in questions if q.withheld],
        "no_right_option": [q.id for q in questions if q.options and q.gold is None and not q.withheld],
        "one_option": [q.id for q in questions if len(q.options) == 1],
        "repeated_options": [q.id for q in questions if len(set(q.options)) < len(q.options)],
    }
    return {what: ids for what, ids in found.items() if ids}
