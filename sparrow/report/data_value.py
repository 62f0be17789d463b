"""What the data of a study was worth: its learning curves, and for each arm what it gained and what that cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparrow.analysis.intervals import ROUNDING
from sparrow.analysis.scaling import (
    CurveFit,
    EquivalentSamples,
    area_under_curve,
    equivalent_samples,
    fit_curve,
    interval_over_seeds,
)
from sparrow.analysis.scores import PAPER_MEANS, of_formats, resampled_scores
from sparrow.analysis.seeds import MIN_SEEDS
from sparrow.core.errors import DataError
from sparrow.report.arm import Arm, label_of, number_of, telling
from sparrow.report.study import StudyResults

# The step is that of the checkpoint of a run which `sparrow evaluate` asked.
SIZE_FACTORS = (*(f"mixture.num_{what}" for what in ("samples", "tokens", "frames", "supervised_tokens")), "step")


@dataclass(frozen=True)
class Curve:
    """The arms of a study that differ in the swept size only, from the smallest; `factors` are the others they share.

    `sizes` are samples used where samples are swept, which may be fewer than were asked for, or the swept amounts.
    """

    label: str
    factors: dict[str, Any]
    arms: tuple[Arm, ...]
    sizes: tuple[float, ...]
    unit: str

    def is_called(self, name: str | None) -> bool:
        """Whether a name is the curve's label, or one of its arms is called by it."""
        return name == self.label or any(arm.is_called(name) for arm in self.arms)

    def measured(self, name: str) -> list[tuple[float, Arm]]:
        """Sizes and arms that have a number."""
        return [(size, arm) for size, arm in zip(self.sizes, self.arms, strict=True) if arm.estimate(name)]


def size_factor(study: StudyResults) -> str | None:
    """The factor that is a curve's horizontal axis: the first size of the mixture that takes two values or more."""
    for name in SIZE_FACTORS:
        values = {arm.factors.get(name) for arm in study.arms}
        if len({value for value in values if isinstance(value, int | float) and not isinstance(value, bool)}) > 1:
            return name
    return None


def curves(study: StudyResults) -> list[Curve]:
    """Learning curves of a study, first the baseline (of several, that of most sizes); [] where none has two arms."""
    swept = size_factor(study)
    if swept is None:
        return []
    told = telling(arm.factors for arm in study.arms)
    groups: dict[str, list[Arm]] = {}
    for arm in study.arms:
        if isinstance(arm.factors.get(swept), int | float):
            others = {name: value for name, value in _others(arm, swept).items() if name in told}
            groups.setdefault(label_of(others) or study.study.name, []).append(arm)
    if all(len(arms) == 1 for arms in groups.values()):
        return []
    unit = swept.removeprefix("mixture.num_")
    found = [_curve(label, arms, swept, unit) for label, arms in groups.items()]
    named = [curve for curve in found if curve.is_called(study.study.baseline)]
    baseline = max(named, key=lambda curve: len(curve.arms), default=None)
    return sorted(found, key=lambda curve: curve is not baseline)


def _curve(label: str, arms: list[Arm], swept: str, unit: str) -> Curve:
    def size(arm: Arm) -> float:
        used = arm.samples if unit == "samples" else None
        return float(arm.factors[swept] if used is None else used)

    arms = sorted(arms, key=size)
    return Curve(label, _others(arms[0], swept), tuple(arms), tuple(map(size, arms)), unit)


def _others(arm: Arm, swept: str) -> dict[str, Any]:
    same = ("step", "checkpoint") if swept == "step" else (swept,)
    return {name: value for name, value in arm.factors.items() if name not in same}


def fits(study: StudyResults, name: str) -> list[tuple[Curve, CurveFit | str]]:
    """What is fitted to each curve, or why nothing is."""
    found: list[tuple[Curve, CurveFit | str]] = []
    for curve in curves(study):
        try:
            found.append((curve, fit_curve(*_points(curve, name), study.study.fit)))
        except DataError as error:
            found.append((curve, str(error)))
    return found


def areas(study: StudyResults, name: str) -> tuple[tuple[float, float], dict[str, float]] | None:
    """The area under each curve over the range that all share, from zero-shot where that is known for all.

    Returns:
        The range and the mean score along it, by curve; None where the curves share no range.
    """
    drawn: dict[str, tuple[list[float], list[float]]] = {}
    for curve in curves(study):
        sizes, scores = _points(curve, name)
        zero = study.zero_shot(curve.arms[0], name)
        drawn[curve.label] = ([0.0, *sizes], [zero.mean, *scores]) if zero else (sizes, scores)
    drawn = {label: points for label, points in drawn.items() if len(points[0]) > 1}
    if not drawn:
        return None
    start = max(min(sizes) for sizes, _ in drawn.values())
    end = min(max(sizes) for sizes, _ in drawn.values())
    if start >= end:
        return None
    return (start, end), {label: area_under_curve(*points, start, end) for label, points in drawn.items()}


def _points(curve: Curve, name: str) -> tuple[list[float], list[float]]:
    points = [(size, found.mean) for size, arm in curve.measured(name) if size > 0 and (found := arm.estimate(name))]
    return [size for size, _ in points], [score for _, score in points]


def equivalents_of(study: StudyResults, name: str) -> list[tuple[Arm, EquivalentSamples | str]]:
    """How many samples of the baseline reach the number of each other trained arm, or why not; [] without a sweep."""
    found: list[tuple[Arm, EquivalentSamples | str]] = []
    for baseline in curves(study)[:1]:
        for arm in study.arms:
            is_own = any(arm is own for own in baseline.arms)
            if is_own or arm.is_zero_shot or not arm.samples or arm.estimate(name) is None:
                continue
            if baseline.unit != "samples":
                found.append((arm, f"{baseline.unit} are swept, not samples"))
                continue
            try:
                found.append((arm, _equivalent(baseline, arm, name, study.study.fit)))
            except DataError as error:
                found.append((arm, str(error)))
    return found


def _equivalent(baseline: Curve, arm: Arm, name: str, form: str) -> EquivalentSamples:
    points = [(size, own) for size, own in baseline.measured(name) if size > 0]
    members = [own for _, own in points] + [arm]
    means = [found.mean for member in members if (found := member.estimate(name))]
    sizes = [size for size, _ in points]
    shared = _shared_seeds(members, name)
    if shared is not None:
        equivalent = equivalent_samples(sizes, means[:-1], means[-1], form=form)
        bounds = interval_over_seeds(sizes, shared[:, :-1], shared[:, -1], equivalent.found, form=form)
        return replace(equivalent, interval=bounds)
    drawn = resampled(members, name)
    bootstrap = {} if drawn is None else {"resampled_scores": drawn[:, :-1], "resampled_target": drawn[:, -1]}
    return equivalent_samples(sizes, means[:-1], means[-1], form=form, **bootstrap)


def resampled(arms: list[Arm], name: str) -> NDArray[np.float64] | None:
    """A number of several arms in resamples of the videos of each benchmark, [2000, arms]; None where answers are
    missing or videos too few. All arms are resampled alike."""
    columns = [_over_videos(arm, name) for arm in arms]
    known = [column for column in columns if column is not None]
    return np.stack(known, axis=1) if len(known) == len(columns) else None


def _shared_seeds(arms: list[Arm], name: str) -> NDArray[np.float64] | None:
    """[seeds, arms] numbers of the runs, where all arms were run with the same three seeds or more; None also where
    the arms differ by as much with each seed, which tells nothing of other seeds."""
    tables = [
        {run.seeds: number[0] for run in arm.runs if run.record and (number := number_of(run.record, name, "after"))}
        for arm in arms
    ]
    seeds = sorted(tables[0], key=str)
    if len(seeds) < MIN_SEEDS or any(table.keys() != tables[0].keys() for table in tables):
        return None
    numbers = np.array([[table[seed] for table in tables] for seed in seeds])
    return None if np.ptp(numbers - numbers[:, :1], axis=0).max() < ROUNDING else numbers


def _over_videos(arm: Arm, name: str) -> NDArray[np.float64] | None:
    parts = []
    for benchmark, path in _parts(arm, name):
        try:
            answers = arm.answers(benchmark, "after").values()
        except DataError:
            return None
        drawn = [resampled_scores(predictions, path) for predictions in answers]
        known = [means for means in drawn if means is not None]
        if len(known) < len(drawn):
            return None
        parts.append(np.mean(known, axis=0))
    return np.mean(parts, axis=0) if parts else None


def _parts(arm: Arm, name: str) -> list[tuple[str, str]]:
    """Benchmarks and paths into their scores that a number is the mean of."""
    scores = {b: phases["after"] for r in arm.counted for b, phases in r.scores.items() if "after" in phases}
    if name in PAPER_MEANS:
        by_format = of_formats(scores)
        return [(by_format[kind], path) for kind, path in PAPER_MEANS[name].items()]
    return [(name, scores[name].metric)]
