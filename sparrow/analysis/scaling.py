"""What data was worth: curves of scores over numbers of samples, and the quantities that are read off them.

arXiv 2411.19951 argues with most of these and defines none; the definitions here are ours, explained with an example in
docs/studies.md. A score is a fraction, n a number of samples (or whatever size the study sweeps), s(n) the score of the
arm trained on n. Nothing is extrapolated, and what cannot be said is None or an error, never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparrow.analysis.intervals import ROUNDING, quantile_interval
from sparrow.analysis.seeds import student_quantile
from sparrow.core.errors import DataError

MIN_SIZES = 3
LOGARITHM, POWER_LAW = "logarithm", "power_law"
LEAST_ERROR = 1e-12  # of a resample or seed that has none, whose logarithm would be infinite
NUM_TRIED_SIZES = 4001


@dataclass(frozen=True)
class CurveFit:
    """A curve with two numbers by least squares, between the smallest and the largest measured n.

    A logarithm is s(n) = intercept + slope ln n. A power law is one of the errors, 1 - s(n) = exp(-intercept) n^-slope,
    fitted to their logarithms as -ln(1 - s) = intercept + slope ln n. `residuals` are measured minus fitted scores, one
    a size; `rmse` is sqrt(sum of squares / (sizes - 2)), the scatter about the curve with the two numbers taken off.
    """

    form: str
    intercept: float
    slope: float
    sizes: tuple[float, ...]
    residuals: tuple[float, ...]

    @property
    def rmse(self) -> float:
        """Scatter of the scores about the curve, as a fraction."""
        return float(np.sqrt(np.sum(np.square(self.residuals)) / (len(self.residuals) - 2)))

    def at(self, size: float) -> float:
        """The fitted score."""
        return float(_bent(self.intercept + self.slope * np.log(size), self.form))


def fit_curve(sizes: Sequence[float], scores: Sequence[float], form: str = LOGARITHM) -> CurveFit:
    """Fit a curve to scores at numbers of samples above zero.

    Raises:
        DataError: With fewer than three different sizes: two numbers are fitted, and one point more is the least that
            can speak against the curve. A power law also if a score leaves no error.
    """
    _check_points(sizes, scores, form)
    intercept, slope = _solver(sizes) @ _straightened(scores, form)
    line = CurveFit(form, float(intercept), float(slope), tuple(map(float, sizes)), ())
    return replace(line, residuals=tuple(s - line.at(n) for n, s in zip(sizes, scores, strict=True)))


@dataclass(frozen=True)
class Located:
    """A number of samples, or None with the side of the measured range on which it lies: -1 below, 1 above."""

    samples: float | None
    side: int = 0

    @classmethod
    def of(cls, value: float) -> Located:
        """A number; minus and plus infinity stand for below and above."""
        return cls(float(value)) if np.isfinite(value) else cls(None, 1 if value > 0 else -1)


@dataclass(frozen=True)
class EquivalentSamples:
    """How many samples of the baseline reach a score, with the 95 % interval where there is one.

    `smallest` and `largest` are the measured range, outside of which nothing is said.
    """

    found: Located
    interval: tuple[Located, Located] | None
    smallest: float
    largest: float


def equivalent_samples(
    sizes: Sequence[float],
    scores: Sequence[float],
    target: float,
    *,
    form: str = LOGARITHM,
    resampled_scores: ArrayLike | None = None,
    resampled_target: ArrayLike | None = None,
) -> EquivalentSamples:
    """The smallest n in the baseline's measured range at which its fitted curve reaches a score.

    n_eq = exp((target - a) / b) for s(n) = a + b ln n with b > 0; a power law is the same for -ln(1 - s). The interval
    is the 2.5 and 97.5 % quantiles of n_eq over resamples of videos, curve and target resampled alike and the curve
    fitted anew in each; resamples whose n_eq lies outside the range count as below or above all others. A curve that
    falls reaches a score at its smallest n or never. For k sizes above zero and r resamples,
    `resampled_scores` is [r, k] and `resampled_target` [r].

    Raises:
        DataError: With fewer than three different sizes, or of a power law if a score leaves no error.
    """
    _check_points(sizes, scores, form)
    solver, smallest, largest = _solver(sizes), float(min(sizes)), float(max(sizes))

    def reached(of_curves: ArrayLike, of_targets: ArrayLike) -> NDArray[np.float64]:
        """n_eq for each of [r, k] scores and [r] targets; minus or plus infinity outside the range."""
        curves, targets = _straightened(of_curves, form), _straightened(of_targets, form)
        intercept, slope = curves @ solver.T[:, 0], curves @ solver.T[:, 1]
        needed = targets - intercept
        rises = slope > 0
        log_size = np.divide(needed, slope, out=np.full_like(needed, np.inf), where=rises)
        at_smallest = slope * np.log(smallest) >= needed
        below = np.where(rises, log_size < np.log(smallest) - 1e-9, at_smallest)
        above = ~below & (log_size > np.log(largest) + 1e-9)
        inside = np.clip(log_size, np.log(smallest), np.log(largest))
        return np.where(below, -np.inf, np.where(above, np.inf, np.exp(inside)))

    measured = Located.of(reached([scores], [target])[0])
    if resampled_scores is None or resampled_target is None:
        return EquivalentSamples(measured, None, smallest, largest)
    found = np.sort(reached(resampled_scores, resampled_target))
    if np.isfinite(found).all():
        bounds = quantile_interval(found)
    else:
        # Order statistics, since nothing can be interpolated towards infinity.
        bounds = float(found[int(0.025 * (len(found) - 1))]), float(found[int(np.ceil(0.975 * (len(found) - 1)))])
    return EquivalentSamples(measured, (Located.of(bounds[0]), Located.of(bounds[1])), smallest, largest)


def interval_over_seeds(
    sizes: Sequence[float], seed_scores: ArrayLike, seed_targets: ArrayLike, found: Located, *, form: str = LOGARITHM
) -> tuple[Located, Located]:
    """95 % interval of equivalent samples from a few seeds, of which a bootstrap would draw too few different ones.

    It is the range of all n that Student's t does not reject: those for which the 95 % interval of the mean of
    target_i - s_i(n) over the seeds i holds zero, with s_i the curve fitted to the scores of seed i; of many n along
    the measured range, where it reaches an end of which it is open. Source: Fieller, Journal of the Royal Statistical
    Society B 16 (1954). For k sizes and m seeds, `seed_scores` is [m, k], `seed_targets` [m]. It includes `found`.
    """
    log_sizes = np.linspace(np.log(min(sizes)), np.log(max(sizes)), NUM_TRIED_SIZES)
    lines = _straightened(seed_scores, form) @ _solver(sizes).T
    curves = _bent(lines[:, :1] + lines[:, 1:] * log_sizes, form)
    residuals = np.asarray(seed_targets, dtype=float)[:, None] - curves
    errors = residuals.std(axis=0, ddof=1) / len(residuals) ** 0.5
    kept = np.abs(residuals.mean(axis=0)) <= student_quantile(len(residuals) - 1) * errors + ROUNDING
    inside = [float(size) for size in np.exp(log_sizes[kept])]
    inside += [] if found.samples is None else [found.samples]
    below, above = Located(None, -1), Located(None, 1)
    low = below if kept[0] or found.side < 0 else Located(min(inside)) if inside else above
    high = above if kept[-1] or found.side > 0 else Located(max(inside)) if inside else below
    return low, high


def area_under_curve(sizes: Sequence[float], scores: Sequence[float], start: float, end: float) -> float:
    """Mean score from `start` to `end` samples: the area under lines between the points, over `end - start`.

    Raises:
        DataError: If the points do not span the range.
    """
    order = np.argsort(sizes)
    x, y = np.asarray(sizes, dtype=float)[order], np.asarray(scores, dtype=float)[order]
    if len(x) < 2 or not x[0] <= start < end <= x[-1]:
        raise DataError(f"a curve from {start:g} to {end:g} needs two measured sizes that span it")
    inner = x[(x > start) & (x < end)]
    grid = np.concatenate([[start], inner, [end]])
    return float(np.trapezoid(np.interp(grid, x, y), grid)) / (end - start)


def gain_per(gain: float | None, amount: float | None, unit: float = 1.0) -> float | None:
    """Gain over zero-shot for each `unit` of what it took; None where one of both is unknown or nothing was taken."""
    return None if gain is None or not amount else gain / amount * unit


def _check_points(sizes: Sequence[float], scores: Sequence[float], form: str) -> None:
    if (found := len(set(sizes))) < MIN_SIZES:
        raise DataError(f"a fit needs {MIN_SIZES} different sizes above 0, there are {found}")
    if min(sizes) <= 0:
        raise DataError("a curve is fitted to sizes above 0 only")
    if form == POWER_LAW and max(scores) >= 1:
        raise DataError("a power law is of errors, and a score of 100 % leaves none; set study.fit=logarithm")


def _straightened(scores: ArrayLike, form: str) -> NDArray[np.float64]:
    """What is linear in ln n where the curve is of this form."""
    scores = np.asarray(scores, dtype=float)
    return -np.log(np.maximum(1 - scores, LEAST_ERROR)) if form == POWER_LAW else scores


def _bent(straight: ArrayLike, form: str) -> NDArray[np.float64]:
    """The scores that `_straightened` made these numbers of."""
    straight = np.asarray(straight, dtype=float)
    return 1 - np.exp(-straight) if form == POWER_LAW else straight


def _solver(sizes: Sequence[float]) -> NDArray[np.float64]:
    """[2, k]: intercept and slope are its product with the scores."""
    logs = np.log(np.asarray(sizes, dtype=float))
    return np.linalg.pinv(np.stack([np.ones_like(logs), logs], axis=1))
