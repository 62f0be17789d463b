"""Answers to a benchmark as columns, read from the JSONL that an evaluation writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparrow.core.errors import DataError
from sparrow.core.hashing import content_hash

T = TypeVar("T")
NOT_ASKED = "not asked: "  # begins the rule of a question whose video or text could not be shown
QUESTIONS_HASH = 2  # version of `questions_hash`; digests without a number are of the first
HASHED = ("which questions", "videos", "right answers", "options", "prompts", "white space in prompts")
_FIELDS = ("question_id", "video", "category", "options", "gold", "choice", "correct")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One entry a question, in the order of the question ids.

    `gold` is the index of the right option, -1 where none is right, `num_options` the number of options, and `choices`
    the index of the one chosen, -1 where none is: all [n] int; `correct` is [n] bool. Where some questions are answered
    by numbers, `correct` is [n] float, of these the relative accuracy from 0 to 1, their `num_options` is 0, and `gold`
    and `choices` are the bits of the numbers. A question without a video is a video of its own. `groups` holds further
    breakdowns, [n] str each, empty where a question belongs to none.
    Questions that need a judge, or whose right answer the publisher keeps, are only counted: `num_unscored`.

    `options` and `prompts` are digests, [n] str (`question_hash` of a line; empty in older files), `failures` says why
    a question could not be asked, [n] str, empty where it was, and `reply_rules` is the version of the rules that read
    the reply, [n] int: 0 in older files, -1 without a reply.
    """

    question_ids: tuple[str, ...]
    videos: NDArray[np.str_]
    categories: NDArray[np.str_]
    gold: NDArray[np.int64]
    num_options: NDArray[np.int64]
    correct: NDArray[np.bool_] | NDArray[np.float64]
    choices: NDArray[np.int64]
    options: NDArray[np.str_]
    prompts: NDArray[np.str_]
    failures: NDArray[np.str_]
    reply_rules: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    num_unscored: int = 0

    def __len__(self) -> int:
        return len(self.question_ids)

    @property
    def questions_hash(self) -> str:
        """Digest of which questions were answered, part by part as `HASHED` names them, after its version.

        Files of before prompts were kept have the first version: ids, videos, right answers and numbers of options.
        """
        if not all(self.prompts):
            return self.first_questions_hash
        loosely, exactly = zip(*(prompt.split(".") for prompt in self.prompts), strict=True) if len(self) else ((), ())
        parts = (self.question_ids, *(c.tolist() for c in (self.videos, self.gold, self.options)), loosely, exactly)
        return f"{QUESTIONS_HASH}:" + "-".join(content_hash(list(part), length=8) for part in parts)

    @property
    def first_questions_hash(self) -> str:
        """The digest as older records have it."""
        columns = (self.videos, self.gold, self.num_options)
        return content_hash([list(self.question_ids), *(column.tolist() for column in columns)])

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether an option was chosen, [n]."""
        return self.choices >= 0

    @property
    def chances(self) -> NDArray[np.float64]:
        """The expected credit of guessing, [n]: one over the number of options, 0 for a number."""
        return np.where(self.num_options > 0, 1 / np.maximum(self.num_options, 1), 0.0)

    def of_category(self, category: str) -> Predictions:
        """The answers to the questions of one category."""
        return self.chosen(self.categories == category)

    def chosen(self, chosen: NDArray[np.bool_]) -> Predictions:
        """The answers to the questions that are true in [n]."""
        columns = {name: column[chosen] for name, column in vars(self).items() if isinstance(column, np.ndarray)}
        ids = tuple(compress(self.question_ids, chosen))
        groups = {axis: values[chosen] for axis, values in self.groups.items()}
        return replace(self, question_ids=ids, groups=groups, num_unscored=0, **columns)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Predictions:
        """Columns of prediction lines.

        Raises:
            DataError: If a question is answered twice.
        """
        rows = list(rows)
        scored = (row for row in rows if (row["options"] or _is_number(row)) and not row.get("withheld"))
        ordered = sorted(scored, key=lambda row: str(row["question_id"]))
        groups = [row.get("groups") or {} for row in ordered]
        rules = [row.get("rule") or "" for row in ordered]
        ids = tuple(str(row["question_id"]) for row in ordered)
        if twice := [a for a, b in pairwise(ids) if a == b]:
            raise DataError(f"{len(twice)} questions are answered more than once, the first is {twice[0]!r}")
        return cls(
            question_ids=ids,
            videos=np.array([row["video"] or f"question {row['question_id']}" for row in ordered], dtype=np.str_),
            categories=np.array([row["category"] for row in ordered], dtype=np.str_),
            gold=np.array([_place(row, "gold", "number") for row in ordered], dtype=np.int64),
            num_options=np.array([len(row["options"]) for row in ordered], dtype=np.int64),
            correct=np.array(
                [row["correct"] for row in ordered], np.float64 if any(map(_is_number, ordered)) else bool
            ),
            options=np.array([content_hash(row["options"], length=8) for row in ordered], dtype=np.str_),
            prompts=np.array([row.get("question_hash", "") for row in ordered], dtype=np.str_),
            failures=np.array([r[len(NOT_ASKED) :] if r.startswith(NOT_ASKED) else "" for r in rules], dtype=np.str_),
            reply_rules=np.array(
                [-1 if row.get("reply") is None else row.get("reply_rules") or 0 for row in ordered], dtype=np.int64
            ),
            choices=np.array([_place(row, "choice", "value") for row in ordered], dtype=np.int64),
            groups={
                axis: np.array([group.get(axis, "") for group in groups], dtype=np.str_)
                for axis in sorted({axis for group in groups for axis in group})
            },
            num_unscored=len(rows) - len(ordered),
        )


def questions_difference(one: str, other: str) -> list[str] | None:
    """The parts of `HASHED` that two digests of questions differ in; None where they are of two versions, or empty."""
    if not one or not other or (":" in one) != (":" in other):
        return None
    pairs = zip(HASHED, one.split("-"), other.split("-"), strict=False)  # a single one in the first version
    found = [name for name, a, b in pairs if a != b]
    return found[:-1] if "prompts" in found else found  # which differ in white space too


def _is_number(row: Mapping[str, Any]) -> bool:
    return row.get("number") is not None


def _place(row: Mapping[str, Any], place: str, number: str) -> int:
    """The option at a place, or the bits of a number as a whole number that is not negative; -1 for none."""
    value = row[number] if _is_number(row) else row[place]
    if value is None:
        return -1
    return int(np.abs(np.float64(value)).view(np.int64)) if _is_number(row) else int(value)


def read_predictions(path: Path) -> Predictions:
    """Read a predictions file to compute scores; it raises what `read_lines` does."""
    return Predictions.from_rows(read_lines(path, _checked))


def read_lines(path: Path, parse: Callable[[Any], T], *, resuming: bool = False) -> list[T]:
    """The lines of a predictions file, each parsed as JSON and then by `parse`.

    A last line torn by a kill is dropped where a run is resumed, which asks its question again; where scores are
    computed it is an error, since a question would be missing.

    Raises:
        DataError: If the file is missing, or a line is not a prediction; file and line are named.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        what = f"cannot be read ({type(error).__name__})"
        raise DataError(what, where=str(path), remedy="evaluate the run first") from error
    rows = []
    for number, line in enumerate(data.split(b"\n")[:-1] if resuming else data.removesuffix(b"\n").split(b"\n"), 1):
        try:
            rows.append(parse(json.loads(line)))
        except ValueError as error:
            what = error.what if isinstance(error, DataError) else f"not valid JSON ({error})"
            remedy = "delete the file and evaluate again"
            raise DataError(what, where=f"{path}, line {number}", remedy=remedy) from error
    return rows


def _checked(row: Any) -> dict[str, Any]:
    missing = [name for name in _FIELDS if name not in row] if isinstance(row, dict) else list(_FIELDS)
    if missing:
        raise DataError(f"a prediction lacks {', '.join(missing)}")
    credit = row["correct"]
    if not (isinstance(credit, bool) or (_is_number(row) and 0 <= credit <= 1)) or not isinstance(row["options"], list):
        raise DataError("'correct' must be true or false, of a number from 0 to 1, and 'options' a list")
    return row
