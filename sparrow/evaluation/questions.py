"""A benchmark's question in the one form that every reader produces, and the reader of the released code's jsonl."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypeVar

from sparrow.core.errors import DataError
from sparrow.core.files import Roots, inside_root
from sparrow.core.hashing import content_hash
from sparrow.core.samples import UNREADABLE
from sparrow.evaluation.annotations import Problems, numbered_lines, text_id
from sparrow.evaluation.subtitles import Subtitle

T = TypeVar("T")
_LABEL = re.compile(r"\s*(?P<label>\(?(?P<letter>[A-Z])[).:][ \t]*)(?P<text>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question about one video.

    Args:
        id: Unique within the benchmark.
        video: Path relative to the benchmark's media root: a file or a folder of frames; None asks without frames.
        question: The question alone.
        options: Texts to choose from; empty for a task that is answered freely and needs a judge.
        gold: Position of the right option; None where no option is right, so that the question always counts wrong.
        category: The task or question type that the scores are broken down by.
        labels: What stands before each option in the prompt; `A. `, `B. ` ... when empty.
        list_options: Whether the prompt lists the options; that of a yes-or-no question does not.
        preamble: Text right before the question.
        lead: Text between the question and its options, on a line of its own.
        instruction: Text after the options, on a line of its own.
        system: System turn.
        reply_start: Text that the reply is begun with, so that the model goes on from it.
        start_s: Begin of the part of the video that is asked about, in seconds.
        end_s: Its end.
        fps: Rate of a frame folder, which has no other clock.
        subtitles: Those of the video, timed from its first frame; empty where the protocol shows none.
        groups: Further breakdowns, as `{"duration": "short"}`.
        duration_s: Length of the video by the annotations, where frames are chosen by it.
        pictures: Paths of pictures that are shown where there is no video.
        number: The right answer of a question that is answered by a number and lists no options.
        withheld: Whether the publisher keeps the right answer, so that the answer is for a submission and not scored.
    """

    id: str
    video: str | None
    question: str
    options: tuple[str, ...]
    gold: int | None
    category: str
    labels: tuple[str, ...] = ()
    list_options: bool = True
    preamble: str = ""
    lead: str = ""
    instruction: str = ""
    system: str = ""
    reply_start: str = ""
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None
    subtitles: tuple[Subtitle, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    duration_s: float | None = None
    pictures: tuple[str, ...] = field(default=(), repr=False)  # prompt_hash reads the rest
    number: float | None = field(default=None, repr=False)
    withheld: bool = field(default=False, repr=False)

    @property
    def media(self) -> tuple[str, ...]:
        """Paths of what is shown: the video, or else the pictures."""
        return self.pictures if self.video is None else (self.video,)

    @property
    def needs_judge(self) -> bool:
        """Whether it is answered freely, so that a reply cannot be scored by rules."""
        return not self.options and self.number is None

    def __post_init__(self) -> None:
        texts = (self.id, self.question, *self.options, *(subtitle.text for subtitle in self.subtitles))
        if unreadable := next((text for text in texts if UNREADABLE.search(text)), None):
            raise DataError(
                f"the text {unreadable!r} holds a NUL or half of a surrogate pair",
                where=f"question {self.id!r}",
                remedy="remove it, or write the whole character",
            )


def prompt_text(question: Question, *, show_options: bool = True) -> str:
    """The user turn: question, labelled options and instruction; or, to score the options' texts, the question only."""
    if not show_options:
        return question.question
    listed = zip(_labels(question), question.options, strict=True) if question.list_options else ()
    options = [label + text for label, text in listed]
    head = question.preamble + question.question
    return "\n".join(line for line in (head, question.lead, *options, question.instruction) if line)


def question_hash(question: Question) -> str:
    """Digests of the prompt without subtitles: but for its white space, and to the letter, with a dot between."""
    options = [*question.labels, *question.options] if question.list_options else []
    head = question.preamble + question.question
    texts = [question.system, head, question.lead, *options, question.instruction, question.reply_start]
    return ".".join(content_hash(text, length=10) for text in ([" ".join(t.split()) for t in texts], texts))


def option_names(question: Question) -> tuple[str, ...]:
    """What the prompt calls each option: `A`, `Option 1`, or its text where the options are not listed."""
    if not question.list_options:
        return question.options
    return tuple(label.strip(" \t().:") for label in _labels(question))


def _labels(question: Question) -> tuple[str, ...]:
    return question.labels or tuple(f"{letter}. " for letter in ascii_uppercase[: len(question.options)])


def missing_videos(questions: Iterable[Question], media_root: Roots) -> list[str]:
    """Videos and pictures that the questions are about and that are not in the media root, sorted."""
    files = {path for question in questions for path in question.media}
    return sorted(path for path in files if not inside_root(media_root, path).exists())


@dataclass(frozen=True, slots=True)
class SplitPrompt:
    """A multiple-choice prompt taken apart; `labels` are as printed, so that joining gives the prompt back."""

    question: str
    labels: tuple[str, ...]
    options: tuple[str, ...]
    instruction: str


def split_prompt(prompt: str) -> SplitPrompt | None:
    """Take question, lettered options and trailing instruction of a prompt apart.

    Options stand on lines that begin `A.`, `(A)`, `A)` or `A:`, lettered in order. The last such list counts, so
    that a question may itself hold lettered lines; where the list is printed twice in a row (as in two items of
    TempCompass), it is taken once. A line without a letter before the last option continues the option above it.
    A single option, as five questions of MVBench have it, is the line `A.` below a question where no list is longer.

    Returns:
        The parts, or None where the prompt has no options.
    """
    lines = prompt.strip().split("\n")
    matches = [_LABEL.fullmatch(line) for line in lines]
    starts = [i for i, match in enumerate(matches) if match and match["letter"] == "A"]
    blocks = [block for start in starts if len(block := _lettered_lines(matches, start)) > 1]
    blocks = blocks or [[start] for start in starts[-1:] if start > 0]
    if not blocks:
        return None
    last = blocks[-1]
    options = _option_texts(lines, matches, last)
    first = last[0]
    for block in reversed(blocks[:-1]):
        if _option_texts(lines, matches, block) == options and not any(lines[block[-1] + 1 : first]):
            first = block[0]
    return SplitPrompt(
        question="\n".join(lines[:first]).strip(),
        labels=tuple(match["label"] for i in last if (match := matches[i])),
        options=options,
        instruction="\n".join(lines[last[-1] + 1 :]).strip(),
    )


def _lettered_lines(matches: Sequence[re.Match[str] | None], start: int) -> list[int]:
    """Indices of the lines labelled A, B, C ... from `start` on, up to where the order ends."""
    found: list[int] = []
    for i in range(start, len(matches)):
        match = matches[i]
        if match is None:
            continue
        if match["letter"] != ascii_uppercase[len(found) : len(found) + 1]:
            break
        found.append(i)
    return found


def _option_texts(lines: list[str], matches: Sequence[re.Match[str] | None], block: list[int]) -> tuple[str, ...]:
    places = zip(block, [*block[1:], block[-1] + 1], strict=True)
    texts = ([match["text"], *lines[start + 1 : end]] for start, end in places if (match := matches[start]))
    return tuple("\n".join(text).strip() for text in texts)


def read_questions(path: Path, *, benchmark: str) -> list[Question]:
    """Read the released code's form: JSON lines with `question_id, video, prompt, GT, category`.

    `video` may be null for a question without one, whose `pictures` may be listed; `start` and `end` (seconds) may
    bound it, `fps` is the rate of a folder of frames, and `subtitles` are objects with `start`, `end` and `text`.
    `system` is a system turn, `reply_start` what the reply is begun with. `groups` may hold further breakdowns of the
    score, as `{"duration": "short"}`.

    Raises:
        DataError: With every problem of the file, each with its line: unreadable JSON, a missing field, a prompt
            without options, a gold outside them, an id that stands twice.
    """
    problems = Problems(benchmark, path)
    lines = ((f"line {number}", line) for number, line in numbered_lines(path, benchmark=benchmark))
    questions = make_questions(lines, _question_of, problems)
    if not questions:
        problems.add("the file", "holds no questions")
    problems.raise_if_any()
    return questions


def make_questions(
    records: Iterable[tuple[str, T]], make: Callable[[T], Question], problems: Problems
) -> list[Question]:
    """The questions made from records that come with their places.

    Raises:
        DataError: With all problems: those noted before, records that `make` refuses, ids that occur twice.
    """
    questions = []
    for where, record in records:
        try:
            question = make(record)
        except DataError as error:
            problems.add(where, error.what)
        except Exception as error:
            error.add_note(f"at {where}")
            raise
        else:
            problems.check_id(where, question.id)
            questions.append(question)
    problems.raise_if_any()
    return questions


def _question_of(line: str) -> Question:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"unreadable JSON: {error.msg} (column {error.colno})") from error
    if not isinstance(record, dict):
        raise DataError(f"expected an object, found {type(record).__name__}")
    missing = [name for name in ("question_id", "video", "prompt", "GT", "category") if name not in record]
    if missing:
        raise DataError(f"missing {', '.join(repr(name) for name in missing)}")
    if not isinstance(record["prompt"], str):
        raise DataError(f"'prompt' is {type(record['prompt']).__name__}, expected text")
    parts = split_prompt(record["prompt"])
    if parts is None:
        raise DataError("no options found in 'prompt': expected lines that begin 'A.', 'B.' or '(A)', '(B)'")
    return Question(
        id=text_id(record["question_id"]),
        video=_optional_text(record, "video"),
        question=parts.question,
        options=parts.options,
        gold=_gold_of(record["GT"], len(parts.options)),
        category=str(record["category"]),
        labels=parts.labels,
        instruction=parts.instruction,
        start_s=_optional_seconds(record, "start"),
        end_s=_optional_seconds(record, "end"),
        fps=_optional_seconds(record, "fps", "frames a second", least=1e-3),
        system=_optional_text(record, "system") or "",
        reply_start=_optional_text(record, "reply_start") or "",
        subtitles=_listed(record, "subtitles", _subtitle, '{"start": 1.5, "end": 3, "text": "Hello"}'),
        pictures=_listed(record, "pictures", str, "paths"),
        groups=_groups_of(record),
    )


def _listed(record: dict[str, Any], name: str, make: Callable[[Any], T], what: str) -> tuple[T, ...]:
    value = record.get(name, [])
    try:
        if not isinstance(value, list):
            raise TypeError
        return tuple(make(item) for item in value)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name!r} is {value!r}, expected a list of {what}") from error


def _subtitle(item: dict[str, Any]) -> Subtitle:
    return Subtitle(float(item["start"]), float(item["end"]), str(item["text"]))


def _groups_of(record: dict[str, Any]) -> dict[str, str]:
    groups = record.get("groups", {})
    if not isinstance(groups, dict) or not all(isinstance(value, str) for value in groups.values()):
        raise DataError(f'\'groups\' is {groups!r}, expected an object of texts, as {{"duration": "short"}}')
    return groups


def _gold_of(value: Any, num_options: int) -> int:
    letters = ascii_uppercase[:num_options]
    letter = value.strip().strip("().") if isinstance(value, str) else ""
    if len(letter) != 1 or letter not in letters:
        raise DataError(f"'GT' is {value!r}, the prompt has the options {', '.join(letters)}")
    return letters.index(letter)


def _optional_text(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise DataError(f"{name!r} is {value!r}, expected text or null")
    return value


def _optional_seconds(record: dict[str, Any], name: str, what: str = "seconds", least: float = 0.0) -> float | None:
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
        raise DataError(f"{name!r} is {value!r}, expected {what}")
    return float(value)
