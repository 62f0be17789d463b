"""What is said about a set of answers: accuracy, its interval, chance, and the same for each category and group."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparrow.analysis import intervals
from sparrow.analysis.answers import Predictions
from sparrow.analysis.credits import Credit
from sparrow.analysis.intervals import Interval, accuracy_interval, difference_interval
from sparrow.core.entries import Registry
from sparrow.core.errors import DataError

MACRO = "macro_accuracy"
OF_ALL = {"accuracy": "sparrow.analysis.credits.equal_weights", MACRO: "sparrow.analysis.scores.macro_weights"}
METRICS: Registry[Any] = Registry(
    "metric",
    OF_ALL
    | {
        "nested_macro_accuracy": "sparrow.analysis.credits.nested_macro_weights",
        "rotated_accuracy": "sparrow.analysis.credits.ROTATED",
        "video_mme_v2": "sparrow.analysis.credits.VIDEO_MME_V2",
    },
    ("answers",),
)
PATHS = ("by_category.NAME.accuracy", "by_group.AXIS.VALUE.accuracy")
_PATH = re.compile(r"by_category\..+\.accuracy|by_group\.[^.]+\..+\.accuracy")
# The means of arXiv 2411.19951, by benchmark format.
PAPER_MEANS = {
    "general": {"video_mme": "accuracy", "mvbench": "accuracy", "tempcompass": "by_category.multi-choice.accuracy"},
    "long": {"video_mme": "by_group.duration.long.accuracy", "longvideobench": "accuracy", "mlvu": "accuracy"},
}


@dataclass(kw_only=True)
class Accuracy:
    """Accuracy over some questions, as fractions; None where there was nothing to score.

    `low` and `high` bound the 95 % interval, `chance` is the expected accuracy of guessing.
    An unanswered question is wrong and stays in the denominator, and so does one that could not be asked, since its
    video or text could not be shown: `num_not_asked`, which `num_unanswered` leaves out.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    chance: float | None
    num_questions: int
    num_correct: int
    num_unanswered: int
    num_not_asked: int = 0

    @property
    def chance_bound(self) -> float | None:
        """The accuracy that guessing exceeds with a probability of at most 5 %."""
        return None if self.chance is None else intervals.chance_bound(self.chance, self.num_questions)


@dataclass(kw_only=True)
class Score(Accuracy):
    """What a benchmark's answers are worth, and where they are that it can be recomputed from.

    Args:
        macro_accuracy: Mean over categories, with its interval; `accuracy` is micro, over all questions.
        num_videos: Videos that the questions share.
        questions_hash: Which questions were asked (`Predictions.questions_hash`); empty in older records.
        reply_rules: Version of the rules that read the replies; None in older records and where none were read.
        not_asked: Numbers of questions that could not be asked, by reason, numbers in it left out.
        num_unscored: Questions without options, which need a judge: answered, and in no denominator.
        by_category: The same by task or type of question.
        by_group: The same by each value of each further breakdown, such as `duration`.
        metric: Which of these numbers is the benchmark's score, as a path: `by_category.multi-choice.accuracy`, or the
            dotted path of a user's own: a function from `Predictions` to what each counts, [n], not negative; or a
            `credits.Credit`, which says what each answer is worth.
        own: The weighted mean of that metric, over the answers that count.
        scoring: How answers were read from the model.
        predictions: The JSONL file, relative to the run's folder.
        protocol: How the questions were asked, as plain values.
        missing_videos: Videos that were not there; their questions count as wrong, or were not asked.
    """

    macro_accuracy: float | None = None
    macro_low: float | None = None
    macro_high: float | None = None
    num_videos: int = 0
    questions_hash: str = ""
    reply_rules: int | None = None
    not_asked: dict[str, int] = field(default_factory=dict)
    num_unscored: int = 0
    by_category: dict[str, Accuracy] = field(default_factory=dict)
    by_group: dict[str, dict[str, Accuracy]] = field(default_factory=dict)
    metric: str = "accuracy"
    own: Accuracy | None = None
    scoring: str = ""
    predictions: str = ""
    protocol: dict[str, Any] = field(default_factory=dict)
    missing_videos: list[str] = field(default_factory=list)

    @property
    def official(self) -> float | None:
        """The number that is the benchmark's score; None where it was not asked for."""
        return pick(self, self.metric)[0] if self.has(self.metric) else None

    @property
    def official_interval(self) -> Interval | None:
        """The 95 % interval of `official`."""
        return pick(self, self.metric)[1] if self.has(self.metric) else None

    @property
    def official_chance(self) -> float | None:
        """The expectation of `official` under guessing."""
        if self.metric == MACRO:
            chances = [part.chance for part in self.by_category.values() if part.chance is not None]
            return fmean(chances) if chances else None
        part = self.part(self.metric)
        return part.chance if part else None

    def part(self, metric: str) -> Accuracy | None:
        """The questions that a path is about; all of them for `macro_accuracy`."""
        kind, name, axis, value = _parts_of(metric)
        if kind == "by_group":
            return self.by_group.get(axis, {}).get(value)
        if kind == "by_category":
            return self.by_category.get(name)
        if metric in OF_ALL:
            return self
        return self.own if metric == self.metric else None

    @property
    def asked(self) -> str:
        """How the questions were asked, and which number is the score, in a line."""
        how = self.protocol
        tasks = f", tasks {' '.join(how['tasks'])}" if how.get("tasks") else ""
        return (
            f"prompts {how.get('protocol')}, frames {how.get('frames')}, subtitles {how.get('subtitles')}, "
            f"{self.scoring}, options {how.get('options')}{tasks}; score: {self.metric}; {how.get('note')}"
        )

    def has(self, metric: str) -> bool:
        """Whether there is a number of this path."""
        try:
            pick(self, metric)
        except DataError:
            return False
        return True


def score(
    predictions: Predictions,
    *,
    metric: str = "accuracy",
    scoring: str = "",
    file: str = "",
    protocol: Mapping[str, Any] | None = None,
    missing_videos: Sequence[str] = (),
    seed: int | None = None,
) -> Score:
    """The score of a benchmark's answers, over all questions (micro), over categories (macro) and by each breakdown.

    `predictions` answer all questions of the benchmark; the other arguments are kept as the fields of `Score`.

    Raises:
        DataError: If the code of a user's own metric fails.
    """
    if seed is not None:
        warnings.warn("score(seed=...) goes with the next release: its seed is fixed; leave it out", FutureWarning, 2)
    try:
        own = None if metric in OF_ALL or _PATH.fullmatch(metric) else _own_accuracy(predictions, metric)
    except DataError as error:
        raise error.within(file) from error
    low, high = accuracy_interval(predictions.correct, predictions.videos, predictions.categories)
    macro = intervals.stratified_mean(predictions.correct, predictions.categories) if len(predictions) else None
    return Score(
        **asdict(_accuracy(predictions)),
        macro_accuracy=macro,
        macro_low=low,
        macro_high=high,
        num_videos=len(np.unique(predictions.videos)),
        questions_hash=predictions.questions_hash,
        reply_rules=int(predictions.reply_rules.max(initial=-1)) if (predictions.reply_rules > 0).any() else None,
        not_asked=dict(Counter(reason_of(failure) for failure in predictions.failures.tolist() if failure)),
        num_unscored=predictions.num_unscored,
        by_category=_parts(predictions, predictions.categories),
        by_group={axis: _parts(predictions, values) for axis, values in predictions.groups.items()},
        metric=metric,
        own=own,
        scoring=scoring,
        predictions=file,
        protocol=dict(protocol or {}),
        missing_videos=list(missing_videos),
    )


def reason_of(failure: str) -> str:
    """Why a question could not be asked, without the place and with N for numbers, so that like ones count as one."""
    return re.sub(r"\d+(\.\d+)?", "N", failure.partition(" [")[0])


def pick(result: Score, metric: str) -> tuple[float, Interval]:
    """One number of a score and its interval, by its path: `macro_accuracy`, `by_group.duration.long.accuracy`.

    Raises:
        DataError: If the score has no such number.
    """
    part = result.part(metric)
    found = (part.accuracy, part.low, part.high) if part else (None, None, None)
    if metric == MACRO:
        found = (result.macro_accuracy, result.macro_low, result.macro_high)
    share, low, high = found
    if share is None or low is None or high is None:
        raise DataError(f"the score has no {metric!r}", remedy="check which questions were asked")
    return share, (low, high)


def check_metric(path: str) -> str:
    """The path of a number of a score, or the dotted path of a user's own; refuses any other.

    Raises:
        ConfigError: With the paths that there are.
    """
    if not _PATH.fullmatch(path):
        METRICS.check(path, PATHS)
    return path


def resampled_scores(predictions: Predictions, metric: str) -> NDArray[np.float64] | None:
    """The number of a path in resamples of the videos, [2000]; None with fewer than twenty videos.

    All sets of answers to the same questions are resampled alike.
    """
    own = answers_of(predictions, metric)
    strata = own.categories if metric == MACRO else None
    values = own.correct if metric == MACRO else weights_of(own, metric) * own.correct
    return intervals.resampled_means(values, own.videos, strata)


def answers_of(predictions: Predictions, metric: str) -> Predictions:
    """The answers that the number of a path is computed from: those of its category or group, else all.

    `correct` is then what each is worth, where the metric says so (`credits.Credit`).

    Raises:
        DataError: If the code of a metric fails.
    """
    kind, name, axis, value = _parts_of(metric)
    if kind == "by_category":
        return predictions.of_category(name)
    if kind == "by_group":
        return predictions.chosen(predictions.groups.get(axis, np.full(len(predictions), "")) == value)
    if metric in OF_ALL or not len(predictions):
        return predictions
    if isinstance(entry := METRICS[metric], Credit):
        with METRICS.named_in_errors(metric, f"{len(predictions)} answers"):
            worth = np.asarray(entry.of(predictions), dtype=float)
            if worth.shape != (len(predictions),) or not ((worth >= 0) & (worth <= 1)).all():
                raise ValueError(f"it gives {worth}, expected [{len(predictions)}] numbers from 0 to 1")
        return replace(predictions, correct=worth)
    return predictions.chosen(weights_of(predictions, metric) > 0)


def weights_of(own: Predictions, metric: str) -> NDArray[np.float64]:
    """What each answer of `answers_of` counts, [n] with a mean of 1; the path's number is the mean of weight x correct.

    Raises:
        DataError: If the code of a user's own metric fails.
    """
    if _PATH.fullmatch(metric) or not len(own):
        return np.ones(len(own))
    with METRICS.named_in_errors(metric, f"{len(own)} answers"):
        entry = METRICS[metric]
        weights = np.asarray((entry.weights if isinstance(entry, Credit) else entry)(own), dtype=float)
        mean = float(weights.mean())
        if weights.shape != (len(own),) or not (weights >= 0).all() or not 0 < mean < np.inf:
            raise ValueError(f"it gives {weights}, expected [{len(own)}] numbers, none below 0 and not all 0")
    return weights if metric in OF_ALL else weights / mean


def macro_weights(answers: Predictions) -> NDArray[np.float64]:
    """N / (K n_k) for the mean of K categories, with n_k of the N answers in the answer's category."""
    _, category, sizes = np.unique(answers.categories, return_inverse=True, return_counts=True)
    return np.asarray(len(answers) / (len(sizes) * sizes[category]))


def _parts_of(metric: str) -> tuple[str, str, str, str]:
    """Kind and name of a path, and the name taken apart: `by_group`, `duration.long`, `duration`, `long`."""
    kind, _, name = metric.removesuffix("accuracy").rstrip(".").partition(".")
    axis, _, value = name.partition(".")
    return kind, name, axis, value


def paper_means(scores: Mapping[str, Score]) -> dict[str, float]:
    """The means `general` and `long` of the paper (arXiv 2411.19951), each where all its benchmarks have scores.

    Scores are given by benchmark; means are fractions.
    """
    own = {kind: scores[name] for kind, name in of_formats(scores).items()}
    return {
        name: sum(pick(own[kind], metric)[0] for kind, metric in parts.items()) / len(parts)
        for name, parts in PAPER_MEANS.items()
        if all(kind in own and own[kind].has(metric) for kind, metric in parts.items())
    }


def of_formats(scores: Mapping[str, Score]) -> dict[str, str]:
    """The benchmark of each format: of several the one that is called as the format; none where none is."""
    names = names_by_format(scores)
    return {kind: kind if kind in own else own[0] for kind, own in names.items() if kind in own or len(own) == 1}


def names_by_format(scores: Mapping[str, Score]) -> dict[str, list[str]]:
    """All benchmarks of each format."""
    found: dict[str, list[str]] = {}
    for name, result in scores.items():
        found.setdefault(str(result.protocol.get("format")), []).append(name)
    return found


def _parts(predictions: Predictions, values: NDArray[np.str_]) -> dict[str, Accuracy]:
    return {str(value): _accuracy(predictions.chosen(values == value)) for value in np.unique(values) if value}


def _own_accuracy(predictions: Predictions, metric: str) -> Accuracy:
    own = answers_of(predictions, metric)
    weights = weights_of(own, metric)
    low, high = np.clip(difference_interval(own.correct, own.videos, weights), 0.0, 1.0).tolist()
    chances = entry.chances(own) if isinstance(entry := METRICS[metric], Credit) else own.chances
    share, chance = (float((weights * of).mean()) if len(own) else None for of in (own.correct, chances))
    return replace(_accuracy(own), accuracy=share, low=low, high=high, chance=chance)


def _accuracy(answers: Predictions) -> Accuracy:
    low, high = accuracy_interval(answers.correct, answers.videos)
    return Accuracy(
        accuracy=float(answers.correct.mean()) if len(answers) else None,
        low=low,
        high=high,
        chance=float(answers.chances.mean()) if len(answers) else None,
        num_questions=len(answers),
        num_correct=int((answers.correct == 1).sum()),
        num_unanswered=int((~answers.answered & (answers.failures == "")).sum()),
        num_not_asked=int((answers.failures != "").sum()),
    )
