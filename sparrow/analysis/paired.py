"""Sets of answers to the same questions compared question by question, seed by seed, or run against run.

What is compared is one number of a score, by its path (`scores.METRICS`): a benchmark's own score may be the accuracy
of one category, or the mean of the categories' accuracies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from sparrow.analysis.answers import Predictions
from sparrow.analysis.intervals import ROUNDING, difference_interval
from sparrow.analysis.scores import MACRO, answers_of, weights_of
from sparrow.analysis.seeds import MIN_SEEDS, student_interval, student_p, welch
from sparrow.core.errors import DataError

Tested = tuple[float, float, float, float]  # difference, interval, p value


@dataclass(frozen=True)
class AccuracyDifference:
    """Score of `second` minus score of `first`, its 95 % interval, the questions that only one got right, and those
    answered differently, rightly or not; counts are of the questions that the score is of, summed over the pairs of
    runs, and None where there are none (`num_pairs` is 0) or only scores are known.

    `unit` is what was resampled: questions, whose videos are clusters, seeds in pairs, or the runs of both sides.
    """

    difference: float
    low: float
    high: float
    p_value: float
    num_questions: int
    num_only_first: int | None
    num_only_second: int | None
    num_different: int | None
    num_pairs: int = 1
    unit: Literal["question", "seed", "run"] = "question"

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def mcnemar_p(num_only_first: int, num_only_second: int) -> float:
    """Two-sided exact p value of McNemar's test: min(1, 2 P(X <= min(b, c))) for X binomial(b + c, 1/2).

    b and c count the questions that only one of the two got right. Source: McNemar, Psychometrika 12 (1947), in its
    exact form (Agresti, Categorical Data Analysis, section 10.1.4). It takes questions as independent.
    """
    discordant = num_only_first + num_only_second
    return min(1.0, 2 * float(bdtr(min(num_only_first, num_only_second), discordant, 0.5)))


def clustered_p(values: ArrayLike, clusters: ArrayLike) -> float:
    """Two-sided p value of a mean over values that share clusters, by Student's t over the clusters.

    The variance of the mean m of n values in J clusters is J / (J - 1) sum_j (s_j - n_j m)^2 / n^2, with s_j the sum
    of the n_j values of cluster j. Source: Miller, Adding Error Bars to Evals (arXiv 2411.00640), section 2.2. Where
    the clusters do not vary it is the exact sign test over them.
    """
    values = np.asarray(values, dtype=float)
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        return 1.0
    residuals = np.bincount(cluster, weights=values - values.mean())
    error = float(np.sqrt(len(names) / (len(names) - 1) * np.sum(residuals**2))) / len(values)
    if error < ROUNDING:  # all clusters differ by as much: what is left to test is the sign
        return min(1.0, 2 * 0.5 ** len(names)) if abs(values.mean()) > ROUNDING else 1.0
    return student_p(float(values.mean()) / error, len(names) - 1)


def paired_difference(first: Predictions, second: Predictions, metric: str = "accuracy") -> AccuracyDifference:
    """`paired_differences` of two runs: its interval and p value are clustered over videos."""
    return paired_differences([first], [second], metric)


def paired_differences(
    firsts: Sequence[Predictions], seconds: Sequence[Predictions], metric: str = "accuracy"
) -> AccuracyDifference:
    """How much better the second runs answer than the first, run by run.

    With three pairs of runs or more the seed is the unit: the interval and p value are Student's over the pairs'
    differences, which hold for other seeds. Otherwise the question is: each counts with the mean over the runs, in
    clusters of videos, and with its weight where the number is the mean over categories (`scores.weights_of`). The same
    where all pairs differ by as much, which tells nothing of other seeds. Runs at one place in both lists are a pair.

    Raises:
        DataError: If the runs of a pair do not answer the same questions, or there are none; if pairs answer other
            questions than each other and seeds cannot be the unit.
    """
    firsts, seconds = ([answers_of(run, metric) for run in runs] for runs in (firsts, seconds))
    pairs = list(zip(firsts, seconds, strict=True))
    for first, second in pairs:
        _check_same_questions(first, second, metric)
    by_pair = [second.correct.astype(float) - first.correct.astype(float) for first, second in pairs]
    counts = (
        len(firsts[0]),
        sum(int(np.sum(d < 0)) for d in by_pair),
        sum(int(np.sum(d > 0)) for d in by_pair),
        sum(int(np.sum(first.choices != second.choices)) for first, second in pairs),
        len(pairs),
    )
    by_seed = [float((weights_of(run, metric) * d).mean()) for run, d in zip(firsts, by_pair, strict=True)]
    if tested := _over_seeds(by_seed):
        return AccuracyDifference(*tested, *counts, unit="seed")
    try:
        for first in firsts[1:]:
            _check_same_questions(firsts[0], first, metric)
    except DataError:
        raise DataError(
            "each pair of runs was asked its own questions, so that only pairs can be the unit",
            remedy="run three seeds or more of both, or all with one data_seed",
        ) from None
    return AccuracyDifference(*_over_questions(firsts, seconds, metric), *counts)


def unpaired_differences(
    firsts: Sequence[Predictions], seconds: Sequence[Predictions], metric: str = "accuracy"
) -> AccuracyDifference:
    """How much better the second runs answer than the first, where no run of the one belongs to one of the other.

    With two runs or more on both sides the run is the unit (Welch's t). Otherwise, and where neither side's scores
    vary, the question is, with the mean over the runs of each side, in clusters of videos.

    Raises:
        DataError: If the runs do not all answer the same questions, or there are none.
    """
    firsts, seconds = ([answers_of(run, metric) for run in runs] for runs in (firsts, seconds))
    for other in [*firsts[1:], *seconds]:
        _check_same_questions(firsts[0], other, metric)
    counts, weights = (len(firsts[0]), None, None, None), weights_of(firsts[0], metric)
    if tested := _over_runs(*([float((weights * run.correct).mean()) for run in runs] for runs in (firsts, seconds))):
        return AccuracyDifference(*tested, *counts, num_pairs=0, unit="run")
    return AccuracyDifference(*_over_questions(firsts, seconds, metric), *counts, num_pairs=0)


def paired_scores(firsts: Sequence[float], seconds: Sequence[float], num_questions: int) -> AccuracyDifference | None:
    """`paired_differences` from scores alone; None where seeds cannot be the unit.

    That the runs answered the same questions is for the caller to know.
    """
    tested = _over_seeds([second - first for first, second in zip(firsts, seconds, strict=True)])
    return tested and AccuracyDifference(*tested, num_questions, None, None, None, len(firsts), unit="seed")


def unpaired_scores(firsts: Sequence[float], seconds: Sequence[float], num_questions: int) -> AccuracyDifference | None:
    """`unpaired_differences` from scores alone; None where runs cannot be the unit."""
    tested = _over_runs(firsts, seconds)
    return tested and AccuracyDifference(*tested, num_questions, None, None, None, num_pairs=0, unit="run")


def _over_seeds(differences: Sequence[float]) -> Tested | None:
    """Mean, Student's interval and p value; None for fewer than three pairs, or where all are equal."""
    if len(differences) < MIN_SEEDS or np.ptp(differences) < ROUNDING:
        return None
    mean, error = float(np.mean(differences)), float(np.std(differences, ddof=1)) / len(differences) ** 0.5
    return mean, *student_interval(differences), student_p(mean / error, len(differences) - 1)


def _over_runs(firsts: Sequence[float], seconds: Sequence[float]) -> Tested | None:
    """Difference of the means, Welch's interval and p value; None for a single run, or where neither side varies."""
    if min(len(firsts), len(seconds)) < 2 or max(np.ptp(firsts), np.ptp(seconds)) < ROUNDING:
        return None
    bounds, p = welch(firsts, seconds)
    return fmean(seconds) - fmean(firsts), *bounds, p


def _over_questions(firsts: Sequence[Predictions], seconds: Sequence[Predictions], metric: str) -> Tested:
    """Difference of the means over runs, its interval and p value with videos as clusters.

    For two runs p is McNemar's, which is exact, where every question has a video of its own and all weigh the same.
    """
    videos, weights = firsts[0].videos, weights_of(firsts[0], metric)
    differences = np.mean([s.correct for s in seconds], axis=0) - np.mean([f.correct for f in firsts], axis=0)
    low, high = difference_interval(differences, videos, weights)
    are_independent = len(np.unique(videos)) == len(videos) and np.ptp(weights) < ROUNDING
    are_right_or_wrong = all(run.correct.dtype == bool for run in (*firsts, *seconds))
    if len(firsts) == len(seconds) == 1 and are_independent and are_right_or_wrong:
        p = mcnemar_p(int(np.sum(differences < 0)), int(np.sum(differences > 0)))
    else:
        p = clustered_p(weights * differences, videos)
    return float((weights * differences).mean()), low, high, p


def _check_same_questions(first: Predictions, second: Predictions, metric: str) -> None:
    one, other = set(first.question_ids), set(second.question_ids)
    if not one | other:
        raise DataError("there are no questions to compare" + ("" if metric == "accuracy" else f" by {metric}"))
    if one != other:
        what = f"the questions differ: {len(one - other)} only in the first, {len(other - one)} only in the second"
    elif changed := np.sum((first.gold != second.gold) | (first.videos != second.videos)):
        what = f"{changed} of {len(first)} questions have another gold answer or video"
    elif changed := np.sum(first.options != second.options):
        what = f"{changed} of {len(first)} questions have other options"
    elif changed := sum(map(_is_reworded, first.prompts.tolist(), second.prompts.tolist())):
        what = f"{changed} of {len(first)} questions were asked in other words"
    elif metric == MACRO and (moved := np.sum(first.categories != second.categories)):
        what = f"{moved} of {len(first)} questions have another category, and the score is their mean"
    elif len(versions := {*first.reply_rules.tolist(), *second.reply_rules.tolist()} - {-1}) > 1:
        named = " and ".join(str(v or "0 (of before they had one)") for v in sorted(versions))
        what = f"the replies were read by the versions {named} of the rules"
        raise DataError(what, remedy="`sparrow rescore` both runs")
    else:
        return
    raise DataError(what, remedy="evaluate both on the same benchmark file, by the same protocol")


def _is_reworded(one: str, other: str) -> bool:
    """Whether two digests of prompts differ in more than white space; older files do not tell."""
    return bool(one and other) and one.partition(".")[0] != other.partition(".")[0]
