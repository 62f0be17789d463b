"""Two arms of a study laid beside each other, or two phases of one: which runs are pairs, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sparrow.analysis.answers import HASHED, questions_difference
from sparrow.analysis.paired import (
    AccuracyDifference,
    paired_differences,
    paired_scores,
    unpaired_differences,
    unpaired_scores,
)
from sparrow.core.errors import DataError
from sparrow.report.arm import Arm
from sparrow.runs.record import Phase

SIGNIFICANCE = 0.05
MIN_SHARED_SEEDS = 2

Side = tuple[Arm, Phase]
OfRun = TypeVar("OfRun")


@dataclass(frozen=True)
class Comparison:
    """The difference, second minus first, of two arms' scores, or the problem with it.

    `adjusted_p` is Holm's; `is_exploratory` says that the study judges arms by other comparisons, so that it is left
    out of these; `category` is None where the benchmark's own score is compared.
    """

    benchmark: str
    first: Side
    second: Side
    result: AccuracyDifference | None
    problem: str = ""
    adjusted_p: float | None = None
    is_exploratory: bool = False
    category: str | None = None

    @property
    def seeds(self) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
        """The seeds of the runs of both sides, paired or not."""
        (first, phase), (second, other_phase) = self.first, self.second
        return first.seeds(self.benchmark, phase), second.seeds(self.benchmark, other_phase)

    @property
    def verdict(self) -> str:
        """What may be said of the difference."""
        if self.result is None:
            return f"not compared: {self.problem}"
        if not self.result.is_shown:
            return "no difference shown"
        direction = "higher" if self.result.difference > 0 else "lower"
        if self.is_exploratory:
            return f"{direction}, exploratory"
        held = self.adjusted_p is None or self.adjusted_p < SIGNIFICANCE
        return direction if held else f"{direction}, not after Holm"


def compare(benchmark: str, first: Side, second: Side, category: str | None = None) -> Comparison:
    """Two arms, or two phases of one, by their answers, or by stored scores where only the records were kept.

    What is compared is the benchmark's own score (`Score.metric`), or accuracy within one category.
    """
    problem = ""
    metrics = {score.metric for arm, phase in (first, second) for score in arm.scores(benchmark, phase)}
    if category is None and len(metrics) > 1:
        problem = f"the score is not the same number in all runs: {', '.join(sorted(metrics))}"
        return Comparison(benchmark, first, second, None, problem)
    metric = "accuracy" if category else next(iter(metrics), "accuracy")
    try:
        one, other = (arm.answers(benchmark, phase, category) for arm, phase in (first, second))
    except DataError as error:
        try:
            result, problem = _compare_scores(benchmark, first, second, category), str(error)
        except DataError as unlike:
            result, problem = None, str(unlike)
        return Comparison(benchmark, first, second, result, "" if result else problem, category=category)
    try:
        paired = _paired(one, other, is_one_arm=first[0] is second[0])
        if paired:
            result = paired_differences(*paired, metric)
        else:
            result = unpaired_differences([*one.values()], [*other.values()], metric)
    except DataError as error:
        result, problem = None, str(error)
    return Comparison(benchmark, first, second, result, problem, category=category)


def _compare_scores(benchmark: str, first: Side, second: Side, category: str | None) -> AccuracyDifference | None:
    """The same by the stored scores; None where they cannot tell, for which questions would have to be the unit.

    Raises:
        DataError: If the runs were asked other questions, as far as their records tell.
    """
    one, other = (arm.numbers(benchmark, phase, category) for arm, phase in (first, second))
    paired = _paired(one, other, is_one_arm=first[0] is second[0])
    firsts, seconds = paired or ([*one.values()], [*other.values()])
    for alike in zip(firsts, seconds, strict=True) if paired else ([*firsts, *seconds],):
        counts, hashes = {count for _, count, _ in alike}, sorted({digest for *_, digest in alike if digest})
        differing = {part for digest in hashes for part in questions_difference(hashes[0], digest) or ()}
        if len(counts) > 1 or differing - {HASHED[-1]}:
            raise DataError("the questions differ", remedy="evaluate both on the same benchmark file")
    compared = paired_scores if paired else unpaired_scores
    scores, others = ([number for number, *_ in numbers] for numbers in (firsts, seconds))
    return compared(scores, others, firsts[0][1])


def _paired(
    one: Mapping[tuple[Any, ...], OfRun], other: Mapping[tuple[Any, ...], OfRun], *, is_one_arm: bool
) -> tuple[list[OfRun], list[OfRun]] | None:
    """Runs of equal seeds, which are pairs where both arms have the same seeds or share two or more, and always within
    one arm; else None: a single pair says little of the other runs, and runs of other seeds are no pairs."""
    shared = [seeds for seeds in one if seeds in other]
    if len(shared) < MIN_SHARED_SEEDS and not (shared and (is_one_arm or one.keys() == other.keys())):
        return None
    return [one[seeds] for seeds in shared], [other[seeds] for seeds in shared]
