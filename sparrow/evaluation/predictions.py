"""Predictions on disk: one JSON line a question, appended as they come, resumed after a kill, sorted at the end."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, BinaryIO, Self

from sparrow.analysis.answers import read_lines
from sparrow.core.errors import DataError, RunError
from sparrow.core.files import write_atomically, write_json
from sparrow.evaluation.numeric_answers import read_number, relative_accuracy
from sparrow.evaluation.questions import Question, option_names, question_hash
from sparrow.evaluation.replies import REPLY_RULES, read_choice

log = logging.getLogger(__name__)
LIKELIHOOD_DIGITS = 5
UNSCORED = "unscored: needs a judge"
RARE = frozenset({"number", "value", "withheld"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the model chose for one question, with all that its score and its breakdowns need.

    Args:
        question_id: Id of the question.
        video: Its video, or its first picture; questions about one are not independent.
        category: Its task or type.
        groups: Further breakdowns.
        options: Texts that were to choose from; empty for a task that needs a judge.
        labels: What the prompt called them, where not by letter; None where the question listed none.
        gold: Position of the right option, None where none is right.
        choice: Position of the option chosen, None where the reply names none.
        scoring: `generate`, `letter_likelihood` or `option_likelihood`.
        reply: What was generated, None where likelihoods decide.
        rule: The rule of `read_choice` that read the reply.
        likelihoods: One log-likelihood an option, rounded to `LIKELIHOOD_DIGITS` decimals so that the last bits of
            a float do not make files differ.
        frame_indices: Frames of the video that the model saw.
        prompt_hash: Digest of all that the answer depends on; a question whose digest changed is asked again.
        question_hash: Digest of the prompt alone (`questions.question_hash`); empty in older files.
        reply_rules: Version of the rules that read the reply (`replies.REPLY_RULES`); None in older files.
        number: The right answer of a question that is answered by a number; None for any other.
        value: The number that the reply names, None where it names none.
        withheld: Whether the publisher keeps the right answer, so that this one is not scored.

    The last three are in a file where a question has one of them only.
    """

    question_id: str
    video: str | None
    category: str
    groups: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...]
    labels: tuple[str, ...] | None = ()
    gold: int | None
    choice: int | None
    scoring: str
    reply: str | None = None
    rule: str | None = None
    likelihoods: tuple[float, ...] | None = None
    frame_indices: tuple[int, ...] = ()
    prompt_hash: str
    question_hash: str = ""
    reply_rules: int | None = None
    number: float | None = None
    value: float | None = None
    withheld: bool = False

    def __post_init__(self) -> None:
        if self.likelihoods is None:
            return
        if not all(math.isfinite(value) for value in self.likelihoods):
            raise DataError(
                f"the likelihoods {list(self.likelihoods)} are not all finite",
                where=f"question {self.question_id!r}",
                remedy="check the model and its precision",
            )
        object.__setattr__(self, "likelihoods", tuple(round(v, LIKELIHOOD_DIGITS) for v in self.likelihoods))

    @property
    def correct(self) -> bool | float:
        """Whether the chosen option reads as the gold one does; of a number its relative accuracy, from 0 to 1.

        Texts are compared, not positions: where a benchmark lists the right text twice, either is right.
        """
        if self.number is not None:
            return relative_accuracy(self.value, self.number)
        return (
            self.choice is not None and self.gold is not None and self.options[self.choice] == self.options[self.gold]
        )

    def read_again(self, **reading: Any) -> Prediction:
        """The same with its reply read by the rules of today; `reading` are further arguments of `read_choice`."""
        if self.reply is None:
            return self
        if self.number is not None:
            value, rule = read_number(self.reply, reading.get("thinking_tags", ()))
            return replace(self, value=value, rule=rule, reply_rules=REPLY_RULES)
        if not self.options:
            return replace(self, choice=None, rule=UNSCORED, reply_rules=REPLY_RULES)
        letter, rule = read_choice(self.reply, self.options, labels=self.labels, **reading)
        choice = None if letter is None else ascii_uppercase.index(letter)
        return replace(self, choice=choice, rule=rule, reply_rules=REPLY_RULES)

    def to_line(self) -> str:
        """The prediction as one JSON line, newline included."""
        row = {**asdict(self), "correct": self.correct}
        if self.number is None and not self.withheld:
            row = {name: value for name, value in row.items() if name not in RARE}
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_row(cls, record: Any) -> Prediction:
        """The prediction of a decoded line.

        Raises:
            DataError: If the line is not a prediction, or its `correct` is not what choice and gold say.
        """
        names = {f.name for f in fields(cls)}
        if isinstance(record, dict):
            record = {"question_hash": "", "reply_rules": None, **record}
        if isinstance(record, dict) and RARE.isdisjoint(record):
            names -= RARE
        if not isinstance(record, dict) or record.keys() != names | {"correct"}:
            raise DataError(f"not a prediction: expected the fields {', '.join(sorted(names | {'correct'}))}")
        values: dict[str, Any] = {n: tuple(v) if isinstance(v := record[n], list) else v for n in names}
        prediction = cls(**values)
        if repr(prediction.correct) != repr(record["correct"]):
            raise DataError(f"'correct' is {record['correct']!r}, but choice and gold say {prediction.correct!r}")
        return prediction


def reply_labels(question: Question) -> tuple[str, ...] | None:
    """What the prompt calls the options, if not by letters; None where it lists none, as for yes or no."""
    if not question.list_options:
        return None
    names = option_names(question)
    return names if any(len(name) > 1 for name in names) else ()


def unanswered(question: Question, scoring: str, prompt_hash: str, frame_indices: Iterable[int]) -> Prediction:
    """The prediction for a question, yet without an answer."""
    return Prediction(
        question_id=question.id,
        video=question.video or next(iter(question.pictures), None),
        category=question.category,
        groups=dict(question.groups),
        options=question.options,
        labels=reply_labels(question),
        gold=question.gold,
        choice=None,
        scoring=scoring if question.options else "generate",
        frame_indices=tuple(frame_indices),
        prompt_hash=prompt_hash,
        question_hash=question_hash(question),
        number=question.number,
        withheld=question.withheld,
    )


class PredictionWriter:
    """Appends predictions to a file, flushed at once, so that a kill loses at most those being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "ab")
        whole = self._path.read_bytes().rfind(b"\n") + 1
        self._file.truncate(whole)  # a line torn by a kill would run into the next one
        return self

    def __exit__(self, *error: object) -> None:
        assert self._file is not None
        self._file.close()

    def write(self, *predictions: Prediction) -> None:
        """Append predictions, in one piece."""
        assert self._file is not None, "the writer is used as a context manager"
        self._file.write("".join(prediction.to_line() for prediction in predictions).encode())
        self._file.flush()


def write_submission(form: str, path: Path) -> None:
    """Write what was chosen, for the publisher to score, beside a file of predictions in which some are withheld.

    It is an object from question ids to each option's `letter` or `place`; a question without a choice is left out.
    """
    predictions = read_predictions(path) if form else []
    if any(prediction.withheld for prediction in predictions):
        chosen = {p.question_id: p.choice for p in predictions if p.choice is not None}
        letters = {question_id: ascii_uppercase[place] for question_id, place in chosen.items()}
        write_json(path.with_suffix(".submission.json"), letters if form == "letter" else chosen)
        log.info("%s: %d answers to submit, %d without a choice", path, len(chosen), len(predictions) - len(chosen))


def read_predictions(path: Path, *, resuming: bool = False) -> list[Prediction]:
    """The predictions of a file, in its order; for a torn last line and errors see `read_lines`."""
    return read_lines(path, Prediction.from_row, resuming=resuming)


def finished(paths: Iterable[Path], prompt_hashes: Mapping[str, str]) -> dict[str, Prediction]:
    """The predictions that need not be asked for again, by question id.

    `paths` are the ranks' files, as far as they exist. Predictions of other digests than `prompt_hashes` are stale.
    """
    found: dict[str, Prediction] = {}
    for prediction in (p for path in paths if path.exists() for p in read_predictions(path, resuming=True)):
        if prompt_hashes.get(prediction.question_id) != prediction.prompt_hash:
            continue
        other = found.setdefault(prediction.question_id, prediction)
        # Two ranks may have asked one question before and after a kill; which is kept must not depend on order.
        found[prediction.question_id] = min(other, prediction, key=Prediction.to_line)
    return found


def finalise(
    paths: Iterable[Path], prompt_hashes: Mapping[str, str], into: Path, *, reading: Mapping[str, Any]
) -> list[Prediction]:
    """Write the predictions of all ranks as one file, sorted by question id, whole or not at all.

    The bytes depend on the predictions alone, not on their order or files. Replies are read again by today's rules,
    with `reading` as further arguments of `read_choice`.

    Raises:
        RunError: If a question has no prediction.
    """
    found = finished(paths, prompt_hashes)
    missing = sorted(prompt_hashes.keys() - found.keys())
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise RunError(
            f"{len(missing)} of {len(prompt_hashes)} questions have no prediction ({shown}); run the command again"
        )
    predictions = [found[question_id].read_again(**reading) for question_id in sorted(found)]
    write_atomically(into, "".join(prediction.to_line() for prediction in predictions))
    return predictions
