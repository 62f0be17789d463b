"""What the readers of annotations share: a protocol's wording, what is read, and the files of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from sparrow.core.errors import DataError
from sparrow.evaluation.annotations import content_of
from sparrow.evaluation.questions import Question

DIRECTLY = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What a protocol puts around a question and its options; the fields are those of `Question`.

    `label` stands before an option, with `{}` for its letter.
    """

    preamble: str = ""
    lead: str = ""
    label: str = "{}. "
    instruction: str = ""
    system: str = ""
    reply_start: str = ""

    def ask(self, *, options: Sequence[str], **fields: Any) -> Question:
        """The question in these words."""
        words = {name: text for name, text in vars(self).items() if name != "label"}
        labels = tuple(self.label.format(letter) for letter in ascii_uppercase[: len(options)])
        return Question(options=tuple(options), labels=labels, **words, **fields)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reader of annotations is asked for.

    `protocol` is `official` or `released` (the released code of arXiv 2411.19951); no `tasks` stand for all.
    """

    benchmark: str
    protocol: str = "official"
    subtitles: bool = False
    tasks: tuple[str, ...] = ()

    def wants(self, task: str) -> bool:
        """Whether a task is asked for."""
        return not self.tasks or task in self.tasks


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


def seconds(record: dict[str, Any], name: str) -> float:
    """A field that is a time in seconds."""
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"{name!r} is {value!r}, expected seconds")
    return float(value)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A benchmark: how its files are read, its size, and what its protocols fix beside the prompts.

    `read` raises a DataError if annotations or subtitles are missing or wrong, with all problems at once. `protocols`
    has settings of `Benchmark` by protocol, such as `metric`, `tasks` or `max_new_tokens`; one that is given wins.
    `num_questions` is the size of the published benchmark by task, None where it has no fixed content or the size is
    not confirmed. Questions whose ids agree up to the last slash are scored together where it is `grouped`: they are
    the `parts` of a video, or `turns`, a published question asked anew. Answers that the publisher keeps go into a
    `submission`, an object from ids to the chosen option's `letter` or `place` from 0 on.
    `from_released` names a question of the released code's jsonl, whose `category` may be called otherwise there, as
    `read` does.
    """

    read: Callable[[Path, Reading], list[Question]]
    num_questions: Mapping[str, int] | None = None
    has_subtitles: bool = False
    brings_prompts: bool = False
    grouped: Literal["", "parts", "turns"] = ""
    submission: Literal["", "letter", "place"] = ""
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    from_released: Callable[[Question], Question] | None = None
