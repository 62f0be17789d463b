"""Statistics over seeds: a run a value, few of them, and independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit

from sparrow.analysis.intervals import LEVEL, Interval

MIN_SEEDS = 3


@dataclass(frozen=True)
class Estimate:
    """A number over the runs of an arm: mean, sample standard deviation (None for one run), 95 % interval."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None


def estimate(values: Sequence[float], intervals: Sequence[Interval | None]) -> Estimate:
    """The mean of one number over runs, with what is known of its uncertainty.

    With three runs or more the interval is Student's over the runs, which holds for other seeds and the same questions.
    With one it is the run's own, over questions; with two the mean of both bounds, as if the two runs erred alike,
    which is wide; and so with runs that are all equal, such as a zero-shot score, which tell nothing of other seeds.
    """
    sd = stdev(values) if len(values) > 1 else None
    if len(values) >= MIN_SEEDS and sd:
        low, high = student_interval(values)
        return Estimate(fmean(values), sd, max(0.0, low), min(1.0, high))
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(values):
        return Estimate(fmean(values), sd, None, None)
    lows, highs = zip(*known, strict=True)
    return Estimate(fmean(values), sd, fmean(lows), fmean(highs))


def student_interval(values: Sequence[float]) -> Interval:
    """95 % interval of the mean of n >= 2 independent values: mean -+ t(0.975, n - 1) s / sqrt(n)."""
    half = student_quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5
    return fmean(values) - half, fmean(values) + half


def welch(firsts: Sequence[float], seconds: Sequence[float]) -> tuple[Interval, float]:
    """95 % interval of mean(seconds) - mean(firsts) of independent values, and its two-sided p value.

    With e_i = s_i^2 / n_i the interval is the difference -+ t(0.975, d) sqrt(e_1 + e_2), for degrees of freedom
    d = (e_1 + e_2)^2 / (e_1^2 / (n_1 - 1) + e_2^2 / (n_2 - 1)). Source: Welch, Biometrika 34 (1947). Each side has two
    values or more; not all values of both may be equal.
    """
    one, other = (stdev(values) ** 2 / len(values) for values in (firsts, seconds))
    freedom = (one + other) ** 2 / (one**2 / (len(firsts) - 1) + other**2 / (len(seconds) - 1))
    difference, error = fmean(seconds) - fmean(firsts), (one + other) ** 0.5
    half = student_quantile(freedom) * error
    return (difference - half, difference + half), student_p(difference / error, freedom)


def student_quantile(degrees_of_freedom: float) -> float:
    """How many standard errors a 95 % interval reaches on both sides."""
    return float(stdtrit(degrees_of_freedom, (1 + LEVEL) / 2))


def student_p(ratio: float, degrees_of_freedom: float) -> float:
    """Two-sided p value of a mean divided by its standard error."""
    return 2 * float(stdtr(degrees_of_freedom, -abs(ratio)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number: the chance of even one false finding among them stays below the level.

    In ascending order the i-th of m becomes the largest of (m - j + 1) p_j for j <= i, at most 1.
    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
