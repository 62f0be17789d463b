"""Metrics by which answers count otherwise than one each: means of means, and questions that are scored together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sparrow.analysis.answers import Predictions
from sparrow.core.errors import DataError

Worth = Callable[[tuple[bool, ...]], float]
Column = Callable[[Predictions], NDArray[np.float64]]


def equal_weights(answers: Predictions) -> NDArray[np.float64]:
    """1 each."""
    return np.ones(len(answers))


def nested_macro_weights(answers: Predictions) -> NDArray[np.float64]:
    """N / (K S_k n_ks) for the mean of K categories, each the mean of its S_k question types of n_ks answers.

    A question's type is its group `question_type`.
    """
    _, category = np.unique(answers.categories, return_inverse=True)
    _, kind = np.unique(answers.groups["question_type"], return_inverse=True)
    sizes = np.zeros((category.max() + 1, kind.max() + 1))
    np.add.at(sizes, (category, kind), 1)
    kinds_of_category = (sizes > 0).sum(axis=1)[category]
    return np.asarray(len(answers) / (len(sizes) * kinds_of_category * sizes[category, kind]))


@dataclass(frozen=True)
class Credit:
    """A metric that says what each answer is worth, where being right or wrong is not all there is.

    The score is the mean of `of`, [n] from 0 to 1, with `weights`; `chances` is the expectation of `of` under guessing.
    """

    of: Column
    weights: Column = equal_weights
    chances: Column = lambda answers: answers.chances

    def __call__(self, answers: Predictions) -> NDArray[np.float64]:
        """What each answer is worth, [n]."""
        return self.of(answers)


def together(rule: Callable[[Predictions, list[int]], Worth]) -> Credit:
    """The metric of questions that are scored together: those whose ids agree up to the last slash.

    `rule` gives for the places of a group's answers what they are worth by which of them are right, in order of the
    ids. Groups count the same, whatever their size.
    """

    def spread(answers: Predictions, value: Callable[[list[int]], float]) -> NDArray[np.float64]:
        groups: dict[str, list[int]] = {}
        for place, question_id in enumerate(answers.question_ids):
            groups.setdefault(question_id.rpartition("/")[0], []).append(place)
        found = np.zeros(len(answers))
        for places in groups.values():
            found[places] = value(places)
        return found

    def chances(answers: Predictions) -> NDArray[np.float64]:
        def expected(places: list[int]) -> float:
            worth, p = rule(answers, places), answers.chances[places]
            outcomes = product((False, True), repeat=len(places))
            return sum(worth(right) * float(np.where(right, p, 1 - p).prod()) for right in outcomes)

        return spread(answers, expected)

    return Credit(
        of=lambda answers: spread(answers, lambda places: rule(answers, places)(tuple(answers.correct[places] == 1))),
        weights=lambda answers: spread(answers, lambda places: 1 / len(places)),
        chances=chances,
    )


# What the answers of a chain are worth by how many are right before the first wrong one.
CHAINS = {
    "[1,2,3,4]": (0, 1 / 16, 4 / 16, 9 / 16, 1),
    "[1,[2,3],4]": (0, 1 / 12, 4 / 12, 7 / 12, 1),
    "[[1,2],3,4]": (0, 1 / 10, 2 / 10, 5 / 10, 1),
}


def _video_mme_v2(answers: Predictions, places: list[int]) -> Worth:
    """The worth of a video's four answers (MME-Benchmarks/Video-MME-v2, evaluation/test_video_mme_v2.py).

    `relevance`: (k / 4)^2 for k right ones. `logic`: by how many are right before the first wrong one, where of two
    that stand side by side the second stands in for a wrong first.
    """
    kind, structure = (str(answers.groups[axis][places[-1]]) for axis in ("group_type", "group_structure"))
    structure = structure.replace(" ", "")
    if len(places) != 4 or not (kind == "relevance" or (kind == "logic" and structure in CHAINS)):
        raise DataError(
            f"{len(places)} answers of type {kind!r} with the structure {structure!r} cannot be scored together",
            where=f"question {answers.question_ids[places[0]]!r} and its group",
            remedy="ask all four questions of a video, or set the benchmark's metric to accuracy",
        )

    def worth(right: tuple[bool, ...]) -> float:
        if kind == "relevance":
            return (sum(right) / 4) ** 2
        length = (*right, False).index(False)
        stands_in = {("[1,[2,3],4]", 1): right[2], ("[[1,2],3,4]", 0): right[1]}
        return CHAINS[structure][length + bool(stands_in.get((structure, length)))]

    return worth


ROTATED = together(lambda answers, places: lambda right: float(all(right)))
VIDEO_MME_V2 = together(_video_mme_v2)
